-- Takes jobs in, for several who ask: of each all or none. ARGV[6]: how many may wait of one tenant; ARGV[7]: how far the
-- clock of this Redis is ahead of that of who asks; then for each who asks how many jobs, and 13 values for each of them. Answers each how many were new, or why none was taken.
local WAITING_MAX, AHEAD = tonumber(ARGV[6]), tonumber(ARGV[7])
-- Refused here, before anything is changed, when memory is short.
call('SET', OWN .. 'probe', '')
chores.chores()

-- The keys of what is kept of tenants whose jobs come.
local keys_of = {}
local function key_of(owner)
  if not keys_of[owner] then
    -- Whose jobs wait is among them.
    if base.waiting_of(owner) == 0 then call('SADD', OWN .. 'owners', owner) end
    keys_of[owner] = OWN .. 'of:' .. owner
  end
  return keys_of[owner]
end

-- Whose the jobs of this call are, taken or known before.
local owners = {}

-- When jobs of this call had gone, and which are kept: asked for many at once.
local gone_at, kept = {}, {}

local function ask_for(cids, keys)
  local gone = call('ZMSCORE', OWN .. 'gone', unpack(cids))
  for at, cid in ipairs(cids) do gone_at[cid] = gone[at] end
  if call('EXISTS', unpack(keys)) > 0 then
    for _, cid in ipairs(cids) do kept[cid] = base.where(cid) end
  end
end

local function is_known(cid)
  if owners[cid] or kept[cid] then return true end
  local was = gone_at[cid]
  if was and tonumber(was) > base.known_since() then return true end
  if was then call('ZREM', OWN .. 'gone', cid) end
  return false
end

-- Whether all that the job at `at` waits for belongs to its tenant, or is not there.
local function waits_for_its_own(at, own)
  base.write_all_added()
  for other in base.ids(ARGV[at + 10]) do
    local whose = own[other] or owners[other]
    if not whose then
      local found = base.find(other)
      whose = found and found.owner
    end
    if whose and whose ~= ARGV[at + 2] then return false end
  end
  return true
end

local ALL = OWN .. 'all'

-- Of jobs as most are, which wait for nothing and stand behind others of their line: what `take_in` does, with nothing made for it that
-- goes at once. Whether it was one of these.
local function take_in_plain(at)
  local owner, q = ARGV[at + 2], tonumber(ARGV[at + 1])
  if ARGV[at + 5] ~= '0' or ARGV[at + 6] ~= '0' or ARGV[at + 9] ~= '' or ARGV[at + 10] ~= '' or ARGV[at + 12] ~= 'f' then return false end
  local line = lanes.line_key(q, owner, '0:f')
  if not mem.filled[line] then
    if not lanes.is_filled(line) then return false end
    mem.queue_of_line[line] = q
    base.mark(q)
    mem.woken[q] = true
  end
  local cid, seq = ARGV[at], base.next_seq()
  local ref, seq_text = cid .. TEXT[q], base.text(seq)
  call('HSET', B[q] .. cid, 'name', ARGV[at + 3], 'data', ARGV[at + 4], 'opts', ARGV[at + 11], 'timestamp', ARGV[at + 8], 'priority', '101',
    't', owner, 'ti', ARGV[at + 7], 'st', 'w', 'si', NOW_TEXT, 'seq', seq_text, 'delay', '0')
  base.add(ALL, '0', ref)
  base.add(key_of(owner), '0', ref)
  base.add(B[q] .. 'prioritized', base.text(433791696896 + seq % 4294967296), cid)
  base.add(line, seq_text, ref)
  base.count(owner, q, 'w', 1)
  base.event(q, 'waiting', cid)
  return true
end

