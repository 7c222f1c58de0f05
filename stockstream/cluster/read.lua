-- Reads what followed an offset, or where that can't be told, the current value.
--
-- KEYS: origin; then of each symbol: state, log.
-- ARGV: seconds that a log lives; then of each symbol the offset, '' to read its value only.
-- Returns of each symbol 1 and the lines of its log, or 0 and: epoch, seq, price, offset, payload;
-- 0 alone where it has no value.

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- The offset after which all updates of the symbol are held, nil where none is.
local function origin_of(state_key)
  local own = redis.call('HGET', state_key, 'origin')
  if own then return tonumber(own) end
  local all = redis.call('GET', KEYS[1])
  return all and math.max(tonumber(all), now_us - tonumber(ARGV[1]) * 1000000)
end

local function read(state_key, log_key, from)
  local origin = from ~= '' and origin_of(state_key)
  if origin and tonumber(from) >= origin then
    return { 1, unpack(redis.call('ZRANGE', log_key, '(' .. from, '+inf', 'BYSCORE')) }
  end
  local state = redis.call('HMGET', state_key, 'epoch', 'seq', 'price', 'offset', 'payload')
  if not state[1] then return { 0 } end
  return { 0, unpack(state) }
end

local reply = {}
for i = 2, #KEYS, 2 do
  reply[#reply + 1] = read(KEYS[i], KEYS[i + 1], ARGV[1 + i / 2])
end
return reply
