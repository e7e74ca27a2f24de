-- How replies and results cross between Lua and Python.
--
-- A crossing costs 0.5 µs, so each call of a command makes exactly one, and nothing but strings, numbers, booleans and
-- nil crosses: user code never holds a Python object. A reply comes back as
--
--   one value                      a string, a number, false (null in RESP2), nil (null in RESP3)
--   true                           the status OK
--   text, STATUS | ERROR | REFUSED {ok=text}; an error to raise or return
--   0, FLAT, items...              an array of plain values
--   0, NESTED, tokens...           anything else, in the notation below
--   0, CHUNKED                     the same tokens, too many for the stack: to be fetched piece by piece
--   0, ABORT                       the run is over
--
-- and a result goes back as one plain value, or as `true` followed by tokens.
--
-- Tokens are values in pre-order. `true` marks what is not a plain value and is followed by its kind, then: ARRAY, SET:
-- count, items; MAP: count, key, value, key, value...; STATUS, ERROR, BIG_NUMBER: text; DOUBLE: number; VERBATIM:
-- format, text; TRUE, FALSE, NULL: nothing; PASSED_ON: the text of an error that redis.call or redis.pcall gave.

local core = ...

local kinds = core.kinds
local STATUS, ERROR, FLAT, NESTED, CHUNKED, REFUSED =
  kinds.STATUS, kinds.ERROR, kinds.FLAT, kinds.NESTED, kinds.CHUNKED, kinds.REFUSED
local ARRAY, MAP, SET, DOUBLE, BIG_NUMBER, VERBATIM, TRUE, FALSE, NULL =
  kinds.ARRAY, kinds.MAP, kinds.SET, kinds.DOUBLE, kinds.BIG_NUMBER, kinds.VERBATIM, kinds.TRUE, kinds.FALSE, kinds.NULL
local PASSED_ON = kinds.PASSED_ON

local CHUNK_TOKENS = core.chunk_tokens
-- Deeper results end in an error instead, as they do in redis-server where its C stack ends.
local DEPTH_MAX = core.result_depth_max

local error, type, unpack, next, rawget, getmetatable = error, type, unpack, next, rawget, debug.getmetatable
local real_of = core.real_of
local host_fetch, host_keep = core.host.fetch, core.host.keep
local check_memory, abort = core.check_memory, core.abort

-- replies of commands

local decode

local function decode_text(field)
  return function(tokens, at)
    return { [field] = tokens[at] }, at + 1
  end
end

local decoders = {
  [STATUS] = decode_text("ok"),
  [DOUBLE] = decode_text("double"),
  [BIG_NUMBER] = decode_text("big_number"),
  [ERROR] = function(tokens, at)
    return { err = tokens[at], ignore_error_stats_update = true }, at + 1
  end,
  [VERBATIM] = function(tokens, at)
    return { verbatim_string = { format = tokens[at], string = tokens[at + 1] } }, at + 2
  end,
  [TRUE] = function(_, at)
    return true, at
  end,
  [FALSE] = function(_, at)
    return false, at
  end,
  [NULL] = function(_, at)
    return nil, at
  end,
}

decoders[ARRAY] = function(tokens, at)
  local items, count = {}, tokens[at]
  at = at + 1
  for index = 1, count do
    items[index], at = decode(tokens, at)
  end
  return items, at
end

decoders[MAP] = function(tokens, at)
  local map, count = {}, tokens[at]
  at = at + 1
  for _ = 1, count do
    local key, value
    key, at = decode(tokens, at)
    value, at = decode(tokens, at)
    map[key] = value
  end
  return { map = map }, at
end

decoders[SET] = function(tokens, at)
  local members, count = {}, tokens[at]
  at = at + 1
  for _ = 1, count do
    local member
    member, at = decode(tokens, at)
    members[member] = true
  end
  return { set = members }, at
end

function decode(tokens, at)
  local token = tokens[at]
  if token ~= true then
    return token, at + 1
  end
  return decoders[tokens[at + 1]](tokens, at + 2)
end

-- All tokens of something that was too long for one crossing.
local function fetch_all()
  local tokens, length = {}, 0
  repeat
    check_memory()
    local piece = { host_fetch() }
    local count = #piece
    for index = 1, count do
      tokens[length + index] = piece[index]
    end
    length = length + count
  until count == 0
  return tokens
end

core.fetch_all = fetch_all

local function receive_rare(value, kind, ...)
  if kind == NESTED then
    return (decode({ ... }, 1))
  elseif kind == CHUNKED then
    return (decode(fetch_all(), 1))
  elseif kind == REFUSED then
    return { err = value }
  end
  abort()
end

-- The reply of a command as redis.pcall returns it.
function core.receive(value, kind, ...)
  if kind == nil then
    if value == true then
      return { ok = "OK" }
    end
    return value
  elseif kind == STATUS then
    return { ok = value }
  elseif kind == FLAT then
    return { ... }
  elseif kind == ERROR then
    return { err = value, ignore_error_stats_update = true }
  end
  return receive_rare(value, kind, ...)
end

