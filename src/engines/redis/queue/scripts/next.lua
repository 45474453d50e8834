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

-- The job with this id: most are in this queue, and were made by us. `short`: as `load_short` gives it.
local function find_near(cid, short)
  local j
  if short then j = base.load_short(cid, q) else j = base.load(cid .. TEXT[q]) end
  if j and j.st == 'r' and j.holder == TOKEN and (not j.named or j.named == cid) then return j end
  return base.find(cid)
end

local function finish(cid, attempt, outcome, error, after, random)
  local j = find_near(cid, outcome == 'D')
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

local answers = {}
for at = 9, #ARGV, 6 do
  answers[#answers + 1] = finish(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
end

local leases = {}
if take > 0 and not base.is_paused(q) then
  chores.take_in_others(q)
  local limit = RULES[q].limit
  if limit > 0 then take = math.min(take, limit - call('LLEN', B[q] .. 'active')) end
  local out, active = {}, {}
  while #leases < take do
    local owner, name = lanes.choose(q, chores.rate_of(q) and chores.room_ms(q) <= NOW)
    if not owner then break end
    local head = lanes.pop_line(q, owner, name)
    local j = head and head.job
    if j and j.st == 'w' and (head.there or moves.take_out(j)) then
      if head.there then out[#out + 1] = j.bid end
      if j.class == 'l' then chores.note_start(q) end
      local attempt = base.text(j.attempt + 1)
      call('HSET', j.key, 'ats', attempt, 'st', 'r', 'processedOn', NOW_TEXT, 'pb', TOKEN)
      if j.progress then call('HDEL', j.key, 'progress') end
      call('SET', j.key .. ':lock', TOKEN, 'PX', LEASE)
      active[#active + 1] = j.bid
      base.moved(j, 'r')
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
  base.call_many('LPUSH', B[q] .. 'active', active)
end
return chores.done({ answers, leases })
