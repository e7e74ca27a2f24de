"""What streams do where the real server at hand cannot be asked: waiting, 7.2's consumers, notifications, undo."""

from random import Random
from typing import Any

import pytest

from makoredis.base.errors import ClientError
from makoredis.commands.registry import WouldBlock, load
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.encoding import decode_value, encode_value
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import Stream
from makoredis.data.values.stream_group import Pending
from resp.replies import NULL_ARRAY, Map

NOW_MS = 1_700_000_000_000


@pytest.fixture
def space() -> Keyspace:
    space = Keyspace()
    space.config.notify_events = events.ALL | events.NEW
    return space


def access_at(space: Keyspace, now_ms: int = NOW_MS, protocol: int = 2) -> Access:
    return Access(space, Random(1), 0, now_ms, protocol)


def run(access: Access, line: str) -> Any:
    """Runs a request that is split at blanks, as one of the access's transaction."""
    argv = [word.encode() for word in line.split()]
    commands = load()
    name, rest = argv[0].decode(), argv[1:]
    if name in ("XGROUP", "XINFO"):
        name, rest = f"{name}|{argv[1].decode()}", argv[2:]
    return commands[name].handler(access, *rest)


def setup(space: Keyspace, *lines: str) -> None:
    access = access_at(space, 0)
    for line in lines:
        run(access, line)


def test_ids_never_go_back_with_the_clock(space: Keyspace) -> None:
    assert run(access_at(space, 1000), "XADD s * f v") == b"1000-0"
    assert run(access_at(space, 1000), "XADD s * f v") == b"1000-1"
    assert run(access_at(space, 400), "XADD s * f v") == b"1000-2"
    assert run(access_at(space, 1001), "XADD s * f v") == b"1001-0"


def test_xread_waits_from_the_id_that_dollar_stood_for(space: Keyspace) -> None:
    setup(space, "XADD s 5-3 f v")
    access = access_at(space)
    access.may_block = True
    waiting = run(access, "XREAD COUNT 2 BLOCK 250 STREAMS s none $ $")
    assert isinstance(waiting, WouldBlock)
    assert waiting.argv == b"XREAD COUNT 2 BLOCK 250 STREAMS s none 5-3 0-0".split()
    assert (waiting.keys, waiting.timeout_ms, waiting.on_timeout) == ((b"s", b"none"), 250, NULL_ARRAY)
    assert waiting.wakes_for == (Stream,)
    assert access.effects == []


def test_xread_in_a_transaction_answers_at_once(space: Keyspace) -> None:
    assert run(access_at(space), "XREAD BLOCK 0 STREAMS s 0") is NULL_ARRAY


def test_xread_plus_gives_the_last_entry(space: Keyspace) -> None:
    setup(space, "XADD s 5-3 f v", "XADD s 6-0 f w")
    assert run(access_at(space), "XREAD STREAMS s +") == [[b"s", [[b"6-0", [b"f", b"w"]]]]]


def test_xread_may_not_wait_in_a_script(space: Keyspace) -> None:
    access = access_at(space)
    access.in_script = True
    with pytest.raises(ClientError, match="xread command is not allowed with BLOCK option from scripts"):
        run(access, "XREAD BLOCK 0 STREAMS s 0")


def test_xread_in_resp3_is_a_map(space: Keyspace) -> None:
    setup(space, "XADD s 1-1 f v")
    reply = run(access_at(space, protocol=3), "XREAD STREAMS s 0")
    assert reply == Map([(b"s", [[b"1-1", [b"f", b"v"]]])])


def test_unbalanced_streams_name_the_command(space: Keyspace) -> None:
    with pytest.raises(ClientError, match="Unbalanced 'xread' list of streams: for each stream key an ID or '\\$'"):
        run(access_at(space), "XREAD STREAMS a b 0")
    with pytest.raises(ClientError, match="Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>'"):
        run(access_at(space), "XREADGROUP GROUP g c STREAMS a b 0")


