"""Attempts to get out of the sandbox, or to leave something behind for the next script."""

import struct
from collections.abc import Sequence

import pytest
from lupa import lua51

from makoredis.commands.lua import interpreter as module
from makoredis.commands.lua.interpreter import Interpreter
from makoredis.commands.lua.tailcalls import _read_prototype
from resp.replies import Error, Reply


class QuietHost:
    def call(self, argv: Sequence[bytes], protocol: int) -> Reply:
        return list(argv)

    def may_run(self, argv: Sequence[bytes]) -> bool | None:
        return True

    def log(self, level: int, message: bytes) -> None:
        return None

    def interrupt(self) -> None:
        return None


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    return Interpreter()


def run(interpreter: Interpreter, source: str) -> Reply:
    return interpreter.run_script(interpreter.compile_script(source.encode()), b"sha", (), 0, QuietHost())


WALK = """
local seen, found = {}, {}
local function walk(value, path)
  local kind = type(value)
  if kind == 'userdata' and value ~= cjson.null or kind == 'thread' then found[#found + 1] = path .. ' ' .. kind end
  if kind ~= 'table' and kind ~= 'function' or seen[value] then return end
  seen[value] = true
  local meta = getmetatable(value)
  if meta then walk(meta, path .. '<meta>') end
  if kind == 'table' then
    for k, v in pairs(value) do walk(k, path .. '<key>') walk(v, path .. '.' .. tostring(k)) end
    for k, v in next, value do walk(v, path .. '.' .. tostring(k)) end
    local inner = rawget(value, '__index')
    if inner then walk(inner, path .. '.__index') end
  end
end
walk(_G, '_G')
walk(getmetatable(''), 'string')
walk(getmetatable(_G), '_G meta')
walk(redis.call('x'), 'reply')
walk(redis.pcall(), 'error')
walk(select(2, pcall(redis.call)), 'caught')
walk(select(2, pcall(string.rep)), 'caught')
return found
"""


def test_no_object_of_python_is_in_reach(interpreter: Interpreter) -> None:
    """Whatever can be reached from the globals is a plain Lua value."""
    assert run(interpreter, WALK) == []


@pytest.mark.parametrize(
    "name",
    ["python", "os", "io", "debug", "package", "require", "dofile", "loadfile", "print", "getfenv", "newproxy", "lupa"],
)
def test_absent_globals(interpreter: Interpreter, name: str) -> None:
    reply = run(interpreter, f"return {name}")
    assert isinstance(reply, Error) and f"nonexistent global variable '{name}'".encode() in reply.text
    assert run(interpreter, f"return rawget(_G, '{name}')") is None
    reply = run(interpreter, f"return loadstring('return {name}')()")
    assert isinstance(reply, Error) and b"nonexistent" in reply.text
    reply = run(interpreter, f"return coroutine.wrap(function() return {name} end)()")
    assert isinstance(reply, Error) and b"nonexistent" in reply.text


