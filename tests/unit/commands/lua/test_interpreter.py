"""The interpreter: what crosses its border, how runs end, and what does not stay behind."""

from collections.abc import Sequence
from itertools import count

import pytest

from makoredis.commands.lua.interpreter import CompileError, FunctionDeclaration, Interpreter, LibraryError
from resp.replies import Boolean, Double, Error, Map, Reply, SetReply, Simple, Verbatim


class RecordingHost:
    """Answers every command with what the test prepared."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.calls: list[tuple[Sequence[bytes], int]] = []
        self.logged: list[tuple[int, bytes]] = []
        self.ticks = 0
        self.ticks_max = 0
        """Ends the run at this tick; 0 = never."""

    def call(self, argv: Sequence[bytes], protocol: int) -> Reply:
        self.calls.append((argv, protocol))
        return self.replies.pop(0)

    def may_run(self, argv: Sequence[bytes]) -> bool | None:
        return {b"get": True, b"set": False}.get(argv[0])

    def log(self, level: int, message: bytes) -> None:
        self.logged.append((level, message))

    def interrupt(self) -> None:
        self.ticks += 1
        if self.ticks == self.ticks_max:
            raise TimeoutError("too slow")


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    return Interpreter(memory_bytes_max=8 << 20, reserve_bytes=64 << 20)


def run(interpreter: Interpreter, source: str, host: RecordingHost | None = None, *arguments: bytes) -> Reply:
    script = interpreter.compile_script(source.encode())
    return interpreter.run_script(script, b"sha", arguments, 0, host or RecordingHost())


def test_keys_and_arguments_are_those_of_the_run(interpreter: Interpreter) -> None:
    script = interpreter.compile_script(b"return {KEYS, ARGV}")
    assert interpreter.run_script(script, b"", (b"a", b"b", b"c"), 2, RecordingHost()) == [[b"a", b"b"], [b"c"]]
    assert interpreter.run_script(script, b"", (), 0, RecordingHost()) == [[], []]
    many = tuple(b"%d" % number for number in range(20_000))
    assert interpreter.run_script(script, b"", many * 2, len(many), RecordingHost()) == [list(many), list(many)]


@pytest.mark.parametrize(
    "reply, protocol, seen",
    [
        (b"x", 2, b"string x"),
        (bytearray(b"x"), 2, b"string x"),
        (7, 2, b"number 7"),
        (None, 2, b"boolean false"),
        (None, 3, b"nil nil"),
        (Double(1.5), 2, b"string 1.5"),
        (Boolean(True), 2, b"number 1"),
        (Boolean(True), 3, b"boolean true"),
        (Boolean(False), 3, b"boolean false"),
        (Verbatim(b"txt", b"hi"), 2, b"string hi"),
    ],
)
def test_plain_replies(interpreter: Interpreter, reply: Reply, protocol: int, seen: bytes) -> None:
    source = f"redis.setresp({protocol}) local v = redis.call('x') return type(v) .. ' ' .. tostring(v)"
    assert run(interpreter, source, RecordingHost(reply)) == seen


@pytest.mark.parametrize(
    "reply",
    [
        Simple(b"OK"),
        [1, b"a", None, [Simple(b"QUEUED"), [], Error(b"ERR x")]],
        Map([(b"a", 1), (b"b", [b"c"])]),
        SetReply([b"m"]),
        Double(2.5),
        Verbatim(b"mkd", b"text"),
        [Map([(b"k", SetReply([1]))]), Boolean(True)],
        [b"%d" % number for number in range(9000)],
        [[b"%d" % number for number in range(9000)], 5],
    ],
)
def test_replies_come_back_as_they_were(interpreter: Interpreter, reply: Reply) -> None:
    protocol = 2 if isinstance(reply, list) and None in reply else 3
    assert run(interpreter, f"redis.setresp({protocol}) return redis.call('x')", RecordingHost(reply)) == reply


def test_protocol_starts_anew(interpreter: Interpreter) -> None:
    host = RecordingHost(1, 1)
    run(interpreter, "redis.setresp(3) redis.call('a')", host)
    run(interpreter, "redis.call('a')", host)
    assert [protocol for _, protocol in host.calls] == [3, 2]


def test_numbers_as_arguments(interpreter: Interpreter) -> None:
    host = RecordingHost(1)
    run(interpreter, "redis.call('x', 1, 1.5, -0.1, 2^53, 1e17, 1/0, 0/0, -0)", host)
    assert host.calls[0][0] == (
        b"x", b"1", b"1.5", b"-0.10000000000000001", b"9007199254740992", b"1e+17", b"inf", b"-nan", b"0",
    )  # fmt: skip


def test_errors_of_commands(interpreter: Interpreter) -> None:
    host = RecordingHost(Error(b"WRONGTYPE no"), Error(b"WRONGTYPE no"), Error(b"WRONGTYPE no"))
    assert run(interpreter, "\nredis.call('x')", host) == Error(b"WRONGTYPE no script: sha, on @user_script:2.")
    assert run(interpreter, "return redis.pcall('x')", host) == Error(b"WRONGTYPE no")
    assert run(interpreter, "return {pcall(redis.call, 'x')}", host) == [None, b"WRONGTYPE no"]


@pytest.mark.parametrize(
    "body",
    [
        "redis.call('x')",
        "pcall(redis.call, 'x') return 1",
        "while true do pcall(function() redis.call('x') end) end",
        "xpcall(function() redis.call('x') end, function() return redis.call('x') end) return 1",
        "local c = coroutine.wrap(function() redis.call('x') end) pcall(c) return 1",
        "local c = coroutine.create(function() redis.call('x') end) while true do coroutine.resume(c) end",
        "redis.pcall('x') return 1",
    ],
)
def test_what_the_host_raises_ends_the_run(interpreter: Interpreter, body: str) -> None:
    """No pcall of the script catches it, and the next run is not affected."""

    class Refusing(RecordingHost):
        def call(self, argv: Sequence[bytes], protocol: int) -> Reply:
            super().call(argv, protocol)
            raise LookupError("another shard")

    host = Refusing(*[1] * 10)
    with pytest.raises(LookupError, match="another shard"):
        run(interpreter, body, host)
    assert len(host.calls) == 1
    assert run(interpreter, "return redis.call('x')", RecordingHost(5)) == 5


@pytest.mark.parametrize(
    "body",
    [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() return f() end f()",
        "coroutine.wrap(function() while true do end end)()",
        "while true do local c = coroutine.create(function() while true do end end) coroutine.resume(c) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "repeat until pcall(error) and false",
        "for i = 1, 1e12 do cjson.encode({}) end",
    ],
)
def test_endless_scripts_can_be_ended(interpreter: Interpreter, body: str) -> None:
    host = RecordingHost()
    host.ticks_max = 3
    with pytest.raises(TimeoutError):
        run(interpreter, "local x = 1\n" + body, host)
    assert interpreter.interrupted_at is not None
    assert run(interpreter, "return 1") == 1


def test_deep_recursion_is_an_error(interpreter: Interpreter) -> None:
    reply = run(interpreter, "local function f() return 1 + f() end f()")
    assert isinstance(reply, Error) and b"stack overflow" in reply.text
    assert run(interpreter, "local function f(n) if n == 0 then return 7 end return f(n - 1) end return f(1e6)") == 7


@pytest.mark.parametrize(
    "body",
    [
        "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end",
        "local s = 'x' while true do s = s .. s end",
        "return #string.rep('x', 1e10)",
        "local t = {} while true do t = {t, t} local u = {} for i = 1, 1000 do u[i] = {} end t[3] = u end",
        "local s = ('x'):rep(1e6) local t = {} while true do t[#t + 1] = s .. #t end",
        "local s = ('x'):rep(1e6) local t = {} while true do t[#t + 1] = redis.sha1hex(s .. #t) .. s end",
        "local t = {} while true do t[#t + 1] = redis.call('big') end",
    ],
)
def test_memory_is_bounded(interpreter: Interpreter, body: str) -> None:
    """A script that takes too much gets an error, and the memory is free again."""

    numbers = count()

    class Generous(RecordingHost):
        def call(self, argv: Sequence[bytes], protocol: int) -> Reply:
            return b"%d" % next(numbers) * 500_000

    reply = run(interpreter, body, Generous())
    assert isinstance(reply, Error) and b"not enough memory" in reply.text
    assert run(interpreter, "return 1") == 1
    assert interpreter.memory_bytes() < 4 << 20


def test_memory_error_can_be_caught(interpreter: Interpreter) -> None:
    source = "local ok, e = pcall(function() local s = 'x' while true do s = s .. s end end) return e"
    assert run(interpreter, source) == b"not enough memory"


def test_results_nested_too_deeply(interpreter: Interpreter) -> None:
    reply = run(interpreter, "local a = {} a[1] = {a} return a")
    depth = 0
    while isinstance(reply, list):
        (reply,) = reply
        depth += 1
    assert depth == 200 and reply == Error(b"ERR reached lua stack limit")


def test_log_and_permissions(interpreter: Interpreter) -> None:
    host = RecordingHost()
    assert run(interpreter, "redis.log(redis.LOG_WARNING, 'a', 1, {}, 'b')", host) is None
    assert run(interpreter, "return {redis.acl_check_cmd('get'), redis.acl_check_cmd('set')}", host) == [1, None]
    assert host.logged == [(3, b"a 1 b")]


def test_compile_errors(interpreter: Interpreter) -> None:
    with pytest.raises(CompileError) as caught:
        interpreter.compile_script(b"return return")
    assert caught.value.text == b"user_script:1: unexpected symbol near 'return'"


def test_libraries(interpreter: Interpreter) -> None:
    declared: list[FunctionDeclaration] = []

    def declare(declaration: FunctionDeclaration) -> bytes | None:
        declared.append(declaration)
        return b"Full" if len(declared) > 2 else None

    source = (
        b"redis.register_function('f', function(keys, args) return {keys, args} end)\n"
        b"redis.register_function{function_name='g', callback=function() return KEYS end, description='d',"
        b" flags={'allow-oom', 'NO-WRITES'}}"
    )
    host = RecordingHost()
    interpreter.load_library(source, declare, host)
    first, second = declared
    assert (first.name, first.description, first.flags) == (b"f", None, ())
    assert (second.name, second.description, second.flags) == (b"g", b"d", (b"no-writes", b"allow-oom"))
    assert interpreter.run_function(first.handle, b"f", (b"k", b"a"), 1, host) == [[b"k"], [b"a"]]
    failure = interpreter.run_function(second.handle, b"g", (), 0, host)
    assert isinstance(failure, Error) and b"nonexistent global variable 'KEYS' script: g, on @user_fun" in failure.text
    with pytest.raises(LibraryError, match="ERR Full"):
        interpreter.load_library(source, declare, host)


def test_endless_library_can_be_ended(interpreter: Interpreter) -> None:
    host = RecordingHost()
    host.ticks_max = 2
    with pytest.raises(TimeoutError):
        interpreter.load_library(b"while true do end", lambda declaration: None, host)
