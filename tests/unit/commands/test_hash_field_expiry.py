"""HEXPIRE and its relatives, and what happens when a field's time has come."""

from random import Random

import pytest

from makoredis.base.errors import ClientError
from makoredis.commands.registry import load
from makoredis.data import events
from makoredis.data.access import Access
from makoredis.data.effects import HashDelete
from makoredis.data.encoding import decode_value, encode_value
from makoredis.data.keyspace import Keyspace

COMMANDS = load()


class Client:
    """Runs commands at a time that the test sets."""

    def __init__(self) -> None:
        self.space = Keyspace()
        self.space.config.notify_events = events.ALL
        self.now_ms = 1_000_000
        self.is_replica = False
        self.last = Access(self.space, Random(1))

    def __call__(self, line: str) -> object:
        name, *arguments = line.encode().split()
        self.last = Access(self.space, Random(1), 0, self.now_ms)
        self.last.is_replica = self.is_replica
        return COMMANDS[name.decode()].handler(self.last, *arguments)

    def events(self) -> list[bytes]:
        return [event for _, event, _, _ in self.last.notices]


@pytest.fixture
def client() -> Client:
    client = Client()
    client("HSET k a 1 b 2 c 3")
    return client


def test_times(client: Client) -> None:
    assert client("HEXPIRE k 10 FIELDS 3 a x b") == [1, -2, 1]
    assert client.events() == [b"hexpire"]
    assert client("HTTL k FIELDS 3 a c x") == [10, -1, -2]
    assert client("HPTTL k FIELDS 1 a") == [10_000]
    assert client("HEXPIRETIME k FIELDS 1 a") == [1010]
    assert client("HPEXPIRETIME k FIELDS 2 a c") == [1_010_000, -1]
    client.now_ms += 1
    assert client("HTTL k FIELDS 1 a") == [10]
    assert client("HPEXPIREAT k 1000500 FIELDS 1 a") == [1]
    assert client("HEXPIREAT k 2000 FIELDS 1 b") == [1]
    assert client("HPEXPIRETIME k FIELDS 2 a b") == [1_000_500, 2_000_000]
    assert client("HPERSIST k FIELDS 4 a c x a") == [1, -1, -2, -1]
    assert client.events() == [b"hpersist"]
    assert client("HTTL k FIELDS 1 a") == [-1]


@pytest.mark.parametrize("name", ["HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST"])
def test_a_missing_hash_has_no_fields(client: Client, name: str) -> None:
    assert client(f"{name} missing FIELDS 2 a b") == [-2, -2]
    assert client("HEXPIRE missing 1 FIELDS 2 a b") == [-2, -2]


@pytest.mark.parametrize(
    ("condition", "old", "results"),
    [
        ("NX", None, [1]),
        ("NX", 10, [0]),
        ("XX", None, [0]),
        ("XX", 10, [1]),
        ("GT", None, [0]),
        ("GT", 10, [1]),
        ("GT", 20, [0]),
        ("GT", 30, [0]),
        ("LT", None, [1]),
        ("LT", 10, [0]),
        ("LT", 20, [0]),
        ("lt", 30, [1]),
    ],
)
def test_conditions(client: Client, condition: str, old: int | None, results: list[int]) -> None:
    if old is not None:
        client(f"HEXPIRE k {old} FIELDS 1 a")
    assert client(f"HEXPIRE k 20 {condition} FIELDS 1 a") == results


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("HEXPIRE k x FIELDS 1 a", "ERR value is not an integer or out of range"),
        ("HEXPIRE k -1 FIELDS 1 a", "ERR invalid expire time, must be >= 0"),
        ("HEXPIRE k 9999999999999 FIELDS 1 a", "ERR invalid expire time in 'hexpire' command"),
        ("HPEXPIRE k 70368744177664 FIELDS 1 a", "ERR invalid expire time in 'hpexpire' command"),
        ("HEXPIRE k 1 FIELD 1 a", "ERR Mandatory argument FIELDS is missing or not at the right position"),
        ("HEXPIRE k 1 NX XX FIELDS 1 a", "ERR Mandatory argument FIELDS is missing or not at the right position"),
        ("HEXPIRE k 1 FIELDS 0 a", "ERR Parameter `numFields` should be greater than 0"),
        ("HEXPIRE k 1 FIELDS 2 a", "ERR The `numfields` parameter must match the number of arguments"),
        ("HEXPIRE k 1 NX FIELDS 1", "ERR The `numfields` parameter must match the number of arguments"),
        ("HTTL k FIELDS 0 a", "ERR Number of fields must be a positive integer"),
        ("HPERSIST k FIELDS 3 a b", "ERR The `numfields` parameter must match the number of arguments"),
        ("HTTL k a FIELDS 1", "ERR Mandatory argument FIELDS is missing or not at the right position"),
        ("HEXPIRE s 1 FIELDS 1 a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HTTL s FIELDS 1 a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ],
)
def test_errors(client: Client, line: str, error: str) -> None:
    client("SET s x")
    with pytest.raises(ClientError) as raised:
        client(line)
    assert raised.value.text == error


