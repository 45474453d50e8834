-- Ends attempts, then leases up to so many jobs. ARGV[6]: queue, [7]: how many, [8]: 1 when this is said for the second time,
-- since the first answer was lost; then six values for each attempt. Answers what became of the attempts, and the leases.
local q, take, again = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
make_room()
chores()

-- Puts a job that ran aside for a while.
local function try_later(j, after_ms)
  if after_ms > 0 then delay(j, NOW + after_ms) else wait_last(j) end
end

local function backoff(j, random)
  local rule, tries = RULES[j.q], j.attempt - j.uncounted
  if rule.fixed then return rule.backoff end
  local ceiling = math.min(rule.backoff * 2 ^ (tries - 1), 3600000)
  return math.floor(random / 4294967296 * (ceiling + 1))
end

-- The job with this id: most are in this queue, and were made by us.
local function find_near(cid)
  local j = load(cid .. q)
  if j and j.st == 'r' and j.holder == TOKEN and (not j.named or j.named == cid) then return j end
  return find(cid)
end

local function finish(cid, attempt, outcome, error, after, random)
  local j = find_near(cid)
  if again and ((j and call('HGET', j.key, 'fa') == attempt) or (not j and call('ZSCORE', OWN .. 'gone', cid))) then
    return 0
  end
  -- A Redis that has lost jobs counts attempts anew: the holder tells whose this one is.
  if not j or j.st ~= 'r' or j.attempt ~= tonumber(attempt) or j.holder ~= TOKEN then return 1 end
  if not leave_active(j) then
    settle(j.q, j.bid)
    return 1
  end
  note(j, 'fa', attempt, 'atm', math.max(0, j.attempt - j.uncounted))
  -- A queue that allows so many at once may go on.
  if RULES[j.q].limit > 0 then woken[j.q] = true end
  if outcome == 'D' then
    end_job(j, 'c')
  elseif j.cancelling then
    end_job(j, 'f', 'cancelled')
  elseif outcome == 'C' then
    end_job(j, 'f', error)
  elseif outcome == 'R' then
    note(j, 'failedReason', error)
    if j.attempt - j.uncounted >= RULES[j.q].attempts then
      end_job(j, 'f')
    else
      try_later(j, after ~= '' and tonumber(after) or backoff(j, tonumber(random)))
    end
  elseif outcome == 'S' then
    j.uncounted = j.uncounted + 1
    note(j, 'un', j.uncounted)
    try_later(j, tonumber(after))
  else
    release(j)
  end
  return 0
end

local answers = {}
for at = 9, #ARGV, 6 do
  answers[#answers + 1] = finish(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
end

local leases = {}
if take > 0 and not is_paused(q) then
  take_in_others(q)
  local limit = RULES[q].limit
  if limit > 0 then take = math.min(take, limit - call('LLEN', B[q] .. 'active')) end
  local held = {}
  reach = 16
  while #leases < take do
    local owner, name = choose(q, rate_of(q) and room_ms(q) <= NOW)
    if not owner then break end
    local ref, j = pop_line(q, owner, name)
    if j and j.st == 'w' and take_out(j) then
      if j.class == 'l' then note_start(q) end
      local attempt = j.attempt + 1
      call('HSET', j.key, 'ats', attempt, 'st', 'r', 'processedOn', NOW, 'progress', 0, 'pb', TOKEN)
      call('SET', j.key .. ':lock', TOKEN, 'PX', LEASE)
      call('LPUSH', B[q] .. 'active', j.bid)
      held[#held + 1] = ref
      moved(j, 'r')
      event(q, 'active', j.bid, 'prev', 'waiting')
      leases[#leases + 1] = { j.cid, attempt, unpack(j.told or load(ref, true).told, 1, 9) }
    elseif j then
      -- A worker of BullMQ was faster.
      settle(q, j.bid)
    elseif ref then
      bury(ref, owner)
    end
  end
  call_many('SADD', OWN .. 'held:' .. NODE, held)
end
return done({ answers, leases })
