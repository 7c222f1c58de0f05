-- Appends runs of updates. A run is what one symbol got within one epoch, in order of seq and of
-- time. Value and history of a symbol change together; what is held already changes nothing.
--
-- KEYS: of each run, the key of the current value and the key of the history.
-- ARGV: most updates in a history, seconds that a value lives, seconds that a history lives; then
--       of each run its epoch and the number of its updates, and seq, timestamp, JSON of each.

local keep, value_ttl, history_ttl = tonumber(ARGV[1]), ARGV[2], ARGV[3]

-- Nil where the member is not one of ours.
local function position_of(json)
  local decoded, update = pcall(cjson.decode, json)
  if decoded and type(update) == 'table' and type(update.seq) == 'number' then
    return update.epoch, update.seq
  end
end

local function members_from(history, timestamp)
  local members = redis.pcall('ZRANGEBYSCORE', history, timestamp, '+inf')
  if members.err then
    -- The key holds something else than a sorted set, which nobody could read as a history.
    redis.call('DEL', history)
    return {}
  end
  return members
end

-- The highest seq of the epoch that is held at or after a time, and whether other epochs are held
-- there; normally nothing is.
local function held_from(history, epoch, timestamp)
  local last, others = -1, false
  for _, member in ipairs(members_from(history, timestamp)) do
    local held_epoch, seq = position_of(member)
    if held_epoch == epoch then
      last = math.max(last, seq)
    elseif held_epoch then
      others = true
    end
  end
  return last, others
end

-- A sequence that starts anew at an earlier time replaces what other ones said from then on.
local function drop_other_epochs(history, epoch, timestamp)
  for _, member in ipairs(members_from(history, timestamp)) do
    local held_epoch = position_of(member)
    if held_epoch and held_epoch ~= epoch then redis.call('ZREM', history, member) end
  end
end

-- Redis orders members of the same score by their text; here the lower seq is the older one.
local function drop_oldest_of_score(history, score, count)
  local tied = {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', history, score, score)) do
    local _, seq = position_of(member)
    table.insert(tied, { seq = seq or -1, member = member })
  end
  table.sort(tied, function(a, b) return a.seq < b.seq end)
  for i = 1, count do redis.call('ZREM', history, tied[i].member) end
end

local function trim(history)
  local excess = redis.call('ZCARD', history) - keep
  if excess <= 0 then return end
  -- The newest that has to go and the oldest that stays, each followed by its score.
  local edge = redis.call('ZRANGE', history, excess - 1, excess, 'WITHSCORES')
  if edge[2] ~= edge[4] then
    redis.call('ZREMRANGEBYRANK', history, 0, excess - 1)
    return
  end
  local older = redis.call('ZREMRANGEBYSCORE', history, '-inf', '(' .. edge[2])
  drop_oldest_of_score(history, edge[2], excess - older)
end

local function append_run(value, history, epoch, first, count)
  local last, others = held_from(history, epoch, ARGV[first + 1])
  local added = {}
  for i = first, first + 3 * (count - 1), 3 do
    if tonumber(ARGV[i]) > last then
      table.insert(added, ARGV[i + 1])
      table.insert(added, ARGV[i + 2])
    end
  end
  if #added == 0 then return end
  if others then drop_other_epochs(history, epoch, added[1]) end
  redis.call('ZADD', history, unpack(added))
  trim(history)
  redis.call('EXPIRE', history, history_ttl)
  redis.call('SET', value, added[#added], 'EX', value_ttl)
end

local at = 4
for run = 1, #KEYS, 2 do
  local epoch, count = ARGV[at], tonumber(ARGV[at + 1])
  append_run(KEYS[run], KEYS[run + 1], epoch, at + 2, count)
  at = at + 2 + 3 * count
end
