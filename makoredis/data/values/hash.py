"""A hash: field → value."""


class Hash:
    """`fields` keeps insertion order, as clients of small hashes expect."""

    __slots__ = ("fields",)

    def __init__(self, fields: dict[bytes, bytes] | None = None) -> None:
        self.fields: dict[bytes, bytes] = {} if fields is None else fields

    def __len__(self) -> int:
        return len(self.fields)
