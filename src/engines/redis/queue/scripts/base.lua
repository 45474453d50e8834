-- What all scripts share: where things stand, jobs, counts, events. The lines before this one, made by the engine, give RULES
-- for each queue. Every script has the same first arguments.
--
-- Keys of BullMQ are below P:QUEUE, our own below P:host. A job is named in our own keys by its ref: id (32 hex digits), number
-- of the queue, and, for a job that a client of BullMQ made with another id, that id.
local call = redis.call
local P, NOW_TEXT, TOKEN, NODE, LEASE = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local NOW = tonumber(NOW_TEXT)
local OWN = P .. ':host:'
-- While a cluster moves the slot of our keys, each call on a key that is not where it was fails, and a script that fails keeps what
-- it has changed. This key is nowhere, so that such a script ends here, where it has changed nothing.
call('EXISTS', OWN .. 'none')
local NAMES = { 'deploy', 'email', 'blockchain', 'backup' }
local B = {}
for q = 1, 4 do B[q] = P .. ':' .. NAMES[q] .. ':' end
-- Redis and Lua write numbers with all digits that a fraction may have, which is slow: calls that are made for each job have texts.
local TEXT = { '1', '2', '3', '4' }

-- What the files of the scripts do, and what a script knows and has still to write. All in tables: whenever a script begins, each of
-- its functions looks for all that it takes from outside, one by one among all that any of them takes.
local base, lanes, moves, bonds, chores = {}, {}, {}, {}, {}
local mem = {
  -- Queues in which a job became claimable, those whose BullMQ workers were told so, and jobs whose workers must be told to end.
  woken = {}, marked = {}, told = {},
  -- When the first delayed job is due.
  first_due = nil,
  -- Tenants whose counts are no longer true, since another program has removed jobs.
  miscounted = {},
  -- Queues and ends (`1completed`) in which a job of this script ended: `done` looks whether too many are kept there.
  overfull = {},

  -- What a script changes many times and nobody else sees meanwhile is written by `write`, at the end of the script and before what
  -- stands in Redis is read: counts by tenant and field, jobs in lines by queue, the last seq, the last turn of each queue, tenants'
  -- turns by queue (`false`: none) and whether they were changed, and locks to remove.
  counted = {}, lined = {}, last_seq = nil, last_turn = {}, turn_of = {}, turned = {}, unlocked = {},
  -- Members of sorted sets, each with its score before it, and which of these sets are lines, of which queue.
  added = {}, queue_of_line = {},
  -- How many were taken from the front of each line, its next ones, and whether it is known to have some.
  popped = {}, ahead = {}, filled = {},
  -- Sorted sets of tenants, of which a script moves one after the other: which were moved and are not written yet (`false`: taken
  -- out), and the first of those that stand in Redis, as far as they were asked for.
  boards = {},

  -- How many jobs of a tenant waited when it was last looked.
  waited = {},
  -- Names of keys that were made of their parts once.
  lane_names = {}, of_class = {}, line_names = {},
  -- What is known of a tenant in a queue: the names of its lines; and for each class where it stands, as far as that is known: its
  -- score among the turns, and since when its oldest head waits there (`false`: nowhere); `heads` what stands there of it.
  seen = {},
  -- The first job of each line that was looked at.
  first_of_line = {},
  -- Whether a tenant is paused, and whether none is.
  stopped = {}, none_stopped = nil,
  -- Queues and classes whose young tenants were looked at.
  grown = {},
  -- How many jobs are to be leased, and how many of a line are looked for at once.
  wanted = 0, reach = 1,
}

function base.text(whole) return string.format('%d', whole) end

local DAY, AGED, NEVER = 86400000, 300000, 9007199254740991
local EVENTS_MAX = '10000'
local STATES = { w = 'waiting', d = 'delayed', r = 'running', c = 'done', f = 'failed' }

function base.due(ms)
  ms = math.min(ms, NEVER)
  if not mem.first_due or ms < mem.first_due then mem.first_due = ms end
