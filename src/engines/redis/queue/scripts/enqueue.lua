-- Takes jobs in, all or none. ARGV[6]: how many may wait of one tenant; then 13 values for each job.
-- Answers how many were new.
local WAITING_MAX = tonumber(ARGV[6])
-- Refused here, before anything is changed, when memory is short.
call('SET', OWN .. 'probe', '')
chores()

local owners, fresh, absorbed, keys, coming = {}, {}, {}, {}, {}
for at = 7, #ARGV, 13 do
  local cid, q, owner, unique, after = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 9], ARGV[at + 10]
  local was = call('ZSCORE', OWN .. 'gone', cid)
  if not (owners[cid] or was and tonumber(was) > known_since() or where(cid)) then
    if was then call('ZREM', OWN .. 'gone', cid) end
    owners[cid] = owner
    for other in ids(after) do
      local whose = owners[other]
      if not whose then
        local found = find(other)
        whose = found and found.owner
      end
      if whose and whose ~= owner then return done(refuse('job_after')) end
    end
    local free = true
    if unique ~= '' then
      local key = key_of(q, owner, unique)
      free = not keys[key] and not key_taken({ q = q, owner = owner, unique = unique, cid = cid })
      keys[key] = true
    end
    if free then
      coming[owner] = (coming[owner] or waiting_of(owner)) + 1
      if coming[owner] > WAITING_MAX then return done(refuse('jobs_waiting_max')) end
      fresh[#fresh + 1] = at
    else
      absorbed[#absorbed + 1] = cid
    end
  end
end

for owner in pairs(coming) do call('SADD', OWN .. 'owners', owner) end
for _, at in ipairs(fresh) do
  local cid, q, owner = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local prio = tonumber(ARGV[at + 5])
  local j = {
    ref = cid .. q, cid = cid, q = q, bid = cid, key = B[q] .. cid, owner = owner, prio = prio, class = ARGV[at + 12],
    seq = 0, since = NOW, attempt = 0, uncounted = 0, deaths = 0, awaits = 0, run_at = tonumber(ARGV[at + 6]),
    created = tonumber(ARGV[at + 8]), unique = ARGV[at + 9] ~= '' and ARGV[at + 9] or nil, after = ARGV[at + 10],
  }
  note(j, 'name', ARGV[at + 3], 'data', ARGV[at + 4], 'opts', ARGV[at + 11], 'timestamp', ARGV[at + 8],
    'delay', 0, 'priority', 101 - prio, 'ats', 0, 'atm', 0, 't', owner, 'pr', prio, 'li', j.class, 'at', ARGV[at + 6],
    'ti', ARGV[at + 7], 'af', j.after)
  if j.unique then note(j, 'u', j.unique) end
  call('ZADD', OWN .. 'all', 0, j.ref)
  call('ZADD', OWN .. 'of:' .. owner, 0, j.ref)
  hold_key(j)
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
for _, cid in ipairs(absorbed) do call('ZADD', OWN .. 'gone', NOW, cid) end
return done(#fresh)
