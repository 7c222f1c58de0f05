-- Reads what followed a position.
--
-- KEYS: state, log. ARGV: epoch, seq.
-- Returns the lines of the log; false where it can't be told what followed.

local state = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
local missed = state[1] == ARGV[1] and tonumber(state[2]) - tonumber(ARGV[2])
if not missed or missed < 0 then return false end
if missed == 0 then return {} end
local lines = redis.call('ZRANGE', KEYS[2], -missed, -1)
return #lines == missed and lines
