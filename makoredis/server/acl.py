"""Access control: users, their passwords and what they may do.

Permissions are looked at before a request is queued or run, again for each queued command at EXEC, and for each command
of a script. A connection holds on to its `User`, which changes in place, so a change is in force at once; connections
whose user is gone, or that listen to channels which their user has lost, are closed.
"""

import hashlib
import hmac
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from makoredis.base.errors import ClientError, Fatal, printable
from makoredis.commands.table import CommandRow
from makoredis.server.acl_arguments import channels_of, keys_of, sort_options_by_other_keys
from makoredis.server.acl_log import AclLog
from makoredis.server.acl_selector import READ, BadRule, Selector, has_spaces
from makoredis.server.session import Session

if TYPE_CHECKING:
    from makoredis.server.server import Server

DEFAULT = b"default"
USERS_ELSEWHERE_MAX = 1024
"""Users of other nodes that are remembered in parsed form."""
_HASH_LETTERS = frozenset(b"0123456789abcdef")


class Denied(IntEnum):
    """Why a request is refused. Of several selectors' reasons the highest is told."""

    COMMAND = 1
    KEY = 2
    CHANNEL = 4


REFUSALS = {
    Denied.COMMAND: "this user has no permissions to run the '{command}' command",
    Denied.KEY: "this user has no permissions to access one of the keys used as arguments",
    Denied.CHANNEL: "this user has no permissions to access one of the channels used as arguments",
}
EXEC_REASONS = {
    Denied.COMMAND: "no permission to execute the command or subcommand",
    Denied.KEY: "no permission to touch the specified keys",
    Denied.CHANNEL: "no permission to access one of the channels used as arguments",
}
SCRIPT_REASONS = {
    Denied.COMMAND: "can't run this command or subcommand",
    Denied.KEY: "can't access at least one of the keys mentioned in the command arguments",
    Denied.CHANNEL: "can't publish to the channel mentioned in the command",
}


def hash_of(password: bytes) -> bytes:
    """How passwords are kept and shown: SHA-256 in hexadecimal."""
    return hashlib.sha256(password).hexdigest().encode()


