-- The walls around user code: read-only tables, globals that cannot be changed, errors that name the user's line.
--
-- In redis-server all of this is C. Here it is Lua in chunks named "=[makoredis]"; wherever a position or a function's
-- name is reported, a run of frames from such chunks counts as one C function.
--
-- Stock Lua 5.1 has no read-only tables, so user code gets an empty proxy whose metatable reads from the real table, and
-- the few builtins that would bypass a metatable (rawset, rawget, next, pairs, table.insert) know about proxies.
-- User code has no debug, getfenv, setfenv or newproxy: it reaches neither upvalues, environments nor finalizers.

local core = ...

local error, type, rawequal, tostring, tonumber, select = error, type, rawequal, tostring, tonumber, select
local setmetatable, getmetatable, rawset, rawget, next, pairs = setmetatable, getmetatable, rawset, rawget, next, pairs
local getinfo, raw_metatable = debug.getinfo, debug.getmetatable
local TRUSTED = "=[makoredis]"

-- proxy -> the real table
local real_of = {}
-- proxy -> what getmetatable shows instead of the proxy's own metatable (nil: nothing)
local shown_metatable = {}

core.real_of = real_of

-- The level, seen from the caller of this function, of the first frame that is not ours.
local function user_level()
  local level = 2
  local info = getinfo(level, "S")
  while info and info.source == TRUSTED do
    level = level + 1
    info = getinfo(level, "S")
  end
  return level - 1
end

-- "user_script:3: " for an error raised now in a library function; empty if its caller is not Lua code.
local function position()
  local info = getinfo(user_level(), "Sl")
  if info and info.currentline > 0 then
    return info.short_src .. ":" .. info.currentline .. ": "
  end
  return ""
end

-- Raises an error as a C library does: with the position of the call to the library.
local function fail(message)
  error(position() .. message, 0)
end

local function argument_error(number, message)
  local info = getinfo(user_level() - 1, "n")
  local name = info and info.name or "?"
  if info and info.namewhat == "method" then
    number = number - 1
    if number == 0 then
      fail("calling '" .. name .. "' on bad self (" .. message .. ")")
    end
  end
  fail("bad argument #" .. number .. " to '" .. name .. "' (" .. message .. ")")
end

-- `count` is how many arguments were given: what is beyond them is "no value", not nil.
local function type_error(number, expected, value, count)
  local got = number > count and "no value" or type(value)
  argument_error(number, expected .. " expected, got " .. got)
end

core.fail, core.argument_error, core.type_error = fail, argument_error, type_error

-- An argument as a string or number in C's lenient sense; raises when it is neither.
function core.check_string(value, number, count)
  if type(value) == "string" then
    return value
  elseif type(value) == "number" then
    return tostring(value)
  end
  type_error(number, "string", value, count)
end

function core.check_number(value, number, count)
  if type(value) == "number" then
    return value
  end
  local converted = type(value) == "string" and tonumber(value)
  if not converted then
    type_error(number, "number", value, count)
  end
  return converted
end

local floor, ceil = math.floor, math.ceil

-- Truncates to a 32-bit C int, wrapping as C does.
function core.check_int(value, number, count)
  local n = core.check_number(value, number, count)
  if n ~= n or n >= 2 ^ 63 or n < -2 ^ 63 then
    return 0
  end
  n = (n < 0 and ceil(n) or floor(n)) % 4294967296
  return n >= 2147483648 and n - 4294967296 or n
end

local READ_ONLY = "Attempt to modify a readonly table"

local function refuse_write()
  fail(READ_ONLY)
end

-- A read-only view of a table.
local function protect(real, visible_metatable)
  local proxy = setmetatable({}, { __index = real, __newindex = refuse_write })
  real_of[proxy] = real
  shown_metatable[proxy] = visible_metatable
  return proxy
end

core.protect = protect

local function missing_global(_, name)
  if type(name) ~= "string" and type(name) ~= "number" then
    fail("Second argument to luaProtectedTableError must be a string or number")
  end
  fail("Script attempted to access nonexistent global variable '" .. name .. "'")
end

local missing_global_metatable = protect({ __index = missing_global })

-- A global environment: reading what is not there is an error, and so is any write.
function core.environment(globals)
  setmetatable(globals, { __index = missing_global })
  local proxy = protect(globals, missing_global_metatable)
  globals._G = proxy
  return proxy
end

-- A read-only table in which reading what is not there is an error.
function core.strict(fields)
  return protect(setmetatable(fields, { __index = missing_global }), missing_global_metatable)
end

-- An environment whose contents can be exchanged by `switch`.
function core.switchable(view)
  return protect(real_of[view], missing_global_metatable)
end

