--[[ Shared head of every script of the ready queue (src/queue/script.ts joins it at load).
  KEYS[1] ready   zset tenant -> start tag (virtual ms): has a held run and a free slot
  KEYS[2] parked  zset tenant -> ms at which its earliest slot runs out: has held runs, no free slot
  KEYS[3] pool    hash: v virtual time, e usual cost of a run in ms, held number of held runs
  KEYS[4] BullMQ's wait list of the pool's wake-ups; nothing but LLEN is ever asked of it
  KEYS[5] BullMQ's marker of the same queue, which one idle worker waits for: an offer sets it as an added wake-up does
  KEYS[6] prefix, itself no key. Under it, all in the same hash slot:
    q:T zset run -> order;  s:T zset run -> end of its slot in ms (only tenants with a cap)
    t:T hash: f finish tag, a tag its busy period began with, w weight, c cap ('' = none), e usual cost in ms, l '1' = l:T is asked
    l:T hash run -> its limits besides the cap, held runs only: '<most> <name>' a line, such as '2 agent:support'
    s:T/<name> zset like s:T, of one limit;  a:T/<name> zset run -> order: held aside while that limit is full
    aside zset T/<name> -> ms at which it is looked at anew, in case nobody frees a slot
  Virtual time is slot-ms over weight, written with three decimals: doubles hold it for 2^53 ms. ]]
local ready, parked, pool, wakeUps, marker, prefix = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local call = redis.call
local time = call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local v = tonumber(call('HGET', pool, 'v')) or 0
local idleTenantMs = 3600000 -- IDLE_TENANT_MS in tunables.ts; a test compares the two
local asideMs = 1000 -- SWEEP_MS, likewise

local function text(number) return string.format('%.3f', number) end

-- What is known of a tenant, read once a script: whoever changes it changes both. Unknown ones (new, or idle for an hour) stand at
-- the virtual time with weight 1.
local known = {}
local function tenantOf(t)
  local tenant = known[t]
  if not tenant then
    local s = call('HMGET', prefix .. 't:' .. t, 'f', 'a', 'w', 'c', 'e', 'l')
    tenant = { f = tonumber(s[1]) or v, a = tonumber(s[2]) or 0, w = tonumber(s[3]) or 1, cap = tonumber(s[4]), e = tonumber(s[5]), limited = s[6] }
    known[t] = tenant
  end
  return tenant
end

local function eachLimit(limits) return string.gmatch(limits, '(%d+) ([^\n]+)') end
-- A tenant none of whose runs has a limit is spared the question.
local function limitsOf(t, tenant, run) return tenant.limited and call('HGET', prefix .. 'l:' .. t, run) or '' end

-- Slots that ran out count only until somebody asks whether there is a free one.
local function isFull(slots, most)
  if call('ZCARD', slots) < most then return false end
  call('ZREMRANGEBYSCORE', slots, '-inf', nowMs)
  return call('ZCARD', slots) >= most
end

local function holdSlot(slots, run, leftMs)
  call('ZADD', slots, nowMs + leftMs, run)
  if 2 * leftMs > call('PTTL', slots) then call('PEXPIRE', slots, 2 * leftMs) end
end

-- A busy period begins at the virtual time, or where the tenant's own debt stands: nobody hoards while idle or full.
local function beginBusy(t, tenant)
  if tenant.f < v then
    tenant.f = v
    call('ZADD', ready, 'XX', text(v), t)
  end
  tenant.a = v
  call('HSET', prefix .. 't:' .. t, 'f', text(tenant.f), 'a', text(v))
end

-- Puts a tenant where it belongs: ready, parked, or nowhere when it holds nothing. `tenant.f` is its next start tag;
-- whoever becomes ready, whatever made it so, begins a busy period.
local function place(t, tenant)
  if call('EXISTS', prefix .. 'q:' .. t) == 0 then
    call('ZREM', ready, t)
    call('ZREM', parked, t)
    call('PEXPIRE', prefix .. 't:' .. t, idleTenantMs)
    return
  end
  local slots = prefix .. 's:' .. t
  if tenant.cap and isFull(slots, tenant.cap) then
    call('ZREM', ready, t)
    call('ZADD', parked, call('ZRANGE', slots, 0, 0, 'WITHSCORES')[2] or '+inf', t)
    return
  end
  if call('ZADD', ready, text(tenant.f), t) == 1 then
    call('ZREM', parked, t)
    beginBusy(t, tenant)
  end
