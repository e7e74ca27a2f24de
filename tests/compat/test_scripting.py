"""EVAL and SCRIPT against a real redis-server.

`tests/data/scripts.lua.txt` holds the scripts: the sandbox, conversions, errors with their places, and the libraries.
One of the real server's answers is left out: `error({})` ends its process.
"""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compat.harness import Differential

SCRIPTS = (Path(__file__).parent.parent / "data" / "scripts.lua.txt").read_text().split("\n%%\n")[1:]


@pytest.mark.parametrize("first", range(0, len(SCRIPTS), 40))
def test_scripts(differential: Differential, first: int) -> None:
    """The replies, byte for byte, in both protocols."""
    scripts = SCRIPTS[first : first + 40]
    differential.check([["EVAL", script.strip("\n"), 2, "k1", "k2", "a1"] for script in scripts])


@pytest.mark.parametrize(
    "body",
    [
        "return redis.call(unpack(ARGV))",
        "redis.setresp(3) return redis.call(unpack(ARGV))",
        "redis.setresp(3) return cjson.encode(redis.call(unpack(ARGV)))",
    ],
)
def test_positions_in_scripts(differential: Differential, body: str) -> None:
    """Their doubles have more digits than others."""
    asked = ["GEOPOS g a none b", "GEOSEARCH g FROMMEMBER a BYRADIUS 300 km ASC WITHCOORD WITHDIST", "GEODIST g a b"]
    add = ["GEOADD", "g", "13.361389", "38.115556", "a", "15.087269", "37.502669", "b"]
    differential.check([add, *(["EVAL", body, 0, *each.split()] for each in asked)])


SET = "return redis.call('set', KEYS[1], ARGV[1])"
GET = "return redis.call('get', KEYS[1])"