class User:
    """One user. `selectors[0]` is the user's own, the others are alternatives to it."""

    __slots__ = (
        "_permissions",
        "is_enabled",
        "is_unrestricted",
        "name",
        "needs_no_password",
        "passwords",
        "sanitizes",
        "selectors",
    )

    def __init__(self, name: bytes, *, allows_all_channels: bool = False) -> None:
        self.name = name
        self.is_enabled = False
        self.needs_no_password = False
        self.passwords: list[bytes] = []
        """Hashes."""
        self.sanitizes: bool | None = None
        self.selectors = [Selector(allows_all_channels=allows_all_channels)]
        self.is_unrestricted = False
        self._permissions: bytes | None = None

    def take_over(self, other: "User") -> None:
        """Becomes equal to another user, except for the name."""
        self.is_enabled, self.needs_no_password = other.is_enabled, other.needs_no_password
        self.passwords = list(other.passwords)
        self.sanitizes = other.sanitizes
        self.selectors = [selector.copy() for selector in other.selectors]
        self.is_unrestricted = any(selector.is_unrestricted() for selector in self.selectors)
        self._permissions = None

    # -- rules

    def apply(self, rule: bytes, *, allows_all_channels: bool) -> None:
        """Applies one rule of ACL SETUSER.

        Args:
            allows_all_channels: what new selectors and `reset` begin with (acl-pubsub-default).

        Raises: BadRule.
        """
        word = rule.lower()
        if not rule:
            return
        if word in (b"on", b"off"):
            self.is_enabled = word == b"on"
        elif word in (b"skip-sanitize-payload", b"sanitize-payload"):
            self.sanitizes = word == b"sanitize-payload"
        elif word in (b"nopass", b"resetpass"):
            self.needs_no_password = word == b"nopass"
            self.passwords.clear()
        elif rule[:1] in b"><#!":
            self._change_password(rule)
        elif rule[:1] == b"(" and rule[-1:] == b")":
            selector = Selector(allows_all_channels=allows_all_channels)
            for each in rule[1:-1].split():
                selector.apply(each)
            self.selectors.append(selector)
        elif word == b"clearselectors":
            del self.selectors[1:]
        elif word == b"reset":
            self.is_enabled = self.needs_no_password = False
            self.passwords.clear()
            self.sanitizes = True
            self.selectors = [Selector(allows_all_channels=allows_all_channels)]
        else:
            self.selectors[0].apply(rule)
        self.is_unrestricted = any(selector.is_unrestricted() for selector in self.selectors)
        self._permissions = None

    def _change_password(self, rule: bytes) -> None:
        given = rule[1:]
        if rule[:1] in b"><":
            hashed = hash_of(given)
        else:
            if len(given) != 64 or not _HASH_LETTERS.issuperset(given):
                raise BadRule(
                    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
                )
            hashed = given
        if rule[:1] in b">#":
            if hashed not in self.passwords:
                self.passwords.append(hashed)
            self.needs_no_password = False
        elif hashed in self.passwords:
            self.passwords.remove(hashed)
        else:
            raise BadRule("The password you are trying to remove from the user does not exist")

    # -- questions

    def accepts(self, password: bytes) -> bool:
        """Whether one may log in as this user."""
        if not self.is_enabled:
            return False
        hashed = hash_of(password)
        found = [hmac.compare_digest(hashed, known) for known in self.passwords]
        return self.needs_no_password or any(found)

    def check(self, row: CommandRow, argv: list[bytes]) -> tuple[Denied, int] | None:
        """Why this user may not run a request, and which argument is to blame; None: may."""
        worst, position = Denied.COMMAND, 0
        for selector in self.selectors:
            found = _check(selector, row, argv)
            if found is None:
                return None
            reason, at = found
            if reason > worst or (reason == worst and at > position):
                worst, position = reason, at
        return worst, position

    def sort_refusal(self, row: CommandRow, argv: list[bytes]) -> str | None:
        """Which option of SORT would read keys that this user may not."""
        for option in sort_options_by_other_keys(argv):
            if not any(each.allows_every_key(READ) and _check(each, row, argv) is None for each in self.selectors):
                return option
        return None

    # -- showing

    def flags(self) -> list[bytes]:
        words = [b"on" if self.is_enabled else b"off"]
        if self.needs_no_password:
            words.append(b"nopass")
        if self.sanitizes is not None:
            words.append(b"sanitize-payload" if self.sanitizes else b"skip-sanitize-payload")
        return words

    def describe(self) -> bytes:
        """The line of a file of rules."""
        words = [b"user", self.name, *self.flags(), *(b"#" + hashed for hashed in self.passwords)]
        return b" ".join((*words, *self._selector_rules()))

    def permissions(self) -> bytes:
        """Name and rules, without passwords: what another node has to know to check this user's commands."""
        if self._permissions is None:
            self._permissions = b" ".join((self.name, *self._selector_rules()))
        return self._permissions

    def _selector_rules(self) -> Iterator[bytes]:
        yield self.selectors[0].describe()
        for selector in self.selectors[1:]:
            yield b"(" + selector.describe() + b")"


def _check(selector: Selector, row: CommandRow, argv: list[bytes]) -> tuple[Denied, int] | None:
    if not selector.allows_command(row, argv):
        return Denied.COMMAND, 0
    if not selector.allows_all_keys:
        for at, access in keys_of(row, argv):
            if not selector.allows_key(argv[at], access):
                return Denied.KEY, at
    if not selector.allows_all_channels:
        positions, is_pattern = channels_of(row, argv)
        for at in positions:
            if not selector.allows_channel(argv[at], is_pattern=is_pattern):
                return Denied.CHANNEL, at
    return None


def join_selectors(words: list[bytes]) -> list[bytes]:
    """Puts `( ~a +b )` that came as several words together. Raises: BadRule with what is not closed."""
    joined: list[bytes] = []
    opened: list[bytes] = []
    for word in words:
        if opened:
            opened.append(word)
        elif word.startswith(b"(") and not word.endswith(b")"):
            opened = [word]
        else:
            joined.append(word)
            continue
        if len(opened) > 1 and word.endswith(b")"):
            joined.append(b" ".join(opened))
            opened = []
    if opened:
        raise BadRule(f"Unmatched parenthesis in acl selector starting at '{printable(opened[0])}'.")
    return joined