-- The same for redis.call, which raises errors: without a position, the handler of the run adds it.
function core.receive_or_raise(value, kind, ...)
  if kind == nil then
    if value == true then
      return { ok = "OK" }
    end
    return value
  elseif kind == STATUS then
    return { ok = value }
  elseif kind == FLAT then
    return { ... }
  elseif kind == ERROR then
    error({ err = value, ignore_error_stats_update = true }, 0)
  elseif kind == REFUSED then
    error({ err = value }, 0)
  end
  return receive_rare(value, kind, ...)
end

-- results of scripts

local encode
local protocol = 2

function core.set_protocol(version)
  protocol = version
end

local function mark(out, length, kind, value)
  out[length + 1], out[length + 2], out[length + 3] = true, kind, value
  return length + 3
end

local function encode_pairs(out, length, kind, items, depth)
  local count, count_at = 0, length + 3
  length = mark(out, length, kind, 0)
  for key, value in next, real_of[items] or items do
    length = encode(out, length, key, depth)
    if kind == MAP then
      length = encode(out, length, value, depth)
    end
    count = count + 1
  end
  out[count_at] = count
  return length
end

local function tags(value)
  if getmetatable(value) == nil then
    return value.err, value.ok, value.double, value.big_number, value.verbatim_string, value.map, value.set
  end
  return rawget(value, "err"), rawget(value, "ok"), rawget(value, "double"), rawget(value, "big_number"),
    rawget(value, "verbatim_string"), rawget(value, "map"), rawget(value, "set")
end

local function encode_verbatim(out, length, verbatim)
  local format, text = rawget(verbatim, "format"), rawget(verbatim, "string")
  if type(format) ~= "string" or type(text) ~= "string" then
    return nil
  end
  length = mark(out, length, VERBATIM, format)
  out[length + 1] = text
  return length + 1
end

local function error_kind(failure)
  return rawget(failure, "ignore_error_stats_update") == true and PASSED_ON or ERROR
end

-- A table with one of the fields that say what kind of reply it is; nil if none of them fits.
local function encode_tagged(out, length, depth, value, err, ok, double, big_number, verbatim, map, set)
  if type(err) == "string" then
    return mark(out, length, error_kind(value), err)
  elseif type(ok) == "string" then
    return mark(out, length, STATUS, ok)
  elseif type(double) == "number" then
    return mark(out, length, DOUBLE, double)
  elseif type(big_number) == "string" then
    return mark(out, length, BIG_NUMBER, big_number)
  end
  local after = type(verbatim) == "table" and encode_verbatim(out, length, verbatim)
  if after then
    return after
  elseif type(map) == "table" then
    return encode_pairs(out, length, MAP, map, depth)
  elseif type(set) == "table" then
    return encode_pairs(out, length, SET, set, depth)
  end
end

local function encode_array(out, length, items, depth)
  local count_at = length + 3
  length = mark(out, length, ARRAY, 0)
  local index, item = 1, rawget(items, 1)
  while item ~= nil do
    local kind = type(item)
    if kind == "string" or kind == "number" then
      length = length + 1
      out[length] = item
    else
      length = encode(out, length, item, depth)
    end
    index = index + 1
    item = rawget(items, index)
  end
  out[count_at] = index - 1
  return length
end

local function encode_table(out, length, value, depth)
  if depth == DEPTH_MAX then
    return mark(out, length, ERROR, "ERR reached lua stack limit")
  end
  local err, ok, double, big_number, verbatim, map, set = tags(value)
  if (err or ok or double or big_number or verbatim or map or set) ~= nil then
    local after = encode_tagged(out, length, depth + 1, value, err, ok, double, big_number, verbatim, map, set)
    if after then
      return after
    end
  end
  return encode_array(out, length, value, depth + 1)
end

function encode(out, length, value, depth)
  local kind = type(value)
  if kind == "table" then
    return encode_table(out, length, value, depth)
  elseif kind == "boolean" then
    if protocol == 3 then
      out[length + 1], out[length + 2] = true, value and TRUE or FALSE
      return length + 2
    end
    value = value and 1
  elseif kind ~= "string" and kind ~= "number" then
    value = false
  end
  out[length + 1] = value
  return length + 1
end

-- What a run returns to Python for the value that the script returned.
function core.send(value)
  local kind = type(value)
  if kind == "string" or kind == "number" then
    return value
  elseif kind ~= "table" and not (kind == "boolean" and protocol == 3) then
    return value == true and 1 or nil
  end
  local out = {}
  local length = encode(out, 0, value, 0)
  if length <= CHUNK_TOKENS then
    return unpack(out, 1, length)
  end
  for first = 1, length, CHUNK_TOKENS do
    local last = first + CHUNK_TOKENS - 1
    host_keep(unpack(out, first, last < length and last or length))
  end
  return true, CHUNKED
end

local function is_text(value)
  return type(value) == "string" or type(value) == "number"
end

-- The error reply of a run that failed; `failure` is what the handler of the run made of the error.
function core.send_error(failure, name)
  if type(failure) ~= "table" then
    local text = is_text(failure) and failure or "execution failure"
    return true, ERROR, "ERR Error running script " .. name .. ", " .. text
  end
  local text = is_text(failure.err) and failure.err or "ERR unknown error"
  if is_text(failure.line) and is_text(failure.source) then
    text = text .. " script: " .. name .. ", on " .. failure.source .. ":" .. failure.line .. "."
  end
  return true, error_kind(failure), text
end
