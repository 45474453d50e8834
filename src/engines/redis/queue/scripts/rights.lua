-- Which commands of the other scripts this user may not call, or this Redis does not have: names, with what is forbidden about keys.
-- Changes nothing but a key of its own, which it removes: each call is one that does nothing, or that fails since the key is a
-- string. Only what is refused for want of rights counts; all else is found out, and told, elsewhere.
local P, KEY = ARGV[1], KEYS[1]
local NONE = KEY .. ':none'
local lacking = {}

local function may(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) ~= 'table' or not answer.err then return true end
  local why = answer.err
  if string.find(why, 'NOPERM', 1, true) or string.find(why, "executing the script can't", 1, true)
    or string.find(why, 'ACL failure', 1, true) or string.find(why, 'nknown Redis command', 1, true) then
    lacking[#lacking + 1] = command
    return false
  end
  return true
end

-- These make and remove the string that the others fail on: without them, nothing else is tried.
may('DEL', NONE) may('EXISTS', NONE) may('SET', NONE, '1', 'XX')
if #lacking > 0 then return lacking end
-- A Redis that takes no changes now says so to the calls that follow as well, and keeps nothing of them.
redis.pcall('SET', KEY, '1', 'PX', 10000)
if redis.pcall('EXISTS', KEY) ~= 1 then return lacking end

may('GET', NONE) may('TIME')
may('HDEL', NONE, 'f') may('HEXISTS', NONE, 'f') may('HGET', NONE, 'f') may('HINCRBY', KEY, 'f', 1)
may('HLEN', NONE) may('HMGET', NONE, 'f') may('HSET', KEY, 'f', 'v') may('HSETNX', KEY, 'f', 'v')
may('LINDEX', NONE, 0) may('LLEN', NONE) may('LPOS', NONE, 'e') may('LPUSH', KEY, 'e') may('LRANGE', NONE, 0, 0)
may('LREM', NONE, 0, 'e') may('LTRIM', NONE, 0, 0) may('RPUSH', KEY, 'e')
may('SADD', KEY, 'm') may('SCARD', NONE) may('SISMEMBER', NONE, 'm') may('SMEMBERS', NONE) may('SREM', NONE, 'm')
may('XADD', KEY, '*', 'f', 'v')
may('ZADD', KEY, 0, 'm') may('ZCARD', NONE) may('ZRANGE', NONE, 0, 0) may('ZRANGEBYLEX', NONE, '-', '+')
may('ZRANGEBYSCORE', NONE, 0, 0) may('ZMSCORE', NONE, 'm') may('ZREM', NONE, 'm') may('ZREMRANGEBYRANK', NONE, 0, 0) may('ZREVRANGE', NONE, 0, 0)
may('ZREVRANGEBYLEX', NONE, '+', '-') may('ZSCORE', NONE, 'm')
redis.call('DEL', KEY)

-- Keys of BullMQ's layout are beside our own.
for _, queue in ipairs({ 'deploy', 'email', 'blockchain', 'backup' }) do
  if not may('DEL', P .. ':' .. queue .. ':none') then
    lacking[#lacking] = 'DEL on ' .. P .. ':' .. queue .. ':*'
  end
end
return lacking
