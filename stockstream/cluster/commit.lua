-- Numbers, stores and publishes updates in one step. Updates of a partition that the caller does
-- not own (any more) are refused.
--
-- KEYS: leases, offset, origin; then of each symbol: state, log, and on a Redis that has all slots
--       the documented value and history.
-- ARGV: node, command to publish with, prefix of channels, epoch for sequences that start anew,
--       most updates kept, seconds that a log lives, a value lives, a history lives ('' where the
--       documented keys are not written here); then, each in one string to keep them few: of each
--       group "partition token symbols"; of each symbol "name epoch seq anew changes", where
--       epoch and seq are what the caller was told last, and anew names the epoch that begins with
--       the first change, or is '-'; of each
--       change "serial price timestamp body", the body being the payload without seq, epoch and
--       closing brace.
-- Returns for each group false where it is refused, else of each symbol: epoch ('' where a new one
-- is due), seq of its last update, then for each change its seq, 0 where it changed nothing, or -1
-- where another node has made updates of which the caller does not know: what it offers may be
-- older than these.

local node, publish, prefix, fresh_epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local keep, log_ttl, value_ttl, history_ttl = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local documented = value_ttl ~= ''
-- Logs are cut when they are longer by so many than what is kept, and not for each update.
local SLACK = 100
-- Seconds between two renewals of what expires late.
local RENEWAL = 3600

local function digits(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_us = now_s * 1000000 + tonumber(time[2])
-- Also after a loss of data, offsets must not be given a second time.
local offset = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), now_us)
redis.call('SET', KEYS[3], digits(offset), 'NX')
local origin = tonumber(redis.call('GET', KEYS[3]))
-- Changes when another replica becomes the master, which may lack what was accepted last.
local lineage = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''

local key, at = 4, 9

