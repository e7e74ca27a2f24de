"""Requests made up from the syntax that the real server documents (COMMAND DOCS), so that no option is forgotten.

Every command on keys gets arguments of the documented types, some of them wrong, left out, repeated or in another
order, plainly and inside scripts. What 7.2 answers otherwise than 7.0 is left out. DIFFERENTIAL_EXAMPLES changes the
number of sequences, and repeats those of the run before as far as it goes.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from tests.compat.harness import Differential, Request, Tree

SEQUENCES = int(os.environ.get("DIFFERENTIAL_EXAMPLES", "500"))
_REQUESTS = 25
_GROUPS = {"generic", "string", "list", "hash", "set", "sorted-set", "stream", "bitmap", "hyperloglog", "geo"}
_LEFT_OUT = {
    "dump", "restore", "migrate", "move", "wait", "randomkey", "lolwut", "sort", "sort_ro",
    "spop", "srandmember", "hrandfield", "zrandmember", "scan", "hscan", "sscan", "zscan",
    "xread", "xreadgroup", "xclaim", "xautoclaim", "xpending", "xinfo", "object", "zrank", "zrevrank",
    "pfselftest",
}  # fmt: skip
"""Chance, times, the order of a hash table, errors that have another text in 7.2, and a minute of computing."""

_START: list[Any] = [
    "SET s1 hello", "SET n1 12", "SET n2 3.5", "RPUSH l1 a b c 1 2 3 a", "RPUSH l2 x", "HSET h1 f1 v1 f2 2 f3 3.5",
    "HSET h2 a 1", "SADD e1 a b c 1 2", "SADD e2 b c d", "SADD e3 1 2 3", "ZADD z1 1 a 2 b 2 c 3.5 d inf e",
    "ZADD z2 0 a 0 b 0 c 0 d", "XADD x1 1-1 f v", "XADD x1 2-0 f w", "XADD x1 3-5 g 1", "XGROUP CREATE x1 G 0",
    "XADD x2 5-0 f v", "PFADD p1 a b c", "PFADD p2 c d",
    "GEOADD g1 13.361389 38.115556 a 15.087269 37.502669 b 2.35 48.85 c",
]  # fmt: skip
_KEYS = {
    "string": "s1 n1 n2", "bitmap": "s1 n1", "list": "l1 l2", "hash": "h1 h2", "set": "e1 e2 e3",
    "sorted-set": "z1 z2", "stream": "x1 x2", "geo": "g1 z1", "hyperloglog": "p1 p2",
}  # fmt: skip
_ALL_KEYS = " ".join([*_KEYS.values(), "none none2"])
_WORDS = "a b c d f1 f2 v1 1 2 3.5 hello G * - + ( [ [a (b (1 (2.5 $ > 1-1 2-0 0-0 km LEFT u8 i64 #1"
_ODD_WORDS = ["", "\xff\0", "x" * 70]
_VALUES = {
    "integer": "0 1 2 -1 3 5 -2 10 100 -100 4294967296 9223372036854775807 9223372036854775808 1.5 a 007 +1",
    "double": "0 1 -1 2.5 1e3 inf -inf nan 1e400 abc 0x10 -0 .5 5.",
    "unix-time": "-1 99999999999 99999999999999 9223372036854775807 a",
    "pattern": "* a* [a-c] ? \\* h[^e]llo",
    "timeout": "0.001 -1 a",
    "numkeys": "1 2 2 3 0 -1 a 99999999999",
    "id": "- + 0 1-1 2-0 3-5 2 (2-0 (1 $ 9-1 0-0 a 18446744073709551615-18446744073709551615 1-a",
    "limit of a range": "- + 0 1 -1 2 (1 (2 -inf +inf inf [a (b [c a (a ( [ nan",
    "encoding": "u8 i8 i64 u64 u63 i65 u1 i1 u0 x8 8",
    "offset": "0 1 #1 #2 100 -1 #a a 4294967295 4294967296",
}
_BODIES = [
    "return redis.pcall(unpack(ARGV))",
    "redis.setresp(3) return redis.pcall(unpack(ARGV))",
    "return cmsgpack.pack(redis.pcall(unpack(ARGV)))",
]


class Maker:
    """Makes up requests."""

    def __init__(self, rng: Random, commands: list[tuple[str, str, list[dict[str, Any]]]]) -> None:
        """
        Args:
            commands: names, groups, and documented arguments.
        """
        self._rng = rng
        self._commands = commands

    def request(self) -> list[bytes]:
        rng = self._rng
        name, group, documented = rng.choice(self._commands)
        parts = [self._argument(each, group) for each in documented]
        if rng.random() < 0.15 and len(parts) > 2:
            one, two = rng.randrange(1, len(parts)), rng.randrange(1, len(parts))
            parts[one], parts[two] = parts[two], parts[one]
        if rng.random() < 0.1 and parts:
            parts.append(rng.choice(parts))
        words = [word for part in parts for word in part]
        if rng.random() < 0.08 and words:
            words.pop(rng.randrange(len(words)))
        if rng.random() < 0.08:
            words.insert(rng.randint(0, len(words)), self._word())
        return [word.encode("latin-1") for word in [*name.upper().split("|"), *words]]

    def _argument(self, documented: dict[str, Any], group: str, *, is_chosen: bool = False) -> list[str]:
        rng = self._rng
        flags = [flag.decode() for flag in documented.get("flags", [])]
        if "optional" in flags and not is_chosen and rng.random() < 0.6:
            return []
        words: list[str] = []
        for number in range(rng.choice([1, 1, 2, 3]) if "multiple" in flags else 1):
            if "token" in documented and (number == 0 or "multiple_token" in flags):
                words.append(documented["token"].decode())
            words += self._value(documented, group)
        return words

    def _value(self, documented: dict[str, Any], group: str) -> list[str]:
        rng = self._rng
        kind, name = documented["type"].decode(), documented["name"].decode()
        if kind == "pure-token":
            return []
        if kind == "oneof":
            return self._argument(rng.choice(documented["arguments"]), group, is_chosen=True)
        if kind == "block":
            return [word for part in documented["arguments"] for word in self._argument(part, group)]
        if kind == "key":
            return [rng.choice((_KEYS[group] if group in _KEYS and rng.random() < 0.75 else _ALL_KEYS).split())]
        if name in ("timeout", "numkeys", "encoding", "offset"):
            kind = name
        elif group == "stream" and name in ("id", "start", "end", "threshold", "lastid"):
            kind = "id"
        elif group == "sorted-set" and name in ("min", "max", "start", "stop"):
            kind = "limit of a range"
        return [rng.choice(_VALUES[kind].split()) if kind in _VALUES else self._word()]

    def _word(self) -> str:
        return self._rng.choice([*_WORDS.split(), *_ODD_WORDS])


def _documented(server: Path) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    client = redis.Redis(unix_socket_path=str(server), protocol=3)
    client.response_callbacks.clear()
    docs = client.execute_command("COMMAND", "DOCS")
    client.close()
    for name, entry in sorted(docs.items()):
        fields = {key.decode(): value for key, value in entry.items()}
        group = fields["group"].decode()
        if group not in _GROUPS or name.decode() in _LEFT_OUT:
            continue
        for each, parts in [*fields.get("subcommands", {}).items()] or [(name, entry)]:
            if not each.endswith(b"|help"):
                yield each.decode(), group, [_decoded(part) for part in parts.get(b"arguments", [])]


def _decoded(argument: dict[bytes, Any]) -> dict[str, Any]:
    fields = {key.decode(): value for key, value in argument.items()}
    if "arguments" in fields:
        fields["arguments"] = [_decoded(each) for each in fields["arguments"]]
    return fields


def _comparable(words: list[bytes]) -> Request | list[bytes]:
    """Not where the ID has the time in it."""
    if words[0] != b"XADD":
        return words
    return Request(words, lambda tree: tree if tree[0] != b"$" or (tree[1] or b"") < b"1" * 12 else None)


def _inside_a_script(rng: Random, words: list[bytes]) -> Request:
    def normal(tree: Tree) -> object:
        return tree

    return Request([b"EVAL", rng.choice(_BODIES).encode(), b"0", *words], normal)


@pytest.mark.long
def test_random_documented(differential: Differential, redis_server: Path) -> None:
    commands = list(_documented(redis_server))
    for seed in range(SEQUENCES):
        rng = Random(seed)
        maker = Maker(rng, commands)
        requests: list[Any] = list(_START)
        for words in (maker.request() for _ in range(_REQUESTS)):
            in_script = words[0] in _BLOCKING or (rng.random() < 0.4 and words[0] not in _OPEN_IN_SCRIPTS)
            requests.append(_inside_a_script(rng, words) if in_script else _comparable(words))
        differential.check(requests, [2 + seed % 2])


_OPEN_IN_SCRIPTS = {
    b"XADD", b"KEYS", b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HKEYS", b"HVALS", b"HGETALL",
    b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME",
}  # fmt: skip
"""Replies that are made comparable, which only works for the command's own."""
_BLOCKING = {b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"}
"""They wait in scripts for nothing, whatever is taken for their timeout."""