def test_a_time_in_the_past_deletes(client: Client) -> None:
    assert client("HEXPIRE k 0 FIELDS 3 a a x") == [2, -2, -2]
    assert client.events() == [b"hdel"]
    assert client("HPEXPIREAT k 1 FIELDS 2 b c") == [2, 2]
    assert client.events() == [b"hdel", b"del"]
    assert client("EXISTS k") == 0


def test_a_field_past_its_deadline_is_gone_for_every_command(client: Client) -> None:
    client("HPEXPIRE k 100 FIELDS 2 a b")
    client.now_ms += 99
    assert client("HLEN k") == 3
    client.now_ms += 1
    assert client("HGETALL k") == [b"c", b"3"]
    assert client.last.effects == [HashDelete(0, b"k", [b"a", b"b"])]
    assert client.events() == [b"hexpired"]
    assert client("HLEN k") == 1 and not client.last.effects


def test_the_last_field_takes_the_key_with_it(client: Client) -> None:
    client("HPEXPIRE k 100 FIELDS 3 a b c")
    client.now_ms += 100
    assert client("EXISTS k") == 0
    assert client.events() == [b"hexpired", b"del"]
    client.last.rollback()
    client.now_ms -= 1
    assert client("HLEN k") == 3


def test_a_replica_hides_but_does_not_delete(client: Client) -> None:
    client("HPEXPIRE k 100 FIELDS 2 a b")
    client.now_ms += 100
    client.is_replica = True
    assert client("HGETALL k") == [b"c", b"3"]
    assert client("HPTTL k FIELDS 2 a c") == [-2, -1]
    assert not client.last.effects
    client.now_ms -= 1
    assert client("HLEN k") == 3


def test_overwriting_clears_the_deadline_and_counting_keeps_it(client: Client) -> None:
    client("HEXPIRE k 10 FIELDS 3 a b c")
    client("HSET k a 5")
    client("HINCRBY k b 1")
    client("HINCRBYFLOAT k c 1.5")
    assert client("HTTL k FIELDS 3 a b c") == [-1, 10, 10]
    client("HDEL k b")
    client("HSET k b 1")
    assert client("HTTL k FIELDS 1 b") == [-1]


def test_due_hashes_are_handed_out_until_their_fields_are_deleted(client: Client) -> None:
    database = client.space.databases[0]
    client("HPEXPIRE k 100 FIELDS 1 a")
    client("HPEXPIRE k 200 FIELDS 1 b")
    client("HSET other f v")
    client("HPEXPIRE other 100 FIELDS 1 f")
    client("HPERSIST other FIELDS 1 f")
    assert database.take_due_hashes(client.now_ms + 99, 10) == []
    client.now_ms += 150
    assert database.take_due_hashes(client.now_ms, 10) == [b"k"]
    assert database.take_due_hashes(client.now_ms, 10) == [b"k"]
    client("TYPE k")
    assert database.take_due_hashes(client.now_ms, 10) == []
    assert database.take_due_hashes(client.now_ms + 50, 10) == [b"k"]
    client("DEL k")
    assert database.take_due_hashes(client.now_ms + 50, 10) == []
    assert not database.hash_deadlines.by_name


def test_deadlines_survive_encoding_and_a_roll_back(client: Client) -> None:
    client("HPEXPIRE k 100 FIELDS 1 a")
    database = client.space.databases[0]
    value = database.get(b"k")
    assert value is not None
    client("DEL k")
    client.last.rollback()
    client("RENAME k other")
    database.put(b"loaded", decode_value(encode_value(value)))
    client.now_ms += 100
    assert sorted(database.take_due_hashes(client.now_ms, 10)) == [b"loaded", b"other"]
    assert client("HLEN loaded") == 2 and client("HLEN other") == 2
