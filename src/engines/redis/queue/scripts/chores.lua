-- What time alone brings, at the beginning of every script, a bounded part at a time; and what every script ends with.
local AT_ONCE = 1024

local function rate_of(q)
  local rule = RULES[q]
  return rule.starts > 0 and rule or nil
end

-- From when on the rate of a queue allows a start.
local function room_ms(q)
  local rule = rate_of(q)
  if not rule or call('LLEN', OWN .. q .. ':starts') < rule.starts then return 0 end
  return tonumber(call('LINDEX', OWN .. q .. ':starts', 0)) + rule.window
end

local function note_start(q)
  call('RPUSH', OWN .. q .. ':starts', NOW)
  call('LTRIM', OWN .. q .. ':starts', -RULES[q].starts, -1)
end

-- After the clock was set back, starts that are still to come count as now.
local function pull_starts(q)
  local key = OWN .. q .. ':starts'
  local last = call('LINDEX', key, -1)
  if not last or tonumber(last) <= NOW then return end
  local starts = call('LRANGE', key, 0, -1)
  call('DEL', key)
  for _, at in ipairs(starts) do call('RPUSH', key, math.min(tonumber(at), NOW)) end
end

-- Delayed jobs whose time has come, in the order of their times.
local function wake_due(q)
  local key = B[q] .. 'delayed'
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if not first[1] then return end
  if tonumber(first[2]) < (NOW + 1) * 4096 then
    local last = string.format('(%.0f', (NOW + 1) * 4096)
    for _, bid in ipairs(call('ZRANGEBYSCORE', key, '-inf', last, 'LIMIT', 0, AT_ONCE)) do
      local j = settle(q, bid)
      call('ZREM', key, bid)
      if j then wait_last(j) end
    end
    first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  end
  if first[1] then due(math.floor(tonumber(first[2]) / 4096)) end
end

local function drop_old(q, what)
  local before = '(' .. (NOW - 30 * DAY)
  while true do
    local bid = call('ZRANGEBYSCORE', B[q] .. what, '-inf', before, 'LIMIT', 0, 1)[1]
    if not bid then return end
    local j = settle(q, bid)
    if j then forget(j) end
    call('ZREM', B[q] .. what, bid)
  end
end

local function chores()
  for q = 1, 4 do
    wake_due(q)
    if rate_of(q) then pull_starts(q) end
  end
  local at = tonumber(call('HGET', OWN .. 'about', 'chores') or 0)
  -- A time far away means that the clock was set back.
  if at > NOW and at <= NOW + 60000 then return write() end
  for q = 1, 4 do
    drop_old(q, 'failed')
    drop_old(q, 'completed')
    -- What workers of BullMQ have ended.
    keep_few(q, 'completed', RULES[q].done)
    keep_few(q, 'failed', RULES[q].failed)
  end
  local old = call('ZRANGEBYSCORE', OWN .. 'gone', '-inf', '(' .. known_since(), 'LIMIT', 0, AT_ONCE)
  if #old > 0 then call('ZREM', OWN .. 'gone', unpack(old)) end
  call('HSET', OWN .. 'about', 'chores', #old == AT_ONCE and NOW or NOW + 60000)
  write()
end

-- Takes in jobs that clients of BullMQ have put where their workers look.
local function take_in_others(q)
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
        if bid and not known(bid) then settle(q, bid) end
      end
    end
  end
  write()
  local prioritized = call('ZCARD', B[q] .. 'prioritized')
  if prioritized + count > tonumber(call('HGET', OWN .. 'lined', q) or 0) then
    local cursor = tonumber(call('HGET', OWN .. 'about', 'looked' .. q) or 0)
    local some = call('ZRANGE', B[q] .. 'prioritized', cursor, cursor + AT_ONCE - 1)
    for _, bid in ipairs(some) do
      if call('HGET', B[q] .. bid, 'st') ~= 'w' then settle(q, bid) end
    end
    call('HSET', OWN .. 'about', 'looked' .. q, #some < AT_ONCE and 0 or cursor + AT_ONCE)
  end
end

-- Notes when a rate that is used up allows a start again, and wakes its queue when it does.
local function watch_rates()
  for q = 1, 4 do
    if rate_of(q) then
      local room = call('ZCARD', lane(q, 'turns:l')) > 0 and room_ms(q) or nil
      local noted = call('HGET', OWN .. 'about', 'rate' .. q)
      if room and room > NOW then
        due(room)
        if tonumber(noted) ~= room then call('HSET', OWN .. 'about', 'rate' .. q, room) end
      elseif noted then
        if room then woken[q] = true end
        call('HDEL', OWN .. 'about', 'rate' .. q)
      end
    end
  end
end

-- The answer of every script: its own, the queues that were woken, when there is something to do next.
local function done(answer)
  watch_rates()
  write_added()
  for q = 1, 4 do
    if overfull[q .. 'completed'] then keep_few(q, 'completed', RULES[q].done) end
    if overfull[q .. 'failed'] then keep_few(q, 'failed', RULES[q].failed) end
  end
  write()
  for owner in pairs(miscounted) do count_anew(owner) end
  local names = ''
  for q = 1, 4 do
    if woken[q] and not is_paused(q) then names = names .. q end
  end
  if names ~= '' or #told > 0 then
    call('XADD', OWN .. 'ready', 'MAXLEN', '~', 1000, '*', 'by', TOKEN, 'queues', names, 'cancelled', table.concat(told))
  end
  return { answer, names, first_due or -1 }
end

-- Never refused when memory is short, which only the first write of a script is asked for: it makes room.
local function make_room() call('DEL', OWN .. 'none') end
