-- cjson: JSON as the lua-cjson 2.1.0 of redis-server reads and writes it, with its error texts.
--
-- A table is an array if all its keys are positive integers (unless it is too sparse), so an empty one is {}. Numbers
-- have 14 significant digits. Decoding takes what strtod takes: hexadecimal, inf, nan, leading zeros; a zero byte ends
-- the text.

local core = ...

local type, pairs, next, rawget, select, tonumber = type, pairs, next, rawget, select, tonumber
local floor, huge, concat = math.floor, math.huge, table.concat
local byte, char, find, format, gsub, lower, match, sub =
  string.byte, string.char, string.find, string.format, string.gsub, string.lower, string.match, string.sub
local fail, argument_error, null, check_string = core.fail, core.argument_error, core.null, core.check_string

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\b"] = "\\b", ["\t"] = "\\t", ["\n"] = "\\n",
  ["\f"] = "\\f", ["\r"] = "\\r", ["\127"] = "\\u007f" }
for code = 0, 31 do
  ESCAPES[char(code)] = ESCAPES[char(code)] or format("\\u%04x", code)
end
local ESCAPED = '[%z\1-\31"\\/\127]'

local function quote(text)
  if find(text, ESCAPED) then
    text = gsub(text, ESCAPED, ESCAPES)
  end
  return '"' .. text .. '"'
end

-- encoding; `out` holds the pieces, each function returns how many there are

local encode_value

local function refuse(value, reason)
  fail("Cannot serialise " .. type(value) .. ": " .. reason)
end

local function number_text(settings, number)
  if number ~= number or number == huge or number == -huge then
    if settings.encode_invalid_numbers == 0 then
      refuse(number, "must not be NaN or Inf")
    elseif settings.encode_invalid_numbers == 2 then
      return "null"
    elseif number ~= number then
      return "nan"
    end
  end
  return format(settings.number_format, number)
end

-- The number of elements if a table is an array, else nil.
local function array_length(settings, items)
  local largest, count = 0, 0
  for key, value in next, items do
    if type(key) ~= "number" or key < 1 or floor(key) ~= key then
      return nil
    end
    if key > largest then
      largest = key
    end
    count = count + 1
  end
  local ratio = settings.encode_sparse_ratio
  if ratio > 0 and largest > count * ratio and largest > settings.encode_sparse_safe then
    if not settings.encode_sparse_convert then
      refuse(items, "excessively sparse array")
    end
    return nil
  end
  return largest
end

local function encode_array(settings, out, length, items, count, depth)
  out[length + 1] = "["
  length = length + 1
  for index = 1, count do
    if index > 1 then
      length = length + 1
      out[length] = ","
    end
    length = encode_value(settings, out, length, rawget(items, index), depth)
  end
  out[length + 1] = "]"
  return length + 1
end

local function key_text(settings, key)
  if type(key) == "string" then
    return quote(key) .. ":"
  elseif type(key) == "number" then
    return '"' .. number_text(settings, key) .. '":'
  end
  refuse(key, "table key must be a number or string")
end

local function encode_object(settings, out, length, fields, depth)
  local separator = "{"
  for key, value in next, fields do
    out[length + 1] = separator
    out[length + 2] = key_text(settings, key)
    length = encode_value(settings, out, length + 2, value, depth)
    separator = ","
  end
  out[length + 1] = separator == "{" and "{}" or "}"
  return length + 1
end

function encode_value(settings, out, length, value, depth)
  local kind = type(value)
  if kind == "string" then
    value = quote(value)
  elseif kind == "number" then
    value = number_text(settings, value)
  elseif kind == "boolean" then
    value = value and "true" or "false"
  elseif value == nil or value == null then
    value = "null"
  elseif kind == "table" then
    depth = depth + 1
    if depth > settings.encode_max_depth then
      fail("Cannot serialise, excessive nesting (" .. depth .. ")")
    end
    local count = array_length(settings, value)
    if count and count > 0 then
      return encode_array(settings, out, length, value, count, depth)
    end
    return encode_object(settings, out, length, value, depth)
  else
    refuse(value, "type not supported")
  end
  out[length + 1] = value
  return length + 1
end

-- decoding; positions are those of the next byte to read

local decode_value

