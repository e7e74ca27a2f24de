-- cmsgpack: MessagePack as the lua-cmsgpack 0.4.0 of redis-server reads and writes it.
--
-- Doubles that are integers are packed as integers, others as 32-bit floats where that loses nothing. A table is an array
-- if its keys are 1…n. Tables nested deeper than 16 become nil. Unsigned 64-bit integers are read as signed ones.

local core = ...

local error, type, next, select, unpack = error, type, next, select, unpack
local floor, huge, concat, byte, char, sub = math.floor, math.huge, table.concat, string.byte, string.char, string.sub
local fail, argument_error, check_int, check_string = core.fail, core.argument_error, core.check_int, core.check_string
local pack_float, pack_double = core.pack_float, core.pack_double
local unpack_float, unpack_double = core.unpack_float, core.unpack_double

local NESTING_MAX = 16
local INT32 = 4294967296

-- packing; `out` holds the pieces, each function returns how many there are

local pack_value

local function big_endian_16(number)
  return char(floor(number / 256), number % 256)
end

local function big_endian_32(number)
  return char(floor(number / 16777216), floor(number / 65536) % 256, floor(number / 256) % 256, number % 256)
end

local function big_endian_64(number)
  local high = floor(number / INT32)
  return big_endian_32(high % INT32) .. big_endian_32(number - high * INT32)
end

local function integer_text(number)
  if number >= 0 then
    if number <= 127 then
      return char(number)
    elseif number <= 255 then
      return char(0xCC, number)
    elseif number <= 65535 then
      return "\205" .. big_endian_16(number)
    elseif number < INT32 then
      return "\206" .. big_endian_32(number)
    end
    return "\207" .. big_endian_64(number)
  elseif number >= -32 then
    return char(number + 256)
  elseif number >= -128 then
    return char(0xD0, number + 256)
  elseif number >= -32768 then
    return "\209" .. big_endian_16(number + 65536)
  elseif number >= -2147483648 then
    return "\210" .. big_endian_32(number + INT32)
  end
  return "\211" .. big_endian_64(number)
end

local function number_text(number)
  if floor(number) == number and number >= -2 ^ 63 and number < 2 ^ 63 then
    return integer_text(number)
  end
  local float = pack_float(number)
  if unpack_float(float) == number then
    return "\202" .. float
  end
  return "\203" .. pack_double(number)
end

local function string_header(length)
  if length < 32 then
    return char(0xA0 + length)
  elseif length <= 255 then
    return char(0xD9, length)
  elseif length <= 65535 then
    return "\218" .. big_endian_16(length)
  end
  return "\219" .. big_endian_32(length)
end

local function header(length, short, medium, long)
  if length <= 15 then
    return char(short + length)
  elseif length <= 65535 then
    return medium .. big_endian_16(length)
  end
  return long .. big_endian_32(length)
end

-- The number of entries of a table, and whether its keys are 1…n.
local function measure(items)
  local count, largest, is_array = 0, 0, true
  for key in next, items do
    count = count + 1
    if type(key) ~= "number" or key <= 0 or floor(key) ~= key or key > 2147483647 then
      is_array = false
    elseif key > largest then
      largest = key
    end
  end
  return count, is_array and largest == count
end

local function pack_table(out, length, items, level)
  local count, is_array = measure(items)
  length = length + 1
  if is_array then
    out[length] = header(count, 0x90, "\220", "\221")
    for index = 1, count do
      length = pack_value(out, length, items[index], level)
    end
  else
    out[length] = header(count, 0x80, "\222", "\223")
    for key, value in next, items do
      length = pack_value(out, length, key, level)
      length = pack_value(out, length, value, level)
    end
  end
  return length
end

