-- What ties jobs to one another: keys that only one may have, jobs that wait for others; and jobs that clients of BullMQ made
-- or moved.

function bonds.key_of(q, owner, words) return q .. ':' .. owner .. ':' .. words end

-- Who has the key, unless it is this job.
function bonds.key_taken(j)
  if not j.unique then return false end
  local field = bonds.key_of(j.q, j.owner, j.unique)
  local holder = call('HGET', OWN .. 'unique', field)
  if not holder or holder == j.cid then return false end
  -- A job that somebody has removed with another program gives its key back. One that this script has just taken in is there.
  base.write_added(OWN .. 'all')
  local other = base.find(holder)
  return other ~= nil and other.st ~= 'c' and other.st ~= 'f'
end

function bonds.hold_key(j)
  if j.unique then call('HSET', OWN .. 'unique', bonds.key_of(j.q, j.owner, j.unique), j.cid) end
end

function bonds.give_key_back(j)
  if not j.unique then return end
  local field = bonds.key_of(j.q, j.owner, j.unique)
  if call('HGET', OWN .. 'unique', field) == j.cid then call('HDEL', OWN .. 'unique', field) end
end

-- How those stand that a job waits for: how many have not ended, or the error that one that is dead gives.
function bonds.awaited(j)
  local open, looked = 0, {}
  for cid in base.ids(j.after) do
    if not looked[cid] and cid ~= j.cid then
      looked[cid] = true
      local other = base.find(cid)
      if other and other.st == 'f' then
        return 0, 'the job ' .. cid .. ' that it waits for has failed or was cancelled'
      end
      if other and other.st ~= 'c' then open = open + 1 end
    end
  end
  return open
end

-- Puts the job on the lists of those that it waits for.
function bonds.await_others(j)
  for cid in base.ids(j.after) do
    local other = cid ~= j.cid and base.find(cid)
    if other and other.st ~= 'c' then
      call('ZADD', OWN .. 'after:' .. cid, 0, j.ref)
      call('HSET', other.key, 'wt', 1, 'xt', 1)
    end
  end
end

function bonds.stop_awaiting(j)
  if j.awaits == 0 then return end
  for cid in base.ids(j.after) do call('ZREM', OWN .. 'after:' .. cid, j.ref) end
end

-- Lets a job wait for its turn, or for its time.
function bonds.begin_waiting(j)
  if j.due > NOW then moves.delay(j, j.due) else moves.wait_last(j) end
end