def test_waiting_in_a_group_creates_the_consumer_and_ends_when_the_group_goes(space: Keyspace) -> None:
    setup(space, "XGROUP CREATE s g $ MKSTREAM")
    access = access_at(space)
    access.may_block = True
    waiting = run(access, "XREADGROUP GROUP g alice BLOCK 0 STREAMS s >")
    assert isinstance(waiting, WouldBlock)
    assert waiting.wakes_for == () and waiting.argv is None
    stream = space.databases[0].get(b"s")
    assert isinstance(stream, Stream)
    assert stream.groups[b"g"].consumers[b"alice"].seen_ms == NOW_MS
    setup(space, "XGROUP DESTROY s g")
    with pytest.raises(ClientError) as caught:
        run(access, "XREADGROUP GROUP g alice BLOCK 0 STREAMS s >")
    assert caught.value.text == "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option"


def test_seen_and_active_times(space: Keyspace) -> None:
    """A consumer is seen whenever it asks, active only when it gets something; history does not count."""
    setup(space, "XADD s 1-1 f v", "XADD s 2-1 f v", "XGROUP CREATE s g 0")

    def times(now_ms: int) -> list[tuple[Any, Any, Any]]:
        consumers = run(access_at(space, now_ms), "XINFO CONSUMERS s g")
        fields = [dict(consumer.pairs) for consumer in consumers]
        return [(each[b"name"], each[b"idle"], each[b"inactive"]) for each in fields]

    run(access_at(space, 1000), "XREADGROUP GROUP g alice COUNT 1 STREAMS s 0")
    assert times(1000) == [(b"alice", 0, -1)]
    run(access_at(space, 2000), "XREADGROUP GROUP g alice COUNT 1 STREAMS s >")
    run(access_at(space, 3000), "XREADGROUP GROUP g alice COUNT 1 STREAMS s 0")
    assert times(3500) == [(b"alice", 500, 1500)]
    run(access_at(space, 4000), "XREADGROUP GROUP g bob NOACK STREAMS s >")
    assert times(4000) == [(b"alice", 1000, 2000), (b"bob", 0, -1)]
    run(access_at(space, 5000), "XCLAIM s g carol 100000 1-1")
    assert times(5000)[2] == (b"carol", 0, -1)
    run(access_at(space, 6000), "XAUTOCLAIM s g carol 0 0")
    assert times(6000)[2] == (b"carol", 0, 0)


def test_claiming_what_was_deleted_clears_it(space: Keyspace) -> None:
    setup(space, *(f"XADD s {at}-1 f v" for at in (1, 2, 3)), "XGROUP CREATE s g 0")
    run(access_at(space), "XREADGROUP GROUP g alice STREAMS s >")
    setup(space, "XDEL s 1-1 3-1")
    assert run(access_at(space), "XAUTOCLAIM s g bob 0 - COUNT 2 JUSTID") == [b"3-1", [b"2-1"], [b"1-1"]]
    assert run(access_at(space), "XCLAIM s g bob 0 3-1") == []
    assert run(access_at(space), "XPENDING s g") == [1, b"2-1", b"2-1", [[b"bob", b"1"]]]


def test_an_id_claimed_twice_was_not_idle_the_second_time(space: Keyspace) -> None:
    setup(space, "XADD s 1-1 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g alice STREAMS s >")
    assert run(access_at(space), "XCLAIM s g bob 10 1-1 1-1 JUSTID") == [b"1-1"]
    assert run(access_at(space), "XCLAIM s g bob 0 1-1 1-1 JUSTID") == [b"1-1", b"1-1"]


