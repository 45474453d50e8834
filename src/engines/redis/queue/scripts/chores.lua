-- What time alone brings, at the beginning of every script, a bounded part at a time; and what every script ends with.
local AT_ONCE = 1024

function chores.rate_of(q)
  local rule = RULES[q]
  return rule.starts > 0 and rule or nil
end

-- From when on the rate of a queue allows a start.
function chores.room_ms(q)
  local rule = chores.rate_of(q)
  if not rule then return 0 end
  chores.pull_starts(q)
  if call('LLEN', lanes.lane(q, 'starts')) < rule.starts then return 0 end
  return tonumber(call('LINDEX', lanes.lane(q, 'starts'), 0)) + rule.window
end

function chores.note_start(q)
  call('RPUSH', lanes.lane(q, 'starts'), NOW)
  call('LTRIM', lanes.lane(q, 'starts'), -RULES[q].starts, -1)
end

-- After the clock was set back, starts that are still to come count as now.
function chores.pull_starts(q)
  if mem.pulled[q] then return end
  mem.pulled[q] = true
  local key = lanes.lane(q, 'starts')
  local last = call('LINDEX', key, -1)
  if not last or tonumber(last) <= NOW then return end
  local starts = call('LRANGE', key, 0, -1)
  call('DEL', key)
  for _, at in ipairs(starts) do call('RPUSH', key, math.min(tonumber(at), NOW)) end
end

-- Delayed jobs whose time has come, in the order of their times.
function chores.wake_due(q)
  local key = B[q] .. 'delayed'
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if not first[1] then return end
  if tonumber(first[2]) < (NOW + 1) * 4096 then
    local last = string.format('(%.0f', (NOW + 1) * 4096)
    for _, bid in ipairs(call('ZRANGEBYSCORE', key, '-inf', last, 'LIMIT', 0, AT_ONCE)) do
      local j = bonds.settle(q, bid)
      call('ZREM', key, bid)
      if j then moves.wait_last(j) end
    end
    first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  end
  if first[1] then base.due(math.floor(tonumber(first[2]) / 4096)) end
end

function chores.drop_old(q, what)
  local before = '(' .. (NOW - 30 * DAY)
  while true do
    local bid = call('ZRANGEBYSCORE', B[q] .. what, '-inf', before, 'LIMIT', 0, 1)[1]
    if not bid then return end
    local j = bonds.settle(q, bid)
    if j then moves.forget(j) end
    call('ZREM', B[q] .. what, bid)
  end
end

function chores.chores()
  for q = 1, 4 do chores.wake_due(q) end
  local at = tonumber(base.about('chores') or 0)
  -- A time far away means that the clock was set back.
  if at > NOW and at <= NOW + 60000 then return base.write() end
  for q = 1, 4 do
    chores.drop_old(q, 'failed')
    chores.drop_old(q, 'completed')
    -- What workers of BullMQ have ended.
    moves.keep_few(q, 'completed', RULES[q].done)
    moves.keep_few(q, 'failed', RULES[q].failed)
  end
  local old = call('ZRANGEBYSCORE', OWN .. 'gone', '-inf', '(' .. base.known_since(), 'LIMIT', 0, AT_ONCE)
  if #old > 0 then call('ZREM', OWN .. 'gone', unpack(old)) end
  call('HSET', OWN .. 'about', 'chores', #old == AT_ONCE and NOW or NOW + 60000)
  base.write()
end

-- Takes in jobs that clients of BullMQ have put where their workers look.
function chores.take_in_others(q)
  local wait = B[q] .. 'wait'
  local count = call('LLEN', wait)
  if count > 0 then
    local function known(bid)
      return call('HGET', B[q] .. bid, 'st') == 'w'
    end
    -- They push at one end and pull at the other; those that ours have not seen are at the ends.
    if not known(call('LINDEX', wait, -1)) or not known(call('LINDEX', wait, 0)) then
      for at = count - 1, math.max(0, count - AT_ONCE), -1 do
        local bid = call('LINDEX', wait, at)
        if bid and not known(bid) then bonds.settle(q, bid) end
      end
    end
  end
  base.write_all_added()
  local prioritized = call('ZCARD', B[q] .. 'prioritized')
  if prioritized + count > tonumber(call('HGET', OWN .. 'lined', q) or 0) + (mem.lined[q] or 0) then
    local cursor = tonumber(call('HGET', OWN .. 'about', 'looked' .. q) or 0)
    local some = call('ZRANGE', B[q] .. 'prioritized', cursor, cursor + AT_ONCE - 1)
    for _, bid in ipairs(some) do
      if call('HGET', B[q] .. bid, 'st') ~= 'w' then bonds.settle(q, bid) end
    end
    call('HSET', OWN .. 'about', 'looked' .. q, #some < AT_ONCE and 0 or cursor + AT_ONCE)
  end
end

-- Notes when a rate that is used up allows a start again, and wakes its queue when it does. A script that takes jobs in looks only
-- when one of them has a rate, or that was noted.
function chores.watch_rates()
  for q = 1, 4 do
    if chores.rate_of(q) and (mem.rated or base.about('rate' .. q)) then
      base.write_board(lanes.lane(q, 'turns:l'))
      local room = call('ZCARD', lanes.lane(q, 'turns:l')) > 0 and chores.room_ms(q) or nil
      local noted = base.about('rate' .. q)
      if room and room > NOW then
        base.due(room)
        if tonumber(noted) ~= room then call('HSET', OWN .. 'about', 'rate' .. q, room) end
      elseif noted then
        if room then mem.woken[q] = true end
        call('HDEL', OWN .. 'about', 'rate' .. q)
      end
    end
  end
end

-- The answer of every script: its own, the queues that were woken, when there is something to do next.
function chores.done(answer)
  chores.watch_rates()
  base.write_all_added()
  for q = 1, 4 do
    if mem.overfull[TEXT[q] .. 'completed'] then moves.keep_few(q, 'completed', RULES[q].done) end
    if mem.overfull[TEXT[q] .. 'failed'] then moves.keep_few(q, 'failed', RULES[q].failed) end
  end
  base.write()
  for owner in pairs(mem.miscounted) do base.count_anew(owner) end
  local names = ''
  for q = 1, 4 do
    if mem.woken[q] and not base.is_paused(q) then names = names .. q end
  end
  if names ~= '' or #mem.told > 0 then
    call('XADD', OWN .. 'ready', 'MAXLEN', '~', 1000, '*', 'by', TOKEN, 'queues', names, 'cancelled', table.concat(mem.told))
  end
  return { answer, names, mem.first_due or -1 }
end

-- Never refused when memory is short, which only the first write of a script is asked for: it makes room.
function chores.make_room()
  call('DEL', OWN .. 'none')
  mem.rated = true
end
