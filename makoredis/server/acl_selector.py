"""One set of permissions: commands, keys, channels. A user has one, and may have more as alternatives.

Commands are bits of an integer, one for each row of the table and one more for commands that do not exist yet, which
only `+@all` sets. How they are shown is computed from the bits: categories first, best fit first, then what is left.
"""

import re
from collections.abc import Iterator

from makoredis.commands.glob import Matcher, matcher
from makoredis.commands.table import TABLE, CommandRow
from makoredis.server.acl_categories import ALL_CATEGORIES, categories_of

READ, WRITE = 1, 2
_PREFIXES = {READ: b"%R~", WRITE: b"%W~", READ | WRITE: b"~"}
_KEY_PATTERN = re.compile(rb"(?:~|%(?P<access>[RrWw]*)~?)(?P<pattern>.*)\Z", re.DOTALL)

UNKNOWN_NAME = "Unknown command or category name in ACL"
SYNTAX = "Syntax error"
AFTER_ALL_KEYS = (
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try "
    "'resetkeys' to start with an empty list of patterns"
)
AFTER_ALL_CHANNELS = (
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try "
    "'resetchannels' to start with an empty list of channels"
)
SUBCOMMAND_ARGUMENT = "Allowing first-arg of a subcommand is not supported"


class BadRule(Exception):
    """A rule that cannot be applied; the message is Redis's."""


BIT: dict[str, int] = {name: 1 << number for number, name in enumerate(sorted(TABLE))}
ALL = (1 << (len(BIT) + 1)) - 1
FUTURE = 1 << len(BIT)
CONTAINERS = frozenset(name.split("|")[0] for name in BIT if "|" in name)


def _with_subcommands(name: str) -> int:
    mask = BIT[name]
    if name in CONTAINERS:
        for other, bit in BIT.items():
            if other.startswith(name + "|"):
                mask |= bit
    return mask


FAMILY: dict[str, int] = {name: _with_subcommands(name) for name in BIT}
"""A command's bit with those of its subcommands: they are allowed and denied together."""
MEMBERS: dict[str, int] = dict.fromkeys(ALL_CATEGORIES, 0)
"""The bits of a category's commands."""
CHANGED_BY: dict[str, int] = dict.fromkeys(ALL_CATEGORIES, 0)
"""What `+@category` sets: its commands and their subcommands."""
for _name, _row in TABLE.items():
    for _category in categories_of(_row):
        MEMBERS[_category] |= BIT[_name]
        CHANGED_BY[_category] |= FAMILY[_name]


def has_spaces(text: bytes) -> bool:
    """Whether a name or pattern could not be written to a file of rules."""
    return any(byte in b" \t\n\r\v\f\0" for byte in text)


