-- What a job needs to know of the lines that comes behind others of its own.
function lanes.of_queue(all, q)
  local of = all[q]
  if not of then
    of = {}
    all[q] = of
  end
  return of
end

function lanes.lane(q, what)
  local of = mem.lane_names[q] or lanes.of_queue(mem.lane_names, q)
  of[what] = of[what] or OWN .. TEXT[q] .. ':' .. what
  return of[what]
end

function lanes.line_key(q, owner, name)
  local of = mem.line_names[q] and mem.line_names[q][owner] or lanes.of_queue(lanes.of_queue(mem.line_names, q), owner)
  of[name] = of[name] or lanes.lane(q, 'line:') .. owner .. ':' .. name
  return of[name]
end

-- Whether others stand in a line into which a job comes.
function lanes.is_filled(key)
  if not mem.filled[key] then mem.filled[key] = call('ZCARD', key) > 0 or nil end
  return mem.filled[key]
end
