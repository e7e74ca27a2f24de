"""Writes docs/configuration.md: the file's keys, and what each of Redis's parameters means here.

    python -m tools.gen_configuration

What a key or parameter does is said here, in `FILE_KEYS`, `NODE_KEYS` and `MEANINGS`. Tests compare the names with
those that the code looks at, so that neither side can be forgotten.
"""

import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from makoredis.base.config import FileConfig, NodeConfig
from makoredis.server.parameters import ALIASES, PARAMETERS, Parameter

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

FILE_KEYS = {
    "cluster": "Name that all nodes of a cluster share; nodes and data of another one are refused.",
    "nodes": "The nodes, by name.",
    "shards": "Groups that the hash slots are divided into. Several can become more once there is data, never fewer.",
    "first_shards": "Among how many of them the slots are divided at first (0: all). The others get theirs by command.",
    "consensus": "Who may be elected: `raft` (who has everything), `paxos` (anybody, who then fetches what it lacks).",
    "durability": "What an acknowledged write has survived: `sync`, `interval`, or (one node only) `memory`.",
    "execution": "How several shards commit: `speculative`, before replication; `synchronous`, locking until durable.",
    "reads": "What an answer rests on: the leader's `lease`, or a round of its `quorum` after the request came.",
    "redirect": "A command for another leader is passed on (`forward`), or answered with MOVED (`moved`).",
    "heartbeat_ms": "How often a leader shows that it is there.",
    "election_ms": "A follower that hears nothing for this long, to twice that, stands for election.",
    "quiesce_ms": "After so long without use a group of replicas falls silent until it is wanted; 0: never.",
    "max_staleness_ms": "A READONLY session gets an error instead of an answer that could be older.",
    "max_clock_offset_ms": "A peer whose clock is further ahead is refused; `election_ms` must be at least twice that.",
    "prefer_spread_leaders": "Whether several shards prefer a leader each; otherwise all prefer the first node.",
    "checkpoint_log_bytes": "A checkpoint begins after so much log; it bounds how much a start has to replay.",
    "log_keep_bytes": "Log kept in memory for nodes that were away; one that misses more is sent a snapshot.",
    "disk_free_bytes_min": "Writes are refused while less than this is free on the disk.",
    "disk_ballast_bytes": "Reserved in the data directory, given up when the disk is full.",
    "peer_delay_ms": "Delays everything between nodes; for tests and benchmarks only.",
    "parameters": "Redis's parameters, as below.",
}
NODE_KEYS = {
    "id": "Unique number, never used again after the node is gone. Default: the position in the list.",
    "host": "Address for clients and peers.",
    "port": "Port for clients.",
    "peer_port": "Port for the other nodes. Default: `port` + 10000.",
    "dir": "Where log and checkpoints are.",
    "witness": "Votes, but keeps no data.",
    "join": "Begins empty, without a vote, and waits until `MAKO ADD` makes it a member. For nodes that come later.",
}

_ENCODING = "Where `OBJECT ENCODING` changes its answer; memory is laid out the same way on both sides."
MEANINGS = {
    "acl-pubsub-default": "Which channels a new user may use.",
    "aclfile": "File of users, read at start, and by `ACL LOAD` and `ACL SAVE`.",
    "acllog-max-len": "Entries that `ACL LOG` keeps.",
    "bind": "Addresses to listen on. Can change at run time.",
    "busy-reply-threshold": "Milliseconds after which a script lets other clients be served, with `-BUSY`; 0 = never.",
    "client-output-buffer-limit": "A client that does not read its replies is closed beyond this.",
    "client-query-buffer-limit": "Closes a client whose unfinished request, or backlog while blocked, is larger.",
    "databases": "How many databases `SELECT` knows.",
    "dir": "The data directory.",
    "durability": "makoredis's own: `sync`, `interval` or `memory`.",
    "enable-debug-command": "Who may use `DEBUG`.",
    "enable-module-command": "Who may use `MODULE` (there are no modules to load).",
    "enable-protected-configs": "Whether protected parameters can be set at run time.",
    "hash-max-listpack-entries": _ENCODING,
    "hash-max-listpack-value": _ENCODING,
    "hll-sparse-max-bytes": "Size at which a HyperLogLog becomes dense.",
    "latency-monitor-threshold": "What `LATENCY` records, in milliseconds; 0 = nothing.",
    "list-max-listpack-size": _ENCODING,
    "maxclients": "Connections beyond this are refused.",
    "maxmemory": "Beyond this keys are evicted, or writes that need memory refused with `-OOM`; 0 = no limit.",
    "maxmemory-eviction-tenacity": "How long evicting may take at once: 10 is 0.5 ms per command, 100 is no limit.",
    "maxmemory-policy": "Which keys are evicted. LFU also makes OBJECT FREQ count.",
    "maxmemory-samples": "Keys that are looked at for each that is evicted.",
    "min-replicas-to-write": "With fewer live replicas a leader refuses writes; 0 = never.",
    "notify-keyspace-events": "Which keyspace notifications are published.",
    "port": "Port for clients. Can change at run time.",
    "protected-mode": "Without a password only clients of this machine are served.",
    "proto-max-bulk-len": "The longest argument, and how long APPEND, SETRANGE and the like may make a string.",
    "redis-version": "makoredis's own: which version of Redis `INFO` and `HELLO` name.",
    "requirepass": "Password of the default user.",
    "set-max-intset-entries": _ENCODING,
    "set-max-listpack-entries": _ENCODING,
    "set-max-listpack-value": _ENCODING,
    "slowlog-log-slower-than": "What `SLOWLOG` records, in microseconds; negative = nothing.",
    "latency-tracking": "Whether `INFO latencystats` shows how long commands took.",
    "latency-tracking-info-percentiles": "Which percentiles it shows.",
    "slowlog-max-len": "Entries that `SLOWLOG` keeps.",
    "stream-node-max-bytes": "Size of a stream's nodes, which approximate trimming removes whole.",
    "stream-node-max-entries": "Entries of a stream's node, likewise.",
    "timeout": "Seconds after which an idle client is closed; 0 = never.",
    "tracking-table-max-keys": "Keys remembered for client side caching.",
    "zset-max-listpack-entries": _ENCODING,
    "zset-max-listpack-value": _ENCODING,
}
"""Parameters that do something here, by name."""

