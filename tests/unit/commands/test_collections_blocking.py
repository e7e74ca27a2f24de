"""Blocking list commands: served at once, parked with what they wait for, or answered where waiting is impossible."""

from random import Random

import pytest

from makoredis.base.errors import ClientError
from makoredis.commands.registry import WouldBlock, load
from makoredis.data.access import Access
from makoredis.data.keyspace import Keyspace
from makoredis.data.values import List
from resp.replies import NULL_ARRAY, Reply

COMMANDS = load()


def run(space: Keyspace, line: str, may_block: bool = True) -> Reply | WouldBlock:
    name, *arguments = line.encode().split()
    access = Access(space, Random(1), 0, 1_000)
    access.may_block = may_block
    reply: Reply | WouldBlock = COMMANDS[name.decode()].handler(access, *arguments)
    return reply


@pytest.mark.parametrize(
    ("line", "keys", "timeout_ms", "reply_in_transaction"),
    [
        ("BLPOP a b 0", (b"a", b"b"), 0, NULL_ARRAY),
        ("BRPOP a 0.5", (b"a",), 500, NULL_ARRAY),
        ("BLPOP a 0.0001", (b"a",), 1, NULL_ARRAY),
        ("BLMPOP 2 2 a b LEFT COUNT 3", (b"a", b"b"), 2000, NULL_ARRAY),
        ("BLMOVE a b LEFT RIGHT 1", (b"a",), 1000, None),
        ("BRPOPLPUSH a b 1e1", (b"a",), 10_000, None),
    ],
)
def test_waits_for_its_keys(line: str, keys: tuple[bytes, ...], timeout_ms: int, reply_in_transaction: Reply) -> None:
    waiting = run(Keyspace(), line)
    assert isinstance(waiting, WouldBlock)
    assert (waiting.keys, waiting.timeout_ms, waiting.on_timeout) == (keys, timeout_ms, NULL_ARRAY)
    assert waiting.wakes_for == (List,)
    assert run(Keyspace(), line, may_block=False) == reply_in_transaction


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("BLPOP a b 0", [b"b", b"1"]),
        ("BRPOP a b 0", [b"b", b"3"]),
        ("BLMPOP 0 2 a b RIGHT COUNT 2", [b"b", [b"3", b"2"]]),
        ("BLMOVE b c RIGHT LEFT 0", b"3"),
        ("BRPOPLPUSH b b 0", b"3"),
    ],
)
def test_takes_what_is_there(line: str, reply: Reply) -> None:
    space = Keyspace()
    run(space, "RPUSH b 1 2 3")
    assert run(space, line) == reply


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("BLPOP a x", "ERR timeout is not a float or out of range"),
        ("BLPOP a nan", "ERR timeout is not a float or out of range"),
        ("BLPOP a -1", "ERR timeout is negative"),
        ("BLPOP a inf", "ERR timeout is out of range"),
        ("BLPOP a 1e300", "ERR timeout is out of range"),
        ("BLMOVE a b UP LEFT 0", "ERR syntax error"),
        ("BLMPOP 0 0 a LEFT", "ERR numkeys should be greater than 0"),
        ("BLMPOP 0 1 a LEFT COUNT 0", "ERR count should be greater than 0"),
        ("BLMPOP 0 1 a LEFT COUNT 1 COUNT 1", "ERR syntax error"),
        ("BLPOP s 0", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("BLMOVE b s LEFT LEFT 0", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ],
)
def test_errors(line: str, error: str) -> None:
    space = Keyspace()
    run(space, "SET s x")
    run(space, "RPUSH b 1")
    with pytest.raises(ClientError) as raised:
        run(space, line)
    assert raised.value.text == error


def test_moving_the_only_element_of_a_list_onto_itself_keeps_the_deadline() -> None:
    space = Keyspace()
    run(space, "RPUSH b 1")
    run(space, "PEXPIRE b 5000")
    assert run(space, "BLMOVE b b LEFT RIGHT 0") == b"1"
    assert space.databases[0].expires == {b"b": 6_000}
