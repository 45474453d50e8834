-- Whose turn it is. A line holds the waiting jobs of one tenant with one priority and class (f: free, l: its kind has a rate)
-- in the order of their seq. The tenants of a class take turns among those with the highest priority; one whose oldest job has
-- waited long enough takes part whatever its priority.
--
-- turns:CLASS by (priority, turn) · young:CLASS by the time of the oldest head · aged:CLASS by turn · turn: the tenant's turn
-- lines:OWNER its lines · heads when the first jobs of the tenant were asked for · flip whether its aged job is next.
local TURNS_MAX = 17592186044416

local function lane(q, what) return OWN .. q .. ':' .. what end

local function line_key(q, owner, name) return OWN .. q .. ':line:' .. owner .. ':' .. name end

local function line_of(j) return j.prio .. ':' .. j.class end

local function of_queue(all, q)
  all[q] = all[q] or {}
  return all[q]
end

-- The tenant's turn; nil when it waits for none.
local function turn(q, owner)
  local of = of_queue(turn_of, q)
  if of[owner] == nil then of[owner] = tonumber(call('HGET', lane(q, 'turn'), owner) or nil) or false end
  return of[owner] or nil
end

local function set_turn(q, owner, number)
  of_queue(turn_of, q)[owner] = number
  of_queue(turned, q)[owner] = true
end

local function next_turn(q, owner)
  last_turn[q] = (last_turn[q] or tonumber(call('HGET', OWN .. 'turns', q) or 0)) + 1
  set_turn(q, owner, last_turn[q])
end

-- What this script knows of a tenant in a queue: the names of its lines; and for each class where it stands, as far as that is known:
-- its score among the turns, and since when its oldest head waits there (`false`: nowhere); `heads` what stands there of it.
local seen = {}
-- The first job of each line that was looked at, and whether a tenant is paused.
local first_of_line, stopped = {}, {}

local function seen_of(q, owner)
  local of = of_queue(seen, q)
  of[owner] = of[owner] or { f = {}, l = {} }
  return of[owner]
end

-- How many jobs of a line are looked for at once.
local reach = 1

-- The first job of a line; nil when it is empty. It is loaded, unless it is not there any more.
local function head_of(q, owner, name)
  local key = line_key(q, owner, name)
  if not first_of_line[key] then
    local next = ahead[key]
    if not next or not next[next.at] then
      cut_line(key)
      next = call('ZRANGE', key, 0, reach - 1, 'WITHSCORES')
      if not next[1] then return nil end
      next.at = 1
      ahead[key] = next
    end
    local prio, class = string.match(name, '^(-?%d+):(%a)$')
    local ref = next[next.at]
    local j = load(ref, reach > 1)
    first_of_line[key] = {
      name = name, prio = tonumber(prio), class = class, ref = ref, seq = tonumber(next[next.at + 1]), job = j,
      since = j and j.since or 0, created = j and j.created or 0,
    }
  end
  return first_of_line[key]
end

