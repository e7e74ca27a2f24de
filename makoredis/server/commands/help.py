"""The replies of … HELP, and the error that points there."""

from makoredis.base.errors import ClientError
from resp.replies import Simple


def help_reply(name: str, *lines: str) -> list[Simple]:
    """What `NAME HELP` answers, with the frame that all such replies have."""
    framed = [
        f"{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        *lines,
        "HELP",
        "    Prints this help.",
    ]
    return [Simple(line.encode()) for line in framed]


def wrong_subcommand(container: str, word: str) -> ClientError:
    """For a number of arguments that the subcommand's arity lets through."""
    return ClientError(f"ERR unknown subcommand or wrong number of arguments for '{word}'. Try {container} HELP.")
