"""What OBJECT ENCODING answers for lists, hashes and sets, and that it does not go back (Redis 7.2)."""

from collections.abc import Sequence
from random import Random

import pytest

from makoredis.commands.registry import load
from makoredis.data.access import Access
from makoredis.data.encoding import decode_value, encode_moved, encode_value
from makoredis.data.keyspace import Keyspace
from makoredis.data.listpack import entry_bytes, is_int64
from makoredis.data.values import Hash, List, Set

COMMANDS = load()


class Client:
    """Runs commands on a keyspace of its own."""

    def __init__(self) -> None:
        self.space = Keyspace()

    def __call__(self, *argv: str | bytes | int) -> object:
        name, *arguments = (word if isinstance(word, bytes) else str(word).encode() for word in argv)
        access = Access(self.space, Random(1), 0, 1_000)
        return COMMANDS[name.decode()].handler(access, *arguments)

    def encoding(self, key: bytes = b"k") -> bytes:
        value = self.space.databases[0].get(key)
        assert isinstance(value, List | Hash | Set)
        return value.encoding(self.space.config)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize(
    ("members", "encoding"),
    [
        (["1", "-5", "9223372036854775807"], b"intset"),
        (range(512), b"intset"),
        (range(513), b"hashtable"),
        (["1", "01"], b"listpack"),
        (["9223372036854775808"], b"listpack"),
        (["x" * 64], b"listpack"),
        (["x" * 65], b"hashtable"),
        ([f"m{number}" for number in range(128)], b"listpack"),
        ([f"m{number}" for number in range(129)], b"hashtable"),
    ],
)
def test_sets(client: Client, members: Sequence[str | int], encoding: bytes) -> None:
    client("SADD", "k", *members)
    assert client.encoding() == encoding
    value = client.space.databases[0].get(b"k")
    assert value is not None
    reloaded = decode_value(encode_value(value))
    assert isinstance(reloaded, Set) and reloaded.encoding(client.space.config) == encoding


def test_a_set_goes_from_integers_to_listpack_to_hash_table_and_stays(client: Client) -> None:
    client("SADD", "k", 1, 2)
    assert client.encoding() == b"intset"
    client("SADD", "k", "word")
    assert client.encoding() == b"listpack"
    client("SREM", "k", "word")
    assert client.encoding() == b"listpack"
    client("SADD", "k", "x" * 100)
    client("SREM", "k", "x" * 100)
    assert client.encoding() == b"hashtable"
    client("SREM", "k", 1, 2)
    client("SADD", "k", 1)
    assert client.encoding() == b"intset"


def test_hashes(client: Client) -> None:
    client("HSET", "k", *range(1024))
    assert client.encoding() == b"listpack"
    client("HSET", "k", "one", "more")
    assert client.encoding() == b"hashtable"
    client("HDEL", "k", "one", *range(2, 256))
    assert client.encoding() == b"hashtable"
    client("HSET", "long", "field", "x" * 65)
    assert client.encoding(b"long") == b"hashtable"
    client("HSET", "timed", "field", "value")
    client("HEXPIRE", "timed", 10, "FIELDS", 1, "field")
    assert client.encoding(b"timed") == b"listpackex"


def test_a_list_is_a_listpack_up_to_8_kib_and_again_below_half(client: Client) -> None:
    for _ in range(80):
        client("RPUSH", "k", "x" * 99)
    assert client.encoding() == b"listpack"
    for _ in range(10):
        client("RPUSH", "k", "x" * 99)
    assert client.encoding() == b"quicklist"
    client("LTRIM", "k", 0, 63)
    assert client.encoding() == b"quicklist"
    for _ in range(32):
        client("RPOP", "k")
    assert client.encoding() == b"listpack"


def test_what_moves_keeps_its_form_and_what_is_loaded_finds_it_anew(client: Client) -> None:
    long = "x" * 65
    client("HSET", "hash", "field", long)
    client("HSET", "hash", "field", "short")
    client("SADD", "set", 1, long)
    client("SREM", "set", long)
    client("SADD", "words", 1, "word")
    client("SREM", "words", "word")
    client("ZADD", "zset", 1, long, 2, "member")
    client("ZREM", "zset", long)
    client("RPUSH", "list", "x" * 9000)
    client("LPUSH", "list", *["y" * 99] * 60)
    client("RPOP", "list")
    client("HSET", "timed", "field", "value")
    client("HEXPIRE", "timed", 10, "FIELDS", 1, "field")
    client("HPERSIST", "timed", "FIELDS", 1, "field")
    expected = {
        "hash": (b"hashtable", b"listpack"),
        "set": (b"hashtable", b"intset"),
        "words": (b"listpack", b"intset"),
        "zset": (b"skiplist", b"listpack"),
        "list": (b"quicklist", b"listpack"),
        "timed": (b"listpackex", b"listpack"),
    }
    for key, (before, loaded) in expected.items():
        client("RENAME", key, "k")
        assert client("OBJECT|ENCODING", "k") == before, key
        client("COPY", "k", key)
        assert client("OBJECT|ENCODING", key) == before, key
        value = client.space.databases[0].get(b"k")
        assert value is not None and not isinstance(value, bytes | bytearray)
        again = decode_value(encode_value(value))
        assert again.encoding(client.space.config) == loaded, key  # type: ignore[union-attr]
        assert decode_value(encode_moved(again)) is not None
        client("DEL", "k")


def test_a_list_of_one_large_element_is_a_quicklist(client: Client) -> None:
    client("RPUSH", "k", b"x" * 9000)
    assert client.encoding() == b"quicklist"


def test_the_tracked_size_of_a_list_is_that_of_its_elements(client: Client) -> None:
    client("RPUSH", "k", 1, 300, -5000, "word", "x" * 100)
    client("LPUSH", "k", "", 2**40)
    client("LSET", "k", 1, "other")
    client("LINSERT", "k", "BEFORE", "word", -1)
    client("LREM", "k", 0, 1)
    client("RPOP", "k")
    client("LPOP", "k")
    value = client.space.databases[0].get(b"k")
    assert isinstance(value, List)
    assert value.packed_bytes == 7 + sum(map(entry_bytes, value))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        *((raw, True) for raw in (b"0", b"7", b"-1", b"%d" % (2**63 - 1), b"%d" % -(2**63))),
        *((raw, False) for raw in (b"%d" % 2**63, b"%d" % -(2**63 + 1), b"-0", b"00", b"", b"-", b"+1", b" 1", b"-x")),
        ("٣".encode(), False),
    ],
)
def test_integers(raw: bytes, expected: bool) -> None:
    assert is_int64(raw) is expected


@pytest.mark.parametrize(
    ("element", "size"),
    [
        *((b"127", 2), (b"128", 3), (b"-4096", 3), (b"4096", 4), (b"32768", 5), (b"8388608", 6), (b"2147483648", 10)),
        *((b"", 2), (b"x" * 63, 65), (b"x" * 64, 67), (b"x" * 125, 128), (b"x" * 126, 130), (b"x" * 4096, 4103)),
    ],
)
def test_sizes_in_a_listpack(element: bytes, size: int) -> None:
    assert entry_bytes(element) == size
