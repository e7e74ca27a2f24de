"""The parameters of CONFIG GET and CONFIG SET: all that Redis 7.0 knows, and makoredis's own.

`parameters.json` says of each its kind, default and limits. A parameter that means something here has a hook in
`makoredis.server.config`; any other is checked, stored and echoed, because clients and tools set it and look at it.
"""

import json
import re
from collections.abc import Callable, Iterator
from importlib.resources import files

from makoredis.base.errors import ClientError
from makoredis.base.record import record
from makoredis.commands.arguments import parse_int64
from makoredis.commands.glob import matches

MEMORY_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}
_MEMORY = re.compile(r"(\d+)([a-z]*)\Z")


class BadValue(Exception):
    """A value that a parameter cannot take; the message is Redis's."""


@record
class Parameter:
    """One parameter. `kind`: yes_no, integer, memory, memory_or_percent, choice or text."""

    name: str
    kind: str
    default: str
    low: int
    high: int
    choices: tuple[str, ...]
    access: str
    """mutable, immutable (only at start) or protected (only with enable-protected-configs)."""
    is_hidden: bool
    """Not shown for a pattern, only when its name is said: what programs that set back all they got don't expect."""

    def normalise(self, value: str) -> str:
        """The value as CONFIG GET shows it.

        Raises: BadValue.
        """
        return _NORMALISE[self.kind](self, value)


def _yes_no(parameter: Parameter, value: str) -> str:
    if value.lower() not in ("yes", "no"):
        raise BadValue("argument must be 'yes' or 'no'")
    return value.lower()


def _integer(parameter: Parameter, value: str) -> str:
    number = parse_int64(value.encode())
    if number is None:
        raise BadValue("argument couldn't be parsed into an integer")
    return _in_range(parameter, number)


def _in_range(parameter: Parameter, number: int) -> str:
    if not parameter.low <= number <= parameter.high:
        raise BadValue(f"argument must be between {parameter.low} and {parameter.high} inclusive")
    return str(number)


def _memory(parameter: Parameter, value: str) -> str:
    size = memory_bytes(value)
    if size is None:
        raise BadValue("argument must be a memory value")
    return _in_range(parameter, size)


def _memory_or_percent(parameter: Parameter, value: str) -> str:
    if value.endswith("%") and value[:-1].isdigit():
        if int(value[:-1]) > 100:
            raise BadValue("percentage argument must be less or equal to 100")
        return value
    size = memory_bytes(value)
    if size is None:
        raise BadValue("argument must be a memory or percent value")
    return str(size)


def _choice(parameter: Parameter, value: str) -> str:
    if value.lower() not in parameter.choices:
        raise BadValue("argument(s) must be one of the following: " + ", ".join(parameter.choices))
    return value.lower()


def _text(parameter: Parameter, value: str) -> str:
    return value


_NORMALISE: dict[str, Callable[[Parameter, str], str]] = {
    "yes_no": _yes_no,
    "integer": _integer,
    "memory": _memory,
    "memory_or_percent": _memory_or_percent,
    "choice": _choice,
    "text": _text,
}


def memory_bytes(value: str) -> int | None:
    """`100mb` → bytes; None if it is no such thing."""
    match = _MEMORY.match(value.lower())
    if match is None or match[2] not in MEMORY_UNITS:
        return None
    return int(match[1]) * MEMORY_UNITS[match[2]]


def _load() -> tuple[dict[str, Parameter], dict[str, str]]:
    parameters: dict[str, Parameter] = {}
    aliases: dict[str, str] = {}
    rows = json.loads(files("makoredis.server").joinpath("parameters.json").read_text(encoding="utf-8"))
    for row in rows:
        if "alias_of" in row:
            aliases[row["name"]] = row["alias_of"]
            continue
        parameters[row["name"]] = Parameter(
            row["name"],
            row["kind"],
            row["default"],
            row.get("low", 0),
            row.get("high", 2**63 - 1),
            tuple(row.get("choices", ())),
            row.get("access", "mutable"),
            row.get("hidden", False),
        )
    return parameters, aliases


PARAMETERS, ALIASES = _load()

Hook = Callable[[str], str | None]
"""Puts a new value into effect. May return the value to be shown instead. Raises: BadValue."""


class ParameterTable:
    """The present values of all parameters."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {name: parameter.default for name, parameter in PARAMETERS.items()}
        self.hooks: dict[str, Hook] = {}

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def integer(self, name: str) -> int:
        """The value of an integer or memory parameter."""
        return int(self.values[name])

    def set_at_start(self, name: str, value: str) -> None:
        """Sets any parameter, immutable ones too, without its hook.

        Raises: BadValue, KeyError for an unknown name.
        """
        name = ALIASES.get(name, name)
        self.values[name] = PARAMETERS[name].normalise(value)

    def set_many(self, pairs: list[tuple[str, str]]) -> None:
        """CONFIG SET: all or nothing.

        Raises: ClientError with Redis's texts.
        """
        changes: dict[str, tuple[str, str]] = {}
        for given, value in pairs:
            word = given.lower()
            name = ALIASES.get(word, word)
            parameter = PARAMETERS.get(name)
            if parameter is None:
                raise ClientError(f"ERR Unknown option or number of arguments for CONFIG SET - '{given}'")
            given = word
            if parameter.access == "immutable":
                raise _failed(given, "can't set immutable config")
            if parameter.access == "protected" and self.values["enable-protected-configs"] == "no":
                raise _failed(given, "can't set protected config")
            if name in changes:
                raise _failed(given, "duplicate parameter")
            try:
                changes[name] = (given, parameter.normalise(value))
            except BadValue as error:
                raise _failed(given, str(error)) from None
        self._apply(changes)

    def _apply(self, changes: dict[str, tuple[str, str]]) -> None:
        before = {name: self.values[name] for name in changes}
        applied: list[str] = []
        for name, (given, value) in changes.items():
            applied.append(name)
            try:
                self._put(name, value)
            except BadValue as error:
                for earlier in reversed(applied[:-1]):
                    self._put(earlier, before[earlier])
                raise _failed(given, str(error)) from None

    def _put(self, name: str, value: str) -> None:
        hook = self.hooks.get(name)
        shown = hook(value) if hook is not None else None
        self.values[name] = value if shown is None else shown

    def matching(self, patterns: tuple[bytes, ...]) -> Iterator[tuple[str, str]]:
        """CONFIG GET: names (aliases too, when asked for) and values."""
        wanted = [pattern.lower() for pattern in patterns]
        for name in (*PARAMETERS, *ALIASES):
            said = name.encode()
            target = ALIASES.get(name, name)
            if PARAMETERS[target].is_hidden:
                found = said in wanted
            else:
                found = any(matches(pattern, said) for pattern in wanted)
            if found:
                yield name, self.values[target]


def _failed(name: str, reason: str) -> ClientError:
    return ClientError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
