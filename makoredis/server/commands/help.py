"""The replies of … HELP."""

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
