-- The parts of Lua's own libraries that differ here: table.insert knows read-only tables, string.rep knows the limit of
-- memory, and math.random gives the same numbers as redis-server's, which are drand48's.

local core = ...

local error, floor, pairs, select = error, math.floor, pairs, select
local argument_error, fail, check_int, check_string = core.argument_error, core.fail, core.check_int, core.check_string

local table_library = {}
for name, value in pairs(table) do
  table_library[name] = value
end
table_library.insert = core.insert
core.table_library = table_library

local rep = string.rep
local REPEATED_BYTES_MAX = core.script_kb_max * 1024

-- Lua's own appends piece by piece until memory ends, for seconds in which nothing can stop it.
function string.rep(...)
  local text, times = ...
  local count = select("#", ...)
  text, times = check_string(text, 1, count), check_int(times, 2, count)
  if #text * times > REPEATED_BYTES_MAX then
    error("not enough memory", 0)
  end
  return rep(text, times)
end

-- The state x is 48 bits, kept as two halves of 24, since a double holds products up to 53 bits exactly:
-- x' = (0x5DEECE66D x + 11) mod 2^48.
local HALF = 16777216
local HIGH_FACTOR, LOW_FACTOR = 0x5DE, 0xECE66D
local high, low = 0x1234AB, 0xCD330E

local function next_31_bits()
  local product = low * LOW_FACTOR + 11
  local carry = floor(product / HALF)
  high = (high * LOW_FACTOR + low * HIGH_FACTOR + carry) % HALF
  low = product - carry * HALF
  return floor((high * HALF + low) / 131072)
end

local INT_MAX = 2147483647

local math_library = {}
for name, value in pairs(math) do
  math_library[name] = value
end
core.math_library = math_library

function math_library.random(...)
  local count = select("#", ...)
  local fraction = next_31_bits() % INT_MAX / INT_MAX
  if count == 0 then
    return fraction
  elseif count > 2 then
    fail("wrong number of arguments")
  end
  local lower, upper = 1, check_int((...), 1, count)
  if count == 2 then
    lower, upper = upper, check_int((select(2, ...)), 2, count)
  end
  if lower > upper then
    argument_error(count, "interval is empty")
  end
  return floor(fraction * (upper - lower + 1)) + lower
end

function math_library.randomseed(...)
  local seed = check_int((...), 1, select("#", ...)) % 4294967296
  high = floor(seed / 256)
  low = seed % 256 * 65536 + 0x330E
end
