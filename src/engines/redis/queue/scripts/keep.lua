-- What the engine does by itself. ARGV[6]: which.
chores.make_room()
chores.chores()
local what = ARGV[6]

-- Whose queues these are: ARGV[7], an id, or nothing when nobody asks.
if what == 'owner' then
  local owner = ARGV[7] ~= '' and call('HSETNX', OWN .. 'about', 'owner', ARGV[7]) == 0 and call('HGET', OWN .. 'about', 'owner')
  if owner and owner ~= ARGV[7] then return chores.done({ 'refused', 'queue_foreign', owner }) end
  -- Before its first pass through the outbox it has settled nothing.
  if ARGV[7] ~= '' then call('HSETNX', OWN .. 'about', 'asked', NOW) end
  return chores.done(0)
end

-- What had ended before ARGV[7] is in no outbox any more.
if what == 'settled' then
  call('HSET', OWN .. 'about', 'asked', ARGV[7])
  return chores.done(0)
end

-- A process begins ("open"), or comes back after its connection was lost ("back"): jobs that this node holds and nobody of it
-- works on go back. ARGV[7…]: id and attempt of those that somebody works on.
if what == 'open' or what == 'back' then
  for q = 1, 4 do
    call('HSETNX', B[q] .. 'meta', 'opts.maxLenEvents', EVENTS_MAX)
    if RULES[q].limit > 0 then call('HSET', B[q] .. 'meta', 'concurrency', RULES[q].limit) end
  end
  local live = {}
  for at = 7, #ARGV, 2 do live[ARGV[at]] = tonumber(ARGV[at + 1]) end
  for q = 1, 4 do
    local active = call('LRANGE', B[q] .. 'active', 0, -1)
    -- The oldest lease stands last.
    for at = #active, 1, -1 do
      local bid = active[at]
      local v = call('HMGET', B[q] .. bid, 'pb', 'cid')
      -- A worker of BullMQ that has a job after us says so by its lock alone.
      local holder = call('GET', B[q] .. bid .. ':lock') or v[1]
      if holder and string.match(holder, '^(.*):%d+$') == NODE then
        local cid = v[2] or bid
        local j = base.load(cid .. TEXT[q] .. (cid == bid and '' or bid))
        if j and j.st == 'r' and live[j.cid] ~= j.attempt and moves.leave_active(j) then bonds.recover(j, what == 'open') end
      end
    end
  end
  base.write()
  for q = 1, 4 do
    if call('HLEN', lanes.lane(q, 'turn')) > 0 then mem.woken[q] = true end
  end
  return chores.done(0)
end

-- This process lives: its leases are longer. ARGV[7…]: id and attempt. Answers id and attempt of those that are no longer its
-- own, and the ids of those that somebody wants to end.
if what == 'renew' then
  local lost, cancelled = {}, {}
  for at = 7, #ARGV, 2 do
    local j = base.find(ARGV[at])
    -- A Redis that has lost jobs may count attempts anew: the holder tells whose this one is.
    if j and j.st == 'r' and j.attempt == tonumber(ARGV[at + 1]) and j.holder == TOKEN then
      call('SET', j.key .. ':lock', TOKEN, 'PX', LEASE)
      if j.cancelling then cancelled[#cancelled + 1] = j.cid end
    else
      lost[#lost + 1] = ARGV[at]
      lost[#lost + 1] = ARGV[at + 1]
    end
  end
  return chores.done({ lost, cancelled })
end

-- Jobs whose workers no longer say that they live go back.
if what == 'sweep' then
  local dead = 0
  for q = 1, 4 do
    for _, bid in ipairs(call('LRANGE', B[q] .. 'active', 0, -1)) do
      if call('EXISTS', B[q] .. bid .. ':lock') == 0 then
        local j = bonds.settle(q, bid)
        if j and j.st == 'r' and moves.leave_active(j) then
          bonds.recover(j, true)
          dead = dead + 1
        elseif call('LREM', B[q] .. 'active', '-1', bid) > 0 then
          -- A log that was torn in a transaction is read at the next start as if what came after belonged to it: what had ended runs
          -- again, and counts are changed twice.
          if RULES[q].limit > 0 then mem.woken[q] = true end
          if j then mem.miscounted[j.owner] = true end
        end
      end
    end
    chores.take_in_others(q)
  end
  -- A part of all jobs is looked at for those that another program has removed or ended while nobody listened.
  local last = call('HGET', OWN .. 'about', 'walked') or ''
  local some = call('ZRANGEBYLEX', OWN .. 'all', last == '' and '-' or '(' .. last, '+', 'LIMIT', 0, AT_ONCE)
  for _, ref in ipairs(some) do
    local _, q, bid = base.split(ref)
    local st = call('HGET', B[q] .. bid, 'st')
    if not st and call('EXISTS', B[q] .. bid) == 0 then bonds.bury(ref) end
    if st == 'r' and not call('LPOS', B[q] .. 'active', bid) then bonds.settle(q, bid) end
  end
  call('HSET', OWN .. 'about', 'walked', #some < AT_ONCE and '' or some[#some])
  return chores.done(dead)
end

-- Forgets the jobs behind the ref ARGV[7] that this program has put in, whatever they are about to do, and in the end what it knows
-- of those that have gone: what is still to be done is in an outbox. Those of other programs stay. Answers how many went, and the
-- last ref that was looked at, or nothing when that was all.
if what == 'clear' then
  local gone = 0
  local some = call('ZRANGEBYLEX', OWN .. 'all', ARGV[7] == '' and '-' or '(' .. ARGV[7], '+', 'LIMIT', 0, 200)
  for _, ref in ipairs(some) do
    local j = base.load(ref)
    if j and not j.named then
      if j.st == 'w' then
        moves.take_out(j)
        lanes.leave_line(j)
      elseif j.st == 'd' then
        moves.leave_due(j)
      elseif j.st == 'r' then
        moves.leave_active(j)
      end
      bonds.stop_awaiting(j)
      bonds.give_key_back(j)
      call('DEL', OWN .. 'after:' .. j.cid)
      moves.forget(j)
      gone = gone + 1
    end
  end
  if #some < 200 then call('DEL', OWN .. 'gone') end
  return chores.done({ gone, #some < 200 and '' or some[#some] })
end

-- Whether queues run anything: ARGV[7…]. Answers for each whether it is paused, and how many run.
if what == 'drains' then
  local found = {}
  for at = 7, #ARGV do
    local q = tonumber(ARGV[at])
    found[#found + 1] = { base.is_paused(q) and 1 or 0, call('LLEN', B[q] .. 'active') }
  end
  return chores.done(found)
end

-- Follows jobs that clients of BullMQ made or moved: ARGV[7…], queue and id.
for at = 7, #ARGV, 2 do bonds.settle(tonumber(ARGV[at]), ARGV[at + 1]) end
return chores.done(0)
