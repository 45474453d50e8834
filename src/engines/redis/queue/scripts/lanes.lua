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

local function next_turn(q, owner)
  local turn = call('HINCRBY', OWN .. 'turns', q, 1)
  call('HSET', lane(q, 'turn'), owner, turn)
  return turn
end

-- The heads of a tenant's lines, the highest priority first, and of one priority those with a rate first.
local function heads(q, owner)
  local found = {}
  local names = call('ZREVRANGE', lane(q, 'lines:' .. owner), 0, -1)
  for _, name in ipairs(names) do
    local first = call('ZRANGE', line_key(q, owner, name), 0, 0, 'WITHSCORES')
    if first[1] then
      local _, _, bid = split(first[1])
      local v = call('HMGET', B[q] .. bid, 'si', 'timestamp')
      local prio, class = string.match(name, '^(-?%d+):(%a)$')
      found[#found + 1] = {
        name = name, prio = tonumber(prio), class = class, seq = tonumber(first[2]),
        since = tonumber(v[1] or 0), created = tonumber(v[2] or 0),
      }
    else
      call('ZREM', lane(q, 'lines:' .. owner), name)
    end
  end
  return found
end

local function leave_turns(q, owner, class)
  call('ZREM', lane(q, 'turns:' .. class), owner)
  call('ZREM', lane(q, 'young:' .. class), owner)
  call('ZREM', lane(q, 'aged:' .. class), owner)
end

-- Puts a tenant where it belongs now.
local function place(q, owner)
  local found = heads(q, owner)
  if #found == 0 then
    leave_turns(q, owner, 'f')
    leave_turns(q, owner, 'l')
    call('HDEL', lane(q, 'turn'), owner)
    call('HDEL', lane(q, 'flip'), owner)
    call('ZREM', lane(q, 'heads'), owner)
    return
  end
  local created, top, since = nil, {}, {}
  for _, head in ipairs(found) do
    local c = head.class
    if not created or head.created < created then created = head.created end
    if not top[c] then top[c] = head.prio end
    if not since[c] or head.since < since[c] then since[c] = head.since end
  end
  call('ZADD', lane(q, 'heads'), created, owner)
  local stopped = call('SISMEMBER', OWN .. 'paused', owner) == 1
  local turn = tonumber(call('HGET', lane(q, 'turn'), owner))
  for _, c in ipairs({ 'f', 'l' }) do
    if top[c] and not stopped then
      call('ZADD', lane(q, 'turns:' .. c), (100 - top[c]) * TURNS_MAX + turn, owner)
      call('ZADD', lane(q, 'young:' .. c), since[c], owner)
      call('ZREM', lane(q, 'aged:' .. c), owner)
    else
      leave_turns(q, owner, c)
    end
  end
end

-- Takes a waiting job into its line.
local function join_line(j)
  local q, owner, name = j.q, j.owner, line_of(j)
  local key = line_key(q, owner, name)
  local before = call('ZRANGE', key, 0, 0)[1]
  if call('ZADD', key, j.seq, j.ref) == 1 then call('HINCRBY', OWN .. 'lined', q, 1) end
  -- Behind others of its line it changes nobody's place.
  if before and call('ZRANGE', key, 0, 0)[1] == before then return end
  call('ZADD', lane(q, 'lines:' .. owner), j.prio * 2 + (j.class == 'l' and 1 or 0), name)
  if call('HEXISTS', lane(q, 'turn'), owner) == 0 then next_turn(q, owner) end
  place(q, owner)
end

-- Takes a job out of its line, wherever it stands there.
local function leave_line(j)
  local key = line_key(j.q, j.owner, line_of(j))
  local first = call('ZRANGE', key, 0, 0)[1]
  if call('ZREM', key, j.ref) == 0 then return end
  call('HINCRBY', OWN .. 'lined', j.q, -1)
  if first == j.ref then place(j.q, j.owner) end
end

-- Takes the first job of a line; the tenant's turn is over.
local function pop_line(q, owner, name)
  local ref = call('ZPOPMIN', line_key(q, owner, name))[1]
  if ref then call('HINCRBY', OWN .. 'lined', q, -1) end
  next_turn(q, owner)
  place(q, owner)
  return ref
end

-- Takes a tenant out of the turns, or puts it back at their end.
local function stop_tenant(owner, stop)
  local changed
  if stop then changed = call('SADD', OWN .. 'paused', owner) else changed = call('SREM', OWN .. 'paused', owner) end
  for q = 1, 4 do
    if changed == 1 and call('HEXISTS', lane(q, 'turn'), owner) == 1 then
      next_turn(q, owner)
      place(q, owner)
    end
  end
end

-- Moves the tenants whose oldest job has waited long enough.
local function grow_old(q, class)
  while true do
    local old = call('ZRANGEBYSCORE', lane(q, 'young:' .. class), '-inf', NOW - AGED, 'LIMIT', 0, 1000)
    for _, owner in ipairs(old) do
      call('ZREM', lane(q, 'young:' .. class), owner)
      call('ZADD', lane(q, 'aged:' .. class), call('HGET', lane(q, 'turn'), owner), owner)
    end
    if #old < 1000 then return end
  end
end

local function first_in(q, what, class, best)
  local first = call('ZRANGE', lane(q, what .. class), 0, 0, 'WITHSCORES')
  if not first[1] then return best end
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
