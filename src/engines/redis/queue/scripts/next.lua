-- Ends attempts, then leases up to so many jobs. ARGV[6]: queue, [7]: how many, [8]: 1 when this is said for the second time,
-- since the first answer was lost; then six values for each attempt. Answers what became of the attempts, and the leases.
local q, take, again = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
chores.make_room()
-- Jobs of the same tenants follow one another: what each of some lines holds next is read at once.
mem.wanted, mem.reach = take, math.max(1, math.min(16, math.floor(take / 8)))
chores.chores()

-- Notes how many attempts count; a job that ends has it from `end_alone`.
local function note_attempts(j) base.note(j, 'atm', base.text(math.max(0, j.attempt - j.uncounted))) end

-- Puts a job that ran aside for a while.
local function try_later(j, after_ms)
  if after_ms > 0 then moves.delay(j, NOW + after_ms) else moves.wait_last(j) end
end

local function backoff(j, random)
  local rule, tries = RULES[j.q], j.attempt - j.uncounted
  if rule.fixed then return rule.backoff end
  local ceiling = math.min(rule.backoff * 2 ^ (tries - 1), 3600000)
  return math.floor(random / 4294967296 * (ceiling + 1))
end

-- The job with this id: most are in this queue, and were made by us.
local function find_near(cid)
  local j = base.load(cid .. TEXT[q])
  if j and j.st == 'r' and j.holder == TOKEN and (not j.named or j.named == cid) then return j end
  return base.find(cid)
end

local function finish(cid, attempt, outcome, error, after, random)
  local j = find_near(cid)
  if again and ((j and call('HGET', j.key, 'fa') == attempt) or (not j and call('ZSCORE', OWN .. 'gone', cid))) then
    return 0
  end
  -- A Redis that has lost jobs counts attempts anew: the holder tells whose this one is.
  if not j or j.st ~= 'r' or j.attempt ~= tonumber(attempt) or j.holder ~= TOKEN then return 1 end
  if not moves.leave_active(j) then
    bonds.settle(j.q, j.bid)
    return 1
  end
  base.note(j, 'fa', attempt)
  -- A queue that allows so many at once may go on.
  if RULES[j.q].limit > 0 then mem.woken[j.q] = true end
  if outcome == 'D' then
    bonds.end_job(j, 'c')
  elseif j.cancelling then
    bonds.end_job(j, 'f', 'cancelled')
  elseif outcome == 'C' then
    bonds.end_job(j, 'f', error)
  elseif outcome == 'R' then
    base.note(j, 'failedReason', error)
    note_attempts(j)
    if j.attempt - j.uncounted >= RULES[j.q].attempts then
      bonds.end_job(j, 'f')
    else
      try_later(j, after ~= '' and tonumber(after) or backoff(j, tonumber(random)))
    end
  elseif outcome == 'S' then
    note_attempts(j)
    j.uncounted = j.uncounted + 1
    base.note(j, 'un', j.uncounted, 'xt', 1)
    try_later(j, tonumber(after))
  else
    note_attempts(j)
    bonds.release(j)
  end
  return 0
end

local ACTIVE, COMPLETED = B[q] .. 'active', B[q] .. 'completed'
-- The jobs that have run longest, the oldest last: as many as end here, when these are some. How many of them are still in question, how
-- many have ended and are to be cut off, and whose they were.
local running, left, cut, ended = {}, 0, 0, {}
if #ARGV > 32 then
  running = call('LRANGE', ACTIVE, -math.floor((#ARGV - 8) / 6), -1)
  left = #running
end

local function cut_active()
  if cut > 0 then call('LTRIM', ACTIVE, '0', base.text(-1 - cut)) end
  cut = 0
end

-- Ends an attempt that went well, of a job as most are, which nothing depends on: what `finish` does, with nothing made for it. Whether
-- it was one of these.
local function finish_plain(cid, attempt)
  local key = B[q] .. cid
  local v = call('HMGET', key, 'st', 't', 'ats', 'pb', 'xt')
  if v[1] ~= 'r' or v[3] ~= attempt or v[4] ~= TOKEN or v[5] then return false end
  if left > 0 and running[left] == cid then
    left, cut = left - 1, cut + 1
  elseif call('LREM', ACTIVE, '-1', cid) == 0 then
    return false
  end
  call('HSET', key, 'fa', attempt, 'st', 'c', 'finishedOn', NOW_TEXT, 'atm', attempt)
  mem.unlocked[#mem.unlocked + 1] = key .. ':lock'
  base.add(COMPLETED, NOW_TEXT, cid)
  base.event(q, 'completed', cid, 'returnvalue', 'null', 'prev', 'active')
  ended[v[2]] = (ended[v[2]] or 0) + 1
  return true
end

local answers = {}
for at = 9, #ARGV, 6 do
  local answer = 0
  if again or ARGV[at + 2] ~= 'D' or not finish_plain(ARGV[at], ARGV[at + 1]) then
    cut_active()
    answer = finish(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
  end
  answers[#answers + 1] = answer
end
cut_active()
for owner, some in pairs(ended) do
  base.count(owner, q, 'r', -some)
  base.count(owner, q, 'c', some)
  mem.overfull[TEXT[q] .. 'completed'] = true
  -- A queue that allows so many at once may go on.
  if RULES[q].limit > 0 then mem.woken[q] = true end
end

local leases = {}
if take > 0 and not base.is_paused(q) then
  base.write_unlocked()
  chores.take_in_others(q)
  local limit = RULES[q].limit
  if limit > 0 then take = math.min(take, limit - call('LLEN', ACTIVE)) end
  local rated, out, active, leased = chores.rate_of(q), {}, {}, {}
  while #leases < take do
    local head, owner
    if not rated then head, owner = lanes.pop_plain(q) end
    if not owner then
      local name
      owner, name = lanes.choose(q, rated and chores.room_ms(q) <= NOW)
      if not owner then break end
      head = lanes.pop_line(q, owner, name)
    end
    local j = head and head.job
    if j and j.st == 'w' and (head.there or moves.take_out(j)) then
      if head.there then out[#out + 1] = j.bid end
      if j.class == 'l' then chores.note_start(q) end
      local attempt = base.text(j.attempt + 1)
      call('HSET', j.key, 'ats', attempt, 'st', 'r', 'processedOn', NOW_TEXT, 'pb', TOKEN)
      if j.progress then call('HDEL', j.key, 'progress') end
      call('SET', j.key .. ':lock', TOKEN, 'PX', LEASE)
      active[#active + 1] = j.bid
      leased[j.owner] = (leased[j.owner] or 0) + 1
      base.event(q, 'active', j.bid, 'prev', 'waiting')
      j.told[2] = attempt
      leases[#leases + 1] = j.told
    elseif j then
      -- A worker of BullMQ was faster.
      bonds.settle(q, j.bid)
    elseif head then
      bonds.bury(head.ref, owner)
    end
  end
  base.call_many('ZREM', B[q] .. 'prioritized', out)
  base.call_many('LPUSH', ACTIVE, active)
  for owner, some in pairs(leased) do
    base.count(owner, q, 'w', -some)
    base.count(owner, q, 'r', some)
  end
end
return chores.done({ answers, leases })