function core.switch(proxy, view)
  real_of[proxy] = real_of[view]
  raw_metatable(proxy).__index = real_of[view]
end

function core.current_view(proxy)
  return real_of[proxy]
end

-- cjson.null is a null pointer in C; here it is one opaque userdata that prints alike.
local null = newproxy(true)
getmetatable(null).__tostring = function()
  return "userdata: (nil)"
end
core.null = null

local string_metatable = protect({ __index = protect(string) })
core.string_library = string_metatable.__index

local builtins = {}
core.builtins = builtins

function builtins.getmetatable(...)
  local value = ...
  if select("#", ...) == 0 then
    argument_error(1, "value expected")
  elseif real_of[value] then
    return shown_metatable[value]
  elseif type(value) == "string" then
    return string_metatable
  elseif rawequal(value, null) then
    return nil
  end
  return (getmetatable(value))
end

function builtins.setmetatable(...)
  local target, metatable = ...
  local count = select("#", ...)
  if type(target) ~= "table" then
    type_error(1, "table", target, count)
  elseif count < 2 or (metatable ~= nil and type(metatable) ~= "table") then
    argument_error(2, "nil or table expected")
  elseif real_of[target] then
    error(READ_ONLY, 0)
  end
  local current = raw_metatable(target)
  if current and rawget(current, "__metatable") ~= nil then
    fail("cannot change a protected metatable")
  end
  return setmetatable(target, metatable)
end

local function check_table(value, count)
  if type(value) ~= "table" then
    type_error(1, "table", value, count)
  end
end

function builtins.rawset(...)
  local target, key, value = ...
  local count = select("#", ...)
  check_table(target, count)
  if count < 3 then
    argument_error(count + 1, "value expected")
  elseif real_of[target] then
    error(READ_ONLY, 0)
  end
  return rawset(target, key, value)
end

function builtins.rawget(...)
  local target, key = ...
  local count = select("#", ...)
  check_table(target, count)
  if count < 2 then
    argument_error(2, "value expected")
  end
  return rawget(real_of[target] or target, key)
end

local function user_next(...)
  local target, key = ...
  check_table(target, select("#", ...))
  return next(real_of[target] or target, key)
end

builtins.next = user_next

function builtins.pairs(...)
  local target = ...
  check_table(target, select("#", ...))
  if real_of[target] then
    return user_next, target, nil
  end
  return next, target, nil
end

local insert = table.insert

function core.insert(...)
  local target, position_or_value = ...
  local count = select("#", ...)
  check_table(target, count)
  if real_of[target] then
    error(READ_ONLY, 0)
  elseif count == 2 then
    return insert(target, position_or_value)
  elseif count ~= 3 then
    fail("wrong number of arguments to 'insert'")
  end
  core.check_int(position_or_value, 2, count)
  return insert(...)
end

local pcall = pcall

-- Errors of redis.call are tables; scripts written for older servers expect pcall to return their text.
local function text_of_error(succeeded, ...)
  if succeeded then
    return true, ...
  end
  local failure = ...
  if type(failure) == "table" then
    local text = failure.err
    if type(text) == "string" or type(text) == "number" then
      return false, text
    end
  end
  return false, failure
end

function builtins.pcall(...)
  if select("#", ...) == 0 then
    return false, "attempt to call a boolean value"
  end
  return text_of_error(pcall(...))
end

-- The handler of a whole run: every error becomes a table that says where it happened.
local function describe_error(failure)
  local level = 2
  local info = getinfo(level, "Sl")
  local follower = getinfo(level + 1, "Sl")
  local is_library = info and (info.what == "C" or info.source == TRUSTED)
  while is_library and follower and follower.source == TRUSTED do
    level = level + 1
    info, follower = follower, getinfo(level + 1, "Sl")
  end
  if is_library then
    info = follower
  end
  if type(failure) ~= "table" then
    failure = { err = "ERR " .. tostring(failure) }
  end
  if info then
    failure.source = info.source
    failure.line = info.currentline
  end
  return failure
end

core.describe_error = describe_error

local loadstring, setfenv, concat, dump = loadstring, setfenv, table.concat, string.dump
local keep_library_frames = core.host.keep_library_frames

-- Compiled code is refused by making it look like source text: the error then is the compiler's own.
local function compile(source, name)
  if source:byte(1) == 27 then
    source = " " .. source
  end
  return loadstring(source, name)
end

core.compile = compile