local function expected(what, found, at)
  fail("Expected " .. what .. " but found " .. found .. " at character " .. at)
end

local SINGLE = { [123] = "T_OBJ_BEGIN", [125] = "T_OBJ_END", [91] = "T_ARR_BEGIN", [93] = "T_ARR_END", [44] = "T_COMMA",
  [58] = "T_COLON", [0] = "T_END" }

-- The first byte of the next token and its position; 0 at the end of the text.
local function skip_space(text, at)
  local code = byte(text, at)
  if code == 32 or code == 10 or code == 13 or code == 9 then
    at = find(text, "[^ \t\r\n]", at) or #text + 1
    code = byte(text, at)
  end
  return code or 0, at
end

local SIMPLE_ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", t = "\t", n = "\n", f = "\f", r = "\r" }

local function utf8(code)
  if code < 0x80 then
    return char(code)
  elseif code < 0x800 then
    return char(0xC0 + floor(code / 64), 0x80 + code % 64)
  elseif code < 0x10000 then
    return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
  end
  return char(0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
end

-- The character that the \u escape at a position stands for and the position behind it; nil if it is invalid.
local function unicode_escape(text, at)
  local digits = match(text, "^%x%x%x%x", at + 2)
  if not digits then
    return nil
  end
  local code = tonumber(digits, 16)
  if code < 0xD800 or code > 0xDFFF then
    return utf8(code), at + 6
  end
  local low_digits = code < 0xDC00 and match(text, "^\\u(%x%x%x%x)", at + 6)
  local low = low_digits and tonumber(low_digits, 16)
  if not low or low < 0xDC00 or low > 0xDFFF then
    return nil
  end
  return utf8(0x10000 + (code - 0xD800) * 1024 + low - 0xDC00), at + 12
end

-- A string whose quote stands before `at`. Returns it and the position behind it, or nil, what is wrong and where.
local function read_string(text, at)
  local stop = find(text, '["\\%z]', at)
  if stop and byte(text, stop) == 34 then
    return sub(text, at, stop - 1), stop + 1
  end
  local pieces, count = {}, 0
  while true do
    local code = stop and byte(text, stop)
    if not code or code == 0 then
      return nil, "unexpected end of string", stop or #text + 1
    end
    count = count + 1
    pieces[count] = sub(text, at, stop - 1)
    if code == 34 then
      return concat(pieces), stop + 1
    end
    local escape = sub(text, stop + 1, stop + 1)
    count = count + 1
    if escape == "u" then
      pieces[count], at = unicode_escape(text, stop)
      if not at then
        return nil, "invalid unicode escape code", stop
      end
    else
      pieces[count], at = SIMPLE_ESCAPES[escape], stop + 2
      if not pieces[count] then
        return nil, "invalid escape code", stop
      end
    end
    stop = find(text, '["\\%z]', at)
  end
end

local NOT_A_NUMBER = -(0 / 0)

-- What strtod reads at a position: the number and the position behind it, nil if there is none.
local function strtod(text, at)
  local _, stop = find(text, "^[+-]?0[xX]%x+", at)
  if not stop then
    _, stop = find(text, "^[+-]?%d+%.?%d*", at)
    if not stop then
      _, stop = find(text, "^[+-]?%.%d+", at)
    end
    if stop then
      local _, exponent_stop = find(text, "^[eE][+-]?%d+", stop + 1)
      stop = exponent_stop or stop
    end
  end
  if stop then
    local digits = gsub(sub(text, at, stop), "^%+", "")
    return tonumber(digits), stop + 1
  end
  local sign, word = match(text, "^([+-]?)(%a+)", at)
  word = word and lower(word)
  local length = word and (match(word, "^infinity") or match(word, "^inf") or match(word, "^nan"))
  if not length then
    return nil
  end
  local value = sub(word, 1, 3) == "nan" and NOT_A_NUMBER or huge
  return sign == "-" and -value or value, at + #sign + #length
end

-- Whether something that strtod takes is no JSON number.
local function is_invalid_number(text, at)
  return find(text, "^%+", at) or find(text, "^%-?0[xX%d]", at) or find(lower(sub(text, at, at + 3)), "^%-?inf")
    or find(lower(sub(text, at, at + 3)), "^%-?nan")
end

local function read_number(settings, text, at)
  local _, stop = find(text, "^-?%d+", at)
  local code = stop and byte(text, stop + 1)
  if settings.decode_invalid_numbers and stop and (code == 44 or code == 125 or code == 93 or code == nil) then
    return tonumber(sub(text, at, stop)), stop + 1
  end
  local number
  if settings.decode_invalid_numbers or not is_invalid_number(text, at) then
    number, stop = strtod(text, at)
  end
  if not number then
    expected("value", "invalid number", at)
  end
  return number, stop
end

-- The name of the token at a position, for errors where something else was expected, and where it is.
local function token_name(settings, text, code, at)
  if SINGLE[code] then
    return SINGLE[code], at
  elseif code == 34 then
    local value, reason, where = read_string(text, at + 1)
    return value and "T_STRING" or reason, value and at or where
  elseif find(text, "^true", at) or find(text, "^false", at) then
    return "T_BOOLEAN", at
  elseif find(text, "^null", at) then
    return "T_NULL", at
  end
  local is_digit = code == 45 or (code >= 48 and code <= 57)
  if is_digit or (settings.decode_invalid_numbers and find(text, "^[+iInN]", at) and is_invalid_number(text, at)) then
    if (settings.decode_invalid_numbers or not is_invalid_number(text, at)) and strtod(text, at) then
      return "T_NUMBER", at
    end
    return "invalid number", at
  end
  return "invalid token", at
end

local function unexpected(settings, what, text, code, at)
  expected(what, token_name(settings, text, code, at))
end

local function descend(settings, depth, at)
  if depth > settings.decode_max_depth then
    fail("Found too many nested data structures (" .. depth .. ") at character " .. at - 1)
  end
end

local function decode_array(settings, text, at, depth)
  descend(settings, depth, at)
  local items, index = {}, 0
  local code
  code, at = skip_space(text, at)
  if code == 93 then
    return items, at + 1
  end
  while true do
    index = index + 1
    items[index], at = decode_value(settings, text, code, at, depth)
    code, at = skip_space(text, at)
    if code == 93 then
      return items, at + 1
    elseif code ~= 44 then
      unexpected(settings, "comma or array end", text, code, at)
    end
    code, at = skip_space(text, at + 1)
  end
end

local function decode_object(settings, text, at, depth)
  descend(settings, depth, at)
  local fields = {}
  local code
  code, at = skip_space(text, at)
  if code == 125 then
    return fields, at + 1
  end
  while true do
    local key, stop
    if code == 34 then
      key, stop = read_string(text, at + 1)
    end
    if not key then
      unexpected(settings, "object key string", text, code, at)
    end
    code, at = skip_space(text, stop)
    if code ~= 58 then
      unexpected(settings, "colon", text, code, at)
    end
    code, at = skip_space(text, at + 1)
    fields[key], at = decode_value(settings, text, code, at, depth)
    code, at = skip_space(text, at)
    if code == 125 then
      return fields, at + 1
    elseif code ~= 44 then
      unexpected(settings, "comma or object end", text, code, at)
    end
    code, at = skip_space(text, at + 1)
  end
end

function decode_value(settings, text, code, at, depth)
  if code == 34 then
    local value, stop, where = read_string(text, at + 1)
    if not value then
      expected("value", stop, where)
    end
    return value, stop
  elseif code == 123 then
    return decode_object(settings, text, at + 1, depth + 1)
  elseif code == 91 then
    return decode_array(settings, text, at + 1, depth + 1)
  elseif code == 45 or (code >= 48 and code <= 57) then
    return read_number(settings, text, at)
  elseif code == 116 and sub(text, at, at + 3) == "true" then
    return true, at + 4
  elseif code == 102 and sub(text, at, at + 4) == "false" then
    return false, at + 5
  elseif code == 110 and sub(text, at, at + 3) == "null" then
    return null, at + 4
  elseif settings.decode_invalid_numbers and find(text, "^[+iInN]", at) and is_invalid_number(text, at) then
    return read_number(settings, text, at)
  end
  unexpected(settings, "value", text, code, at)
end

-- configuration

local function defaults()
  return {
    encode_sparse_convert = false, encode_sparse_ratio = 2, encode_sparse_safe = 10,
    encode_max_depth = 1000, decode_max_depth = 1000, encode_invalid_numbers = 0, decode_invalid_numbers = true,
    encode_keep_buffer = true, encode_number_precision = 14, number_format = "%.14g",
  }
end

local function check_count(limit, ...)
  if select("#", ...) > limit then
    argument_error(limit + 1, "found too many arguments")
  end
end

local function set_integer(settings, name, value, number, least, most)
  if value ~= nil then
    value = core.check_int(value, number, number)
    if value < least or value > most then
      argument_error(1, "expected integer between " .. least .. " and " .. most)
    end
    settings[name] = value
    core.note_change()
  end
  return settings[name]
end

local INT_MAX = 2147483647

local function read_switch(value, number, options)
  if type(value) == "boolean" then
    return value
  end
  value = check_string(value, number, number)
  local option = options[value]
  if option == nil then
    argument_error(number, "invalid option '" .. value .. "'")
  end
  return option
end

local ON_OFF = { on = true, off = false }

local function set_switch(settings, name, value, number)
  if value ~= nil then
    settings[name] = read_switch(value, number, ON_OFF)
    core.note_change()
  end
  return settings[name]
end

local INVALID_NUMBER_MODES = { off = 0, on = 1, null = 2, [false] = 0, [true] = 1 }
local INVALID_NUMBER_NAMES = { [0] = false, [1] = true, [2] = "null" }

local function new_library()
  local settings = defaults()
  local library = { null = null, _NAME = "cjson", _VERSION = "2.1.0" }

  function library.encode(...)
    if select("#", ...) ~= 1 then
      argument_error(1, "expected 1 argument")
    end
    local out = {}
    local length = encode_value(settings, out, 0, (...), 0)
    return length == 1 and out[1] or concat(out, "", 1, length)
  end

  function library.decode(...)
    if select("#", ...) ~= 1 then
      argument_error(1, "expected 1 argument")
    end
    local text = check_string((...), 1, 1)
    if #text >= 2 and (byte(text, 1) == 0 or byte(text, 2) == 0) then
      fail("JSON parser does not support UTF-16 or UTF-32")
    end
    local code, at = skip_space(text, 1)
    local value
    value, at = decode_value(settings, text, code, at, 0)
    code, at = skip_space(text, at)
    if code ~= 0 then
      unexpected(settings, "the end", text, code, at)
    end
    return value
  end

  function library.encode_sparse_array(...)
    check_count(3, ...)
    local convert, ratio, safe = ...
    return set_switch(settings, "encode_sparse_convert", convert, 1),
      set_integer(settings, "encode_sparse_ratio", ratio, 2, 0, INT_MAX),
      set_integer(settings, "encode_sparse_safe", safe, 3, 0, INT_MAX)
  end

  function library.encode_max_depth(...)
    check_count(1, ...)
    return set_integer(settings, "encode_max_depth", (...), 1, 1, INT_MAX)
  end

  function library.decode_max_depth(...)
    check_count(1, ...)
    return set_integer(settings, "decode_max_depth", (...), 1, 1, INT_MAX)
  end

  function library.encode_number_precision(...)
    check_count(1, ...)
    local precision = set_integer(settings, "encode_number_precision", (...), 1, 1, 14)
    settings.number_format = "%." .. precision .. "g"
    return precision
  end

  function library.encode_keep_buffer(...)
    check_count(1, ...)
    return set_switch(settings, "encode_keep_buffer", (...), 1)
  end

  function library.encode_invalid_numbers(...)
    check_count(1, ...)
    local mode = ...
    if mode ~= nil then
      mode = read_switch(mode, 1, INVALID_NUMBER_MODES)
      settings.encode_invalid_numbers = INVALID_NUMBER_MODES[mode] or mode
      core.note_change()
    end
    return INVALID_NUMBER_NAMES[settings.encode_invalid_numbers]
  end

  function library.decode_invalid_numbers(...)
    check_count(1, ...)
    return set_switch(settings, "decode_invalid_numbers", (...), 1)
  end

  function library.new()
    return (new_library())
  end

  return library, settings
end

local shared_settings
core.cjson, shared_settings = new_library()

-- Settings last for one run: a script must not change how another one works.
function core.reset_cjson()
  for name, value in pairs(defaults()) do
    shared_settings[name] = value
  end
end
