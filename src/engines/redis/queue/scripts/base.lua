-- What all scripts share: where things stand, jobs, counts, events. The lines before this one, made by the engine, give RULES
-- for each queue. Every script has the same first arguments.
--
-- Keys of BullMQ are below P:QUEUE, our own below P:host. A job is named in our own keys by its ref: id (32 hex digits), number
-- of the queue, and, for a job that a client of BullMQ made with another id, that id.
local call = redis.call
local P, NOW, TOKEN, NODE, LEASE = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local OWN = P .. ':host:'
-- While a cluster moves the slot of our keys, each call on a key that is not where it was fails, and a script that fails keeps what
-- it has changed. This key is nowhere, so that such a script ends here, where it has changed nothing.
call('EXISTS', OWN .. 'none')
local NAMES = { 'deploy', 'email', 'blockchain', 'backup' }
local B = {}
for q = 1, 4 do B[q] = P .. ':' .. NAMES[q] .. ':' end

local DAY, AGED, NEVER = 86400000, 300000, 9007199254740991
local EVENTS_MAX = 10000
-- Queues in which a job became claimable, jobs whose workers must be told to end, and when the first delayed job is due.
local woken, told, first_due = {}, {}, nil
-- Tenants whose counts are no longer true, since another program has removed jobs.
local miscounted = {}

local STATES = { w = 'waiting', d = 'delayed', r = 'running', c = 'done', f = 'failed' }

local function due(ms)
  ms = math.min(ms, NEVER)
  if not first_due or ms < first_due then first_due = ms end
end

local function split(ref)
  local cid, q = string.sub(ref, 1, 32), tonumber(string.sub(ref, 33, 33))
  return cid, q, #ref > 33 and string.sub(ref, 34) or cid
end

-- The ref of a job that is kept.
local function where(cid)
  return call('ZRANGEBYLEX', OWN .. 'all', '[' .. cid, '[' .. cid .. '~', 'LIMIT', 0, 1)[1]
end

-- A job as the moves need it; nil when it is not there, or was never ours. `whole`: with what a lease tells of it.
local function load(ref, whole)
  local cid, q, bid = split(ref)
  local key = B[q] .. bid
  local v = call('HMGET', key, 'st', 't', 'pr', 'li', 'seq', 'si', 'ats', 'un', 'stc', 'can', 'aw', 'u', 'af', 'at',
    'timestamp', 'pb', 'cid', unpack(whole and { 'name', 'data', 'ti' } or {}))
  if not v[1] then return nil end
  return {
    ref = ref, cid = cid, q = q, bid = bid, key = key,
    st = v[1], owner = v[2], prio = tonumber(v[3]), class = v[4], seq = tonumber(v[5] or 0), since = tonumber(v[6] or 0),
    attempt = tonumber(v[7] or 0), uncounted = tonumber(v[8] or 0), deaths = tonumber(v[9] or 0), cancelling = v[10],
    awaits = tonumber(v[11] or 0), unique = v[12], after = v[13], run_at = tonumber(v[14] or 0),
    created = tonumber(v[15] or 0), holder = v[16], named = v[17],
    told = whole and { v[18], v[2], v[19], v[3], v[14], v[20], v[15], v[12], v[13] },
  }
end

-- The same by id.
local function find(cid)
  local ref = where(cid)
  return ref and load(ref)
end

-- Each ref of a text of ids, 32 digits each.
local function ids(text)
  return string.gmatch(text or '', string.rep('%x', 32))
end

-- What a script changes many times and nobody else sees meanwhile is written by `write`, at the end of the script and before what
-- stands in Redis is read: counts by tenant and field, jobs in lines by queue, the last seq, the last turn of each queue, tenants'
-- turns by queue (`false`: none) and whether they were changed, locks to remove, and jobs that a node no longer holds; members of
-- sorted sets, each with its score before it; and how many were taken from the front of each line, whose next ones are `ahead`.
local counted, lined, last_seq, last_turn, turn_of, turned, unlocked, let_go = {}, {}, nil, {}, {}, {}, {}, {}
local added, popped, ahead = {}, {}, {}

-- Calls with many members, a bounded part at a time.
local function call_many(command, key, members)
  for at = 1, #members, 1000 do call(command, key, unpack(members, at, math.min(#members, at + 999))) end
end

