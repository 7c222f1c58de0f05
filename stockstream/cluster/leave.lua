-- Ends a node's membership and releases all that it holds, at once.
--
-- KEYS: nodes, roles, leases, demand versions, demand of the node.
-- ARGV: node, command to publish with, channel to wake others on.

local node = ARGV[1]
redis.call('ZREM', KEYS[1], node)
redis.call('HDEL', KEYS[2], node)
local flat = redis.call('HGETALL', KEYS[3])
for i = 1, #flat, 2 do
  if string.match(flat[i + 1], '^%d+ (%S+) ') == node then redis.call('HDEL', KEYS[3], flat[i]) end
end
redis.call('HDEL', KEYS[4], node)
redis.call('DEL', KEYS[5])
redis.call(ARGV[2], ARGV[3], node)
