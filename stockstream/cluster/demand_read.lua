-- Reads the symbols that nodes want.
--
-- KEYS: versions; then the set of each node. ARGV: the nodes.
-- Returns of each node the version, '' where there is none, and its symbols.

local reply = {}
for i, node in ipairs(ARGV) do
  local version = redis.call('HGET', KEYS[1], node) or ''
  reply[i] = { version, version ~= '' and redis.call('SMEMBERS', KEYS[i + 1]) or {} }
end
return reply