-- Takes a member into a sorted set.
local function add(key, score, member)
  added[key] = added[key] or {}
  local to = added[key]
  to[#to + 1], to[#to + 2] = score, member
end

local function write_added()
  for key, members in pairs(added) do call_many('ZADD', key, members) end
  added = {}
end

-- Takes away what was taken from the front of a line.
local function cut_line(key)
  if popped[key] then call('ZREMRANGEBYRANK', key, 0, popped[key] - 1) end
  popped[key], ahead[key] = nil, nil
end

local function count(owner, q, st, by)
  local of = counted[owner] or {}
  counted[owner] = of
  of[q .. st] = (of[q .. st] or 0) + by
end

local function write()
  for owner, of in pairs(counted) do
    local key = OWN .. 'counts:' .. owner
    for field, by in pairs(of) do
      if by ~= 0 and call('HINCRBY', key, field, by) <= 0 then call('HDEL', key, field) end
    end
  end
  for q, by in pairs(lined) do
    if by ~= 0 then call('HINCRBY', OWN .. 'lined', q, by) end
  end
  if last_seq then call('SET', OWN .. 'seq', string.format('%.0f', last_seq)) end
  for q, turn in pairs(last_turn) do call('HSET', OWN .. 'turns', q, string.format('%.0f', turn)) end
  for q, of in pairs(turned) do
    for owner in pairs(of) do
      if turn_of[q][owner] then
        call('HSET', OWN .. q .. ':turn', owner, string.format('%.0f', turn_of[q][owner]))
      else
        call('HDEL', OWN .. q .. ':turn', owner)
      end
    end
  end
  for at = 1, #unlocked, 1000 do call('DEL', unpack(unlocked, at, math.min(#unlocked, at + 999))) end
  for node, refs in pairs(let_go) do call_many('SREM', OWN .. 'held:' .. node, refs) end
  write_added()
  for key in pairs(popped) do cut_line(key) end
  counted, lined, last_seq, last_turn, turn_of, turned, unlocked, let_go = {}, {}, nil, {}, {}, {}, {}, {}
end

-- A job leaves its state and comes into another, or goes.
local function moved(j, to)
  if j.st then count(j.owner, j.q, j.st, -1) end
  if to then count(j.owner, j.q, to, 1) end
  j.st = to
end

-- Counts the jobs of a tenant from what is there.
local function count_anew(owner)
  local found = {}
  for _, ref in ipairs(call('ZRANGE', OWN .. 'of:' .. owner, 0, -1)) do
    local _, q, bid = split(ref)
    local st = call('HGET', B[q] .. bid, 'st')
    if st and STATES[st] then found[q .. st] = (found[q .. st] or 0) + 1 end
  end
  call('DEL', OWN .. 'counts:' .. owner)
  for field, n in pairs(found) do call('HSET', OWN .. 'counts:' .. owner, field, n) end
  if not next(found) then call('SREM', OWN .. 'owners', owner) end
end

-- Takes a job into what is kept of its tenant.
local function keep_of(owner, ref)
  call('ZADD', OWN .. 'all', 0, ref)
  call('ZADD', OWN .. 'of:' .. owner, 0, ref)
  call('SADD', OWN .. 'owners', owner)
end

-- Ids of ended jobs are known for a day at least, and for a day after all that were handed over were asked for and settled: before
-- that, a row of the outbox may still be there that would start them again.
local function known_since()
  local settled = tonumber(call('HGET', OWN .. 'about', 'asked') or NOW)
  return math.min(NOW, settled) - DAY
end

-- Whether a job with this id has gone.
local function is_gone(cid)
  local at = call('ZSCORE', OWN .. 'gone', cid)
  return at and tonumber(at) > known_since()
end

-- How many jobs of a tenant have not started.
local function waiting_of(owner)
  local n = 0
  local fields, unwritten = { '1w', '1d', '2w', '2d', '3w', '3d', '4w', '4d' }, counted[owner] or {}
  local v = call('HMGET', OWN .. 'counts:' .. owner, unpack(fields))
  for i, field in ipairs(fields) do n = n + tonumber(v[i] or 0) + (unwritten[field] or 0) end
  return n
end

-- Says to clients of BullMQ what happened. `by` lets our own engines pass over it.
local function event(q, what, bid, ...)
  call('XADD', B[q] .. 'events', 'MAXLEN', '~', EVENTS_MAX, '*', 'event', what, 'jobId', bid, 'by', TOKEN, ...)
end

local function is_paused(q)
  return call('HEXISTS', B[q] .. 'meta', 'paused') == 1
end

-- Wakes the workers of BullMQ, once in a script.
local marked = {}
local function mark(q)
  if marked[q] or is_paused(q) then return end
  call('ZADD', B[q] .. 'marker', 0, '0')
  marked[q] = true
end

local function next_seq()
  last_seq = (last_seq or tonumber(call('GET', OWN .. 'seq') or 0)) + 1
  return last_seq
end

-- Fields and values of a job that are written with the next of it.
local function note(j, ...)
  j.fields = j.fields or {}
  for _, it in ipairs({ ... }) do table.insert(j.fields, it) end
end

-- Writes fields of a job, with those that were noted.
local function put(j, ...)
  note(j, ...)
  call('HSET', j.key, unpack(j.fields))
  j.fields = nil
end

local function refuse(code)
  return { 'refused', code }
end
