-- Reads what followed an offset, or where that can't be told, the current value.
--
-- KEYS: origin; then of each symbol: state, log.
-- ARGV: seconds that a log lives; then of each symbol the offset, '' to read its value only.
-- Returns of each symbol 1 and the lines of its log, or 0 and: epoch, seq, price, offset, payload;
-- 0 alone where it has no value.

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- As commit.lua writes it.
local STATE = '^(%S+) (%d+) (%S+) (%d+) %S+ %d+ %S* (%d+) %d+ (.*)$'

-- The offset after which all updates of a symbol without a state are held, nil where none is.
local function origin_of_all()
  local all = redis.call('GET', KEYS[1])
  return all and math.max(tonumber(all), now_us - tonumber(ARGV[1]) * 1000000)
end

local function lines_after(log_key, from, last)
  local lines = redis.call('ZRANGE', log_key, '(' .. from, '+inf', 'BYSCORE')
  -- Redis may have evicted the log and kept the state.
  local complete = tonumber(last) <= tonumber(from)
    or #lines > 0 and string.match(lines[#lines], '^%d+') == last
  return complete and lines
end

local function read(state_key, log_key, from)
  local held = redis.call('GET', state_key)
  if not held then
    local origin = from ~= '' and origin_of_all()
    return { origin and tonumber(from) >= origin and 1 or 0 }
  end
  local epoch, seq, price, offset, origin, payload = string.match(held, STATE)
  if from ~= '' and tonumber(from) >= tonumber(origin) then
    local lines = lines_after(log_key, from, offset)
    if lines then return { 1, unpack(lines) } end
  end
  return { 0, epoch, seq, price, offset, payload }
end

local reply = {}
for i = 2, #KEYS, 2 do
  reply[#reply + 1] = read(KEYS[i], KEYS[i + 1], ARGV[1 + i / 2])
end
return reply