end

function base.split(ref)
  local cid, q = string.sub(ref, 1, 32), tonumber(string.sub(ref, 33, 33))
  return cid, q, #ref > 33 and string.sub(ref, 34) or cid
end

-- The ref of a job that is kept.
function base.where(cid)
  return call('ZRANGEBYLEX', OWN .. 'all', '[' .. cid, '[' .. cid .. '~', 'LIMIT', 0, 1)[1]
end

-- A job as the moves need it; nil when it is not there, or was never ours. Fields that say what most jobs say are left out.
function base.load(ref)
  local cid, q, bid = base.split(ref)
  local key = B[q] .. bid
  local v = call('HMGET', key, 'st', 't', 'ats', 'un', 'can', 'u', 'af', 'pb', 'cid', 'wt', 'progress', 'pr', 'li', 'seq', 'si', 'stc',
    'aw', 'at', 'timestamp')
  if not v[1] then return nil end
  return {
    ref = ref, cid = cid, q = q, bid = bid, key = key, st = v[1], owner = v[2], attempt = tonumber(v[3] or 0),
    uncounted = tonumber(v[4] or 0), cancelling = v[5], unique = v[6], after = v[7], holder = v[8], named = v[9], awaited = v[10],
    progress = v[11], prio = tonumber(v[12] or 0), class = v[13] or 'f', seq = tonumber(v[14] or 0), since = tonumber(v[15] or 0),
    deaths = tonumber(v[16] or 0), awaits = tonumber(v[17] or 0), run_at = tonumber(v[18] or 0), created = tonumber(v[19] or 0),
  }
end

-- What of it is looked at when its attempt has gone well.
function base.load_short(ref)
  local cid, q, bid = base.split(ref)
  local key = B[q] .. bid
  local v = call('HMGET', key, 'st', 't', 'ats', 'un', 'can', 'u', 'af', 'pb', 'cid', 'wt', 'progress')
  if not v[1] then return nil end
  return {
    ref = ref, cid = cid, q = q, bid = bid, key = key, st = v[1], owner = v[2], attempt = tonumber(v[3] or 0),
    uncounted = tonumber(v[4] or 0), cancelling = v[5], unique = v[6], after = v[7], holder = v[8], named = v[9], awaited = v[10],
    progress = v[11],
  }
end

-- A waiting job with what a lease tells of it.
function base.load_for_lease(ref)
  local cid, q, bid = base.split(ref)
  local key = B[q] .. bid
  local v = call('HMGET', key, 'st', 'name', 't', 'data', 'pr', 'at', 'ti', 'timestamp', 'u', 'af', 'li', 'ats', 'progress', 'si')
  if not v[1] then return nil end
  return {
    ref = ref, cid = cid, q = q, bid = bid, key = key, st = v[1], owner = v[3], class = v[11] or 'f', attempt = tonumber(v[12] or 0),
    progress = v[13], since = tonumber(v[14] or 0), created = tonumber(v[8] or 0),
    told = { cid, '', v[2], v[3], v[4], v[5] or '0', v[6] or '0', v[7], v[8], v[9], v[10] },
  }
end

-- The same by id.
function base.find(cid)
  local ref = base.where(cid)
  return ref and base.load(ref)
end

-- Each ref of a text of ids, 32 digits each.
function base.ids(words)
  return string.gmatch(words or '', string.rep('%x', 32))
end

-- Calls with many members, a bounded part at a time; the sum of what they answer.
function base.call_many(command, key, members)
  local sum = 0
  for at = 1, #members, 1000 do sum = sum + call(command, key, unpack(members, at, math.min(#members, at + 999))) end
  return sum
end

-- Takes a member into a sorted set.
function base.add(key, score, member)
  local to = mem.added[key]
  if not to then
    to = {}
    mem.added[key] = to
  end
  local n = #to
  to[n + 1], to[n + 2] = score, member