end

-- Charges (or refunds) slot time. A refund never reaches below the start of the busy period: what was charged before
-- it was forgiven when the period began. `e`: what the tenant's runs cost from now on, nil = as before.
local function charge(t, tenant, deltaMs, e)
  local f, cost = text(math.max(tenant.f + deltaMs / tenant.w, tenant.a)), e and text(e)
  if cost then call('HSET', prefix .. 't:' .. t, 'f', f, 'e', cost) else call('HSET', prefix .. 't:' .. t, 'f', f) end
  tenant.f, tenant.e = tonumber(f), cost and tonumber(cost) or tenant.e -- as the next script would read them
  if call('ZADD', ready, 'XX', 'CH', f, t) == 0 and call('EXISTS', prefix .. 'q:' .. t) == 0 then
    call('PEXPIRE', prefix .. 't:' .. t, idleTenantMs)
  end
end

-- A run whose limit is full stands aside, in order: the runs behind it are not held up.
local function setAside(t, run, order, name)
  local limit = t .. '/' .. name
  call('ZADD', prefix .. 'a:' .. limit, order, run)
  call('ZADD', prefix .. 'aside', call('ZRANGE', prefix .. 's:' .. limit, 0, 0, 'WITHSCORES')[2] or nowMs + asideMs, limit)
end

-- The first n of a limit go back to their tenant, whose next take looks at all their limits again.
local function bringBack(t, tenant, name, n)
  local limit = t .. '/' .. name
  local first = call('ZPOPMIN', prefix .. 'a:' .. limit, n)
  if call('EXISTS', prefix .. 'a:' .. limit) == 0 then call('ZREM', prefix .. 'aside', limit) end
  if #first == 0 then return end
  call('PERSIST', prefix .. 't:' .. t)
  for i = 1, #first, 2 do call('ZADD', prefix .. 'q:' .. t, first[i + 1], first[i]) end
  place(t, tenant)
end

-- Gives back the slots of a run that is running no more; what waits for them moves up.
local function freeSlots(t, tenant, run, limits)
  if call('ZREM', prefix .. 's:' .. t, run) == 1 and call('ZSCORE', parked, t) then place(t, tenant) end
  for _, name in eachLimit(limits) do
    if call('ZREM', prefix .. 's:' .. t .. '/' .. name, run) == 1 then bringBack(t, tenant, name, 1) end
  end
end

-- Tenants and limits whose earliest slot has run out (its worker is gone) are looked at again.
local function unpark(limit)
  for _, t in ipairs(call('ZRANGEBYSCORE', parked, '-inf', nowMs, 'LIMIT', 0, limit)) do
    place(t, tenantOf(t))
  end
  for _, full in ipairs(call('ZRANGEBYSCORE', prefix .. 'aside', '-inf', nowMs, 'LIMIT', 0, limit)) do
    local t, name = string.match(full, '^([^/]*)/(.*)$')
    local tenant, slots, most = tenantOf(t), prefix .. 's:' .. full, 1
    local first = call('ZRANGE', prefix .. 'a:' .. full, 0, 0)[1]
    for m, one in eachLimit(first and limitsOf(t, tenant, first) or '') do if one == name then most = tonumber(m) end end
    call('ZADD', prefix .. 'aside', nowMs + asideMs, full)
    if not isFull(slots, most) then bringBack(t, tenant, name, most - call('ZCARD', slots)) end
  end
end

-- Wake-ups the caller should add: enough for what is held by ready tenants, never more than the window. One too many is
-- an empty take, one too few is found by the next take or ring.
local function missingWakeUps(window)
  local tenants = call('ZCARD', ready)
  if tenants == 0 then return 0 end
  local lying = call('LLEN', wakeUps)
  if lying >= window then return 0 end
  local held = tenants
  if tenants < window then
    held = 0
    for _, t in ipairs(call('ZRANGE', ready, 0, -1)) do
      local runs, cap = call('ZCARD', prefix .. 'q:' .. t), tonumber(call('HGET', prefix .. 't:' .. t, 'c'))
      if cap then runs = math.min(runs, cap - call('ZCARD', prefix .. 's:' .. t)) end
      held = held + runs
      if held >= window then break end
    end
  end
  return math.max(0, math.min(held, window) - lying)
end