-- The heads of a tenant's lines, the highest priority first, and of one priority those with a rate first.
local function heads(q, owner)
  local found, known = {}, seen_of(q, owner)
  known.lines = known.lines or call('ZREVRANGE', lane(q, 'lines:' .. owner), 0, -1)
  for _, name in ipairs(known.lines) do
    local head = head_of(q, owner, name)
    if head then
      found[#found + 1] = head
    else
      call('ZREM', lane(q, 'lines:' .. owner), name)
    end
  end
  if #found < #known.lines then known.lines = nil end
  return found
end

local function leave_turns(q, owner, class)
  local known = seen_of(q, owner)[class]
  if known.score == false then return end
  call('ZREM', lane(q, 'turns:' .. class), owner)
  call('ZREM', lane(q, 'young:' .. class), owner)
  call('ZREM', lane(q, 'aged:' .. class), owner)
  known.score, known.since = false, nil
end

-- Which classes have nobody among the aged.
local none_aged = {}

-- Puts a tenant among the turns of a class, and among the young or the aged.
local function take_turn(q, owner, class, score, since)
  local known = seen_of(q, owner)[class]
  if known.score ~= score then call('ZADD', lane(q, 'turns:' .. class), score, owner) end
  if since <= NOW - AGED then
    call('ZREM', lane(q, 'young:' .. class), owner)
    call('ZADD', lane(q, 'aged:' .. class), turn(q, owner), owner)
    none_aged[q .. class] = nil
  elseif known.since ~= since then
    call('ZADD', lane(q, 'young:' .. class), since, owner)
    -- Who stood among the young is not among the aged.
    if not known.since or known.since <= NOW - AGED then call('ZREM', lane(q, 'aged:' .. class), owner) end
  end
  known.score, known.since = score, since
end

-- Puts a tenant where it belongs now.
local function place(q, owner)
  local found = heads(q, owner)
  if #found == 0 then
    leave_turns(q, owner, 'f')
    leave_turns(q, owner, 'l')
    set_turn(q, owner, false)
    call('HDEL', lane(q, 'flip'), owner)
    call('ZREM', lane(q, 'heads'), owner)
    seen_of(q, owner).heads = nil
    return
  end
  local created, top, since = nil, {}, {}
  for _, head in ipairs(found) do
    local c = head.class
    if not created or head.created < created then created = head.created end
    if not top[c] then top[c] = head.prio end
    if not since[c] or head.since < since[c] then since[c] = head.since end
  end
  local known = seen_of(q, owner)
  if known.heads ~= created then call('ZADD', lane(q, 'heads'), created, owner) end
  known.heads = created
  if stopped[owner] == nil then stopped[owner] = call('SISMEMBER', OWN .. 'paused', owner) == 1 end
  for _, c in ipairs({ 'f', 'l' }) do
    if top[c] and not stopped[owner] then
      take_turn(q, owner, c, (100 - top[c]) * TURNS_MAX + turn(q, owner), since[c])
    else
      leave_turns(q, owner, c)
    end
  end
end

-- Takes a waiting job into its line.
local function join_line(j)
  local q, owner, name = j.q, j.owner, line_of(j)
  local key = line_key(q, owner, name)
  local before = head_of(q, owner, name)
  cut_line(key)
  if call('ZADD', key, j.seq, j.ref) == 1 then lined[q] = (lined[q] or 0) + 1 end
  -- Behind others of its line it changes nobody's place.
  if before and before.ref ~= j.ref and (before.seq < j.seq or before.seq == j.seq and before.ref < j.ref) then return end
  first_of_line[key] = nil
  if before and before.ref == j.ref then return end
  if not before then
    call('ZADD', lane(q, 'lines:' .. owner), j.prio * 2 + (j.class == 'l' and 1 or 0), name)
    seen_of(q, owner).lines = nil
  end
  if not turn(q, owner) then next_turn(q, owner) end
  place(q, owner)
end

-- Takes a job out of its line, wherever it stands there.
local function leave_line(j)
  local key = line_key(j.q, j.owner, line_of(j))
  cut_line(key)
  local first = call('ZRANGE', key, 0, 0)[1]
  if call('ZREM', key, j.ref) == 0 then return end
  lined[j.q] = (lined[j.q] or 0) - 1
  if first == j.ref then
    first_of_line[key] = nil
    place(j.q, j.owner)
  end
end

-- Takes the first job of a line, its ref and, when it is there, itself; the tenant's turn is over.
local function pop_line(q, owner, name)
  local head = head_of(q, owner, name)
  if head then
    local key = line_key(q, owner, name)
    popped[key], first_of_line[key] = (popped[key] or 0) + 1, nil
    if ahead[key] then ahead[key].at = ahead[key].at + 2 end
    lined[q] = (lined[q] or 0) - 1
  end
  next_turn(q, owner)
  place(q, owner)
  return head and head.ref, head and head.job
end

-- Takes a tenant out of the turns, or puts it back at their end.
local function stop_tenant(owner, stop)
  local changed
  if stop then changed = call('SADD', OWN .. 'paused', owner) else changed = call('SREM', OWN .. 'paused', owner) end
  stopped[owner] = stop
  for q = 1, 4 do
    if changed == 1 and turn(q, owner) then
      next_turn(q, owner)
      place(q, owner)
    end
  end
end

-- Moves the tenants whose oldest job has waited long enough. Once in a script is enough, since `take_turn` looks as well.
local grown = {}
local function grow_old(q, class)
  if grown[q .. class] then return end
  grown[q .. class] = true
  while true do
    local old = call('ZRANGEBYSCORE', lane(q, 'young:' .. class), '-inf', NOW - AGED, 'LIMIT', 0, 1000)
    for _, owner in ipairs(old) do
      call('ZREM', lane(q, 'young:' .. class), owner)
      call('ZADD', lane(q, 'aged:' .. class), turn(q, owner), owner)
      seen_of(q, owner)[class].since, none_aged[q .. class] = nil, nil
    end
    if #old < 1000 then return end
  end
end

local function first_in(q, what, class, best)
  if what == 'aged:' and none_aged[q .. class] then return best end
  local first = call('ZRANGE', lane(q, what .. class), 0, 0, 'WITHSCORES')
  if not first[1] then
    if what == 'aged:' then none_aged[q .. class] = true end
    return best
  end
  local score = tonumber(first[2])
  if best and best.score <= score then return best end
  return { owner = first[1], score = score }
end

-- The line of this priority whose head came first.
local function first_of(q, owner, prio, all)
  local best
  for _, head in ipairs(heads(q, owner)) do
    if head.prio == prio and (all or head.class == 'f') and (not best or head.seq < best.seq) then best = head end
  end
  return best and best.name
end

-- The line whose head has waited longest.
local function oldest_of(q, owner, all)
  local best
  for _, head in ipairs(heads(q, owner)) do
    if (all or head.class == 'f') and (not best or head.since < best.since) then best = head end
  end
  return best and best.name
end

-- Whose turn it is, and which of its lines. `all`: also the kinds that have a rate.
local function choose(q, all)
  grow_old(q, 'f')
  local first, aged = first_in(q, 'turns:', 'f'), first_in(q, 'aged:', 'f')
  if all then
    grow_old(q, 'l')
    first, aged = first_in(q, 'turns:', 'l', first), first_in(q, 'aged:', 'l', aged)
  end
  if not first then return nil end
  local turn, prio = first.score % TURNS_MAX, 100 - math.floor(first.score / TURNS_MAX)
  if not aged or aged.score > turn then return first.owner, first_of(q, first.owner, prio, all) end
  if aged.score == turn then
    -- The same tenant has both: it takes them in turn as well.
    if call('HGET', lane(q, 'flip'), first.owner) == '1' then
      call('HSET', lane(q, 'flip'), first.owner, '0')
    else
      call('HSET', lane(q, 'flip'), first.owner, '1')
      return first.owner, first_of(q, first.owner, prio, all)
    end
  end
  return aged.owner, oldest_of(q, aged.owner, all)
end
