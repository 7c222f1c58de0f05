-- Reads what followed a position.
--
-- KEYS: state, log. ARGV: epoch, seq.
-- Returns the lines of the log; false where it can't be told what followed.

local epoch, seq = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+) ')
local missed = epoch == ARGV[1] and tonumber(seq) - tonumber(ARGV[2])
if not missed or missed < 0 then return false end
if missed == 0 then return {} end
local lines = redis.call('ZRANGE', KEYS[2], -missed, -1)
return #lines == missed and lines