-- A job ends, or is removed before it began: it gives its key back, and those that wait for it come closer or die with it,
-- a chain of any length.
function bonds.close(j, well)
  bonds.give_key_back(j)
  -- Whether others wait for a job that has gone nobody knows.
  if j.key and not j.awaited then return end
  local ended = { { j.cid, well } }
  while #ended > 0 do
    local cid, was_well = unpack(table.remove(ended))
    local waiting = call('ZRANGE', OWN .. 'after:' .. cid, 0, -1)
    if #waiting > 0 then call('DEL', OWN .. 'after:' .. cid) end
    for _, ref in ipairs(waiting) do
      local other = base.load(ref)
      if other and other.st == 'd' and other.awaits > 0 then
        if was_well then
          other.awaits = other.awaits - 1
          call('HSET', other.key, 'aw', other.awaits)
          if other.awaits == 0 then
            moves.leave_due(other)
            bonds.begin_waiting(other)
          end
        else
          moves.leave_due(other)
          bonds.stop_awaiting(other)
          bonds.give_key_back(other)
          moves.end_alone(other, 'f', 'the job ' .. cid .. ' that it waits for has failed or was cancelled')
          ended[#ended + 1] = { other.cid, false }
        end
      end
    end
  end
end

function bonds.end_job(j, to, error)
  bonds.close(j, to == 'c')
  moves.end_alone(j, to, error)
end

-- Puts a job that ran back to its old place, which is the front. The claim does not count.
function bonds.release(j)
  j.uncounted = j.uncounted + 1
  call('HSET', j.key, 'un', j.uncounted, 'xt', 1)
  moves.wait(j)
end

-- Brings back a job that nobody works on any more.
function bonds.recover(j, died)
  if died then
    j.deaths = j.deaths + 1
    call('HSET', j.key, 'stc', j.deaths, 'progress', 0)
    base.event(j.q, 'stalled', j.bid)
  end
  if j.cancelling then
    bonds.end_job(j, 'f', 'cancelled')
  elseif j.deaths >= 3 then
    bonds.end_job(j, 'f', 'worker died')
  else
    bonds.release(j)
  end
end

-- A text as a whole number from 0 to `most`; nil when it is none.
function bonds.whole(text, most)
  local n = tonumber(text or '')
  if n and n == n and n >= 0 and n <= most then return math.floor(n) end
end

-- Takes in a job that a client of BullMQ made, with an id made of when it was made and a hash of its own.
function bonds.adopt(q, bid)
  local key = B[q] .. bid
  if call('EXISTS', key) == 0 then return nil end
  local v = call('HMGET', key, 'name', 'timestamp', 'priority')
  -- What makes no sense is mended, so that no claim and no list fails of it.
  local name, created = v[1] or '', bonds.whole(v[2], NEVER) or NOW
  if not v[1] or tostring(v[2]) ~= string.format('%.0f', created) then
    call('HSET', key, 'name', name, 'timestamp', string.format('%.0f', created))
  end
  local cid = bid
  if not string.match(bid, '^' .. string.rep('[0-9a-f]', 32) .. '$') or base.where(bid) then
    local hash = redis.sha1hex(key)
    cid = string.format('%012x', created) .. '7' .. string.sub(hash, 1, 3) .. '8' .. string.sub(hash, 4, 18)
  end
  local ref = cid .. TEXT[q] .. (cid == bid and '' or bid)
  local prio = 0 - (bonds.whole(v[3], 100) or (tonumber(v[3]) or 0) > 100 and 100 or 0)
  local limited = name ~= '' and RULES[q].kind == name and 'l' or 'f'
  call('HSET', key, 'st', 'n', 't', '-', 'pr', prio, 'li', limited, 'cid', cid, 'ti', name, 'at', 0, 'xt', 1)
  base.keep_of('-', ref)
  local j = base.load(ref)
  j.st = nil
  return j
end

-- Where a job really stands.
function bonds.really(j)
  local b = B[j.q]
  if call('ZSCORE', b .. 'completed', j.bid) then return 'c' end
  if call('ZSCORE', b .. 'failed', j.bid) then return 'f' end
  if call('ZSCORE', b .. 'prioritized', j.bid) then return 'w' end
  if call('ZSCORE', b .. 'delayed', j.bid) or call('ZSCORE', b .. 'waiting-children', j.bid) then return 'd' end
  if call('LPOS', b .. 'active', j.bid) then return 'r' end
  if call('LPOS', b .. 'wait', j.bid) or call('LPOS', b .. 'paused', j.bid) then return 'w' end
  return j.st
end

-- A job that somebody has removed with another program: those that wait for it die. Its tenant is known when it was found in a
-- line.
function bonds.bury(ref, owner)
  local cid, q = base.split(ref)
  call('ZREM', OWN .. 'all', ref)
  call('ZADD', OWN .. 'gone', NOW, cid)
  for _, one in ipairs(owner and { owner } or call('SMEMBERS', OWN .. 'owners')) do
    if call('ZREM', OWN .. 'of:' .. one, ref) == 1 then
      mem.miscounted[one] = true
      break
    end
  end
  bonds.close({ cid = cid, q = q }, false)
end

-- Follows a job that a client of BullMQ made or moved. nil: it is not there any more.
function bonds.settle(q, bid)
  local v = call('HMGET', B[q] .. bid, 'st', 'cid')
  local j
  if v[1] then
    local cid = v[2] or bid
    j = base.load(cid .. TEXT[q] .. (cid == bid and '' or bid))
  else
    j = bonds.adopt(q, bid)
  end
  if not j then
    -- Others, whose ids are not their own, are found by the walk through all.
    local ref = string.match(bid, '^' .. string.rep('[0-9a-f]', 32) .. '$') and base.where(bid)
    if ref then bonds.bury(ref) end
    return nil
  end
  local st = bonds.really(j)
  if st == j.st then return j end
  if j.st == 'w' then lanes.leave_line(j) end
  if j.st == 'd' then bonds.stop_awaiting(j) end
  if st == 'w' then
    j.seq, j.since = base.next_seq(), NOW
    call('HSET', j.key, 'st', 'w', 'seq', j.seq, 'si', NOW)
    base.moved(j, 'w')
    lanes.join_line(j)
    mem.woken[q] = true
  else
    if st == 'd' then
      local score = call('ZSCORE', B[q] .. 'delayed', bid)
      if score then base.due(math.floor(tonumber(score) / 4096)) end
    end
    call('HSET', j.key, 'st', st)
    -- Who runs it may note its progress.
    if st == 'r' then call('HSET', j.key, 'xt', 1) end
    base.moved(j, st)
    if st == 'c' or st == 'f' then bonds.close(j, st == 'c') end
  end
  return j
end
