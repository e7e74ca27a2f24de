"""FUNCTION and FCALL against a real redis-server."""

import pytest

from tests.compat.harness import Differential, unchecked

LIBRARY = b"""#!lua name=mylib
local calls = 0
local function echo(keys, args) calls = calls + 1 return {keys[1], args[1], #keys, #args, calls} end
redis.register_function('echo', echo)
redis.register_function{function_name='Get', callback=function(keys) return redis.call('get', keys[1]) end,
  flags={'no-writes'}, description='reads a key'}
redis.register_function('put', function(keys, args) return redis.call('set', keys[1], args[1]) end)
redis.register_function('fails', function() return redis.call('nosuch') end)
redis.register_function('throws', function()
  error('boom')
end)
"""

SOURCES = [
    b"return 1",
    b"#!lua name=x",
    b"#!lua name=x\n",
    b"#!lua name=x\nreturn 1",
    b"#!lua\nreturn 1",
    b"#!js name=x\nreturn 1",
    b"#!lua name=\nreturn 1",
    b"#!lua name=a-b\nreturn 1",
    b"#!lua name=x name=y\nreturn 1",
    b"#!lua name=x foo=bar\nreturn 1",
    b"#!lua name='x\nreturn 1",
    b"#!LUA NAME=x\nredis.register_function('f', function() end)",
    b"#!lua name=x\nreturn syntax error",
    b"#!lua name=x\nerror('boom')",
    b"#!lua name=x\nerror({err='CODE boom'})",
    b"#!lua name=x\nfoo = 1",
    b"#!lua name=x\nreturn foo",
    b"#!lua name=x\nredis.call('ping')",
    b"#!lua name=x\nredis.foo()",
    b"#!lua name=x\nredis.foo = 1",
    b"#!lua name=x\nreturn string.rep('x', 3)",
    b"#!lua name=x\nreturn math.random()",
    b"#!lua name=x\nreturn cjson.encode({})",
    b"#!lua name=x\nlocal ok = pcall(error)",
    b"#!lua name=x\nredis.log(redis.LOG_DEBUG, 'x')",
    b"#!lua name=x\nredis.register_function()",
    b"#!lua name=x\nredis.register_function(1, 2, 3)",
    b"#!lua name=x\nredis.register_function('f')",
    b"#!lua name=x\nredis.register_function({})",
    b"#!lua name=x\nredis.register_function('f', 5)",
    b"#!lua name=x\nredis.register_function({}, function() end)",
    b"#!lua name=x\nredis.register_function('a b', function() end)",
    b"#!lua name=x\nredis.register_function('', function() end)",
    b"#!lua name=x\nredis.register_function('f', function() end) redis.register_function('f', function() end)",
    b"#!lua name=x\nredis.register_function('f', function() end) redis.register_function('F', function() end)",
    b"#!lua name=x\nredis.register_function{callback=function() end}",
    b"#!lua name=x\nredis.register_function{function_name='f'}",
    b"#!lua name=x\nredis.register_function{function_name={}, callback=function() end}",
    b"#!lua name=x\nredis.register_function{function_name='f', callback=1}",
    b"#!lua name=x\nredis.register_function{function_name='f', callback=function() end, flags=1}",
    b"#!lua name=x\nredis.register_function{function_name='f', callback=function() end, flags={'x'}}",
    b"#!lua name=x\nredis.register_function{function_name='f', callback=function() end, flags={{}}}",
    b"#!lua name=x\nredis.register_function{function_name='f', callback=function() end, description={}}",
    b"#!lua name=x\nredis.register_function{function_name='f', callback=function() end, foo=1}",
    b"#!lua name=x\nredis.register_function{[{}]='f'}",
    b"#!lua name=x\nredis.register_function('echo', function() end)",
    b"#!lua name=x\nredis.register_function('ECHO', function() end)",
    b"#!lua name=mylib\nredis.register_function('other', function() end)",
]


