-- Tells a node, over its own subscription, the offset of the last update: whoever hears it has
-- heard all updates up to that one.
--
-- KEYS: offset. ARGV: command to publish with, channel.

redis.call(ARGV[1], ARGV[2], redis.call('GET', KEYS[1]) or '0')
