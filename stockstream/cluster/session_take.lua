-- Takes a session over, and tells the node that had it.
--
-- KEYS: the session. ARGV: node, guard, ms that it is kept, command to publish with, prefix of
-- channels, what the other node is told.
-- Returns the record; false where there is none, or it is guarded by another word.

local held = redis.call('GET', KEYS[1])
if not held then return false end
local owner, guard, record = string.match(held, '^(%S+) (%S+) (.*)$')
if guard ~= ARGV[2] then return false end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. guard .. ' ' .. record, 'PX', ARGV[3])
if owner ~= ARGV[1] then redis.call(ARGV[4], ARGV[5] .. owner, ARGV[6]) end
return record
