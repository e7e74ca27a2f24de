-- The `redis` table, the globals of scripts and of functions, and how either is run.

local core = ...

local error, type, tonumber, select, next, pairs = error, type, tonumber, select, next, pairs
local xpcall, pcall, setfenv, tostring, unpack = xpcall, pcall, setfenv, tostring, unpack
local gcinfo = gcinfo
local CHUNK_TOKENS, SCRIPT_KB_MAX = core.chunk_tokens, core.script_kb_max
local ipairs, concat, dump, loadstring = ipairs, table.concat, string.dump, loadstring
local host, protect, fail, check_int = core.host, core.protect, core.fail, core.check_int
local host_call, host_register = host.call, host.register
local receive, receive_or_raise, check_memory = core.receive, core.receive_or_raise, core.check_memory
local set_protocol, reset_cjson = core.set_protocol, core.reset_cjson
local send, send_error, fetch_all, describe_error = core.send, core.send_error, core.fetch_all, core.describe_error

-- Raises an error table, as the functions of the redis table do.
local function raise(text)
  error({ err = "ERR " .. text }, 0)
end

-- What lua_tonumber makes of an argument where an int is wanted.
local function lenient_int(value)
  return tonumber(value) and check_int(tonumber(value)) or 0
end

-- An error table for a message with or without a dash and a code.
local function error_table(message)
  local code, text = "ERR", message
  if message:byte(1) == 45 then
    code, text = message:match("^%-([^ ]*) (.*)$")
    if not code then
      code, text = "ERR", message:sub(2)
    end
  end
  return { err = code .. " " .. text:match("^[\r\n]*(.-)[\r\n]*$") }
end

local is_changed = false

function core.note_change()
  is_changed = true
end

local api = {
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
  REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
  REDIS_VERSION = core.version, REDIS_VERSION_NUM = core.version_number,
}

-- A command with more arguments than the stack takes on a crossing.
local function call_with_many(...)
  local arguments, count = { ... }, select("#", ...)
  for first = 1, count, CHUNK_TOKENS do
    local last = first + CHUNK_TOKENS - 1
    check_memory()
    host.keep(unpack(arguments, first, last < count and last or count))
  end
  return host.call_kept()
end

function api.call(...)
  if gcinfo() > SCRIPT_KB_MAX then
    check_memory()
  end
  if select("#", ...) > CHUNK_TOKENS then
    return receive_or_raise(call_with_many(...))
  end
  return receive_or_raise(host_call(...))
end

function api.pcall(...)
  if gcinfo() > SCRIPT_KB_MAX then
    check_memory()
  end
  if select("#", ...) > CHUNK_TOKENS then
    return receive(call_with_many(...))
  end
  return receive(host_call(...))
end

function api.acl_check_cmd(...)
  check_memory()
  local answer, kind = host.may_run(...)
  if kind then
    receive_or_raise(answer, kind)
  end
  return answer
end

function api.sha1hex(...)
  if select("#", ...) ~= 1 then
    raise("wrong number of arguments")
  end
  local text = ...
  check_memory()
  return host.sha1hex((type(text) == "string" or type(text) == "number") and tostring(text) or "")
end

function api.error_reply(...)
  local message = ...
  if select("#", ...) ~= 1 or type(message) ~= "string" then
    return { err = "ERR wrong number or type of arguments" }
  end
  return error_table(message:byte(1) == 45 and message or "-" .. message)
end

function api.status_reply(...)
  local message = ...
  if select("#", ...) ~= 1 or type(message) ~= "string" then
    return { err = "ERR wrong number or type of arguments" }
  end
  return { ok = message }
end

function api.setresp(...)
  if select("#", ...) ~= 1 then
    raise("redis.setresp() requires one argument.")
  end
  local version = lenient_int((...))
  if version ~= 2 and version ~= 3 then
    raise("RESP version must be 2 or 3.")
  end
  is_changed = true
  set_protocol(version)
  host.set_protocol(version)
end

-- Effects are always replicated, so the choice is only checked.
function api.set_repl(...)
  if select("#", ...) ~= 1 then
    raise("redis.set_repl() requires two arguments.")
  end
  local flags = lenient_int((...))
  if flags < 0 or flags > 3 then
    raise("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")
  end
end

