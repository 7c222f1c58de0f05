-- Saves sessions of clients, or lets them go, where no other node has taken them over.
--
-- KEYS: of each session one. ARGV: node; then of each session ms that it is kept, 0 to remove it,
-- and "guard record".

local node = ARGV[1]
local refused = 0
for i, key in ipairs(KEYS) do
  local owner = string.match(redis.call('GET', key) or '', '^(%S+) ')
  if owner and owner ~= node then
    refused = refused + 1
  elseif ARGV[2 * i] == '0' then
    redis.call('DEL', key)
  else
    redis.call('SET', key, node .. ' ' .. ARGV[2 * i + 1], 'PX', ARGV[2 * i])
  end
end
return refused
