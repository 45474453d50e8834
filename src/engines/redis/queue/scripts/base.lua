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
local RATE_FIELDS = {}
for q = 1, 4 do
  if RULES[q].starts > 0 then RATE_FIELDS[#RATE_FIELDS + 1] = 'rate' .. q end
end

-- What the files of the scripts do, and what a script knows and has still to write. All in tables: whenever a script begins, each of
-- its functions looks for all that it takes from outside, one by one among all that any of them takes.
local base, lanes, moves, bonds, chores = {}, {}, {}, {}, {}

-- Has the functions of a file made when one of them is first asked for: making each costs about as much as reading a key does, and most
-- calls need few.
local function later(of, make)
  setmetatable(of, { __index = function(_, name)
    setmetatable(of, nil)
    make()
    return of[name]
  end })
end

local mem = {
  -- Queues of whose jobs something was said, in which a job became claimable, those whose BullMQ workers were told so, and jobs whose workers must be told to end.
  spoken = {}, woken = {}, marked = {}, told = {},
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

  -- How many jobs of a tenant have not started, once that was asked for.
  waited = {},
  -- Names of keys that were made of their parts once.
  lane_names = {}, of_class = {}, line_names = {},
  -- What is known of a tenant in a queue: the names of its lines; and for each class where it stands, as far as that is known: its
  -- score among the turns, and since when its oldest head waits there (`false`: nowhere); `heads` what stands there of it.
  seen = {},
  -- The first job of each line that was looked at.
  first_of_line = {},
  -- Whether a tenant is paused, whether none is, and whether a queue is.
  stopped = {}, none_stopped = nil, paused = {},
  -- Queues whose starts were looked at.
  pulled = {},
  -- What is noted of the whole, once that was asked for; and whether something was done that a rate has to do with.
  about = nil, rated = false,
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

-- Before when a job may not start, by the clock of this Redis: `due` where it was put off when it was asked for. One asked for at
-- once is due whatever the clock of who asked said.
function base.due_of(run_at, created, due) return run_at > created and math.min(due, NEVER) or 0 end

function base.split(ref)
  local cid, q = string.sub(ref, 1, 32), tonumber(string.sub(ref, 33, 33))
  return cid, q, #ref > 33 and string.sub(ref, 34) or cid
end

-- The ref of a job that is kept.
function base.where(cid)
  return call('ZRANGEBYLEX', OWN .. 'all', '[' .. cid, '[' .. cid .. '~', 'LIMIT', 0, 1)[1]
end

-- A job as the moves need it; nil when it is not there, or was never ours. Fields that say what most jobs say are left out; `xt` says
-- that a job has others than `st`, `t`, `ats`, `pb`, `seq` and `si` of ours.
function base.load(ref)
  local cid, q, bid = base.split(ref)
  local key = B[q] .. bid
  local v = call('HMGET', key, 'st', 't', 'ats', 'pb', 'seq', 'si', 'timestamp', 'xt', 'un', 'can', 'u', 'af', 'cid', 'wt', 'progress',
    'pr', 'li', 'stc', 'aw', 'at', 'du')
  if not v[1] then return nil end
  local created, run_at = tonumber(v[7] or 0), tonumber(v[20] or 0)
  return {
    ref = ref, cid = cid, q = q, bid = bid, key = key, st = v[1], owner = v[2], attempt = tonumber(v[3] or 0), holder = v[4],
    seq = tonumber(v[5] or 0), since = tonumber(v[6] or 0), created = created, uncounted = tonumber(v[9] or 0),
    cancelling = v[10], unique = v[11], after = v[12], named = v[13], awaited = v[14], progress = v[15], prio = tonumber(v[16] or 0),
    class = v[17] or 'f', deaths = tonumber(v[18] or 0), awaits = tonumber(v[19] or 0), due = base.due_of(run_at, created, tonumber(v[21]) or run_at),
  }
end

-- A waiting job with what a lease tells of it.
function base.load_for_lease(ref, q)
  local cid = string.sub(ref, 1, 32)
  local bid = #ref > 33 and string.sub(ref, 34) or cid
  local key = B[q] .. bid
  local v = call('HMGET', key, 'st', 'name', 't', 'data', 'ti', 'timestamp', 'si', 'xt', 'ats')
  if not v[1] then return nil end
  local j = {
    ref = ref, cid = cid, q = q, bid = bid, key = key, st = v[1], owner = v[3], class = 'f', attempt = tonumber(v[9] or 0),
    since = tonumber(v[7] or 0), created = tonumber(v[6] or 0),
    told = { cid, '', v[2], v[3], v[4], '0', '0', v[5], v[6], false, false },
  }
  if v[8] then
    local more = call('HMGET', key, 'pr', 'at', 'u', 'af', 'li', 'progress')
    local told = j.told
    told[6], told[7], told[10], told[11] = more[1] or '0', more[2] or '0', more[3], more[4]
    j.class, j.progress = more[5] or 'f', more[6]
  end
  return j
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

local BOARD_MAX, MOVES_MAX = 32, 256

function base.board(key)
  local of = mem.boards[key]
  if not of then
    of = { moved = {}, size = 0, who = {}, scores = {}, from = 1, rising = true }
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
  local of = mem.boards[key] or base.board(key)
  if of.moved[owner] == nil then of.size = of.size + 1 end
  of.moved[owner] = score
  if score then
    local who, scores = of.who, of.scores
    local n = #who
    if n > 0 and score < scores[n] then of.rising = false end
    who[n + 1], scores[n + 1] = owner, score
  end
  if of.size > BOARD_MAX or #of.who > MOVES_MAX then base.write_board(key) end
end

-- The first of those that were moved. Most were put behind those before them.
function base.first_moved(of)
  local moved, who, scores, best = of.moved, of.who, of.scores, nil
  while who[of.from] and moved[who[of.from]] ~= scores[of.from] do of.from = of.from + 1 end
  if of.rising then return who[of.from], scores[of.from] end
  for at = of.from, #who do
    local score = scores[at]
    if moved[who[at]] == score and (not best or score < scores[best] or score == scores[best] and who[at] < who[best]) then best = at end
  end
  return who[best], scores[best]
end

-- Who is first, and the score. `some`: how many will be asked for.
function base.front(key, some)
  local of = mem.boards[key] or base.board(key)
  local first = of.first
  if not first then
    some = math.min(some, BOARD_MAX)
    first = call('ZRANGE', key, 0, some - 1, 'WITHSCORES')
    of.first, of.at, of.all = first, 1, #first < 2 * some
  end
  local owner = first[of.at]
  while owner and of.moved[owner] ~= nil do
    of.at = of.at + 2
    owner = first[of.at]
  end
  if not owner and not of.all then
    base.write_board(key)
    return base.front(key, some)
  end
  local other, of_other = base.first_moved(of)
  if not owner then return other, of_other end
  local score = tonumber(first[of.at + 1])
  if other and (of_other < score or of_other == score and other < owner) then return other, of_other end
  return owner, score
end

function base.count(owner, q, st, by)
  local of = mem.counted[owner]
  if not of then
    of = {}
    mem.counted[owner] = of
  end
  local field = TEXT[q] .. st
  of[field] = (of[field] or 0) + by
  if mem.waited[owner] and (st == 'w' or st == 'd') then mem.waited[owner] = mem.waited[owner] + by end
end

-- Before a job that was just given back is leased again.
function base.write_unlocked()
  for at = 1, #mem.unlocked, 1000 do call('DEL', unpack(mem.unlocked, at, math.min(#mem.unlocked, at + 999))) end
  mem.unlocked = {}
end

function base.write()
  -- First, since they are counted from the front of what stands in Redis.
  for key in pairs(mem.popped) do base.cut_line(key) end
  base.write_all_added()
  for key in pairs(mem.boards) do base.write_board(key) end
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
  base.write_unlocked()
  mem.counted, mem.lined, mem.last_seq, mem.last_turn, mem.turn_of, mem.turned = {}, {}, nil, {}, {}, {}
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

-- What is noted of the whole. Nothing that a script changes of it is asked for again.
function base.about(field)
  if not mem.about then
    local v = call('HMGET', OWN .. 'about', 'chores', 'asked', unpack(RATE_FIELDS))
    mem.about = { chores = v[1], asked = v[2] }
    for at = 1, #RATE_FIELDS do mem.about[RATE_FIELDS[at]] = v[at + 2] end
  end
  return mem.about[field]
end

-- Ids of ended jobs are known for a day at least, and for a day after all that were handed over were asked for and settled: before
-- that, a row of the outbox may still be there that would start them again.
function base.known_since()
  local settled = tonumber(base.about('asked') or NOW)
  return math.min(NOW, settled) - DAY
end

-- Whether a job with this id has gone.
function base.is_gone(cid)
  local at = call('ZSCORE', OWN .. 'gone', cid)
  return at and tonumber(at) > base.known_since()
end

-- How many jobs of a tenant have not started.
function base.waiting_of(owner)
  if not mem.waited[owner] then
    local n, unwritten = 0, mem.counted[owner]
    local fields = { '1w', '1d', '2w', '2d', '3w', '3d', '4w', '4d' }
    local v = call('HMGET', OWN .. 'counts:' .. owner, unpack(fields))
    for at = 1, 8 do
      if v[at] then n = n + v[at] end
      if unwritten then n = n + (unwritten[fields[at]] or 0) end
    end
    mem.waited[owner] = n
  end
  return mem.waited[owner]
end

-- Says to clients of BullMQ what happened. `by` lets our own engines pass over it.
function base.event(q, what, bid, ...)
  if mem.spoken[q] then return call('XADD', B[q] .. 'events', '*', 'event', what, 'jobId', bid, 'by', TOKEN, ...) end
  -- The others of a script make the stream longer by no more than this script says.
  mem.spoken[q] = true
  call('XADD', B[q] .. 'events', 'MAXLEN', '~', EVENTS_MAX, '*', 'event', what, 'jobId', bid, 'by', TOKEN, ...)
end

function base.is_paused(q)
  if mem.paused[q] == nil then mem.paused[q] = call('HEXISTS', B[q] .. 'meta', 'paused') == 1 end
  return mem.paused[q]
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
  local fields = j.fields
  if not fields then
    j.fields = { ... }
    return
  end
  local n, more = #fields, { ... }
  for at = 1, #more do fields[n + at] = more[at] end
end

-- Writes fields of a job, with those that were noted.
function base.put(j, ...)
  if not j.fields then return call('HSET', j.key, ...) end
  base.note(j, ...)
  call('HSET', j.key, unpack(j.fields))
  j.fields = nil
end

function base.refuse(code)
  return { 'refused', code }
end
