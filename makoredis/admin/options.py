"""makoctl's command line.

What can be seen to be wrong without asking a node is refused here, with status 2: so a slip changes nothing and waits
for nothing. The options that all commands share may come before a command or behind it.
"""

import argparse
import math
import os
from collections.abc import Sequence

from makoredis.admin import resharding
from makoredis.base.config import DEFAULT_PORT

NODE_ID_MAX = 65_535
PORT_MAX = 65_535
DEFAULTS = {"host": "127.0.0.1", "port": DEFAULT_PORT, "user": None, "timeout": 120.0, "no_wait": False, "json": False}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says; ends the process with status 2 if that is nothing."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "each" and not any(options.words):
        parser.error("each: the following arguments are required: COMMAND")
    if options.command == "replace":
        _check_replacement(parser, options.words)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="makoctl", description="Looks at a makoredis cluster and changes its members", parents=[_shared()]
    )
    parser.set_defaults(**DEFAULTS, password=os.environ.get("MAKOREDIS_PASSWORD"))
    commands = _Commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"), _shared())
    commands.add("status", "members, roles, and how far each one is")
    add = commands.add("add", "add a node that was started with `join: true`")
    add.add_argument("id", type=_node)
    add.add_argument("address", type=_address, metavar="HOST:PEER_PORT")
    replace = commands.add("replace", "replace nodes by others in one change: 1 2 4=host:port 5=host:port")
    replace.add_argument("words", nargs="+", type=_replacement, metavar="ID|ID=HOST:PEER_PORT")
    commands.add("remove", "remove a node").add_argument("id", type=_node)
    drain = "make a node hand the leadership away, and not lead while others can"
    commands.add("drain", drain).add_argument("id", type=_node)
    commands.add("undrain", "let a drained node lead again").add_argument("id", type=_node)
    transfer = commands.add("transfer", "hand a leadership to a node")
    transfer.add_argument("id", type=_node)
    which = "of one of several shards, or of all, from now on"
    transfer.add_argument("--shard", type=_shard, metavar="N|all", help=which)
    commands.add("spread", "have the shards led by different nodes again")
    resharding.add_parsers(commands.add)
    commands.add("snapshot", "write a checkpoint of the node that is asked, now")
    each = commands.add("each", "send a command to every node: what is each node's own, users for example")
    each.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add("backup", "write all data, as of now, to a file").add_argument("file")
    commands.add("check", "read a backup to its end and say what it holds").add_argument("file")
    restore = commands.add("restore", "write a backup into an empty cluster")
    restore.add_argument("file")
    restore.add_argument("--replace", action="store_true", help="delete what is in the cluster first")
    return parser


class _Commands:
    """The commands, each with the shared options."""

    def __init__(
        self, commands: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
    ) -> None:
        self.commands = commands
        self.shared = shared

    def add(self, name: str, text: str) -> argparse.ArgumentParser:
        return self.commands.add_parser(name, help=text, parents=[self.shared])


def _shared() -> argparse.ArgumentParser:
    """The options of all commands. What is not given leaves no trace, so that neither place overrules the other; for
    that each place needs options of its own, as defaults are theirs."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--host", help="a node of the cluster, any one (127.0.0.1)")
    shared.add_argument("-p", "--port", type=_port, help=f"its port for clients ({DEFAULT_PORT})")
    shared.add_argument("--user", help="to log in as (default)")
    shared.add_argument("-a", "--password", help="to log in with (MAKOREDIS_PASSWORD)")
    shared.add_argument("--timeout", type=_seconds, metavar="S", help="seconds to wait for a change (120)")
    shared.add_argument("--no-wait", action="store_true", help="return when a change is accepted, not when it is done")
    shared.add_argument("--json", action="store_true", help="print JSON")
    return shared


def _whole_number(text: str, first: int, last: int, what: str) -> int:
    if not text.isascii() or not text.isdigit() or not first <= int(text) <= last:
        raise argparse.ArgumentTypeError(f"'{text}' is not {what} ({first} to {last})")
    return int(text)


def _node(text: str) -> int:
    return _whole_number(text, 1, NODE_ID_MAX, "the id of a node")


def _port(text: str) -> int:
    return _whole_number(text, 1, PORT_MAX, "a port")


def _shard(text: str) -> str:
    return text if text.lower() == "all" else str(_whole_number(text, 1, NODE_ID_MAX, "'all' or the id of a shard"))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return seconds


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"'{text}' is not host:peer-port")
    return text


def _replacement(text: str) -> str:
    id, separator, address = text.partition("=")
    _node(id)
    if separator:
        _address(address)
    return text


def _check_replacement(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Ends the process for words that contradict each other."""
    old = [int(word) for word in words if "=" not in word]
    new = [int(word.partition("=")[0]) for word in words if "=" in word]
    if not old or not new:
        parser.error("replace: needs ids of nodes that leave and id=host:peer-port of others that come")
    twice = [node for node in (*old, *new) if (*old, *new).count(node) > 1]
    if twice:
        parser.error(f"replace: node {twice[0]} is named twice")