class Selector:
    """Permissions on commands, keys and channels."""

    __slots__ = ("allows_all_channels", "allows_all_keys", "channels", "commands", "first_arguments", "keys")

    def __init__(self, *, allows_all_channels: bool = False) -> None:
        self.commands = 0
        self.first_arguments: dict[str, list[str]] = {}
        """By command that is not allowed as a whole, the first arguments with which it is."""
        self.allows_all_keys = False
        self.keys: dict[bytes, tuple[int, Matcher]] = {}
        """By pattern, READ or WRITE or both."""
        self.allows_all_channels = allows_all_channels
        self.channels: dict[bytes, Matcher] = {}

    def copy(self) -> "Selector":
        other = Selector(allows_all_channels=self.allows_all_channels)
        other.commands = self.commands
        other.first_arguments = {name: list(words) for name, words in self.first_arguments.items()}
        other.allows_all_keys = self.allows_all_keys
        other.keys = dict(self.keys)
        other.channels = dict(self.channels)
        return other

    def is_unrestricted(self) -> bool:
        """Whether it allows everything there is and will be."""
        return self.commands == ALL and self.allows_all_keys and self.allows_all_channels

    # -- rules

    def apply(self, rule: bytes) -> None:
        """Applies one rule. Raises: BadRule."""
        word = rule.lower()
        if word in (b"allkeys", b"~*"):
            self.allows_all_keys = True
            self.keys.clear()
        elif word == b"resetkeys":
            self.allows_all_keys = False
            self.keys.clear()
        elif word in (b"allchannels", b"&*"):
            self.allows_all_channels = True
            self.channels.clear()
        elif word == b"resetchannels":
            self.allows_all_channels = False
            self.channels.clear()
        elif word in (b"allcommands", b"+@all", b"nocommands", b"-@all"):
            self.commands = ALL if word in (b"allcommands", b"+@all") else 0
            self.first_arguments.clear()
        elif rule[:1] in (b"~", b"%"):
            self._add_key_pattern(rule)
        elif rule[:1] == b"&":
            self._add_channel(rule[1:])
        elif rule[:1] in (b"+", b"-"):
            self._change_commands(rule[1:].decode("latin-1"), allows=rule[:1] == b"+")
        else:
            raise BadRule(SYNTAX)

    def _add_key_pattern(self, rule: bytes) -> None:
        if self.allows_all_keys:
            raise BadRule(AFTER_ALL_KEYS)
        found = _KEY_PATTERN.match(rule)
        assert found is not None
        letters = found["access"]
        pattern = found["pattern"]
        if letters is None:
            access = READ | WRITE
        else:
            words = letters.upper()
            access = (READ if b"R" in words else 0) | (WRITE if b"W" in words else 0)
            if len(set(words)) != len(words) or (pattern and not rule[1 + len(words) :].startswith(b"~")):
                raise BadRule(SYNTAX)
        if has_spaces(pattern) or not access:
            raise BadRule(SYNTAX)
        before = self.keys.get(pattern)
        self.keys[pattern] = (access | (before[0] if before else 0), matcher(pattern))

    def _add_channel(self, pattern: bytes) -> None:
        if self.allows_all_channels:
            raise BadRule(AFTER_ALL_CHANNELS)
        if has_spaces(pattern):
            raise BadRule(SYNTAX)
        self.channels.setdefault(pattern, matcher(pattern))

    def _change_commands(self, text: str, *, allows: bool) -> None:
        if text.startswith("@"):
            category = text[1:].lower()
            if category not in CHANGED_BY:
                raise BadRule(UNKNOWN_NAME)
            self._change(CHANGED_BY[category], allows=allows)
            for name in list(self.first_arguments):
                if CHANGED_BY[category] & BIT[name]:
                    del self.first_arguments[name]
            return
        name = text.upper()
        if "|" in text and allows:
            parent, _, argument = text.rpartition("|")
            parent = parent.upper()
            if parent not in BIT:
                raise BadRule(UNKNOWN_NAME)
            if "|" in parent:
                raise BadRule(SUBCOMMAND_ARGUMENT)
            if not argument:
                raise BadRule(SYNTAX)
            if parent not in CONTAINERS:
                words = self.first_arguments.setdefault(parent, [])
                if argument.lower() not in (word.lower() for word in words):
                    words.append(argument)
                return
        if name not in BIT:
            raise BadRule(UNKNOWN_NAME)
        self._change(FAMILY[name], allows=allows)
        self.first_arguments.pop(name, None)

    def _change(self, mask: int, *, allows: bool) -> None:
        self.commands = self.commands | mask if allows else self.commands & ~mask

    # -- questions

    def allows_command(self, row: CommandRow, argv: list[bytes]) -> bool:
        """Whether the command may be run, whatever its keys and channels."""
        if self.commands & BIT[row.name] or "no_auth" in row.flags:
            return True
        words = self.first_arguments.get(row.name)
        if words is None or len(argv) < 2:
            return False
        given = argv[1].decode("latin-1").lower()
        return any(word.lower() == given for word in words)

    def allows_key(self, key: bytes, access: int) -> bool:
        """Whether a key may be read or written; with no access (EXISTS) any permission on it will do."""
        if self.allows_all_keys:
            return True
        return any(granted & access == access and matches(key) for granted, matches in self.keys.values())

    def allows_every_key(self, access: int) -> bool:
        """Whether all keys may be read or written."""
        granted = self.keys.get(b"*")
        return self.allows_all_keys or (granted is not None and granted[0] & access == access)

    def allows_channel(self, channel: bytes, *, is_pattern: bool) -> bool:
        """Whether a channel may be used. A pattern to subscribe to has to be listed literally."""
        if self.allows_all_channels:
            return True
        if is_pattern:
            return channel in self.channels
        return any(matches(channel) for matches in self.channels.values())

    # -- showing

    def describe(self) -> bytes:
        """All rules on one line."""
        keys = self.describe_keys()
        channels = b"&*" if self.allows_all_channels else b" ".join((b"resetchannels", *self._channel_words()))
        return b" ".join(filter(None, (keys, channels, self.describe_commands())))

    def describe_keys(self) -> bytes:
        if self.allows_all_keys:
            return b"~*"
        return b" ".join(_PREFIXES[access] + pattern for pattern, (access, _) in self.keys.items())

    def describe_channels(self) -> bytes:
        return b"&*" if self.allows_all_channels else b" ".join(self._channel_words())

    def _channel_words(self) -> Iterator[bytes]:
        for channel in self.channels:
            yield b"&" + channel

    def describe_commands(self) -> bytes:
        """Rules that lead to the same bits, beginning with all or none."""
        is_additive = not self.commands & FUTURE
        sign, rules = ("+", ["-@all"]) if is_additive else ("-", ["+@all"])
        reached = 0 if is_additive else ALL
        for category in _best_categories(self.commands, is_additive=is_additive):
            rules.append(f"{sign}@{category}")
            mask = CHANGED_BY[category]
            reached = reached | mask if is_additive else reached & ~mask
        for name, bit in BIT.items():
            wanted = self.commands & bit
            if wanted != reached & bit:
                rules.append(f"{'+' if wanted else '-'}{name.lower()}")
                reached = reached | FAMILY[name] if wanted else reached & ~FAMILY[name]
            if not wanted:
                rules += [f"+{name.lower()}|{word}" for word in self.first_arguments.get(name, ())]
        return " ".join(rules).encode("latin-1")


def _best_categories(commands: int, *, is_additive: bool) -> Iterator[str]:
    """Categories that most of what is allowed (or denied) belongs to, those with the fewest exceptions first."""
    left = list(ALL_CATEGORIES)
    while True:
        best, fewest, most = "", -1, 0
        for category in left:
            on = (commands & MEMBERS[category]).bit_count()
            off = MEMBERS[category].bit_count() - on
            same, different = (on, off) if is_additive else (off, on)
            if same > different and (fewest < 0 or different < fewest or (different == fewest and same > most)):
                best, fewest, most = category, different, same
        if not best:
            return
        yield best
        left.remove(best)
        commands = commands & ~CHANGED_BY[best] if is_additive else commands | CHANGED_BY[best]
