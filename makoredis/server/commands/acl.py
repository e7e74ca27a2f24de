"""ACL: users and their permissions."""

import secrets
from typing import TYPE_CHECKING, Any

from makoredis.base.errors import ClientError, SubcommandError, printable
from makoredis.commands.arguments import int64
from makoredis.commands.table import TABLE
from makoredis.server.acl import DEFAULT, Denied, User
from makoredis.server.acl_categories import ALL_CATEGORIES, categories_of
from makoredis.server.acl_log import LogEntry
from makoredis.server.acl_selector import CONTAINERS, Selector
from makoredis.server.commands.help import help_reply
from makoredis.server.routes import session_command
from makoredis.server.session import Session
from resp.replies import OK, Double, Map, SetReply

if TYPE_CHECKING:
    from makoredis.server.server import Server

GENPASS_BITS_MAX = 4096
_DRYRUN = {
    Denied.COMMAND: "This user has no permissions to run the '{}' command",
    Denied.KEY: "This user has no permissions to access the '{}' key",
    Denied.CHANNEL: "This user has no permissions to access the '{}' channel",
}


@session_command("ACL|WHOAMI", "Returns the authenticated username of the current connection.")
def acl_whoami(server: "Server", session: Session) -> Any:
    return server.user_name(session)


@session_command("ACL|USERS", "Lists all ACL users.")
def acl_users(server: "Server", session: Session) -> Any:
    return sorted(server.acl.users)


@session_command("ACL|LIST", "Dumps the effective rules in ACL file format.")
def acl_list(server: "Server", session: Session) -> Any:
    return [user.describe() for _, user in sorted(server.acl.users.items())]


@session_command("ACL|GETUSER", "Lists the ACL rules of a user.")
def acl_getuser(server: "Server", session: Session, name: bytes) -> Any:
    user = server.acl.users.get(name)
    if user is None:
        return None
    return Map(
        [
            (b"flags", SetReply(user.flags())),
            (b"passwords", list(user.passwords)),
            *_permissions(user.selectors[0]),
            (b"selectors", [Map(_permissions(selector)) for selector in user.selectors[1:]]),
        ]
    )


def _permissions(selector: Selector) -> list[tuple[Any, Any]]:
    return [
        (b"commands", selector.describe_commands()),
        (b"keys", selector.describe_keys()),
        (b"channels", selector.describe_channels()),
    ]


@session_command("ACL|SETUSER", "Creates and modifies an ACL user and its rules.")
def acl_setuser(server: "Server", session: Session, name: bytes, *rules: bytes) -> Any:
    server.acl.set_user(name, list(rules))
    return OK


@session_command("ACL|DELUSER", "Deletes ACL users, and terminates their connections.")
def acl_deluser(server: "Server", session: Session, *names: bytes) -> Any:
    if DEFAULT in names:
        raise ClientError("ERR The 'default' user cannot be removed")
    return sum(server.acl.delete_user(session, name) for name in names)


@session_command("ACL|CAT", "Lists the ACL categories, or the commands inside a category.")
def acl_cat(server: "Server", session: Session, *category: bytes) -> Any:
    if len(category) > 1:
        raise SubcommandError("ACL", "CAT")
    if not category:
        return [name.encode() for name in ALL_CATEGORIES]
    wanted = category[0].decode("latin-1").lower()
    if wanted not in ALL_CATEGORIES:
        raise ClientError(f"ERR Unknown category '{printable(category[0][:128])}'")
    return [name.lower().encode() for name, row in sorted(TABLE.items()) if wanted in categories_of(row)]


