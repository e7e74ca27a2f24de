-- bit: Mike Pall's BitOp 1.0.2. Numbers are taken modulo 2^32 and results are signed.

local core = ...

local type, tonumber, select, floor, frexp, huge, format, sub =
  type, tonumber, select, math.floor, math.frexp, math.huge, string.format, string.sub
local type_error, host, check_memory = core.type_error, core.host, core.check_memory

local MODULUS = 4294967296
-- Adding it leaves the integer nearest to a number in the low bits of the sum.
local ROUNDING = 6755399441055744

-- An argument as an unsigned 32-bit integer.
local function bits(value, number, count)
  local converted = type(value) == "number" and value or (type(value) == "string" and tonumber(value))
  if not converted then
    type_error(number, "number", value, count)
  end
  local sum = converted + ROUNDING
  if sum >= ROUNDING / 1.5 and sum < 9007199254740992 then
    return sum % MODULUS
  elseif sum ~= sum or sum == huge or sum == -huge then
    return 0
  end
  local mantissa = frexp(sum)
  return (mantissa < 0 and -mantissa or mantissa) * 9007199254740992 % MODULUS
end

local function signed(number)
  return number >= 2147483648 and number - MODULUS or number
end

-- Combining bits is quicker in Python, in spite of the crossing (0.6 µs against 0.9 µs by tables of nibbles).
local function combine(operator, ...)
  local count = select("#", ...)
  local result = bits((...), 1, count)
  for number = 2, count do
    check_memory()
    result = operator(result, bits((select(number, ...)), number, count))
  end
  return signed(result)
end

local host_and, host_or, host_xor = host.bit_and, host.bit_or, host.bit_xor

core.bit_and = host_and

local library = {}

function library.tobit(...)
  return signed(bits((...), 1, select("#", ...)))
end

function library.bnot(...)
  return signed(MODULUS - 1 - bits((...), 1, select("#", ...)))
end

function library.band(...)
  return combine(host_and, ...)
end

function library.bor(...)
  return combine(host_or, ...)
end

function library.bxor(...)
  return combine(host_xor, ...)
end

local function operands(...)
  local value, distance = ...
  local count = select("#", ...)
  return bits(value, 1, count), bits(distance, 2, count) % 32
end

function library.lshift(...)
  local value, distance = operands(...)
  return signed(value * 2 ^ distance % MODULUS)
end

function library.rshift(...)
  local value, distance = operands(...)
  return signed(floor(value / 2 ^ distance))
end

function library.arshift(...)
  local value, distance = operands(...)
  return floor(signed(value) / 2 ^ distance)
end

local function rotate(value, distance)
  local shifted = value * 2 ^ distance
  local low = shifted % MODULUS
  return signed(low + (shifted - low) / MODULUS)
end

function library.rol(...)
  return rotate(operands(...))
end

function library.ror(...)
  local value, distance = operands(...)
  return rotate(value, (32 - distance) % 32)
end

function library.bswap(...)
  local value = bits((...), 1, select("#", ...))
  local first, second, third = value % 256, floor(value / 256) % 256, floor(value / 65536) % 256
  return signed(first * 16777216 + second * 65536 + third * 256 + floor(value / 16777216))
end

function library.tohex(...)
  local count = select("#", ...)
  local value = bits((...), 1, count)
  local digits = count < 2 and 8 or signed(bits((select(2, ...)), 2, count))
  local text = format(digits < 0 and "%08X" or "%08x", value)
  digits = digits < 0 and -digits or digits
  return digits == 0 and "" or sub(text, -(digits > 8 and 8 or digits))
end

core.bit = library