local function owns(partition, token)
  local lease = redis.call('HGET', KEYS[1], partition)
  return lease and string.sub(lease, 1, #token + #node + 2) == token .. ' ' .. node .. ' '
end

-- A state is one string, since a hash of its fields costs several times as much:
-- epoch seq price offset node serial lineage origin renewed payload
local STATE = '^(%S+) (%d+) (%S+) %d+ (%S+) (%d+) (%S*) (%d+) (%d+) '

local SYMBOL = '^(%S+) (%S*) (%d*) (%S+) (%d+)$'
local CHANGE = '^(%d+) (%S+) (%d+) (.*)$'

-- Whether others have made updates of which the caller does not know.
local function superseded(state, owner, known_epoch, known_seq, anew)
  if owner == node or state.epoch == anew then return false end
  return not (state.epoch == known_epoch and tonumber(state.seq) <= (tonumber(known_seq) or -1))
end

-- Whether a state holds all that the node was told of: the same, or more by a commit of its own of
-- which it has heard no answer.
local function holds_all(state, owner, known_epoch, known_seq)
  if known_epoch ~= state.epoch then return false end
  local ahead = tonumber(state.seq) - tonumber(known_seq)
  return ahead == 0 or ahead > 0 and owner == node
end

local function load(state_key, known_epoch, known_seq, anew)
  local held = redis.call('GET', state_key)
  -- The epoch that is to begin, if any.
  local state = {}
  local owner, serial, last_lineage, renewed
  if held then
    state.epoch, state.seq, state.price, owner, serial, last_lineage, state.origin, renewed =
      string.match(held, STATE)
  end
  if not state.epoch then
    state.origin = digits(math.max(origin, now_us - tonumber(log_ttl) * 1000000))
    state.begins = anew or fresh_epoch
  else
    local same_lineage = last_lineage == lineage
    state.superseded = (anew or same_lineage)
      and superseded(state, owner, known_epoch, known_seq, anew)
    -- Where it has begun already, this is offered once more.
    state.begins = anew ~= state.epoch and anew
    if not same_lineage and not holds_all(state, owner, known_epoch, known_seq) then
      -- Nobody can say that nothing is missing between what is held and what comes now.
      state.begins, state.lost = state.begins or fresh_epoch, true
    end
  end
  state.seq = tonumber(state.seq or 0)
  state.serial = owner == node and tonumber(serial) or -1
  state.renewed = tonumber(renewed or 0)
  return state
end

local function begin_anew(log_key, state)
  if state.lost then
    redis.call('DEL', log_key)
    state.origin = digits(offset)
  end
  state.epoch, state.seq, state.price, state.begins = state.begins, 0, false, false
end

local function save(state_key, state, payload)
  local fields = {
    state.epoch, state.seq, state.price, digits(offset), node, digits(state.serial), lineage,
    state.origin, state.renewed, payload,
  }
  redis.call('SET', state_key, table.concat(fields, ' '), 'EX', log_ttl)
end

local function trim(log_key, state)
  local excess = redis.call('ZCARD', log_key) - keep
  if excess < SLACK then return end
  local edge = redis.call('ZRANGE', log_key, excess - 1, excess - 1)
  state.origin = string.match(edge[1], '^%d+')
  redis.call('ZREMRANGEBYRANK', log_key, 0, excess - 1)
end

-- What expires after a day or more need not be told so for each update.
local function renew(log_key, history_key, state)
  if math.abs(now_s - state.renewed) < RENEWAL then return end
  state.renewed = now_s
  -- A log must outlive its state, which says what is in it.
  redis.call('EXPIRE', log_key, 2 * log_ttl)
  if documented then redis.call('EXPIRE', history_key, history_ttl) end
end

local function write_documented(value_key, history_key, added, began)
  if began then redis.pcall('ZREMRANGEBYSCORE', history_key, added[1], '+inf') end
  local reply = redis.pcall('ZADD', history_key, unpack(added))
  if type(reply) == 'table' and reply.err then
    -- Another program keeps something else there, which nobody could read as a history.
    redis.call('DEL', history_key)
    redis.call('ZADD', history_key, unpack(added))
  end
  redis.call('ZREMRANGEBYRANK', history_key, 0, -keep - 1)
  redis.call('SET', value_key, added[#added], 'EX', value_ttl)
end

local function commit_symbol()
  local symbol, known_epoch, known_seq, anew, count = string.match(ARGV[at], SYMBOL)
  local state_key, log_key = KEYS[key], KEYS[key + 1]
  local state = load(state_key, known_epoch, known_seq, anew ~= '-' and anew)
  local lines, entries, added, seqs, began = {}, {}, {}, {}, false
  for i = at + 1, at + count do
    local serial, price, timestamp, body = string.match(ARGV[i], CHANGE)
    local seq = 0
    if state.superseded then
      seq = -1
    elseif tonumber(serial) > state.serial then
      if state.begins then
        begin_anew(log_key, state)
        began = true
      end
      if price ~= state.price then
        seq = state.seq + 1
        offset = offset + 1
        local payload = body .. ',"seq":' .. seq .. ',"epoch":"' .. state.epoch .. '"}'
        local place = digits(offset)
        state.seq, state.price, state.serial = seq, price, tonumber(serial)
        lines[#lines + 1] = place .. ' ' .. payload
        entries[#entries + 1] = place
        entries[#entries + 1] = lines[#lines]
        added[#added + 1] = timestamp
        added[#added + 1] = payload
      end
    end
    seqs[#seqs + 1] = seq
  end
  if #lines > 0 then
    redis.call('ZADD', log_key, unpack(entries))
    trim(log_key, state)
    if documented then write_documented(KEYS[key + 2], KEYS[key + 3], added, began) end
    renew(log_key, KEYS[key + 3], state)
    save(state_key, state, added[#added])
    redis.call(publish, prefix .. symbol, table.concat(lines, '\n'))
  end
  -- Where a new epoch is still due, the caller must not believe in the old one.
  return { not (state.begins and state.lost) and state.epoch or '', state.seq, unpack(seqs) }
end

local reply = {}
while at <= #ARGV do
  local partition, token, symbols = string.match(ARGV[at], '^(%d+) (%d+) (%d+)$')
  local owned = owns(partition, token)
  local committed = {}
  at = at + 1
  for _ = 1, symbols do
    if owned then committed[#committed + 1] = commit_symbol() end
    at = at + 1 + string.match(ARGV[at], '%d+$')
    key = key + (documented and 4 or 2)
  end
  reply[#reply + 1] = owned and committed
end
redis.call('SET', KEYS[2], digits(offset))
return reply