local function take_in(at)
  if take_in_plain(at) then return end
  local cid, q, owner, prio = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 5])
  local run_at, created = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 8])
  local unique, after, class = ARGV[at + 9], ARGV[at + 10], ARGV[at + 12]
  local j = {
    ref = cid .. TEXT[q], cid = cid, q = q, bid = cid, key = B[q] .. cid, owner = owner, prio = prio, class = class,
    since = NOW, due = base.due_of(run_at, created, run_at + AHEAD), created = created, attempt = 0, uncounted = 0, awaits = 0,
    fields = { 'name', ARGV[at + 3], 'data', ARGV[at + 4], 'opts', ARGV[at + 11], 'timestamp', ARGV[at + 8],
      'priority', prio == 0 and '101' or base.text(101 - prio), 't', owner, 'ti', ARGV[at + 7] },
  }
  if prio ~= 0 then base.note(j, 'pr', ARGV[at + 5], 'xt', 1) end
  if class ~= 'f' then base.note(j, 'li', class, 'xt', 1) end
  if run_at ~= 0 then base.note(j, 'at', ARGV[at + 6], 'xt', 1) end
  if j.due > 0 then base.note(j, 'du', base.text(j.due), 'xt', 1) end
  if after ~= '' then
    j.after = after
    base.note(j, 'af', after, 'xt', 1)
  end
  if unique ~= '' then
    j.unique = unique
    base.note(j, 'u', unique, 'xt', 1)
  end
  base.add(ALL, '0', j.ref)
  base.add(key_of(owner), '0', j.ref)
  if j.unique then bonds.hold_key(j) end
  if not j.after then return bonds.begin_waiting(j) end
  -- It may wait for one of those before it.
  base.write_all_added()
  local open, dead = bonds.awaited(j)
  if dead then
    base.put(j)
    -- It is taken in and dies at once, so that who waits for it hears of it.
    bonds.end_job(j, 'f', dead)
  elseif open > 0 then
    bonds.await_others(j)
    moves.delay_for_others(j, open)
  else
    bonds.begin_waiting(j)
  end
end

-- One job that waits for no others and has no key.
local function answer_plain(at)
  if is_known(ARGV[at]) then return 0 end
  local owner = ARGV[at + 2]
  if base.waiting_of(owner) >= WAITING_MAX then return base.refuse('jobs_waiting_max') end
  owners[ARGV[at]] = owner
  take_in(at)
  return 1
end

-- The jobs from `first` to `last` of one who asks.
local function answer(first, last)
  if first + 12 == last and ARGV[first + 9] == '' and ARGV[first + 10] == '' then return answer_plain(first) end
  local own, fresh, absorbed, keys, coming = {}, {}, {}, {}, {}
  for at = first, last, 13 do
    local cid, q, owner, unique = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 9]
    if not own[cid] and not is_known(cid) then
      own[cid] = owner
      if ARGV[at + 10] ~= '' and not waits_for_its_own(at, own) then return base.refuse('job_after') end
      local free = true
      if unique ~= '' then
        local key = bonds.key_of(q, owner, unique)
        free = not keys[key] and not bonds.key_taken({ q = q, owner = owner, unique = unique, cid = cid })
        keys[key] = true
      end
      if free then
        coming[owner] = (coming[owner] or base.waiting_of(owner)) + 1
        if coming[owner] > WAITING_MAX then return base.refuse('jobs_waiting_max') end
        fresh[#fresh + 1] = at
      else
        absorbed[#absorbed + 1] = cid
      end
    end
  end
  for cid, owner in pairs(own) do owners[cid] = owner end
  for _, at in ipairs(fresh) do take_in(at) end
  for _, cid in ipairs(absorbed) do call('ZADD', OWN .. 'gone', NOW, cid) end
  return #fresh
end

local at, cids, keys = 8, {}, {}
while at <= #ARGV do
  local last = at + tonumber(ARGV[at]) * 13
  for job = at + 1, last, 13 do
    cids[#cids + 1] = ARGV[job]
    keys[#keys + 1] = B[tonumber(ARGV[job + 1])] .. ARGV[job]
    if #cids == 1000 then
      ask_for(cids, keys)
      cids, keys = {}, {}
    end
  end
  at = last + 1
end
if #cids > 0 then ask_for(cids, keys) end

local answers = {}
at = 8
while at <= #ARGV do
  local last = at + tonumber(ARGV[at]) * 13
  answers[#answers + 1] = answer(at + 1, last)
  at = last + 1
end
return chores.done(answers)