ONLY_SHOWN = {
    "hz": "INFO shows it",
    "repl-backlog-size": "INFO shows it",
    "save": "checkpoints follow the size of the log (`checkpoint_log_bytes`)",
}
"""Parameters that the code looks at without doing what Redis does with them, each with what is the case instead."""

HEAD = """\
# Configuration

<!-- Written by `make docs` (tools/gen_configuration.py); changes belong there. -->

`makoredis --help` lists the command line, which goes before the file. [`conf/single.yml`](../conf/single.yml) and
[`conf/3replica.yml`](../conf/3replica.yml) are commented examples. `--check-config` only checks.
"""

PARAMETERS_HEAD = """\
## Redis's parameters

They stand under `parameters:` in the file; `CONFIG SET` changes those that are mutable, `CONFIG REWRITE` writes them
back to the file. Every name of Redis 7.0 is known: {count} with two of makoredis's own. Of these {meaningful} do
something here:
"""


def page() -> str:
    """The whole page."""
    meaningful = sum(name in MEANINGS for name in PARAMETERS)
    parts = [
        HEAD,
        _keys("The file's keys", FileConfig, FILE_KEYS),
        _keys("Keys of a node (`nodes.NAME`)", NodeConfig, NODE_KEYS),
        PARAMETERS_HEAD.format(count=len(PARAMETERS), meaningful=meaningful),
        _meanings(),
        _rest(),
    ]
    return "\n".join(parts)


def _keys(title: str, config: type, meanings: dict[str, str]) -> str:
    defaults = {field.name: field for field in fields(config)}
    lines = [f"## {title}", "", "| key | default | meaning |", "|---|---|---|"]
    for name, meaning in meanings.items():
        lines.append(f"| `{name}` | {_default(defaults[name].default)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    if value is MISSING or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meanings() -> str:
    rows = [_row(PARAMETERS[name]) for name in sorted(MEANINGS)]
    return "\n".join(["| parameter | default | set | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _row(parameter: Parameter) -> str:
    access = {"mutable": "any time", "immutable": "at start", "protected": "at start; protected later"}
    default = _default(parameter.default)
    return f"| `{parameter.name}` | {default} | {access[parameter.access]} | {MEANINGS[parameter.name]} |"


def _rest() -> str:
    rest = [f"`{name}`" for name in sorted(PARAMETERS) if name not in MEANINGS and name not in ONLY_SHOWN]
    shown = [f"* `{name}`: {instead}." for name, instead in sorted(ONLY_SHOWN.items())]
    aliases = [f"`{name}` ({target})" for name, target in sorted(ALIASES.items())]
    lines = ["### Without effect", "", "Checked and shown, with something else in their place:", "", *shown, ""]
    lines += ["Checked, stored and shown, because clients and tools set them and look at them:", "", _wrapped(rest), ""]
    lines += ["Older names of others:", "", _wrapped(aliases)]
    return "\n".join(lines) + "\n"


def _wrapped(words: list[str]) -> str:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > 110:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + word
    return ",\n".join(lines) + "."


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