class AccessControl:
    """All users of this node."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.default = _default_user()
        self.users: dict[bytes, User] = {DEFAULT: self.default}
        self.log = AclLog(server)
        self._elsewhere: dict[bytes, User] = {}

    def allows_all_channels(self) -> bool:
        """What users begin with."""
        return self.server.config.table["acl-pubsub-default"] == "allchannels"

    def file(self) -> Path | None:
        """The file of users, relative to the configuration file. None without one."""
        name = self.server.config.table["aclfile"]
        return Path(self.server.config.file or "").parent / name if name else None

    def is_open(self) -> bool:
        """Whether a new connection needs no password."""
        return self.default.is_enabled and self.default.needs_no_password

    def start(self) -> None:
        """Takes over what the configuration says of passwords and users.

        Raises: Fatal.
        """
        password = self.server.config.requirepass
        if password:
            self.set_default_password(password)
        if self.file() is not None:
            try:
                self.load(None)
            except ClientError as error:
                raise Fatal(error.text.removeprefix("ERR ")) from None

    def set_default_password(self, password: bytes) -> None:
        """`requirepass`; empty: none is needed."""
        default = self.default
        default.apply(b"resetpass", allows_all_channels=False)
        default.apply(b">" + password if password else b"nopass", allows_all_channels=False)
        self._refresh_sessions(default)

    # -- changing users

    def set_user(self, name: bytes, rules: list[bytes]) -> None:
        """ACL SETUSER: all rules or none. Raises: ClientError."""
        if has_spaces(name):
            raise ClientError("ERR Usernames can't contain spaces or null characters")
        user = self.users.get(name)
        changed = User(name, allows_all_channels=self.allows_all_channels())
        if user is not None:
            changed.take_over(user)
        try:
            words = join_selectors(rules)
        except BadRule as error:
            raise ClientError(f"ERR {error}") from None
        for word in words:
            try:
                changed.apply(word, allows_all_channels=self.allows_all_channels())
            except BadRule as error:
                shown = printable(word)
                raise ClientError(f"ERR Error in ACL SETUSER modifier '{shown}': {error}") from None
        if user is None:
            self.users[name] = changed
        else:
            self._close_listeners(user, changed)
            user.take_over(changed)
            self._refresh_sessions(user)

    def delete_user(self, session: Session | None, name: bytes) -> bool:
        """Closes the user's connections; the present one, `session`, after its reply."""
        user = self.users.pop(name, None)
        if user is None:
            return False
        self._close_connections(session, user)
        return True

    def _refresh_sessions(self, user: User) -> None:
        for session in self.server.by_id.values():
            if session.user is user:
                if user is self.default and self.is_open():
                    session.authenticated = session.parser.authenticated = True
                session.refresh_special()

    def _close_connections(self, present: Session | None, user: User) -> None:
        for session in list(self.server.by_id.values()):
            if session.user is user:
                session.user = self.default
                session.authenticated = session.parser.authenticated = False
                if session is present:
                    session.close_after_reply = True
                    session.refresh_special()
                else:
                    self.server.reactor.close(session, "its user was deleted")

    def _close_listeners(self, user: User, changed: User) -> None:
        """Closes connections that listen to what their user may not hear any more."""
        if any(selector.allows_all_channels for selector in changed.selectors):
            return
        for session in list(self.server.by_id.values()):
            if session.user is user and not _may_listen(changed, session):
                self.server.reactor.close(session, "its user lost a channel")

    # -- users of other nodes

    def user_elsewhere(self, permissions: bytes) -> User:
        """A user as another node has it (`User.permissions`). Whoever has it is logged in there, not here.

        Raises: ClientError for rules that this node does not know, because it is of an older version.
        """
        user = self._elsewhere.get(permissions)
        if user is None:
            name, *rules = permissions.split(b" ")
            user = User(name)
            try:
                for word in join_selectors(rules):
                    user.apply(word, allows_all_channels=False)
            except BadRule as error:
                raise ClientError(f"NOPERM the leader does not know a rule of this user: {error}") from None
            if len(self._elsewhere) >= USERS_ELSEWHERE_MAX:
                self._elsewhere.clear()
            self._elsewhere[permissions] = user
        return user

    # -- files

    def load(self, present: Session | None) -> None:
        """ACL LOAD: replaces all users by those of the file, or none. Raises: ClientError with all that is wrong."""
        path = self.file()
        assert path is not None
        name = self.server.config.table["aclfile"]
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ClientError(f"ERR Error loading ACLs, opening file '{name}': {error.strerror}") from None
        users, errors = self._parse(text, name)
        if errors:
            raise ClientError(
                f"ERR {''.join(errors)}WARNING: ACL errors detected, no change to the previously active ACL rules was "
                "performed"
            )
        self.default.take_over(users.pop(DEFAULT, _default_user()))
        self._refresh_sessions(self.default)
        old, self.users = self.users, {DEFAULT: self.default, **users}
        for user in old.values():
            if user is not self.default:
                self._close_connections(present, user)

    def _parse(self, text: bytes, name: str) -> tuple[dict[bytes, User], list[str]]:
        users: dict[bytes, User] = {}
        errors: list[str] = []
        for number, line in enumerate(text.split(b"\n"), 1):
            words = line.strip(b" \t\r\n").split(b" ")
            if words == [b""]:
                continue
            if words[0] != b"user" or len(words) < 2:
                errors.append(f"{name}:{number} should start with user keyword followed by the username. ")
                continue
            shown = printable(words[1])
            if has_spaces(words[1]):
                errors.append(f"'{name}:{number}: username '{shown}' contains invalid characters. ")
            elif words[1] in users:
                errors.append(f"WARNING: Duplicate user '{shown}' found on line {number}. ")
            else:
                users[words[1]] = user = User(words[1], allows_all_channels=self.allows_all_channels())
                errors += self._apply_line(user, words[2:], f"{name}:{number}")
        return users, errors

    def _apply_line(self, user: User, rules: list[bytes], place: str) -> list[str]:
        try:
            words = join_selectors(rules)
        except BadRule:
            return [f"{place}: Unmatched parenthesis in selector definition."]
        errors: list[str] = []
        has_syntax_error = False
        for word in words:
            try:
                user.apply(word.strip(b"\t\r\n"), allows_all_channels=self.allows_all_channels())
            except BadRule as error:
                if str(error).startswith("Unknown command"):
                    errors.append(f"{place}: Error in applying operation '{printable(word)}': {error}. ")
                elif not has_syntax_error:
                    has_syntax_error = True
                    errors.append(f"{place}: {error}. ")
        return errors

    def save(self) -> None:
        """ACL SAVE. Raises: OSError."""
        path = self.file()
        assert path is not None
        temporary = path.with_name(path.name + ".new")
        temporary.write_bytes(b"".join(user.describe() + b"\n" for _, user in sorted(self.users.items())))
        temporary.replace(path)

    # -- refusing

    def refusal(self, session: Session, row: CommandRow, argv: list[bytes]) -> ClientError | None:
        """Why a client may not run this request; it is noted in the log."""
        denied = self.check(session, row, argv, "toplevel" if session.multi is None else "multi")
        if denied is not None:
            return ClientError("NOPERM " + REFUSALS[denied].format(command=row.name.lower()))
        if row.name in ("SORT", "SORT_RO"):
            option = session.user.sort_refusal(row, argv)
            if option is not None:
                return ClientError(f"ERR {option} option of SORT denied due to insufficient ACL permissions.")
        return None

    def check(self, session: Session, row: CommandRow, argv: list[bytes], context: str) -> Denied | None:
        """The same as a reason. `context`: toplevel, multi or lua."""
        user: User = session.user
        found = user.check(row, argv)
        if found is None:
            return None
        reason, at = found
        shown = row.name.lower().encode() if reason is Denied.COMMAND else argv[at]
        self.log.add(session, reason.name.lower(), context, shown, user.name)
        return reason

    def script_refusal(self, session: Session, row: CommandRow, argv: list[bytes]) -> str | None:
        """Which permission the caller of a script lacks for one of its commands."""
        if session.user is None or session.user.is_unrestricted:
            return None
        denied = self.check(session, row, argv, "lua")
        return None if denied is None else SCRIPT_REASONS[denied]

    def log_in(self, session: Session, name: bytes, password: bytes) -> bool:
        """Makes a session that user's. False, and noted in the log, if name or password are wrong."""
        user = self.users.get(name)
        if user is None or not user.accepts(password):
            context = "toplevel" if session.multi is None else "multi"
            self.log.add(session, "auth", context, session.last_command[0] if session.last_command else b"AUTH", name)
            return False
        session.user = user
        return True


def _default_user() -> User:
    user = User(DEFAULT)
    for rule in (b"+@all", b"~*", b"&*", b"on", b"nopass"):
        user.apply(rule, allows_all_channels=False)
    return user


def _may_listen(user: User, session: Session) -> bool:
    for channel in (*session.channels, *session.shard_channels):
        if not any(selector.allows_channel(channel, is_pattern=False) for selector in user.selectors):
            return False
    return all(
        any(selector.allows_channel(pattern, is_pattern=True) for selector in user.selectors)
        for pattern in session.patterns
    )