end

function base.write_added(key)
  if not mem.added[key] then return end
  local fresh, q = base.call_many('ZADD', key, mem.added[key]), mem.queue_of_line[key]
  if q then mem.lined[q] = (mem.lined[q] or 0) + fresh end
  mem.added[key] = nil
end

function base.write_all_added()
  for key in pairs(mem.added) do base.write_added(key) end
end

-- Takes away what was taken from the front of a line.
function base.cut_line(key)
  if mem.popped[key] then call('ZREMRANGEBYRANK', key, 0, mem.popped[key] - 1) end
  mem.popped[key], mem.ahead[key] = nil, nil
end

local BOARD_MAX = 32

function base.board(key)
  local of = mem.boards[key]
  if not of then
    of = { moved = {}, who = {} }
    mem.boards[key] = of
  end
  return of
end

function base.write_board(key)
  if not mem.boards[key] then return end
  local stay, go = {}, {}
  for owner, score in pairs(mem.boards[key].moved) do
    if score then
      stay[#stay + 1] = base.text(score)
      stay[#stay + 1] = owner
    else
      go[#go + 1] = owner
    end
  end
  mem.boards[key] = nil
  base.call_many('ZADD', key, stay)
  base.call_many('ZREM', key, go)
end

-- Puts a tenant at its place, or takes it out.
function base.stand(key, owner, score)
  local of = base.board(key)
  local who = of.who
  if of.moved[owner] == nil then who[#who + 1] = owner end
  of.moved[owner] = score
  if #who > BOARD_MAX then base.write_board(key) end
end

-- Who is first, and the score. `some`: how many will be asked for.
function base.front(key, some)
  local of = base.board(key)
  local first, moved = of.first, of.moved
  if not first then
    some = math.min(some, BOARD_MAX)
    first = call('ZRANGE', key, 0, some - 1, 'WITHSCORES')
    of.first, of.at, of.all = first, 1, #first < 2 * some
  end
  local owner = first[of.at]
  while owner and moved[owner] ~= nil do
    of.at = of.at + 2
    owner = first[of.at]
  end
  if not owner and not of.all then
    base.write_board(key)
    return base.front(key, some)
  end
  local best, who = owner and tonumber(first[of.at + 1]), of.who
  for at = 1, #who do
    local score = moved[who[at]]
    if score and (not best or score < best or score == best and who[at] < owner) then owner, best = who[at], score end
  end
  return owner, best
end

function base.count(owner, q, st, by)
  local of = mem.counted[owner]
  if not of then
    of = {}
    mem.counted[owner] = of
  end
  local field = TEXT[q] .. st
  of[field] = (of[field] or 0) + by
end

function base.write()
  base.write_all_added()
  for key in pairs(mem.boards) do base.write_board(key) end
  mem.waited = {}
  for owner, of in pairs(mem.counted) do
    local key = OWN .. 'counts:' .. owner
    for field, by in pairs(of) do
      if by ~= 0 and call('HINCRBY', key, field, base.text(by)) <= 0 then call('HDEL', key, field) end
    end
  end
  for q, by in pairs(mem.lined) do
    if by ~= 0 then call('HINCRBY', OWN .. 'lined', q, by) end
  end
  if mem.last_seq then call('SET', OWN .. 'seq', base.text(mem.last_seq)) end
  for q, turn in pairs(mem.last_turn) do call('HSET', OWN .. 'turns', q, base.text(turn)) end
  for q, of in pairs(mem.turned) do
    for owner in pairs(of) do
      if mem.turn_of[q][owner] then
        call('HSET', OWN .. q .. ':turn', owner, base.text(mem.turn_of[q][owner]))
      else
        call('HDEL', OWN .. q .. ':turn', owner)
      end
    end
  end
  for at = 1, #mem.unlocked, 1000 do call('DEL', unpack(mem.unlocked, at, math.min(#mem.unlocked, at + 999))) end
  for key in pairs(mem.popped) do base.cut_line(key) end
  mem.counted, mem.lined, mem.last_seq, mem.last_turn, mem.turn_of, mem.turned, mem.unlocked = {}, {}, nil, {}, {}, {}, {}
end

-- A job leaves its state and comes into another, or goes.
function base.moved(j, to)
  if j.st then base.count(j.owner, j.q, j.st, -1) end
  if to then base.count(j.owner, j.q, to, 1) end
  j.st = to
end

-- Counts the jobs of a tenant from what is there.
function base.count_anew(owner)
  local found = {}
  for _, ref in ipairs(call('ZRANGE', OWN .. 'of:' .. owner, 0, -1)) do
    local _, q, bid = base.split(ref)
    local st = call('HGET', B[q] .. bid, 'st')
    if st and STATES[st] then found[TEXT[q] .. st] = (found[TEXT[q] .. st] or 0) + 1 end
  end
  call('DEL', OWN .. 'counts:' .. owner)
  for field, n in pairs(found) do call('HSET', OWN .. 'counts:' .. owner, field, n) end
  if not next(found) then call('SREM', OWN .. 'owners', owner) end
end

-- Takes a job into what is kept of its tenant.
function base.keep_of(owner, ref)
  call('ZADD', OWN .. 'all', 0, ref)
  call('ZADD', OWN .. 'of:' .. owner, 0, ref)
  call('SADD', OWN .. 'owners', owner)
end

-- Ids of ended jobs are known for a day at least, and for a day after all that were handed over were asked for and settled: before
-- that, a row of the outbox may still be there that would start them again.
function base.known_since()
  local settled = tonumber(call('HGET', OWN .. 'about', 'asked') or NOW)
  return math.min(NOW, settled) - DAY
end

-- Whether a job with this id has gone.
function base.is_gone(cid)
  local at = call('ZSCORE', OWN .. 'gone', cid)
  return at and tonumber(at) > base.known_since()
end

-- How many jobs of a tenant have not started.
function base.waiting_of(owner)
  local not_started = { '1w', '1d', '2w', '2d', '3w', '3d', '4w', '4d' }
  if not mem.waited[owner] then
    mem.waited[owner] = 0
    for _, n in ipairs(call('HMGET', OWN .. 'counts:' .. owner, unpack(not_started))) do
      mem.waited[owner] = mem.waited[owner] + tonumber(n or 0)
    end
  end
  local n, unwritten = mem.waited[owner], mem.counted[owner]
  if not unwritten then return n end
  for _, field in ipairs(not_started) do n = n + (unwritten[field] or 0) end
  return n
end

-- Says to clients of BullMQ what happened. `by` lets our own engines pass over it.
function base.event(q, what, bid, ...)
  call('XADD', B[q] .. 'events', 'MAXLEN', '~', EVENTS_MAX, '*', 'event', what, 'jobId', bid, 'by', TOKEN, ...)
end

function base.is_paused(q)
  return call('HEXISTS', B[q] .. 'meta', 'paused') == 1
end

-- Wakes the workers of BullMQ, once in a script.
function base.mark(q)
  if mem.marked[q] or base.is_paused(q) then return end
  call('ZADD', B[q] .. 'marker', 0, '0')
  mem.marked[q] = true
end

function base.next_seq()
  mem.last_seq = (mem.last_seq or tonumber(call('GET', OWN .. 'seq') or 0)) + 1
  return mem.last_seq
end

-- Fields and values of a job that are written with the next of it.
function base.note(j, ...)
  if not j.fields then
    j.fields = { ... }
    return
  end
  local fields, n = j.fields, #j.fields
  for at, it in ipairs({ ... }) do fields[n + at] = it end
end

-- Writes fields of a job, with those that were noted.
function base.put(j, ...)
  base.note(j, ...)
  call('HSET', j.key, unpack(j.fields))
  j.fields = nil
end

function base.refuse(code)
  return { 'refused', code }
end