def sha(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()


def test_commands(differential: Differential) -> None:
    """The arguments of EVAL and EVALSHA, and the script cache."""
    differential.check(
        [
            "SCRIPT FLUSH",
            ["EVALSHA", sha(SET), 1, "k", "v"],
            ["EVALSHA", "abc", 0],
            ["EVALSHA", "abc", "x"],
            ["EVALSHA", sha(SET), "x"],
            ["SCRIPT", "LOAD", SET],
            ["SCRIPT", "EXISTS", sha(SET), sha(GET), sha(SET).upper(), "x"],
            ["EVALSHA", sha(SET), 1, "k", "v"],
            ["EVALSHA", sha(SET).upper(), 1, "k", "w"],
            ["EVALSHA", sha(SET), "x"],
            ["EVALSHA", sha(SET), 2, "a"],
            ["EVALSHA", sha(SET), -1, "a"],
            ["EVALSHA", sha(SET), "99999999999999999999", "a"],
            ["EVAL", GET, 1, "k"],
            ["EVAL", GET, "1 ", "k"],
            ["EVAL_RO", GET, 1, "k"],
            ["EVAL_RO", SET, 1, "k", "v"],
            ["EVALSHA_RO", sha(GET), 1, "k"],
            ["EVALSHA_RO", sha(SET), 1, "k", "v"],
            ["EVAL_RO", "#!lua\nreturn 1", 0],
            ["EVAL_RO", "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])", 1, "k"],
            ["EVAL", "return {KEYS, ARGV}", 0],
            ["EVAL", "return {KEYS, ARGV}", 3, "a", "b", "c"],
            ["EVAL", "return {KEYS, ARGV}", 1, "a", "b", "c"],
            ["EVAL", "return {KEYS, ARGV}", 0, "a", "b", "c"],
            ["EVAL", "return {KEYS, ARGV}", 2, "a", "b", "c", b"\x00\xff", ""],
            ["SCRIPT", "LOAD", "syntax error"],
            ["SCRIPT", "LOAD", "#!lua flags=x\nreturn 1"],
            "SCRIPT FLUSH foo",
            "SCRIPT FLUSH sync async",
            "SCRIPT FLUSH sync",
            ["SCRIPT", "EXISTS", sha(SET)],
            "SCRIPT FLUSH ASYNC",
            "SCRIPT HELP",
            "EVAL",
            ["EVAL", "return 1"],
        ]
    )


def test_effects_of_a_script(differential: Differential) -> None:
    """A failing script keeps what it did until then; the selected database is its own."""
    differential.check(
        [
            ["EVAL", "redis.call('set', 'a', 1) redis.call('rpush', 'l', 1, 2) error('stop')", 0],
            "GET a",
            "LRANGE l 0 -1",
            ["EVAL", "redis.call('select', 3) redis.call('set', 'b', 1) return redis.call('get', 'a')", 0],
            "GET b",
            "SELECT 3",
            "GET b",
            ["EVAL", "redis.pcall('lpush', 'b', 1) return redis.call('incr', 'b')", 0],
            ["EVAL", "return redis.call('select', 99)", 0],
        ]
    )


def test_many_values(differential: Differential) -> None:
    """More values than Lua's stack holds, in every direction."""
    many = [f"v{number}" for number in range(9000)]
    differential.check(
        [
            ["EVAL", "return #KEYS .. ' ' .. #ARGV .. KEYS[5000] .. ARGV[4000]", 5000, *many],
            ["EVAL", "for i = 1, #ARGV do redis.call('rpush', 'l', ARGV[i]) end", 0, *many],
            ["EVAL", "local l = redis.call('lrange', 'l', 0, -1) return {#l, l[1], l[9000]}", 0],
            ["EVAL", "return redis.call('lrange', 'l', 0, -1)", 0],
            ["EVAL", "return {redis.call('lrange', 'l', 0, 4500), {redis.call('lrange', 'l', 0, 4500)}}", 0],
        ]
    )


few = settings(max_examples=12)
"""Each example is a batch: what costs is the empty keyspace that it starts from."""

lua_numbers = st.one_of(
    st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.integers(-300, 300)
)
texts = st.text(st.characters(max_codepoint=255), max_size=12)
keys = st.one_of(texts, st.integers(-3, 12))


def literal(value: object) -> bytes:
    """A value as Lua source text."""
    if isinstance(value, str):
        return b'"' + b"".join(b"\\%03d" % byte for byte in value.encode("latin-1")) + b'"'
    if isinstance(value, list):
        return b"{" + b",".join(map(literal, value)) + b"}"
    if isinstance(value, dict):
        return b"{" + b",".join(b"[%b]=%b" % (literal(key), literal(item)) for key, item in value.items()) + b"}"
    return {True: b"true", False: b"false"}[value] if isinstance(value, bool) else repr(value).encode()


lua_values = st.recursive(
    st.one_of(st.booleans(), lua_numbers, texts),
    lambda children: st.one_of(st.lists(children, max_size=5), st.dictionaries(keys, children, max_size=1)),
    max_leaves=12,
)


@few
@given(values=st.lists(lua_values, min_size=5, max_size=10))
def test_values_encoded(differential: Differential, values: list[object]) -> None:
    """Random values as replies, JSON and MessagePack, and back. Objects have one field: their order is Lua's."""
    requests = []
    for source in map(literal, values):
        requests += [
            ["EVAL", b"return " + source, 0],
            ["EVAL", b"return cjson.encode(" + source + b")", 0],
            ["EVAL", b"return cmsgpack.pack(" + source + b")", 0],
            ["EVAL", b"return cjson.encode(cmsgpack.unpack(cmsgpack.pack(" + source + b")))", 0],
            ["EVAL", b"return cmsgpack.pack(cjson.decode(cjson.encode(" + source + b")))", 0],
        ]
    differential.check(requests, protocols=(2,))


json_like = st.text(st.sampled_from('{}[],:"\\ \n019.-+eEinfatrulsx/\t'), max_size=16)


@few
@given(texts=st.lists(st.one_of(json_like, texts), min_size=10, max_size=20))
def test_json_decoded(differential: Differential, texts: list[str]) -> None:
    """Texts that are mostly not JSON: the same values, or the same complaints at the same places."""
    script = "local ok, v = pcall(cjson.decode, ARGV[1]) return {tostring(ok), ok and cmsgpack.pack(v) or v}"
    differential.check([["EVAL", script, 0, text.encode("latin-1")] for text in texts], protocols=(2,))


@few
@given(inputs=st.lists(st.binary(max_size=16), min_size=10, max_size=20))
def test_message_pack_decoded(differential: Differential, inputs: list[bytes]) -> None:
    """Bytes that are mostly not MessagePack."""
    script = "return {pcall(function() return cjson.encode({cmsgpack.unpack(ARGV[1])}) end)}"
    differential.check([["EVAL", script, 0, data] for data in inputs], protocols=(2,))


struct_formats = st.text(st.sampled_from("bBhHlLTiIxfds c<>!148 "), max_size=8)


structures = st.tuples(
    struct_formats,
    st.lists(st.one_of(lua_numbers, st.integers(-(2**62), 2**62)), max_size=4),
    st.binary(max_size=40),
)


@few
@given(cases=st.lists(structures, min_size=5, max_size=10))
def test_structures(differential: Differential, cases: list[tuple[str, list[float], bytes]]) -> None:
    """Random formats."""
    unpacking = (
        b"local t = {pcall(struct.unpack, ARGV[1], ARGV[2])} for i = 1, #t do t[i] = tostring(t[i]) end return t"
    )
    requests: list[list[Any]] = []
    for format, numbers, data in cases:
        arguments = b",".join(literal(number) for number in numbers) or b"0"
        requests += [
            ["EVAL", b"return {pcall(struct.pack, ARGV[1], %b)}" % arguments, 0, format],
            ["EVAL", unpacking, 0, format, data],
            ["EVAL", "return {pcall(struct.size, ARGV[1])}", 0, format],
        ]
    differential.check(requests, protocols=(2,))


operations = st.tuples(
    st.sampled_from([b"band", b"bor", b"bxor", b"bnot", b"tobit", b"lshift", b"rshift", b"arshift", b"rol", b"ror"]),
    st.lists(st.one_of(st.integers(-(2**54), 2**54), st.floats(-1e6, 1e6)), min_size=1, max_size=3),
)


@few
@given(cases=st.lists(operations, min_size=5, max_size=20))
def test_bits(differential: Differential, cases: list[tuple[bytes, list[float]]]) -> None:
    """Random operands of the bit library."""
    calls = [b"bit.%b, %b" % (name, b",".join(literal(number) for number in numbers)) for name, numbers in cases]
    differential.check([["EVAL", b"return {pcall(%b)}" % call, 0] for call in calls], protocols=(2,))
