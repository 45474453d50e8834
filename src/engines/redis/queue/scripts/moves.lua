-- How a job moves from state to state, in BullMQ's keys and in ours.

-- Puts a job into its line at its seq.
function moves.wait(j)
  j.seq_text = base.text(j.seq)
  base.put(j, 'st', 'w', 'si', j.since == NOW and NOW_TEXT or base.text(j.since), 'seq', j.seq_text, 'delay', '0')
  base.add(B[j.q] .. 'prioritized', base.text((101 - j.prio) * 4294967296 + j.seq % 4294967296), j.bid)
  local from = j.st
  base.moved(j, 'w')
  lanes.join_line(j)
  base.mark(j.q)
  if from then base.event(j.q, 'waiting', j.bid, 'prev', STATES[from]) else base.event(j.q, 'waiting', j.bid) end
  mem.woken[j.q] = true
end

-- Puts a job at the end of its line.
function moves.wait_last(j)
  j.seq, j.since = base.next_seq(), NOW
  moves.wait(j)
end

-- Puts a job aside until a time.
function moves.delay(j, due_ms)
  base.put(j, 'st', 'd', 'delay', math.min(due_ms - NOW, NEVER))
  call('ZADD', B[j.q] .. 'delayed', due_ms * 4096, j.bid)
  call('ZADD', B[j.q] .. 'marker', 'LT', due_ms, '1')
  base.moved(j, 'd')
  base.event(j.q, 'delayed', j.bid, 'delay', due_ms)
  base.due(due_ms)
end

-- Puts a job aside until the others have ended that it waits for.
function moves.delay_for_others(j, open)
  base.put(j, 'st', 'd', 'aw', open)
  call('ZADD', B[j.q] .. 'waiting-children', NOW, j.bid)
  j.awaits = open
  base.moved(j, 'd')
  base.event(j.q, 'waiting-children', j.bid)
end

-- Takes a delayed job from where it waits for its time.
function moves.leave_due(j)
  call('ZREM', B[j.q] .. 'delayed', j.bid)
  call('ZREM', B[j.q] .. 'waiting-children', j.bid)
end

-- Takes a waiting job from where workers of BullMQ look. `false`: one of them has it.
function moves.take_out(j)
  base.write_added(B[j.q] .. 'prioritized')
  if call('ZREM', B[j.q] .. 'prioritized', j.bid) == 1 then return true end
  if call('LREM', B[j.q] .. 'wait', -1, j.bid) > 0 then return true end
  return call('LREM', B[j.q] .. 'paused', -1, j.bid) > 0
end

-- Nobody works on it any more. `false`: somebody else has taken it away meanwhile.
function moves.leave_active(j)
  if call('LREM', B[j.q] .. 'active', '-1', j.bid) == 0 then return false end
  mem.unlocked[#mem.unlocked + 1] = j.key .. ':lock'
  return true
end

-- Lets a job that is in no line go, but remembers its id for a day.
function moves.forget(j)
  local from = j.st
  if from == 'c' then call('ZREM', B[j.q] .. 'completed', j.bid) end
  if from == 'f' then call('ZREM', B[j.q] .. 'failed', j.bid) end
  call('DEL', j.key, j.key .. ':lock', j.key .. ':logs')
  call('ZREM', OWN .. 'all', j.ref)
  call('ZREM', OWN .. 'of:' .. j.owner, j.ref)
  call('ZADD', OWN .. 'gone', NOW, j.cid)
  base.moved(j, nil)
end

-- Lets jobs go that have ended and that no client of BullMQ made: what `forget` does, for all at once.
function moves.forget_all(q, what, ids, owners)
  local keys, refs, gone, by_owner = {}, {}, {}, {}
  for at, cid in ipairs(ids) do
    local key, ref, owner, twice = B[q] .. cid, cid .. TEXT[q], owners[at], 2 * at
    refs[at] = ref
    keys[twice - 1], keys[twice] = key, key .. ':logs'
    gone[twice - 1], gone[twice] = NOW_TEXT, cid
    local some = by_owner[owner]
    if some then some[#some + 1] = ref else by_owner[owner] = { ref } end
  end
  call('ZREM', B[q] .. what, unpack(ids))
  call('DEL', unpack(keys))
  call('ZREM', OWN .. 'all', unpack(refs))
  for owner, some in pairs(by_owner) do
    call('ZREM', OWN .. 'of:' .. owner, unpack(some))
    base.count(owner, q, what == 'completed' and 'c' or 'f', -#some)
  end
  call('ZADD', OWN .. 'gone', unpack(gone))
end

-- Lets the oldest ended jobs go that the queue no longer keeps.
function moves.keep_few(q, what, kept)
  local key, st = B[q] .. what, what == 'completed' and 'c' or 'f'
  while true do
    local over = call('ZCARD', key) - kept
    if over <= 0 then return end
    local ours, owners = {}, {}
    for _, bid in ipairs(call('ZRANGE', key, 0, math.min(over, 1000) - 1)) do
      local v = call('HMGET', B[q] .. bid, 'st', 't', 'cid')
      if v[1] == st and v[2] and not v[3] then
        local n = #ours + 1
        ours[n], owners[n] = bid, v[2]
      else
        local j = bonds.settle(q, bid)
        if j then moves.forget(j) end
        call('ZREM', key, bid)
      end
    end
    if #ours > 0 then moves.forget_all(q, what, ours, owners) end
  end
end


-- Ends a job without what depends on it.
function moves.end_alone(j, to, error)
  if j.cancelling or (j.after and j.after ~= '') then call('HDEL', j.key, 'can', 'aw') end
  local what = to == 'c' and 'completed' or 'failed'
  if to == 'c' and j.progress then base.note(j, 'progress', '100') end
  if error then base.note(j, 'failedReason', error) end
  base.put(j, 'st', to, 'finishedOn', NOW_TEXT, 'atm', base.text(math.max(0, j.attempt - j.uncounted)))
  base.add(B[j.q] .. what, NOW_TEXT, j.bid)
  if to == 'c' then
    base.event(j.q, 'completed', j.bid, 'returnvalue', 'null', 'prev', 'active')
  else
    base.event(j.q, 'failed', j.bid, 'failedReason', error or '', 'prev', 'active')
  end
  base.moved(j, to)
  mem.overfull[TEXT[j.q] .. what] = true
end
