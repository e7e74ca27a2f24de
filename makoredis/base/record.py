"""Two ways to declare a plain record: `@record` for what stays in memory, `Wire` for what goes to disk or to a peer.

* `@record` is a slotted dataclass at run time which the type checker treats as frozen: building one costs 0.15 µs,
  where `dataclass(frozen=True, slots=True)` costs 0.93 µs (CPython 3.11).
* `Wire` is a frozen msgspec struct, encoded by position. Its fields are a file format: append, never reorder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

import msgspec

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Makes a class a slotted record, immutable by type check."""
    return dataclass(slots=True)(cls)


if TYPE_CHECKING:
    from dataclasses import field as field

    @dataclass_transform(frozen_default=True, field_specifiers=(field,))
    class Wire:
        """Base of all records with a binary form. Subclasses in a union carry a `tag`."""

        def __init_subclass__(cls, tag: int | None = None, frozen: bool = True) -> None: ...

else:
    from msgspec import field as field

    class Wire(msgspec.Struct, frozen=True, array_like=True, gc=False):
        """Base of all records with a binary form. Subclasses in a union carry a `tag`."""


def wire_decoder(kind: Any) -> Callable[[bytes], Any]:
    """A function that turns bytes into `kind` (a Wire class or a union of tagged ones).

    Raises (the function): msgspec.ValidationError or msgspec.DecodeError on bytes that are not of that kind.
    """
    return msgspec.msgpack.Decoder(kind).decode


wire_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