def test_notifications(space: Keyspace) -> None:
    access = access_at(space)
    for line in (
        "XADD s 1-1 f v",
        "XADD s MAXLEN 1 2-1 f v",
        "XGROUP CREATE t g 0 MKSTREAM",
        "XGROUP CREATECONSUMER t g c",
        "XGROUP CREATECONSUMER t g c",
        "XGROUP SETID t g 0",
        "XGROUP DELCONSUMER t g c",
        "XREADGROUP GROUP g c STREAMS t >",
        "XGROUP DESTROY t g",
        "XDEL s 2-1",
        "XSETID s 9-9",
        "XTRIM s MAXLEN 0",
    ):
        run(access, line)
    assert [(event, key) for _, event, key, _ in access.notices] == [
        (b"new", b"s"),
        (b"xadd", b"s"),
        (b"xadd", b"s"),
        (b"xtrim", b"s"),
        (b"new", b"t"),
        (b"xgroup-create", b"t"),
        (b"xgroup-createconsumer", b"t"),
        (b"xgroup-setid", b"t"),
        (b"xgroup-delconsumer", b"t"),
        (b"xgroup-createconsumer", b"t"),
        (b"xgroup-destroy", b"t"),
        (b"xdel", b"s"),
        (b"xsetid", b"s"),
    ]


def test_an_empty_stream_stays(space: Keyspace) -> None:
    setup(space, "XADD s 1-1 f v", "XDEL s 1-1")
    assert run(access_at(space), "XLEN s") == 0
    assert space.databases[0].size == 1


@pytest.mark.parametrize("seed", range(20))
def test_every_step_can_be_undone(seed: int) -> None:
    """Each request's inverses restore the very bytes of the stream before it; each state survives its encoding."""
    random = Random(seed)
    space = Keyspace()
    space.config.stream_node_max_entries = 4
    setup(space, "XGROUP CREATE s g 0 MKSTREAM", "XGROUP CREATE s h 0")
    for step in range(1, 200):
        before = encode_value(_stream(space))
        access = access_at(space, step)
        _random_request(access, random, step)
        after = encode_value(_stream(space))
        assert encode_value(decode_value(after)) == after
        effects = access.effects
        access.rollback()
        assert encode_value(_stream(space)) == before
        for effect in effects:
            effect.apply(space)
        assert encode_value(_stream(space)) == after
        _check_invariants(_stream(space))


def _random_request(access: Access, random: Random, step: int) -> None:
    group, consumer = random.choice("gh"), random.choice("abc")
    ids = " ".join(f"{random.randrange(max(1, step - 15), step + 1)}-0" for _ in range(4))
    line = random.choice(
        [
            f"XADD s {step}-0 f v{step}",
            f"XADD s {step}-0 other x f y",
            f"XADD s MAXLEN ~ 9 {step}-0 f v",
            f"XTRIM s MAXLEN {random.randrange(12)}",
            f"XDEL s {ids}",
            f"XREADGROUP GROUP {group} {consumer} COUNT 3 STREAMS s >",
            f"XREADGROUP GROUP {group} {consumer} COUNT 3 STREAMS s 0",
            f"XACK s {group} {ids}",
            f"XCLAIM s {group} {consumer} 0 {ids} FORCE",
            f"XAUTOCLAIM s {group} {consumer} 0 0 COUNT 2",
            f"XGROUP DELCONSUMER s {group} {consumer}",
            f"XGROUP SETID s {group} {step // 2}-0",
        ]
    )
    run(access, line)
    if random.random() < 0.02:
        run(access, f"XGROUP DESTROY s {group}")
        run(access, f"XGROUP CREATE s {group} 0")


def _stream(space: Keyspace) -> Stream:
    stream = space.databases[0].get(b"s")
    assert isinstance(stream, Stream)
    return stream


def _check_invariants(stream: Stream) -> None:
    nodes = list(stream.nodes.values())
    ids = [id for node in nodes for id in node.ids]
    assert ids == sorted(set(ids)) and len(ids) == stream.length
    assert all(node.ids and node.key <= node.ids[0] for node in nodes)
    assert stream.tail is (nodes[-1] if nodes else None)
    for group in stream.groups.values():
        assert list(group.pending.ids_from()) == sorted(group.pending.entries)
        mine: dict[int, Pending] = {}
        for consumer in group.consumers.values():
            mine |= consumer.pending.entries
        assert mine == group.pending.entries
        for name, consumer in group.consumers.items():
            assert list(consumer.pending.ids_from()) == sorted(consumer.pending.entries)
            assert all(pending.consumer == name for pending in consumer.pending.entries.values())
