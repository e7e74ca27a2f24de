-- struct: Roberto Ierusalimschy's binary packing as redis-server has it, and floats as bytes for cmsgpack too.

local core = ...

local select, tonumber, type, unpack, floor, ceil = select, tonumber, type, unpack, math.floor, math.ceil
local byte, char, concat, find, lower, match, rep, reverse, sub = string.byte, string.char, table.concat, string.find,
  string.lower, string.match, string.rep, string.reverse, string.sub
local fail, argument_error = core.fail, core.argument_error
local check_string, check_number, check_int = core.check_string, core.check_number, core.check_int
local host, check_memory, bit_and = core.host, core.check_memory, core.bit_and

local NEGATIVE_ZERO = "\128\0\0\0\0\0\0\0"

-- Big-endian IEEE 754. A negative zero would lose its sign on the way to Python.
function core.pack_double(number)
  if number == 0 and 1 / number < 0 then
    return NEGATIVE_ZERO
  end
  check_memory()
  return host.pack_double(number)
end

function core.pack_float(number)
  if number == 0 and 1 / number < 0 then
    return sub(NEGATIVE_ZERO, 1, 4)
  end
  check_memory()
  return host.pack_float(number)
end

core.unpack_float, core.unpack_double = host.unpack_float, host.unpack_double

local SIZES = { b = 1, B = 1, h = 2, H = 2, l = 8, L = 8, T = 8, f = 4, d = 8, x = 1 }
local INTEGER_SIZE_MAX = 32
local INT_MAX = 2147483647

-- A format being read. Alignment and byte order hold from where they are given on.
local function start(format)
  local stop = find(format, "%z")
  return { text = stop and sub(format, 1, stop - 1) or format, at = 1, is_little = true, alignment = 1 }
end

local function read_count(reader, default)
  local digits = match(reader.text, "^%d+", reader.at)
  if not digits then
    return default
  end
  reader.at = reader.at + #digits
  local count = tonumber(digits)
  if count > INT_MAX then
    fail("integral size overflow")
  end
  return count
end

-- The next option and its size; nil at the end.
local function next_option(reader)
  if reader.at > #reader.text then
    return nil
  end
  local option = sub(reader.text, reader.at, reader.at)
  reader.at = reader.at + 1
  local size = SIZES[option] or 0
  if option == "c" then
    size = read_count(reader, 1)
  elseif option == "i" or option == "I" then
    size = read_count(reader, 4)
    if size > INTEGER_SIZE_MAX then
      fail("integral size " .. size .. " is larger than limit of " .. INTEGER_SIZE_MAX)
    end
  end
  return option, size
end

-- How many bytes to skip so that an option starts where it has to. Sizes that are no power of two follow the C code.
local function padding(reader, position, option, size)
  if size == 0 or option == "c" or reader.alignment == 1 then
    return 0
  end
  if size > reader.alignment then
    size = reader.alignment
  end
  check_memory()
  return bit_and(size - bit_and(position, size - 1), size - 1)
end

local function is_power_of_two(number)
  while number > 1 and number % 2 == 0 do
    number = number / 2
  end
  return number == 1
end

local function control(reader, option)
  if option == ">" then
    reader.is_little = false
  elseif option == "<" then
    reader.is_little = true
  elseif option == "!" then
    local alignment = read_count(reader, 8)
    if not is_power_of_two(alignment) then
      fail("alignment " .. alignment .. " is not a power of 2")
    end
    reader.alignment = alignment
  elseif option ~= " " then
    argument_error(1, "invalid format option '" .. option .. "'")
  end
end

local INT64_MIN = -2 ^ 63

-- The 64 bits that C makes of a double, as two unsigned halves. Out of range it gives the least integer.
local function halves(number)
  if number ~= number or number < INT64_MIN or number >= 2 ^ 64 then
    return number == number and number > 0 and 0 or 2147483648, 0
  end
  number = number < 0 and ceil(number) or floor(number)
  local high = floor(number / 4294967296)
  return high % 4294967296, number - high * 4294967296
end

local function integer_bytes(number, size)
  local high, low = halves(number)
  local bytes = {}
  for index = 1, size do
    bytes[index] = char(low % 256)
    low = floor(low / 256) + high % 256 * 16777216
    high = floor(high / 256)
  end
  return concat(bytes)
end

local function ordered(reader, little_endian)
  return reader.is_little and little_endian or reverse(little_endian)
end

local INTEGERS = { b = true, B = true, h = true, H = true, l = true, L = true, T = true, i = true, I = true }