@pytest.mark.parametrize("source", SOURCES)
def test_load(differential: Differential, source: bytes) -> None:
    """What can be loaded beside another library, what not, and with which error."""
    differential.check([["FUNCTION", "LOAD", LIBRARY], ["FUNCTION", "LOAD", source], "FCALL echo 1 k a", "FCALL f 0"])


def test_calls(differential: Differential) -> None:
    """Arguments, errors with their places, permissions."""
    differential.check(
        [
            "FCALL echo 0",
            ["FUNCTION", "LOAD", LIBRARY],
            "FCALL echo 1 k a b",
            "FCALL ECHO 0",
            "FCALL echo x",
            "FCALL echo 5 a",
            "FCALL echo -1",
            "FCALL put 1 k v",
            "FCALL get 1 k",
            "FCALL_RO get 1 k",
            "FCALL_RO put 1 k v",
            "FCALL_RO echo 0",
            "FCALL fails 0",
            "FCALL throws 0",
            "FCALL echo",
        ]
    )


def test_functions_whose_names_differ_in_case_only(differential: Differential) -> None:
    """Both are listed, and they go with their library (where Redis would stop at DELETE).

    Here the first is called; which one Redis calls depends on the chance in its hash table, at each start.
    """
    source = (
        b"#!lua name=twice\nredis.register_function('f', function() return 1 end)"
        b" redis.register_function('F', function() return 2 end)"
    )
    differential.check(
        [
            ["FUNCTION", "LOAD", source],
            unchecked("FCALL f 0"),
            unchecked("FCALL F 0"),
            "FUNCTION FLUSH",
            "FCALL f 0",
            ["FUNCTION", "LOAD", LIBRARY],
            "FCALL echo 0",
        ]
    )


def test_replacing_and_deleting(differential: Differential) -> None:
    """A library's functions come and go with it."""
    replacement = b"#!lua name=mylib\nredis.register_function('other', function() return 'new' end)"
    differential.check(
        [
            ["FUNCTION", "LOAD", LIBRARY],
            ["FUNCTION", "LOAD", replacement],
            ["FUNCTION", "LOAD", "REPLACE", replacement],
            "FCALL other 0",
            "FCALL echo 0",
            ["FUNCTION", "LOAD", "REPLACE", "REPLACE", LIBRARY],
            ["FUNCTION", "LOAD", "FOO", LIBRARY],
            ["FUNCTION", "LOAD", "REPLACE", b"#!lua name=mylib\nerror('x')"],
            "FCALL echo 0",
            "FUNCTION DELETE nosuch",
            "FUNCTION DELETE mylib",
            "FCALL echo 0",
            ["FUNCTION", "LOAD", LIBRARY],
            "FUNCTION FLUSH foo",
            "FUNCTION FLUSH foo bar",
            "FUNCTION FLUSH SYNC",
            "FUNCTION LIST",
            ["FUNCTION", "LOAD", LIBRARY],
            "FUNCTION FLUSH ASYNC",
            "FUNCTION LIST",
            "FUNCTION FLUSH",
            "FUNCTION HELP",
        ]
    )


def test_list(differential: Differential) -> None:
    """One function per library: the order of several is Redis's hash order."""
    first = b"#!lua name=Lib1\nredis.register_function{function_name='f', callback=function() end, description='d'}"
    second = (
        b"#!lua name=other\nredis.register_function{function_name='g', callback=function() end,"
        b" flags={'allow-oom', 'no-writes', 'allow-stale'}}"
    )
    differential.check(
        [
            ["FUNCTION", "LOAD", first],
            "FUNCTION LIST",
            ["FUNCTION", "LOAD", second],
            "FUNCTION LIST LIBRARYNAME lib*",
            "FUNCTION LIST WITHCODE LIBRARYNAME OTHER",
            "FUNCTION LIST LIBRARYNAME",
            "FUNCTION LIST WITHCODE WITHCODE",
            "FUNCTION LIST foo",
            "FUNCTION LIST LIBRARYNAME nosuch",
        ]
    )


