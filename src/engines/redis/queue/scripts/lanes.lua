-- Whose turn it is. A line holds the waiting jobs of one tenant with one priority and class (f: free, l: its kind has a rate)
-- in the order of their seq. The tenants of a class take turns among those with the highest priority; one whose oldest job has
-- waited long enough takes part whatever its priority.
--
-- turns:CLASS by (priority, turn) · young:CLASS by the time of the oldest head · aged:CLASS by turn · turn: the tenant's turn
-- lines:OWNER its lines · heads when the first jobs of the tenant were asked for · flip whether its aged job is next.
local TURNS_MAX = 17592186044416

-- The names of what stands for a class.
function lanes.of_class(q, class)
  local of = mem.of_class[q] or lanes.of_queue(mem.of_class, q)
  if not of[class] then
    of[class] = {
      turns = lanes.lane(q, 'turns:' .. class), young = lanes.lane(q, 'young:' .. class), aged = lanes.lane(q, 'aged:' .. class),
    }
  end
  return of[class]
end

function lanes.line_of(j)
  return j.prio == 0 and (j.class == 'f' and '0:f' or '0:l') or j.prio .. ':' .. j.class
end

-- The tenant's turn; nil when it waits for none.
function lanes.turn(q, owner)
  local of = mem.turn_of[q] or lanes.of_queue(mem.turn_of, q)
  if of[owner] == nil then of[owner] = tonumber(call('HGET', lanes.lane(q, 'turn'), owner) or nil) or false end
  return of[owner] or nil
end

function lanes.set_turn(q, owner, number)
  local of, changed = mem.turn_of[q] or lanes.of_queue(mem.turn_of, q), mem.turned[q] or lanes.of_queue(mem.turned, q)
  of[owner], changed[owner] = number, true
end

function lanes.next_turn(q, owner)
  mem.last_turn[q] = (mem.last_turn[q] or tonumber(call('HGET', OWN .. 'turns', q) or 0)) + 1
  lanes.set_turn(q, owner, mem.last_turn[q])
end

function lanes.seen_of(q, owner)
  local of = mem.seen[q] or lanes.of_queue(mem.seen, q)
  of[owner] = of[owner] or { f = {}, l = {} }
  return of[owner]
end


