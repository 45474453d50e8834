-- What the engine does by itself. ARGV[6]: which.
make_room()
chores()
local what = ARGV[6]

-- Whose queues these are: ARGV[7], an id, or nothing when nobody asks.
if what == 'owner' then
  local owner = ARGV[7] ~= '' and call('HSETNX', OWN .. 'about', 'owner', ARGV[7]) == 0 and call('HGET', OWN .. 'about', 'owner')
  if owner and owner ~= ARGV[7] then return done({ 'refused', 'queue_foreign', owner }) end
  -- Before its first pass through the outbox it has settled nothing.
  if ARGV[7] ~= '' then call('HSETNX', OWN .. 'about', 'asked', NOW) end
  return done(0)
end

-- What had ended before ARGV[7] is in no outbox any more.
if what == 'settled' then
  call('HSET', OWN .. 'about', 'asked', ARGV[7])
  return done(0)
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
  local held = call('SMEMBERS', OWN .. 'held:' .. NODE)
  table.sort(held)
  for _, ref in ipairs(held) do
    local j = load(ref)
    local holder = j and j.holder and string.match(j.holder, '^(.*):%d+$')
    if not j or j.st ~= 'r' or holder ~= NODE then
      call('SREM', OWN .. 'held:' .. NODE, ref)
    elseif live[j.cid] ~= j.attempt then
      if leave_active(j) then
        recover(j, what == 'open')
      else
        call('SREM', OWN .. 'held:' .. NODE, ref)
        settle(j.q, j.bid)
      end
    end
  end
  write()
  for q = 1, 4 do
    if call('HLEN', lane(q, 'turn')) > 0 then woken[q] = true end
  end
  return done(0)
end

-- This process lives: its leases are longer. ARGV[7…]: id and attempt. Answers id and attempt of those that are no longer its
-- own, and the ids of those that somebody wants to end.
if what == 'renew' then
  local lost, cancelled = {}, {}
  for at = 7, #ARGV, 2 do
    local j = find(ARGV[at])
    -- A Redis that has lost jobs may count attempts anew: the holder tells whose this one is.
    if j and j.st == 'r' and j.attempt == tonumber(ARGV[at + 1]) and j.holder == TOKEN then
      call('SET', j.key .. ':lock', TOKEN, 'PX', LEASE)
      if j.cancelling then cancelled[#cancelled + 1] = j.cid end
    else
      lost[#lost + 1] = ARGV[at]
      lost[#lost + 1] = ARGV[at + 1]
    end
  end
  return done({ lost, cancelled })
end

-- Jobs whose workers no longer say that they live go back.
if what == 'sweep' then
  local dead = 0
  for q = 1, 4 do
    for _, bid in ipairs(call('LRANGE', B[q] .. 'active', 0, -1)) do
      if call('EXISTS', B[q] .. bid .. ':lock') == 0 then
        local j = settle(q, bid)
        if j and j.st == 'r' and leave_active(j) then
          recover(j, true)
          dead = dead + 1
        end
      end
    end
    take_in_others(q)
  end
  -- A part of all jobs is looked at for those that another program has removed without a word.
  local last = call('HGET', OWN .. 'about', 'walked') or ''
  local some = call('ZRANGEBYLEX', OWN .. 'all', last == '' and '-' or '(' .. last, '+', 'LIMIT', 0, AT_ONCE)
  for _, ref in ipairs(some) do
    local _, q, bid = split(ref)
    if call('EXISTS', B[q] .. bid) == 0 then bury(ref) end
  end
  call('HSET', OWN .. 'about', 'walked', #some < AT_ONCE and '' or some[#some])
  return done(dead)
end

-- Whether queues run anything: ARGV[7…]. Answers for each whether it is paused, and how many run.
if what == 'drains' then
  local found = {}
  for at = 7, #ARGV do
    local q = tonumber(ARGV[at])
    found[#found + 1] = { is_paused(q) and 1 or 0, call('LLEN', B[q] .. 'active') }
  end
  return done(found)
end

-- Follows jobs that clients of BullMQ made or moved: ARGV[7…], queue and id.
for at = 7, #ARGV, 2 do settle(tonumber(ARGV[at]), ARGV[at + 1]) end
return done(0)
