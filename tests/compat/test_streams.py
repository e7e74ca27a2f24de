"""Streams, compared with a real redis-server.

The real one here is a 7.0, where we follow 7.2: there a consumer exists as soon as it asks for something, has an
active-time, and texts differ a little. Those places are masked or left out; tests/unit/commands/test_streams.py holds
them against what 7.2 does.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compat.harness import Differential, Request, arguments, optional, request, several, shape_of

MASKED = (b"radix-tree-nodes", b"seen-time", b"active-time", b"idle", b"inactive", b"consumers")
"""Fields of XINFO whose values need not agree: times, and how many consumers have nothing pending."""


def _without_times(tree: Any) -> Any:
    """XINFO without what differs between the versions, as nested tuples."""
    letter, content = tree
    if not isinstance(content, list):
        return tree
    if content and content[0] in ((b"$", b"length"), (b"$", b"name")):
        kept = []
        for name, value in zip(content[::2], content[1::2]):
            if name[1] == b"consumers" and isinstance(value[1], list):
                kept.append((name, _busy_consumers(value)))
            elif name[1] == b"pending" and isinstance(value[1], list):
                kept.append((name, [_without_delivery_time(entry) for entry in value[1]]))
            elif name[1] not in MASKED:
                kept.append((name, _without_times(value)))
        return kept
    return letter, [_without_times(child) for child in content]


def _busy_consumers(tree: Any) -> Any:
    kept = [_without_times(consumer) for consumer in tree[1]]
    return [consumer for consumer in kept if ((b"$", b"pel-count"), (b":", b"0")) not in consumer]


def _without_delivery_time(tree: Any) -> Any:
    """An entry of a list of pending ones ends with the time and the count of deliveries."""
    return [*tree[1][:-2], tree[1][-1]]


def _pending_without_idle(tree: Any) -> Any:
    content = tree[1]
    if isinstance(content, list) and (not content or content[0][0] == b"*"):
        return [_without_delivery_time(entry) for entry in content]
    return tree


def comparable(argv: list[bytes]) -> Any:
    """The request, with what makes its replies comparable."""
    words = arguments(argv)
    name = words[0].upper()
    if name == b"XINFO":
        return Request(words, _without_times)
    if name == b"XPENDING":
        return Request(words, _pending_without_idle)
    if name == b"XGROUP" and words[1].upper() == b"CREATECONSUMER":
        return shape_of(words)
    return words


keys = st.sampled_from([b"a", b"b"])
fields = st.lists(
    st.sampled_from([b"f", b"g", b"", b"12", b"-7", b"x" * 70, b"\x00\xff", b"4096"]), min_size=2, max_size=4
).filter(lambda words: len(words) % 2 == 0)
good_ids = st.builds(lambda ms, seq: b"%d-%d" % (ms, seq), st.integers(0, 6), st.integers(0, 4))
odd_ids = st.sampled_from(
    [b"0", b"3", b"5", b"0-0", b"18446744073709551615-18446744073709551615", b"18446744073709551615", b"x", b"", b"1-",
     b"-1", b"1-2-3", b"007-01", b"-", b"+", b"18446744073709551616-1", b"$", b">", b"1-*"]
)  # fmt: skip
ids = st.one_of(good_ids, good_ids, good_ids, odd_ids)
add_ids = st.one_of(ids, st.sampled_from([b"1-*", b"2-*", b"4-*", b"6-*", b"9-*"]))
bounds = st.one_of(ids, st.sampled_from([b"-", b"+"]), good_ids.map(lambda id: b"(" + id), st.just(b"(-"))
counts = st.sampled_from([b"0", b"1", b"2", b"3", b"-1", b"x", b"100"])
thresholds = st.sampled_from([b"0", b"1", b"3", b"5", b"-1", b"2-1", b"4", b"x"])
trims = st.one_of(
    st.tuples(
        st.sampled_from([b"MAXLEN", b"maxlen", b"MINID"]), st.sampled_from([[], [b"="], [b"~"]]), thresholds
    ).map(lambda parts: [parts[0], *parts[1], parts[2]]),
    st.just([b"LIMIT", b"3"]),
    st.just([b"MAXLEN", b"~", b"0", b"LIMIT", b"0"]),
)
groups = st.sampled_from([b"g", b"h"])
consumers = st.sampled_from([b"alice", b"bob"])

change_requests = (
    request("XADD", keys, good_ids, fields),
    request("XADD", keys, add_ids, fields),
    request("XADD", keys, add_ids, fields),
    request("XADD", keys, optional("NOMKSTREAM"), optional(trims), add_ids, fields),
    request("XADD", keys, trims, trims, add_ids, fields),
    request("XTRIM", keys, trims),
    request("XTRIM", keys, trims, trims),
    request("XDEL", keys, several(ids)),
    request("XSETID", keys, ids, optional("ENTRIESADDED", counts), optional("MAXDELETEDID", ids)),
    request("DEL", keys),
)
read_requests = (
    request("XLEN", keys),
    request("XRANGE", keys, bounds, bounds, optional("COUNT", counts)),
    request("XREVRANGE", keys, bounds, bounds, optional("COUNT", counts)),
    request("XREAD", optional("COUNT", counts), optional("BLOCK", "1"), "STREAMS", keys, good_ids),
    request("XREAD", "STREAMS", keys, keys, good_ids, ids.filter(lambda id: id != b"+")),
    request("XINFO", "STREAM", keys),
    request("XINFO", "STREAM", keys, "FULL", optional("COUNT", counts)),
)
group_requests = (
    request("XGROUP", "CREATE", keys, groups, ids, optional("MKSTREAM"), optional("ENTRIESREAD", counts)),
    request("XGROUP", "CREATE", keys, groups, "0"),
    request("XGROUP", "SETID", keys, groups, ids, optional("ENTRIESREAD", counts)),
    request("XGROUP", "CREATECONSUMER", keys, groups, consumers),
    request("XGROUP", "DELCONSUMER", keys, groups, consumers),
    request("XREADGROUP", "GROUP", groups, consumers, optional("COUNT", counts), optional("NOACK"), "STREAMS", keys,
            ids),
    request("XREADGROUP", "GROUP", groups, consumers, optional("COUNT", "2"), "STREAMS", keys, ">"),
    request("XREADGROUP", "GROUP", groups, consumers, "STREAMS", keys, keys, ">", "0"),
    request("XACK", keys, groups, several(ids)),
    request("XPENDING", keys, groups),
    request("XPENDING", keys, groups, optional("IDLE", "0"), bounds, bounds, counts, optional(consumers)),
    request("XCLAIM", keys, groups, consumers, st.sampled_from([b"0", b"0", b"100000", b"x"]), several(ids),
            optional(st.sampled_from([b"FORCE", b"JUSTID", b"WHAT"])), optional("RETRYCOUNT", counts),
            optional("LASTID", good_ids), optional(st.sampled_from([b"IDLE", b"TIME"]), counts)),
    request("XAUTOCLAIM", keys, groups, consumers, st.sampled_from([b"0", b"100000"]), bounds,
            optional("COUNT", counts), optional("JUSTID")),
    request("XINFO", "GROUPS", keys),
)  # fmt: skip

START = [
    *(["XADD", "a", f"{ms}-1", "f", str(ms)] for ms in (1, 2, 3)),
    *(["XGROUP", "CREATE", key, group, "0", "MKSTREAM"] for key in ("a", "b") for group in ("g", "h")),
]


@settings(max_examples=300)
@given(requests=st.lists(st.one_of(*change_requests, *read_requests), min_size=1, max_size=30))
def test_random_changes(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check([comparable(request) for request in requests])


@settings(max_examples=300)
@given(
    requests=st.lists(
        st.one_of(*group_requests, *group_requests, *change_requests[:3], *read_requests, change_requests[7]),
        min_size=1,
        max_size=30,
    )
)
def test_random_groups(differential: Differential, requests: list[list[bytes]]) -> None:
    differential.check([comparable(request) for request in [*START, *requests]])


def test_errors(differential: Differential) -> None:
    """What malformed requests are answered with."""
    differential.check(
        [
            comparable(line.split())
            for line in """SET str x
            XADD str 1-1 a b
            XLEN str
            XADD s
            XADD s *
            XADD s * a
            XADD s maxlen 5
            XADD s maxlen 5 limit 5 * a b
            XADD s limit 5 * a b
            XADD s limit 0 9-9 a b
            XADD s limit -1 * a b
            XADD s maxlen 5 minid 5 * a b
            XADD s maxlen x * a b
            XADD s 0-0 a b
            XADD s 0-* a b
            XADD s 18446744073709551615-18446744073709551615 a b
            XADD s 18446744073709551615-18446744073709551615 a b
            XADD s 1 a b
            XREAD STREAMS s
            XREAD BLOCK -1 STREAMS s 0
            XREAD BLOCK x STREAMS s 0
            XREAD BLOCK 1.5 STREAMS s 0
            XREAD COUNT x STREAMS s 0
            XREAD GROUP a b STREAMS s 0
            XREAD NOACK STREAMS s 0
            XREAD STREAMS s >
            XREAD COUNT 1
            XREAD STREAMS str 0
            XREADGROUP GROUP g c STREAMS s $
            XREADGROUP GROUP g c STREAMS none $
            XREADGROUP NOACK COUNT 1 STREAMS s >
            XGROUP CREATE s
            XGROUP CREATE s g x
            XGROUP CREATE none g $
            XGROUP CREATE s g $
            XGROUP CREATE s g $
            XGROUP SETID s g -
            XGROUP SETID s g +
            XGROUP SETID s h 0
            XGROUP SETID none h 0
            XGROUP CREATE s g2 0 ENTRIESREAD -2
            XGROUP CREATE s g2 0 ENTRIESREAD
            XGROUP CREATE s g3 0 MKSTREAM MKSTREAM
            XGROUP CREATE s g4 x MKSTREAM MKSTREAM MKSTREAM MKSTREAM
            XGROUP CREATE none g x ENTRIESREAD 1 ENTRIESREAD 1
            XGROUP SETID s g 0 ENTRIESREAD 1 ENTRIESREAD 1
            XGROUP SETID s g x ENTRIESREAD 1 ENTRIESREAD 1
            XGROUP SETID s h 0 ENTRIESREAD 1 ENTRIESREAD 1
            XGROUP DESTROY none g
            XGROUP DESTROY s none
            XGROUP DELCONSUMER s none c
            XGROUP CREATECONSUMER s none c
            XINFO STREAM s FOO
            XINFO STREAM s FULL COUNT
            XINFO STREAM s FULL COUNT -1
            XINFO stream none
            XINFO groups none
            XINFO consumers none g
            XINFO consumers s none
            XINFO consumers s g
            XREADGROUP GROUP g c STREAMS s $
            XPENDING s g x
            XPENDING s g - + x
            XPENDING s g IDLE 1 - +
            XPENDING s none
            XPENDING s g - + 10 nobody
            XCLAIM s none c 0 1
            XCLAIM s g c x 1
            XCLAIM s g c 0 1 IDLE x
            XCLAIM s g c 0 1 TIME x
            XCLAIM s g c 0 1 RETRYCOUNT x
            XCLAIM s g c 0 1 LASTID x
            XCLAIM s g c 0 1 FOO
            XAUTOCLAIM s g c 0 0 COUNT 0
            XAUTOCLAIM s g c 0 0 COUNT x
            XAUTOCLAIM s g c 0 0 COUNT
            XAUTOCLAIM s g c x 0
            XAUTOCLAIM s none c 0 0
            XAUTOCLAIM s g c 0 (18446744073709551615-18446744073709551615
            XSETID none 1
            XSETID s 0
            XSETID s 1 FOO
            XSETID s 1 ENTRIESADDED -1
            XSETID s 1 MAXDELETEDID 2
            XDEL none x
            XDEL s x
            XACK s g x
            XACK none g x
            XTRIM none MAXLEN 5
            XTRIM s MAXLEN
            XTRIM s FOO BAR
            XTRIM s LIMIT 0
            XTRIM s MAXLEN ~ 5 LIMIT -1""".splitlines()
        ]
    )


def test_trimming_whole_nodes(differential: Differential) -> None:
    """Nodes end after 100 entries, or at 4096 bytes: `~` shows where."""
    small = [f"XADD s {at}-1 field {at}" for at in range(1, 1001)]
    large = [["XADD", "t", f"{at}-{at % 7}", "field", "v" * (at % 900)] for at in range(1, 300)]
    mixed = [["XADD", "u", f"{at}-1", *(["f", str(10**at % 10**18 - 5)] * (1 + at % 13))] for at in range(1, 300)]
    probes: list[Any] = []
    for key in "stu":
        probes += [f"XDEL {key} 5-1 6-1 105-1 106-1 7-0 8-1", comparable(["XINFO", "STREAM", key])]
        for length in (290, 280, 250, 210, 150, 70):
            probes += [f"XTRIM {key} MAXLEN ~ {length} LIMIT 30", f"XTRIM {key} MAXLEN ~ {length}", f"XLEN {key}"]
            probes += [f"XTRIM {key} MINID ~ {300 - length}", f"XTRIM {key} MINID {300 - length}", f"XLEN {key}"]
            probes += [comparable(["XINFO", "STREAM", key])]
    differential.check([*small, *large, *mixed, *probes], protocols=(2,))