-- loadstring and load for one environment.
function core.loaders(environment)
  local function finish(chunk, message)
    if not chunk then
      return nil, message
    end
    core.check_memory()
    return setfenv(loadstring(keep_library_frames(dump(chunk))), environment)
  end

  local function user_loadstring(...)
    local source, name = ...
    local count = select("#", ...)
    source = core.check_string(source, 1, count)
    if name ~= nil then
      name = core.check_string(name, 2, count)
    end
    return finish(compile(source, name or source))
  end

  local function gather(reader)
    local pieces = {}
    while true do
      local piece = reader()
      if piece == nil or piece == "" then
        return concat(pieces)
      elseif type(piece) ~= "string" and type(piece) ~= "number" then
        error("reader function must return a string", 0)
      end
      pieces[#pieces + 1] = piece
    end
  end

  local function user_load(...)
    local reader, name = ...
    local count = select("#", ...)
    if type(reader) ~= "function" then
      type_error(1, "function", reader, count)
    end
    if name ~= nil then
      name = core.check_string(name, 2, count)
    end
    local succeeded, source = pcall(gather, reader)
    if not succeeded then
      return nil, source
    end
    return finish(compile(source, name or "=(load)"))
  end

  return user_loadstring, user_load
end

local gcinfo, collectgarbage = gcinfo, collectgarbage
local SCRIPT_KB_MAX = core.script_kb_max

-- Python may not be entered without memory to spare: an allocation that fails there ends the process.
local function check_memory()
  if gcinfo() > SCRIPT_KB_MAX then
    collectgarbage()
    if gcinfo() > SCRIPT_KB_MAX then
      error("not enough memory", 0)
    end
  end
end

core.check_memory = check_memory

local sethook = debug.sethook
local HOOK_INSTRUCTIONS = 100000

-- Every so many instructions memory is looked at, and the host may end the run. Once it does, the hook fires at every instruction, so that no
-- pcall and no coroutine of the script gets any further.
local is_interrupted, interrupted_at = core.host.is_interrupted, core.host.interrupted_at
local is_aborting = false

local function hook()
  if is_interrupted() then
    sethook(hook, "", 1)
    if not is_aborting then
      is_aborting = true
      local info = getinfo(user_level(), "Sl")
      if info then
        interrupted_at(info.source, info.currentline)
      end
    end
    error("interrupted", 0)
  end
  check_memory()
end

local xpcall = xpcall

-- When the hook raises an error, hooks are off until it is caught: a handler of the script could run for ever.
function builtins.xpcall(...)
  local body, handler = ...
  if select("#", ...) < 2 then
    argument_error(2, "value expected")
  end
  return xpcall(body, function(failure)
    if is_aborting then
      return failure
    end
    return handler(failure)
  end)
end

function core.abort()
  is_aborting = true
  sethook(hook, "", 1)
  error("interrupted", 0)
end

function core.rearm()
  is_aborting = false
  sethook(hook, "", HOOK_INSTRUCTIONS)
end

local create, wrap, resume = coroutine.create, coroutine.wrap, coroutine.resume

-- Hooks belong to one coroutine each: a new one sets its own first.
local function hooked(body)
  if is_aborting then
    core.abort()
  end
  if type(body) == "function" then
    local info = getinfo(body, "S")
    if info.what ~= "C" and info.source ~= TRUSTED then
      return function(...)
        sethook(hook, "", HOOK_INSTRUCTIONS)
        return body(...)
      end
    end
  end
  argument_error(1, "Lua function expected")
end

local coroutine_library = {}
for name, value in pairs(coroutine) do
  coroutine_library[name] = value
end

function coroutine_library.create(body)
  return create(hooked(body))
end

function coroutine_library.wrap(body)
  return wrap(hooked(body))
end

-- The error that ended a coroutine may have been the end of the whole run.
local function pass_on(...)
  if is_aborting then
    core.abort()
  end
  return ...
end

function coroutine_library.resume(...)
  if type((...)) ~= "thread" then
    argument_error(1, "coroutine expected")
  end
  return pass_on(resume(...))
end

core.coroutine_library = coroutine_library

local COLLECTOR_OPTIONS =
  { stop = false, restart = false, collect = true, count = true, step = true, setpause = false, setstepmul = false }

-- A script may look at the collector and ask it to work, but not change how it works for others.
function builtins.collectgarbage(...)
  local option, argument = ...
  local count = select("#", ...)
  option = option == nil and "collect" or core.check_string(option, 1, count)
  local is_allowed = COLLECTOR_OPTIONS[option]
  if is_allowed == nil then
    argument_error(1, "invalid option '" .. option .. "'")
  elseif not is_allowed then
    return 0
  elseif option == "step" then
    return collectgarbage("step", argument and core.check_int(argument, 2, count) or 0)
  end
  return collectgarbage(option)
end

for _, name in ipairs {
  "assert", "error", "gcinfo", "ipairs", "rawequal", "select", "tonumber", "tostring", "type", "unpack", "_VERSION",
} do
  builtins[name] = _G[name]
end
