-- What people see. ARGV[6]: get, list, depths, fates, or tick for what time alone brings.
chores.make_room()
chores.chores()

local function shown(ref)
  local cid, q, bid = base.split(ref)
  local v = call('HMGET', B[q] .. bid, 'name', 't', 'data', 'pr', 'at', 'ti', 'timestamp', 'u', 'af', 'st', 'ats', 'stc',
    'failedReason', 'processedOn', 'finishedOn', 'progress')
  if not v[10] then return nil end
  -- What most jobs say is left out.
  v[4], v[5] = v[4] or '0', v[5] or '0'
  if v[10] == 'c' then v[16] = '100' end
  return { cid, q, unpack(v, 1, 16) }
end

local what = ARGV[6]
if what == 'tick' then return chores.done(0) end

if what == 'get' then
  local ref = base.where(ARGV[7])
  return chores.done({ ref and shown(ref) or false })
end

if what == 'fates' then
  local fates = {}
  for at = 7, #ARGV do
    local j = base.find(ARGV[at])
    if j then
      fates[#fates + 1] = (j.st == 'c' or j.st == 'f') and 'ended' or 'open'
    elseif base.where(ARGV[at]) then
      -- Removed with another program.
      bonds.bury(base.where(ARGV[at]))
      fates[#fates + 1] = 'ended'
    else
      fates[#fates + 1] = base.is_gone(ARGV[at]) and 'ended' or 'unknown'
    end
  end
  return chores.done(fates)
end

if what == 'depths' then
  local owner, depths = ARGV[7], {}
  for q = 1, 4 do
    local counts
    if owner == '' then
      local b = B[q]
      counts = {
        call('ZCARD', b .. 'prioritized') + call('LLEN', b .. 'wait') + call('LLEN', b .. 'paused'),
        call('ZCARD', b .. 'delayed') + call('ZCARD', b .. 'waiting-children'), call('LLEN', b .. 'active'),
        call('ZCARD', b .. 'completed'), call('ZCARD', b .. 'failed'),
      }
    else
      counts = call('HMGET', OWN .. 'counts:' .. owner, q .. 'w', q .. 'd', q .. 'r', q .. 'c', q .. 'f')
      for i = 1, 5 do counts[i] = tonumber(counts[i] or 0) end
    end
    local oldest
    if owner == '' then
      oldest = call('ZRANGE', lanes.lane(q, 'heads'), 0, 0, 'WITHSCORES')[2]
    else
      oldest = call('ZSCORE', lanes.lane(q, 'heads'), owner)
    end
    counts[6], counts[7] = oldest or '', base.is_paused(q) and 1 or 0
    counts[8] = owner ~= '' and call('SISMEMBER', OWN .. 'paused', owner) or 0
    depths[q] = counts
  end
  return chores.done(depths)
end

-- list: queue or 0, state or '', owner or '', after or '', limit.
local only, state, owner, after, limit = tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])
local LOOKS_MAX = 100000
local found, looks = {}, 0

-- Whether the list is full.
local function look(ref)
  looks = looks + 1
  local cid, q, bid = base.split(ref)
  if (only == 0 or only == q) and (after == '' or cid < after) then
    local v = call('HMGET', B[q] .. bid, 'st', 't')
    if v[1] and (state == '' or v[1] == state) and (owner == '' or v[2] == owner) then
      found[#found + 1] = shown(ref)
    end
  end
  return #found >= limit or looks >= LOOKS_MAX
end

local function look_at(sets)
  local refs = {}
  for q = 1, 4 do
    if only == 0 or only == q then
      for _, set in ipairs(sets) do
        local members
        if set == 'active' then
          members = call('LRANGE', B[q] .. set, 0, LOOKS_MAX)
        else
          members = call('ZRANGE', B[q] .. set, 0, LOOKS_MAX)
        end
        for _, bid in ipairs(members) do
          local cid = #bid == 32 and bid or call('HGET', B[q] .. bid, 'cid')
          if cid then refs[#refs + 1] = cid .. TEXT[q] .. (cid == bid and '' or bid) end
        end
      end
    end
  end
  table.sort(refs, function(a, b) return a > b end)
  for _, ref in ipairs(refs) do
    if look(ref) then return end
  end
end

-- From the newest, a thousand at a time.
local function walk(key)
  local last = after == '' and '+' or '(' .. after
  while true do
    local some = call('ZREVRANGEBYLEX', key, last, '-', 'LIMIT', 0, 1000)
    for _, ref in ipairs(some) do
      if look(ref) then return end
    end
    if #some < 1000 then return end
    last = '(' .. some[#some]
  end
end

local function nobody_waits()
  for q = 1, 4 do
    if only == 0 or only == q then
      if call('ZCARD', B[q] .. 'prioritized') + call('LLEN', B[q] .. 'wait') > 0 then return false end
    end
  end
  return true
end

if limit > 0 then
  if state == 'r' then
    look_at({ 'active' })
  elseif state == 'c' then
    look_at({ 'completed' })
  elseif state == 'f' then
    look_at({ 'failed' })
  elseif state == 'd' then
    look_at({ 'delayed', 'waiting-children' })
  elseif not (state == 'w' and nobody_waits()) then
    walk(owner == '' and OWN .. 'all' or OWN .. 'of:' .. owner)
  end
end
return chores.done(found)