function api.log(...)
  local count, level = select("#", ...), (...)
  if count < 2 then
    raise("redis.log() requires two arguments or more.")
  elseif not tonumber(level) then
    raise("First argument must be a number (log level).")
  end
  level = lenient_int(level)
  if level < 0 or level > 3 then
    raise("Invalid debug level.")
  end
  local words = {}
  for index = 2, count do
    local word = (select(index, ...))
    if type(word) == "string" or type(word) == "number" then
      words[#words + 1] = word
    end
  end
  check_memory()
  host.log(level, concat(words, " "))
end

local script_api = {}
for name, value in pairs(api) do
  script_api[name] = value
end

function script_api.replicate_commands()
  return true
end

-- There is no debugger: these two do what they do when none is attached.
function script_api.breakpoint()
  return false
end

function script_api.debug() end

-- environments

local function copy(source)
  local result = {}
  for name, value in pairs(source) do
    result[name] = value
  end
  return result
end

local function read_only_libraries()
  return {
    string = core.string_library, table = protect(core.table_library), math = protect(core.math_library),
    coroutine = protect(core.coroutine_library), cjson = protect(core.cjson), cmsgpack = protect(core.cmsgpack),
    struct = protect(core.struct), bit = protect(core.bit),
  }
end

local function base_globals()
  local globals = copy(core.builtins)
  for name, library in pairs(read_only_libraries()) do
    globals[name] = library
  end
  return globals
end

local script_globals = base_globals()
script_globals.redis = protect(script_api)
script_globals.__redis__err__handler = describe_error
local script_environment = core.environment(script_globals)
script_globals.loadstring, script_globals.load = core.loaders(script_environment)

-- Libraries see one set of globals while they are loaded and another when their functions run.
local function_globals = base_globals()
function_globals.redis = protect(api)
local run_view = core.environment(function_globals)

local load_api = { register_function = true, log = api.log }
for _, name in pairs { "LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING", "REDIS_VERSION", "REDIS_VERSION_NUM" } do
  load_api[name] = api[name]
end
local load_view = core.strict { redis = core.strict(load_api) }

local function_environment = core.switchable(run_view)
function_globals.loadstring, function_globals.load = core.loaders(function_environment)

-- running

-- Keys and arguments as two tables. If there are too many for the stack, the count comes as -1 - count, and all are
-- fetched.
local function gather(key_count, ...)
  if key_count == 0 then
    return {}, { ... }
  end
  local all
  if key_count < 0 then
    key_count, all = -1 - key_count, fetch_all()
  elseif key_count == 1 then
    return { (...) }, { select(2, ...) }
  else
    all = { ... }
  end
  local keys, arguments = {}, {}
  for index = 1, key_count do
    keys[index] = all[index]
  end
  for index = key_count + 1, #all do
    arguments[index - key_count] = all[index]
  end
  return keys, arguments
end

-- What one run chose does not hold for the next.
local function reset()
  is_changed = false
  set_protocol(2)
  reset_cjson()
end

local function finish(name, succeeded, value)
  if succeeded then
    return send(value)
  end
  return send_error(value, name)
end

function core.run_script(script, name, key_count, ...)
  if is_changed then
    reset()
  end
  script_globals.KEYS, script_globals.ARGV = gather(key_count, ...)
  return finish(name, xpcall(script, describe_error))
end

local callbacks, callback_count = {}, 0

function core.run_function(handle, name, key_count, ...)
  if is_changed then
    reset()
  end
  local callback = callbacks[handle]
  local keys, arguments = gather(key_count, ...)
  return finish(name, xpcall(function()
    return callback(keys, arguments)
  end, describe_error))
end

-- compiling

-- Returns the compiled chunk as bytes, or nil and why it cannot be compiled.
function core.compile_source(source, name)
  local chunk, message = core.compile(source, name)
  if not chunk then
    return nil, message
  end
  return dump(chunk)
end

function core.bind_script(binary)
  return setfenv(loadstring(binary), script_environment)
end

-- Runs a library so that it registers its functions. Returns nil, or why it failed.
function core.load_library(binary)
  local chunk = setfenv(loadstring(binary), function_environment)
  core.switch(function_environment, load_view)
  local succeeded, failure = pcall(chunk)
  core.switch(function_environment, run_view)
  if succeeded then
    return nil
  elseif type(failure) == "table" then
    local text = failure.err
    return (type(text) == "string" or type(text) == "number") and tostring(text) or "ERR unknown error"
  end
  return "ERR " .. tostring(failure)
end

function core.forget_function(handle)
  callbacks[handle] = nil
end

-- redis.register_function

local FLAGS = core.script_flags

local function as_text(value)
  return (type(value) == "string" or type(value) == "number") and tostring(value) or nil
end

local function read_flags(list)
  local names = {}
  for _, flag in ipairs(list) do
    local name = as_text(flag)
    name = name and name:lower()
    if not name or not FLAGS[name] then
      raise("unknown flag given")
    end
    names[#names + 1] = name
  end
  return concat(names, ",")
end

local readers = {
  function_name = function(into, value)
    into.name = as_text(value) or raise("function_name argument given to redis.register_function must be a string")
  end,
  description = function(into, value)
    into.description = as_text(value) or raise("description argument given to redis.register_function must be a string")
  end,
  callback = function(into, value)
    if type(value) ~= "function" then
      raise("callback argument given to redis.register_function must be a function")
    end
    into.callback = value
  end,
  flags = function(into, value)
    if type(value) ~= "table" then
      raise("flags argument to redis.register_function must be a table representing function flags")
    end
    into.flags = read_flags(value)
  end,
}

local function read_named(arguments)
  if type(arguments) ~= "table" then
    raise("calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).")
  end
  local into = {}
  for key, value in next, arguments do
    local name = as_text(key) or raise("named argument key given to redis.register_function is not a string")
    local reader = readers[name:lower()] or raise("unknown argument given to redis.register_function")
    reader(into, value)
  end
  if not into.name then
    raise("redis.register_function must get a function name argument")
  elseif not into.callback then
    raise("redis.register_function must get a callback argument")
  end
  return into
end

local function read_positional(name, callback)
  name = as_text(name) or raise("first argument to redis.register_function must be a string")
  if type(callback) ~= "function" then
    raise("second argument to redis.register_function must be a function")
  end
  return { name = name, callback = callback }
end

function load_api.register_function(...)
  local count = select("#", ...)
  if core.current_view(function_environment) ~= core.real_of[load_view] then
    raise("redis.register_function can only be called on FUNCTION LOAD command")
  elseif count < 1 or count > 2 then
    raise("wrong number of arguments to redis.register_function")
  end
  local given = count == 1 and read_named((...)) or read_positional(...)
  check_memory()
  local refusal = host_register(callback_count + 1, given.name, given.description, given.flags or "")
  if refusal then
    raise(refusal)
  end
  callback_count = callback_count + 1
  callbacks[callback_count] = given.callback
end

local real_globals = _G
for name in pairs(real_globals) do
  real_globals[name] = nil
end
