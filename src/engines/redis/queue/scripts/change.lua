-- What people do with single jobs and queues. ARGV[6]: which; ARGV[7]: the id, queue or tenant.
chores.make_room()
chores.chores()

local acts = {}

-- Dead or delayed → waiting now, or delayed while others that it waits for have not ended.
function acts.rerun(j)
  if j.st == 'f' then
    if bonds.key_taken(j) then return base.refuse('job_unique') end
    local open, dead = bonds.awaited(j)
    if dead then return base.refuse('job_waits') end
    call('ZREM', B[j.q] .. 'failed', j.bid)
    call('HDEL', j.key, 'finishedOn', 'stc')
    j.uncounted, j.deaths = j.attempt, 0
    call('HSET', j.key, 'un', j.uncounted, 'progress', 0, 'atm', 0, 'xt', 1)
    bonds.hold_key(j)
    if open > 0 then
      bonds.await_others(j)
      moves.delay_for_others(j, open)
      return 0
    end
  elseif j.st == 'd' then
    if j.awaits > 0 then return base.refuse('job_waits') end
    moves.leave_due(j)
  else
    return { 'refused', 'job_rerun', STATES[j.st] }
  end
  moves.wait_last(j)
  return 0
end

-- Waiting or delayed → removed; 1 when it runs.
function acts.cancel(j)
  if j.st == 'r' then
    call('HSET', j.key, 'can', 1, 'xt', 1)
    mem.told[#mem.told + 1] = j.cid
    return 1
  end
  if j.st == 'w' then
    moves.take_out(j)
    lanes.leave_line(j)
  elseif j.st == 'd' then
    moves.leave_due(j)
  else
    return base.refuse('job_ended')
  end
  bonds.stop_awaiting(j)
  bonds.close(j, false)
  moves.forget(j)
  return 0
end

-- Waiting or delayed → dead, with the error ARGV[8].
function acts.bury(j)
  if j.st == 'w' then
    moves.take_out(j)
    lanes.leave_line(j)
  elseif j.st == 'd' then
    moves.leave_due(j)
  else
    return base.refuse('job_started')
  end
  bonds.stop_awaiting(j)
  bonds.end_job(j, 'f', ARGV[8])
  return 0
end

-- Removes an ended job.
function acts.dismiss(j)
  if j.st ~= 'c' and j.st ~= 'f' then return base.refuse('job_not_ended') end
  moves.forget(j)
  return 0
end

function acts.progress(j)
  if j.st ~= 'r' or j.attempt ~= tonumber(ARGV[8]) or j.holder ~= TOKEN then return base.refuse('stale_lease') end
  call('HSET', j.key, 'progress', ARGV[9], 'xt', 1)
  return 0
end

local what = ARGV[6]
if what == 'pause' then
  local q = tonumber(ARGV[7])
  mem.paused[q] = ARGV[8] == '1'
  if mem.paused[q] then
    call('HSET', B[q] .. 'meta', 'paused', 1)
    call('DEL', B[q] .. 'marker')
  else
    call('HDEL', B[q] .. 'meta', 'paused')
    mem.woken[q] = true
    base.mark(q)
  end
  call('XADD', B[q] .. 'events', 'MAXLEN', '~', EVENTS_MAX, '*', 'event', ARGV[8] == '1' and 'paused' or 'resumed', 'by', TOKEN)
  return chores.done(0)
end

if what == 'stop' then
  lanes.stop_tenant(ARGV[7], ARGV[8] == '1')
  if ARGV[8] ~= '1' then
    for q = 1, 4 do mem.woken[q] = true end
  end
  return chores.done(0)
end

local j = base.find(ARGV[7])
if not j then return chores.done(base.refuse(what == 'progress' and 'stale_lease' or 'not_found')) end
return chores.done(acts[what](j))