-- Reads the next jobs of a line, and, when they are to be leased, whether workers of BullMQ have left them where they look.
function lanes.look_ahead(q, key)
  base.cut_line(key)
  base.write_added(key)
  local next = call('ZRANGE', key, 0, mem.reach - 1, 'WITHSCORES')
  if not next[1] then return nil end
  next.at = 1
  if mem.wanted > 0 then
    local bids = {}
    for at = 1, #next, 2 do
      local ref = next[at]
      bids[#bids + 1] = #ref > 33 and string.sub(ref, 34) or string.sub(ref, 1, 32)
    end
    base.write_added(B[q] .. 'prioritized')
    next.there = call('ZMSCORE', B[q] .. 'prioritized', unpack(bids))
  end
  mem.ahead[key] = next
  return next
end

-- The first job of a line; nil when it is empty. It is loaded, unless it is not there any more.
function lanes.head_of(q, owner, name)
  local key = lanes.line_key(q, owner, name)
  local head = mem.first_of_line[key]
  if head then return head end
  local next = mem.ahead[key]
  if not next or not next[next.at] then
    next = lanes.look_ahead(q, key)
    if not next then return nil end
  end
  local prio, class = 0, 'f'
  if name ~= '0:f' then prio, class = string.match(name, '^(-?%d+):(%a)$') end
  local at = next.at
  local ref = next[at]
  local j
  if mem.wanted > 0 then j = base.load_for_lease(ref, q) else j = base.load(ref) end
  head = {
    name = name, prio = tonumber(prio), class = class, ref = ref, seq = tonumber(next[at + 1]), job = j,
    there = next.there and next.there[(at + 1) / 2], since = j and j.since or 0, created = j and j.created or 0,
  }
  mem.first_of_line[key] = head
  return head
end

-- The names of a tenant's lines, the highest priority first, and of one priority those with a rate first.
function lanes.names(q, owner)
  local known = lanes.seen_of(q, owner)
  known.lines = known.lines or call('ZREVRANGE', lanes.lane(q, 'lines:') .. owner, 0, -1)
  return known.lines
end

-- The heads of these lines.
function lanes.heads(q, owner)
  local found, names = {}, lanes.names(q, owner)
  for _, name in ipairs(names) do
    local head = lanes.head_of(q, owner, name)
    if head then
      found[#found + 1] = head
    else
      call('ZREM', lanes.lane(q, 'lines:') .. owner, name)
    end
  end
  if #found < #names then lanes.seen_of(q, owner).lines = nil end
  return found
end

function lanes.leave_turns(q, owner, class)
  local known, of = lanes.seen_of(q, owner)[class], lanes.of_class(q, class)
  if known.score == false then return end
  base.stand(of.turns, owner, false)
  base.stand(of.young, owner, false)
  base.stand(of.aged, owner, false)
  known.score, known.since = false, nil
end

-- Puts a tenant among the turns of a class, and among the young or the aged.
function lanes.take_turn(q, owner, class, score, since)
  local known, of = lanes.seen_of(q, owner)[class], lanes.of_class(q, class)
  if class == 'l' then mem.rated = true end
  if known.score ~= score then base.stand(of.turns, owner, score) end
  if since <= NOW - AGED then
    base.stand(of.young, owner, false)
    base.stand(of.aged, owner, lanes.turn(q, owner))
  elseif known.since ~= since then
    base.stand(of.young, owner, since)
    -- Who stood among the young is not among the aged.
    if not known.since or known.since <= NOW - AGED then base.stand(of.aged, owner, false) end
  end
  known.score, known.since = score, since
end

function lanes.is_stopped(owner)
  if mem.none_stopped == nil then mem.none_stopped = call('SCARD', OWN .. 'paused') == 0 end
  if mem.none_stopped then return false end
  if mem.stopped[owner] == nil then mem.stopped[owner] = call('SISMEMBER', OWN .. 'paused', owner) == 1 end
  return mem.stopped[owner]
end

-- A tenant has no job that waits.
function lanes.leave(q, owner)
  lanes.leave_turns(q, owner, 'f')
  lanes.leave_turns(q, owner, 'l')
  lanes.set_turn(q, owner, false)
  call('HDEL', lanes.lane(q, 'flip'), owner)
  base.stand(lanes.lane(q, 'heads'), owner, false)
  lanes.seen_of(q, owner).heads = nil
end

-- Puts a tenant among the turns of a class, when it has jobs of this class and may begin them.
function lanes.place_in(q, owner, class, prio, since)
  if prio and not lanes.is_stopped(owner) then
    lanes.take_turn(q, owner, class, (100 - prio) * TURNS_MAX + lanes.turn(q, owner), since)
  else
    lanes.leave_turns(q, owner, class)
  end
end

-- Puts a tenant where it belongs now.
function lanes.place(q, owner)
  local known, names = lanes.seen_of(q, owner), lanes.names(q, owner)
  local only = #names == 1 and lanes.head_of(q, owner, names[1])
  if only then
    -- As below.
    if known.heads ~= only.created then base.stand(lanes.lane(q, 'heads'), owner, only.created) end
    known.heads = only.created
    lanes.place_in(q, owner, 'f', only.class == 'f' and only.prio, only.since)
    return lanes.place_in(q, owner, 'l', only.class == 'l' and only.prio, only.since)
  end
  local found = lanes.heads(q, owner)
  if #found == 0 then return lanes.leave(q, owner) end
  local created, top, since = nil, {}, {}
  for _, head in ipairs(found) do
    local c = head.class
    if not created or head.created < created then created = head.created end
    if not top[c] then top[c] = head.prio end
    if not since[c] or head.since < since[c] then since[c] = head.since end
  end
  if known.heads ~= created then base.stand(lanes.lane(q, 'heads'), owner, created) end
  known.heads = created
  lanes.place_in(q, owner, 'f', top.f, since.f)
  lanes.place_in(q, owner, 'l', top.l, since.l)
end

-- Takes a waiting job into its line.
function lanes.join_line(j)
  local q, owner, name = j.q, j.owner, lanes.line_of(j)
  local key = lanes.line_key(q, owner, name)
  base.cut_line(key)
  mem.queue_of_line[key] = q
  -- What comes last of all stands behind all others of its line.
  if j.seq == mem.last_seq and lanes.is_filled(key) then return base.add(key, j.seq_text or base.text(j.seq), j.ref) end
  local before = lanes.head_of(q, owner, name)
  base.cut_line(key)
  base.add(key, base.text(j.seq), j.ref)
  -- Behind others of its line it changes nobody's place.
  if before and before.ref ~= j.ref and (before.seq < j.seq or before.seq == j.seq and before.ref < j.ref) then return end
  base.write_added(key)
  mem.filled[key] = true
  if before and before.ref == j.ref then
    mem.first_of_line[key] = nil
    return
  end
  -- It is loaded when it is leased.
  mem.first_of_line[key] = {
    name = name, prio = j.prio, class = j.class, ref = j.ref, seq = j.seq, since = j.since, created = j.created, unread = true,
  }
  if not before then
    call('ZADD', lanes.lane(q, 'lines:') .. owner, j.prio * 2 + (j.class == 'l' and 1 or 0), name)
    lanes.seen_of(q, owner).lines = nil
  end
  if not lanes.turn(q, owner) then lanes.next_turn(q, owner) end
  lanes.place(q, owner)
end

-- Takes a job out of its line, wherever it stands there.
function lanes.leave_line(j)
  local key = lanes.line_key(j.q, j.owner, lanes.line_of(j))
  base.cut_line(key)
  base.write_added(key)
  local first = call('ZRANGE', key, 0, 0)[1]
  if call('ZREM', key, j.ref) == 0 then return end
  mem.lined[j.q], mem.filled[key] = (mem.lined[j.q] or 0) - 1, nil
  if first == j.ref then
    mem.first_of_line[key] = nil
    lanes.place(j.q, j.owner)
  end
end

-- Takes the first job of a line, which has itself with it when it is still there; the tenant's turn is over.
function lanes.pop_line(q, owner, name)
  local head = lanes.head_of(q, owner, name)
  if head then
    -- It was read for its place alone, or not at all.
    if head.unread or head.job and not head.job.told then head.job = base.load_for_lease(head.ref, q) end
    local key = lanes.line_key(q, owner, name)
    mem.popped[key], mem.first_of_line[key], mem.filled[key] = (mem.popped[key] or 0) + 1, nil, nil
    if mem.ahead[key] then mem.ahead[key].at = mem.ahead[key].at + 2 end
    mem.lined[q] = (mem.lined[q] or 0) - 1
  end
  lanes.next_turn(q, owner)
  lanes.place(q, owner)
  return head
end

-- Takes the first job of whose turn it is, as `choose` and `pop_line` do, with less looked up for each, while all is as it mostly is:
-- in a queue without a rate, of a tenant with one line, when nobody has waited long. nil: those have to do it.
function lanes.pop_plain(q)
  lanes.grow_old(q, 'f')
  local of = lanes.of_class(q, 'f')
  local aged = mem.boards[of.aged]
  if not (aged and aged.all and aged.size == 0 and not aged.first[1]) and base.front(of.aged, mem.wanted) then return nil end
  local owner = base.front(of.turns, mem.wanted)
  if not owner then return nil end
  local known = lanes.seen_of(q, owner)
  local names = known.lines or lanes.names(q, owner)
  local name = names[1]
  if #names ~= 1 or string.sub(name, -1) ~= 'f' then return nil end
  local head = lanes.head_of(q, owner, name)
  -- One that came in this script may stand in front of those that were looked at.
  if not head or head.unread then return nil end
  local key = lanes.line_key(q, owner, name)
  local next = mem.ahead[key]
  if not next or next[next.at] ~= head.ref then return nil end
  mem.popped[key], mem.first_of_line[key], mem.filled[key] = (mem.popped[key] or 0) + 1, nil, nil
  next.at = next.at + 2
  mem.lined[q] = (mem.lined[q] or 0) - 1
  lanes.next_turn(q, owner)
  local after = lanes.head_of(q, owner, name)
  if not after or after.since <= NOW - AGED then
    lanes.place(q, owner)
    return head, owner
  end
  if known.heads ~= after.created then
    base.stand(lanes.lane(q, 'heads'), owner, after.created)
    known.heads = after.created
  end
  local place = known.f
  place.score = (100 - head.prio) * TURNS_MAX + mem.last_turn[q]
  base.stand(of.turns, owner, place.score)
  if place.since ~= after.since then
    base.stand(of.young, owner, after.since)
    place.since = after.since
  end
  return head, owner
end

-- Takes a tenant out of the turns, or puts it back at their end.
function lanes.stop_tenant(owner, stop)
  local changed
  if stop then changed = call('SADD', OWN .. 'paused', owner) else changed = call('SREM', OWN .. 'paused', owner) end
  mem.stopped[owner], mem.none_stopped = stop, nil
  for q = 1, 4 do
    if changed == 1 and lanes.turn(q, owner) then
      lanes.next_turn(q, owner)
      lanes.place(q, owner)
    end
  end
end

-- Moves the tenants whose oldest job has waited long enough. Once in a script is enough, since `take_turn` looks as well.
function lanes.grow_old(q, class)
  local of = lanes.of_class(q, class)
  local key = of.young
  if mem.grown[key] then return end
  mem.grown[key] = true
  while true do
    base.write_board(key)
    local old = call('ZRANGEBYSCORE', key, '-inf', NOW - AGED, 'LIMIT', 0, 1000)
    for _, owner in ipairs(old) do
      base.stand(key, owner, false)
      base.stand(of.aged, owner, lanes.turn(q, owner))
      lanes.seen_of(q, owner)[class].since = nil
    end
    if #old < 1000 then return end
  end
end

-- The line of this priority whose head came first.
function lanes.first_of(q, owner, prio, all)
  local names = lanes.names(q, owner)
  if #names == 1 then return names[1] end
  local best
  for _, head in ipairs(lanes.heads(q, owner)) do
    if head.prio == prio and (all or head.class == 'f') and (not best or head.seq < best.seq) then best = head end
  end
  return best and best.name
end

-- The line whose head has waited longest.
function lanes.oldest_of(q, owner, all)
  local names = lanes.names(q, owner)
  if #names == 1 then return names[1] end
  local best
  for _, head in ipairs(lanes.heads(q, owner)) do
    if (all or head.class == 'f') and (not best or head.since < best.since) then best = head end
  end
  return best and best.name
end

-- Who is first in a lane of each class, and the score. `all`: also of the kinds that have a rate.
function lanes.first_in(q, what, all)
  local owner, score = base.front(lanes.of_class(q, 'f')[what], mem.wanted)
  if all then
    local other, of_other = base.front(lanes.of_class(q, 'l')[what], mem.wanted)
    if other and (not owner or of_other < score) then return other, of_other end
  end
  return owner, score
end

-- Whose turn it is, and which of its lines.
function lanes.choose(q, all)
  lanes.grow_old(q, 'f')
  if all then lanes.grow_old(q, 'l') end
  local owner, score = lanes.first_in(q, 'turns', all)
  if not owner then return nil end
  local turn, prio = score % TURNS_MAX, 100 - math.floor(score / TURNS_MAX)
  local aged, since = lanes.first_in(q, 'aged', all)
  if not aged or since > turn then return owner, lanes.first_of(q, owner, prio, all) end
  if since == turn then
    -- The same tenant has both: it takes them in turn as well.
    if call('HGET', lanes.lane(q, 'flip'), owner) == '1' then
      call('HSET', lanes.lane(q, 'flip'), owner, '0')
    else
      call('HSET', lanes.lane(q, 'flip'), owner, '1')
      return owner, lanes.first_of(q, owner, prio, all)
    end
  end
  return aged, lanes.oldest_of(q, aged, all)
end
