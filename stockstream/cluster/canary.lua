-- Tells a node, over its own subscription, the offset of the last update: whoever hears it has
-- heard all updates up to that one.
--
-- KEYS: offset, origin. ARGV: command to publish with, channel.

local offset = redis.call('GET', KEYS[1])
if not offset then
  -- An empty Redis: from here on nothing is lost.
  local time = redis.call('TIME')
  offset = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
  redis.call('SET', KEYS[1], offset)
  redis.call('SET', KEYS[2], offset, 'NX')
end
redis.call(ARGV[1], ARGV[2], offset)