GLOBALS = [
    "return redis.call('ping')",
    "x = 1",
    "return x",
    "return _G.x",
    "_G.x = 1",
    "rawset(_G, 'x', 1)",
    "redis.x = 1",
    "return KEYS",
    "return redis.breakpoint",
    "return redis.register_function",
    "return type(getmetatable(_G))",
    "getmetatable(_G).__index = 1",
    "setmetatable(_G, {})",
    "return type(__redis__err__handler)",
    "return math.random() < 1",
    "return redis.setresp(3)",
    "return {redis.REDIS_VERSION, type(cjson.encode), type(os), type(string.rep)}",
    "return loadstring('return redis.call(\"ping\")')()",
    "return redis.sha1hex('x')",
]


@pytest.mark.parametrize("body", GLOBALS)
def test_globals_of_functions(differential: Differential, body: str) -> None:
    """Functions have their own globals."""
    source = f"#!lua name=x\nredis.register_function('f', function(keys, args) {body} end)".encode()
    differential.check([["FUNCTION", "LOAD", source], "FCALL f 0"])


def test_captured_load_api(differential: Differential) -> None:
    """What a library keeps of its load time cannot be used later."""
    source = (
        b"#!lua name=x\nlocal register = redis.register_function\n"
        b"register('f', function() register('g', function() end) end)\n"
        b"local r = redis\n"
        b"register('h', function() return r.call('ping') end)"
    )
    differential.check([["FUNCTION", "LOAD", source], "FCALL f 0", "FCALL h 0"])


def test_dump_and_restore(differential: Differential) -> None:
    """The policies of FUNCTION RESTORE; a dump of the one server is taken by the other."""
    other = b"#!lua name=second\nredis.register_function('g', function() return 2 end)"
    clash = b"#!lua name=third\nredis.register_function('ECHO', function() return 3 end)"
    theirs = differential.theirs
    theirs.reset(2)
    dumps = []
    for library in (LIBRARY, other, clash):
        theirs.execute([b"FUNCTION", b"FLUSH"])
        theirs.execute([b"FUNCTION", b"LOAD", library])
        reply = theirs.execute([b"FUNCTION", b"DUMP"])
        dumps.append(reply[reply.index(b"\n") + 1 : -2])
    mine, second, third = dumps
    differential.check(
        [
            "FUNCTION DUMP",
            ["FUNCTION", "RESTORE", mine],
            "FCALL echo 0",
            ["FUNCTION", "RESTORE", mine],
            ["FUNCTION", "RESTORE", mine, "append"],
            ["FUNCTION", "RESTORE", mine, "REPLACE"],
            ["FUNCTION", "RESTORE", third],
            ["FUNCTION", "RESTORE", third, "REPLACE"],
            ["FUNCTION", "RESTORE", second],
            "FCALL g 0",
            "FCALL echo 0",
            ["FUNCTION", "RESTORE", third, "FLUSH"],
            "FCALL g 0",
            "FCALL echo 0",
            ["FUNCTION", "RESTORE", mine, "foo"],
            ["FUNCTION", "RESTORE", mine, "FLUSH", "foo"],
            ["FUNCTION", "RESTORE", "foo"],
            ["FUNCTION", "RESTORE", mine[:-1] + b"x"],
            "FCALL echo 0",
        ]
    )
    ours = differential.ours
    ours.reset(2)
    ours.execute([b"FUNCTION", b"LOAD", LIBRARY])
    ours.execute([b"FUNCTION", b"LOAD", other])
    reply = ours.execute([b"FUNCTION", b"DUMP"])
    theirs.reset(2)
    assert theirs.execute([b"FUNCTION", b"RESTORE", reply[reply.index(b"\n") + 1 : -2]]) == b"+OK\r\n"
    assert theirs.execute([b"FCALL", b"g", b"0"]) == b":2\r\n"