@pytest.mark.parametrize(
    "attack, probe",
    [
        ("x = 1", "rawget(_G, 'x')"),
        ("rawset(_G, 'x', 1)", "rawget(_G, 'x')"),
        ("_G.redis = 1", "type(redis) ~= 'table' or nil"),
        ("table.insert(redis, 1)", "redis[1]"),
        ("table.insert(_G, 1)", "rawget(_G, 1)"),
        ("table.insert(_G, 1, 5)", "rawget(_G, 1)"),
        ("table.setn(redis, 1)", "redis[1]"),
        ("getmetatable('').__index = nil", "type(('').rep) ~= 'function' or nil"),
        ("getmetatable('').__index.evil = 1", "('').evil"),
        ("string.evil = 1", "string.evil"),
        ("setmetatable(string, {__index = {evil = 1}})", "string.evil"),
        ("setmetatable(_G, {__index = {evil = 1}})", "rawget(_G, 'evil')"),
        ("getmetatable(_G).__index = function() return 1 end", "rawget(_G, 'evil')"),
        ("cjson.decode = nil", "type(cjson.decode) ~= 'function' or nil"),
        ("cjson.encode_max_depth(1) cjson.encode_number_precision(2)", "cjson.encode({{0.123}}) ~= '[[0.123]]' or nil"),
        ("cjson.encode_sparse_array(true)", "pcall(cjson.encode, {[1000] = 1}) or nil"),
        ("redis.setresp(3)", "redis.call('x').map"),
        ("KEYS.evil = 1", "KEYS.evil"),
        ("collectgarbage('stop')", "nil"),
        ("table.foreach(_G, function() _G.evil = 1 end)", "rawget(_G, 'evil')"),
        ("table.sort(_G)", "rawget(_G, 1)"),
        ("table.remove(redis)", "type(redis.call) ~= 'function' or nil"),
        ("rawset(getmetatable(''), '__index', 1)", "type(('').rep) ~= 'function' or nil"),
        ("for k in pairs(redis) do redis[k] = nil end", "type(redis.call) ~= 'function' or nil"),
    ],
)
def test_nothing_stays_behind(interpreter: Interpreter, attack: str, probe: str) -> None:
    """After the attack, in the same script or the next, everything is as before."""
    run(interpreter, attack)
    run(interpreter, f"pcall(function() {attack} end)")
    assert run(interpreter, f"return {probe}") is None


def test_compiled_code_is_refused(interpreter: Interpreter) -> None:
    source = """
    local code = string.dump(function() return 1 end)
    local rest = code
    local function read() local piece = rest rest = nil return piece end
    return {loadstring(code) == nil, load(read) == nil}
    """
    assert run(interpreter, source) == [1, 1]
    dumped = lua51.LuaRuntime(encoding=None).eval(b"string.dump(function() end)")
    with pytest.raises(module.CompileError):
        interpreter.compile_script(dumped)


def test_cached_scripts_do_not_remember(interpreter: Interpreter) -> None:
    script = interpreter.compile_script(b"local t = {} t.n = (t.n or 0) + 1 return t.n")
    assert [interpreter.run_script(script, b"", (), 0, QuietHost()) for _ in range(3)] == [1, 1, 1]


def test_library_code_uses_no_globals() -> None:
    """The Lua parts look up every builtin while they are loaded: later there are no globals to find it in."""
    runtime = lua51.LuaRuntime(encoding=None)
    dump, load = runtime.eval(b"string.dump"), runtime.eval(b"loadstring")
    get_global, set_global = 5, 7
    for name in module.LIBRARY_CHUNKS:
        root, _ = _read_prototype(dump(load(module.library_source(name))), 12, None)
        pending = list(root.children)
        for prototype in pending:
            pending += prototype.children
            for instruction in prototype.code:
                if instruction & 63 in (get_global, set_global):
                    constant = prototype.constants[instruction >> 14]
                    raise AssertionError(f"{name}.lua uses the global {constant!r} in a function")


def test_own_frames_are_invisible(interpreter: Interpreter) -> None:
    """Errors name the user's code, wherever in the library they arise."""
    sources = [
        "string.gsub('x', 'x', function() return cjson.decode('{') end)",
        "local t = setmetatable({}, {__index = function() return redis.call() end}) return t.x",
        "pcall(nil) return cmsgpack.unpack('\\193')",
        "return struct.pack('i', struct.unpack('i', 'x'))",
        "table.sort({2, 1, 3}, function() redis.call('x', {}) end)",
        "return coroutine.wrap(function() coroutine.create(1) end)()",
        "return load(function() return {} end)",
    ]
    for source in sources:
        reply = run(interpreter, source)
        assert not isinstance(reply, Error) or (b"makoredis" not in reply.text and b"@user_script:1" in reply.text)


def test_header_of_compiled_code() -> None:
    """The layout that `tailcalls` reads is the one of this Lua."""
    dumped = lua51.LuaRuntime(encoding=None).eval(b"string.dump(function() end)")
    assert dumped[:12] == b"\x1bLua" + struct.pack("8B", 0x51, 0, 1, 4, 8, 4, 8, 0)
