-- Renews a node's membership and leases, releases some, and acquires those that are free.
--
-- KEYS: nodes, roles, leases, token, demand versions.
-- ARGV: node, role, ms that membership and leases last, command to publish with, channel to wake
--       others on; then a letter for each partition: 'a' acquire it or keep it, 'k' keep it if it
--       is held, 'r' release it, '-' leave it alone.
-- Returns 1 where the node was not a member before, members and their roles, and the partitions
-- held with their tokens.

local node, role, ttl_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local publish, channel, actions = ARGV[4], ARGV[5], ARGV[6]

local function digits(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)
local end_ms = digits(now_ms + ttl_ms)
local wake = false

for _, gone in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now_ms, 'BYSCORE')) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('HDEL', KEYS[2], gone)
  redis.call('HDEL', KEYS[5], gone)
  wake = true
end
local joined = redis.call('ZADD', KEYS[1], end_ms, node)
if joined == 1 then wake = true end
redis.call('HSET', KEYS[2], node, role)

-- Also after a loss of data, tokens must not be given a second time.
local function new_token()
  local token = math.max(tonumber(redis.call('GET', KEYS[4]) or 0) + 1, now_us)
  redis.call('SET', KEYS[4], digits(token))
  return digits(token)
end

local leases, held = {}, {}
local flat = redis.call('HGETALL', KEYS[3])
for i = 1, #flat, 2 do leases[flat[i]] = flat[i + 1] end

local function handle(partition, action)
  local token, owner, ends = string.match(leases[partition] or '', '^(%d+) (%S+) (%d+)$')
  local alive = token and tonumber(ends) > now_ms
  local mine = alive and owner == node
  if mine and action == 'r' then
    redis.call('HDEL', KEYS[3], partition)
    wake = true
  elseif mine and action ~= '-' or action == 'a' and not alive then
    token = mine and token or new_token()
    redis.call('HSET', KEYS[3], partition, token .. ' ' .. node .. ' ' .. end_ms)
    held[#held + 1] = partition
    held[#held + 1] = token
  end
end

for i = 1, #actions do handle(tostring(i - 1), string.sub(actions, i, i)) end
if wake then redis.call(publish, channel, node) end

local members = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  members[#members + 1] = member
  members[#members + 1] = redis.call('HGET', KEYS[2], member) or ''
end
return { joined, members, held }
