-- How a job moves from state to state, in BullMQ's keys and in ours.

-- Puts a job into its line at its seq.
local function wait(j)
  put(j, 'st', 'w', 'si', j.since, 'seq', j.seq, 'delay', 0)
  add(B[j.q] .. 'prioritized', (101 - j.prio) * 4294967296 + j.seq % 4294967296, j.bid)
  local from = j.st
  moved(j, 'w')
  join_line(j)
  mark(j.q)
  event(j.q, 'waiting', j.bid, 'prev', from and STATES[from] or '')
  woken[j.q] = true
end

-- Puts a job at the end of its line.
local function wait_last(j)
  j.seq, j.since = next_seq(), NOW
  wait(j)
end

-- Puts a job aside until a time.
local function delay(j, due_ms)
  put(j, 'st', 'd', 'delay', math.min(due_ms - NOW, NEVER))
  call('ZADD', B[j.q] .. 'delayed', due_ms * 4096, j.bid)
  call('ZADD', B[j.q] .. 'marker', 'LT', due_ms, '1')
  moved(j, 'd')
  event(j.q, 'delayed', j.bid, 'delay', due_ms)
  due(due_ms)
end

-- Puts a job aside until the others have ended that it waits for.
local function delay_for_others(j, open)
  put(j, 'st', 'd', 'aw', open)
  call('ZADD', B[j.q] .. 'waiting-children', NOW, j.bid)
  j.awaits = open
  moved(j, 'd')
  event(j.q, 'waiting-children', j.bid)
end

-- Takes a delayed job from where it waits for its time.
local function leave_due(j)
  call('ZREM', B[j.q] .. 'delayed', j.bid)
  call('ZREM', B[j.q] .. 'waiting-children', j.bid)
end

-- Takes a waiting job from where workers of BullMQ look. `false`: one of them has it.
local function take_out(j)
  if call('ZREM', B[j.q] .. 'prioritized', j.bid) == 1 then return true end
  if call('LREM', B[j.q] .. 'wait', -1, j.bid) > 0 then return true end
  return call('LREM', B[j.q] .. 'paused', -1, j.bid) > 0
end

-- Nobody works on it any more. `false`: somebody else has taken it away meanwhile.
local function leave_active(j)
  if call('LREM', B[j.q] .. 'active', -1, j.bid) == 0 then return false end
  unlocked[#unlocked + 1] = j.key .. ':lock'
  if j.holder then
    local node = string.match(j.holder, '^(.*):%d+$') or ''
    let_go[node] = let_go[node] or {}
    table.insert(let_go[node], j.ref)
  end
  return true
end

-- Lets a job that is in no line go, but remembers its id for a day.
local function forget(j)
  local from = j.st
  if from == 'c' then call('ZREM', B[j.q] .. 'completed', j.bid) end
  if from == 'f' then call('ZREM', B[j.q] .. 'failed', j.bid) end
  call('DEL', j.key, j.key .. ':lock', j.key .. ':logs')
  call('ZREM', OWN .. 'all', j.ref)
  call('ZREM', OWN .. 'of:' .. j.owner, j.ref)
  call('ZADD', OWN .. 'gone', NOW, j.cid)
  moved(j, nil)
end

local settle -- in bonds

-- Lets jobs go that have ended and that no client of BullMQ made: what `forget` does, for all at once.
local function forget_all(q, what, jobs)
  local ended, keys, refs, gone, by_owner = {}, {}, {}, {}, {}
  for at, j in ipairs(jobs) do
    ended[at], refs[at] = j.bid, j.ref
    for _, it in ipairs({ j.key, j.key .. ':lock', j.key .. ':logs' }) do keys[#keys + 1] = it end
    gone[#gone + 1], gone[#gone + 2] = NOW, j.cid
    by_owner[j.owner] = by_owner[j.owner] or {}
    table.insert(by_owner[j.owner], j.ref)
    moved(j, nil)
  end
  call('ZREM', B[q] .. what, unpack(ended))
  call('DEL', unpack(keys))
  call('ZREM', OWN .. 'all', unpack(refs))
  for owner, some in pairs(by_owner) do call('ZREM', OWN .. 'of:' .. owner, unpack(some)) end
  call('ZADD', OWN .. 'gone', unpack(gone))
end

-- Lets the oldest ended jobs go that the queue no longer keeps.
local function keep_few(q, what, kept)
  local key, st = B[q] .. what, what == 'completed' and 'c' or 'f'
  while true do
    local over = call('ZCARD', key) - kept
    if over <= 0 then return end
    local ours = {}
    for _, bid in ipairs(call('ZRANGE', key, 0, math.min(over, 1000) - 1)) do
      local v = call('HMGET', B[q] .. bid, 'st', 't', 'cid')
      if v[1] == st and v[2] and not v[3] then
        ours[#ours + 1] = { ref = bid .. q, cid = bid, q = q, bid = bid, key = B[q] .. bid, st = st, owner = v[2] }
      else
        local j = settle(q, bid)
        if j then forget(j) end
        call('ZREM', key, bid)
      end
    end
    if #ours > 0 then forget_all(q, what, ours) end
  end
end

-- Queues and ends (`1completed`) in which a job of this script ended: `done` looks whether too many are kept there.
local overfull = {}

-- Ends a job without what depends on it.
local function end_alone(j, to, error)
  if j.cancelling or (j.after and j.after ~= '') then call('HDEL', j.key, 'can', 'aw') end
  local what = to == 'c' and 'completed' or 'failed'
  if to == 'c' then note(j, 'progress', 100, 'returnvalue', 'null') end
  if error then note(j, 'failedReason', error) end
  put(j, 'st', to, 'finishedOn', NOW, 'atm', math.max(0, j.attempt - j.uncounted))
  add(B[j.q] .. what, NOW, j.bid)
  if to == 'c' then
    event(j.q, 'completed', j.bid, 'returnvalue', 'null', 'prev', 'active')
  else
    event(j.q, 'failed', j.bid, 'failedReason', error or '', 'prev', 'active')
  end
  moved(j, to)
  overfull[j.q .. what] = true
end