function pack_value(out, length, value, level)
  local kind = type(value)
  if kind == "string" then
    out[length + 1] = string_header(#value)
    out[length + 2] = value
    return length + 2
  elseif kind == "number" then
    value = number_text(value)
  elseif kind == "boolean" then
    value = value and "\195" or "\194"
  elseif kind == "table" and level < NESTING_MAX then
    return pack_table(out, length, value, level + 1)
  else
    value = "\192"
  end
  out[length + 1] = value
  return length + 1
end

local library = {
  _NAME = "cmsgpack", _VERSION = "lua-cmsgpack 0.4.0", _COPYRIGHT = "Copyright (C) 2012, Salvatore Sanfilippo",
  _DESCRIPTION = "MessagePack C implementation for Lua",
}

function library.pack(...)
  local count = select("#", ...)
  if count == 0 then
    argument_error(0, "MessagePack pack needs input.")
  end
  local out, length = {}, 0
  for index = 1, count do
    length = pack_value(out, length, (select(index, ...)), 0)
  end
  return concat(out, "", 1, length)
end

-- unpacking; each function returns the value and the position behind it

local function missing()
  fail("Missing bytes in input.")
end

local function need(text, last)
  if last > #text then
    missing()
  end
end

local function read_16(text, at)
  local first, second = byte(text, at + 1, at + 2)
  if not second then
    missing()
  end
  return first * 256 + second
end

local function read_32(text, at)
  local first, second, third, fourth = byte(text, at, at + 3)
  if not fourth then
    missing()
  end
  return first * 16777216 + second * 65536 + third * 256 + fourth
end

local unpack_value

local function unpack_string(text, at, length)
  need(text, at + length - 1)
  return sub(text, at, at + length - 1), at + length
end

local function unpack_array(text, at, count)
  local items = {}
  for index = 1, count do
    items[index], at = unpack_value(text, at)
  end
  return items, at
end

local function unpack_map(text, at, count)
  local fields = {}
  for _ = 1, count do
    local key, value
    key, at = unpack_value(text, at)
    value, at = unpack_value(text, at)
    if key == nil or key ~= key then
      error(key == nil and "table index is nil" or "table index is NaN", 0)
    end
    fields[key] = value
  end
  return fields, at
end

local function unpack_integer_64(text, at)
  local high, low = read_32(text, at + 1), read_32(text, at + 5)
  if high >= 2147483648 then
    high = high - INT32
  end
  return high * INT32 + low, at + 9
end

local function signed(number, limit)
  return number >= limit and number - 2 * limit or number
end

local readers = {
  [0xC0] = function(_, at)
    return nil, at + 1
  end,
  [0xC2] = function(_, at)
    return false, at + 1
  end,
  [0xC3] = function(_, at)
    return true, at + 1
  end,
  [0xCA] = function(text, at)
    need(text, at + 4)
    return unpack_float(sub(text, at + 1, at + 4)), at + 5
  end,
  [0xCB] = function(text, at)
    need(text, at + 8)
    return unpack_double(sub(text, at + 1, at + 8)), at + 9
  end,
  [0xCC] = function(text, at)
    return byte(text, at + 1) or missing(), at + 2
  end,
  [0xCD] = function(text, at)
    return read_16(text, at), at + 3
  end,
  [0xCE] = function(text, at)
    return read_32(text, at + 1), at + 5
  end,
  [0xCF] = unpack_integer_64,
  [0xD0] = function(text, at)
    return signed(byte(text, at + 1) or missing(), 128), at + 2
  end,
  [0xD1] = function(text, at)
    return signed(read_16(text, at), 32768), at + 3
  end,
  [0xD2] = function(text, at)
    return signed(read_32(text, at + 1), 2147483648), at + 5
  end,
  [0xD3] = unpack_integer_64,
  [0xD9] = function(text, at)
    return unpack_string(text, at + 2, byte(text, at + 1) or missing())
  end,
  [0xDA] = function(text, at)
    return unpack_string(text, at + 3, read_16(text, at))
  end,
  [0xDB] = function(text, at)
    return unpack_string(text, at + 5, read_32(text, at + 1))
  end,
  [0xDC] = function(text, at)
    return unpack_array(text, at + 3, read_16(text, at))
  end,
  [0xDD] = function(text, at)
    return unpack_array(text, at + 5, read_32(text, at + 1))
  end,
  [0xDE] = function(text, at)
    return unpack_map(text, at + 3, read_16(text, at))
  end,
  [0xDF] = function(text, at)
    return unpack_map(text, at + 5, read_32(text, at + 1))
  end,
}

function unpack_value(text, at)
  local code = byte(text, at)
  if not code then
    missing()
  elseif code < 0x80 then
    return code, at + 1
  elseif code < 0x90 then
    return unpack_map(text, at + 1, code - 0x80)
  elseif code < 0xA0 then
    return unpack_array(text, at + 1, code - 0x90)
  elseif code < 0xC0 then
    return unpack_string(text, at + 1, code - 0xA0)
  elseif code >= 0xE0 then
    return code - 256, at + 1
  end
  local reader = readers[code]
  if not reader then
    fail("Bad data format in input.")
  end
  return reader(text, at)
end

-- Reads up to `limit` values. Returns them in a table, how many there are, and the position behind the last.
local function unpack_some(text, at, limit)
  local values, count, size = {}, 0, #text
  while at <= size and count < limit do
    count = count + 1
    values[count], at = unpack_value(text, at)
  end
  return values, count, at
end

local function unpack_from(text, limit, offset)
  text = check_string(text, 1, 1)
  if offset < 0 or limit < 0 then
    fail("Invalid request to unpack with offset of " .. offset .. " and limit of " .. #text .. ".")
  elseif offset > #text then
    fail("Start offset " .. offset .. " greater than input length " .. #text .. ".")
  elseif limit == 0 and offset == 0 then
    return library.unpack(text)
  end
  local values, count, at = unpack_some(text, offset + 1, limit)
  return at > #text and -1 or at - 1, unpack(values, 1, count)
end

function library.unpack(...)
  local text = check_string((...), 1, select("#", ...))
  local values, count = unpack_some(text, 1, huge)
  return unpack(values, 1, count)
end

function library.unpack_one(...)
  local text, offset = ...
  return unpack_from(text, 1, offset == nil and 0 or check_int(offset, 2, select("#", ...)))
end

function library.unpack_limit(...)
  local text, limit, offset = ...
  local count = select("#", ...)
  limit = check_int(limit, 2, count)
  return unpack_from(text, limit, offset == nil and 0 or check_int(offset, 3, count))
end

core.cmsgpack = library