@session_command("ACL|GENPASS", "Generates a pseudorandom, secure password that can be used to identify ACL users.")
def acl_genpass(server: "Server", session: Session, *bits: bytes) -> Any:
    if len(bits) > 1:
        raise SubcommandError("ACL", "GENPASS")
    count = int64(bits[0]) if bits else 256
    if not 0 < count <= GENPASS_BITS_MAX:
        raise ClientError(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to "
            f"{GENPASS_BITS_MAX}"
        )
    letters = (count + 3) // 4
    return secrets.token_hex((letters + 1) // 2)[:letters].encode()


@session_command("ACL|LOG", "Lists recent security events generated due to ACL rules.")
def acl_log(server: "Server", session: Session, *count: bytes) -> Any:
    if len(count) > 1:
        raise SubcommandError("ACL", "LOG")
    entries = server.acl.log.entries
    if count and count[0].upper() == b"RESET":
        entries.clear()
        return OK
    limit = max(0, int64(count[0])) if count else 10
    return [_log_entry(server, entry) for entry, _ in zip(entries, range(limit))]


def _log_entry(server: "Server", entry: LogEntry) -> Any:
    return Map(
        [
            (b"count", entry.count),
            (b"reason", entry.reason.encode()),
            (b"context", entry.context.encode()),
            (b"object", entry.object),
            (b"username", entry.user),
            (b"age-seconds", Double(round(server.now - entry.at, 3))),
            (b"client-info", entry.client),
            (b"entry-id", entry.id),
            (b"timestamp-created", int(1000 * entry.created_at)),
            (b"timestamp-last-updated", int(1000 * entry.at)),
        ]
    )


@session_command("ACL|DRYRUN", "Simulates the execution of a command by a user, without executing the command.")
def acl_dryrun(server: "Server", session: Session, name: bytes, *argv: bytes) -> Any:
    user: User | None = server.acl.users.get(name)
    if user is None:
        raise ClientError(f"ERR User '{printable(name)}' not found")
    word = argv[0].decode("latin-1").upper()
    if word in CONTAINERS and len(argv) > 1:
        word += "|" + argv[1].decode("latin-1").upper()
    row = TABLE.get(word)
    if row is None:
        raise ClientError(f"ERR Command '{printable(argv[0])}' not found")
    if not row.accepts(len(argv)):
        raise ClientError(f"ERR wrong number of arguments for '{row.name.lower()}' command")
    found = user.check(row, list(argv))
    if found is None:
        return OK
    reason, at = found
    shown = row.name.lower() if reason is Denied.COMMAND else printable(argv[at])
    return _DRYRUN[reason].format(shown).encode(errors="surrogateescape")


@session_command("ACL|LOAD", "Reloads the rules from the configured ACL file.")
def acl_load(server: "Server", session: Session) -> Any:
    _require_file(server)
    server.acl.load(session)
    return OK


@session_command("ACL|SAVE", "Saves the effective ACL rules in the configured ACL file.")
def acl_save(server: "Server", session: Session) -> Any:
    _require_file(server)
    try:
        server.acl.save()
    except OSError as error:
        server.log("warning", f"ACL SAVE: {error.filename}: {error.strerror}")
        raise ClientError(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
        ) from None
    return OK


def _require_file(server: "Server") -> None:
    if server.acl.file() is None:
        raise ClientError(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL "
            "SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in "
            "order to store users in the Redis configuration."
        )


@session_command("ACL|HELP", "Returns helpful text about the different subcommands.")
def acl_help(server: "Server", session: Session) -> Any:
    return help_reply(
        "ACL",
        "CAT [<category>]",
        "    List all commands that belong to <category>, or all command categories",
        "    when no category is specified.",
        "DELUSER <username> [<username> ...]",
        "    Delete a list of users.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Returns whether the user can execute the given command without executing the command.",
        "GETUSER <username>",
        "    Get the user's details.",
        "GENPASS [<bits>]",
        "    Generate a secure 256-bit user password. The optional `bits` argument can",
        "    be used to specify a different size.",
        "LIST",
        "    Show users details in config file format.",
        "LOAD",
        "    Reload users from the ACL file.",
        "LOG [<count> | RESET]",
        "    Show the ACL log entries.",
        "SAVE",
        "    Save the current config to the ACL file.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Create or modify a user with the specified attributes.",
        "USERS",
        "    List all the registered usernames.",
        "WHOAMI",
        "    Return the current connection username.",
    )
