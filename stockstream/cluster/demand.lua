-- Changes the set of symbols that a node's clients want, and tells others.
--
-- KEYS: versions, the node's set.
-- ARGV: node, command to publish with, channel, seconds that the set lives, the version that the
--       caller wrote last ('' to replace the whole set) and how many symbols it then had, how many
--       symbols come; those that come, those that go.
-- Returns the new version, false where the set is not what the caller believes.

local node, publish, channel = ARGV[1], ARGV[2], ARGV[3]
local believed, size, come = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local held = redis.call('HGET', KEYS[1], node) or ''

if believed == '' then
  redis.call('DEL', KEYS[2])
elseif believed ~= held or redis.call('SCARD', KEYS[2]) ~= size then
  return false
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
if believed ~= '' and #ARGV == 7 then return held end

local changes = {}
for i = 8, #ARGV do
  local coming = i < 8 + come
  redis.call(coming and 'SADD' or 'SREM', KEYS[2], ARGV[i])
  changes[#changes + 1] = (coming and '+' or '-') .. ARGV[i]
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
local time = redis.call('TIME')
local version = string.format(
  '%.0f', math.max(tonumber(held) or 0, tonumber(time[1]) * 1000000 + tonumber(time[2])) + 1
)
redis.call('HSET', KEYS[1], node, version)
local words = { node, believed == '' and '*' or held, version, unpack(changes) }
redis.call(publish, channel, table.concat(words, ' '))
return version