local function pack_option(reader, option, size, arguments, number)
  local value = arguments[number]
  if INTEGERS[option] then
    return ordered(reader, integer_bytes(check_number(value, number, arguments.count), size)), size, number + 1
  elseif option == "x" then
    return "\0", 1, number
  elseif option == "f" then
    return ordered(reader, reverse(core.pack_float(check_number(value, number, arguments.count)))), 4, number + 1
  elseif option == "d" then
    return ordered(reader, reverse(core.pack_double(check_number(value, number, arguments.count)))), 8, number + 1
  elseif option == "c" or option == "s" then
    local text = check_string(value, number, arguments.count)
    if size == 0 then
      size = #text
    end
    if #text < size then
      argument_error(number + 1, "string too short")
    end
    text = sub(text, 1, size)
    if option == "s" then
      return text .. "\0", size + 1, number + 1
    end
    return text, size, number + 1
  end
  control(reader, option)
  return "", 0, number
end

local library = {}

function library.pack(...)
  local arguments = { count = select("#", ...), ... }
  local reader = start(check_string(arguments[1], 1, arguments.count))
  arguments.count = arguments.count + 1 -- the C code puts a nil behind the arguments
  local pieces, position, number = {}, 0, 2
  for option, size in next_option, reader do
    local skipped = padding(reader, position, option, size)
    local piece, length
    piece, length, number = pack_option(reader, option, size, arguments, number)
    pieces[#pieces + 1] = rep("\0", skipped) .. piece
    position = position + skipped + length
  end
  return concat(pieces)
end

local function read_integer(text, is_signed)
  local size = #text
  local first = size > 8 and size - 7 or 1
  local high, low = 0, 0
  for index = first, size do
    local code = byte(text, index)
    high = (high * 256 + floor(low / 16777216)) % 4294967296
    low = low % 16777216 * 256 + code
  end
  if is_signed and size > 0 then
    if size < 8 then
      local value = high * 4294967296 + low
      return value >= 2 ^ (size * 8 - 1) and value - 2 ^ (size * 8) or value
    elseif high >= 2147483648 then
      high = high - 4294967296
    end
  end
  return high * 4294967296 + low
end

local function too_short()
  argument_error(2, "data string too short")
end

-- What an option reads at a 0-based position. Adds it to the results and returns the bytes it took.
local function unpack_option(reader, option, size, data, position, results)
  local count = results.count
  if INTEGERS[option] then
    local text = sub(data, position + 1, position + size)
    if reader.is_little then
      text = reverse(text)
    end
    results[count + 1] = read_integer(text, option == lower(option))
  elseif option == "f" or option == "d" then
    local text = sub(data, position + 1, position + size)
    if reader.is_little then
      text = reverse(text)
    end
    results[count + 1] = option == "f" and core.unpack_float(text) or option == "d" and core.unpack_double(text)
  elseif option == "c" then
    if size == 0 then
      size = count > 0 and tonumber(results[count])
      if not size then
        fail("format 'c0' needs a previous size")
      end
      size = floor(size)
      count = count - 1
      if size < 0 or position + size > #data then
        too_short()
      end
    end
    results[count + 1] = sub(data, position + 1, position + size)
  elseif option == "s" then
    local stop = find(data, "%z", position + 1)
    if not stop then
      fail("unfinished string in data")
    end
    results[count + 1] = sub(data, position + 1, stop - 1)
    size = stop - position
  elseif option == "x" then
    return size
  else
    control(reader, option)
    return 0
  end
  results.count = count + 1
  return size
end

function library.unpack(...)
  local format, data, offset = ...
  local count = select("#", ...)
  local reader = start(check_string(format, 1, count))
  data = check_string(data, 2, count)
  local position = offset == nil and 0 or check_int(offset, 3, count) - 1
  if position < 0 then
    argument_error(3, "offset must be 1 or greater")
  end
  local results = { count = 0 }
  for option, size in next_option, reader do
    position = position + padding(reader, position, option, size)
    if size > #data or position > #data - size then
      too_short()
    end
    position = position + unpack_option(reader, option, size, data, position, results)
  end
  results[results.count + 1] = position + 1
  return unpack(results, 1, results.count + 1)
end

function library.size(...)
  local reader = start(check_string((...), 1, select("#", ...)))
  local position = 0
  for option, size in next_option, reader do
    position = position + padding(reader, position, option, size)
    if option == "s" then
      argument_error(1, "option 's' has no fixed size")
    elseif option == "c" and size == 0 then
      argument_error(1, "option 'c0' has no fixed size")
    elseif not find(option, "^%w") then
      control(reader, option)
    end
    position = position + size
  end
  return position
end

core.struct = library
