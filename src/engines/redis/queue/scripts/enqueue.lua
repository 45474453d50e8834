-- Takes jobs in, for several who ask: of each all or none. ARGV[6]: how many may wait of one tenant; then for each who asks how many
-- jobs, and 13 values for each of them. Answers each how many were new, or why none was taken.
local WAITING_MAX = tonumber(ARGV[6])
-- Refused here, before anything is changed, when memory is short.
call('SET', OWN .. 'probe', '')
chores()

-- Whose the jobs of this call are, taken or known before.
local owners = {}

local function is_known(cid)
  if owners[cid] then return true end
  local was = call('ZSCORE', OWN .. 'gone', cid)
  if was and tonumber(was) > known_since() or where(cid) then return true end
  if was then call('ZREM', OWN .. 'gone', cid) end
  return false
end

-- Whether all that the job at `at` waits for belongs to its tenant, or is not there.
local function waits_for_its_own(at, own)
  write_added()
  for other in ids(ARGV[at + 10]) do
    local whose = own[other] or owners[other]
    if not whose then
      local found = find(other)
      whose = found and found.owner
    end
    if whose and whose ~= ARGV[at + 2] then return false end
  end
  return true
end

local function take_in(at)
  local cid, q, owner, prio = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 5])
  local j = {
    ref = cid .. q, cid = cid, q = q, bid = cid, key = B[q] .. cid, owner = owner, prio = prio, class = ARGV[at + 12],
    seq = 0, since = NOW, attempt = 0, uncounted = 0, deaths = 0, awaits = 0, run_at = tonumber(ARGV[at + 6]),
    created = tonumber(ARGV[at + 8]), unique = ARGV[at + 9] ~= '' and ARGV[at + 9] or nil, after = ARGV[at + 10],
  }
  note(j, 'name', ARGV[at + 3], 'data', ARGV[at + 4], 'opts', ARGV[at + 11], 'timestamp', ARGV[at + 8],
    'delay', 0, 'priority', 101 - prio, 'ats', 0, 'atm', 0, 't', owner, 'pr', prio, 'li', j.class, 'at', ARGV[at + 6],
    'ti', ARGV[at + 7], 'af', j.after)
  if j.unique then note(j, 'u', j.unique) end
  add(OWN .. 'all', 0, j.ref)
  add(OWN .. 'of:' .. owner, 0, j.ref)
  hold_key(j)
  if j.after == '' then return begin_waiting(j) end
  -- It may wait for one of those before it.
  write_added()
  local open, dead = awaited(j)
  if dead then
    put(j)
    -- It is taken in and dies at once, so that who waits for it hears of it.
    end_job(j, 'f', dead)
  elseif open > 0 then
    await_others(j)
    delay_for_others(j, open)
  else
    begin_waiting(j)
  end
end

-- The jobs from `first` to `last` of one who asks.
local function answer(first, last)
  local own, fresh, absorbed, keys, coming = {}, {}, {}, {}, {}
  for at = first, last, 13 do
    local cid, q, owner, unique = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 9]
    if not own[cid] and not is_known(cid) then
      own[cid] = owner
      if ARGV[at + 10] ~= '' and not waits_for_its_own(at, own) then return refuse('job_after') end
      local free = true
      if unique ~= '' then
        local key = key_of(q, owner, unique)
        free = not keys[key] and not key_taken({ q = q, owner = owner, unique = unique, cid = cid })
        keys[key] = true
      end
      if free then
        coming[owner] = (coming[owner] or waiting_of(owner)) + 1
        if coming[owner] > WAITING_MAX then return refuse('jobs_waiting_max') end
        fresh[#fresh + 1] = at
      else
        absorbed[#absorbed + 1] = cid
      end
    end
  end
  for cid, owner in pairs(own) do owners[cid] = owner end
  for owner in pairs(coming) do call('SADD', OWN .. 'owners', owner) end
  for _, at in ipairs(fresh) do take_in(at) end
  for _, cid in ipairs(absorbed) do call('ZADD', OWN .. 'gone', NOW, cid) end
  return #fresh
end

local answers, at = {}, 7
while at <= #ARGV do
  local last = at + tonumber(ARGV[at]) * 13
  answers[#answers + 1] = answer(at + 1, last)
  at = last + 1
end
return done(answers)
