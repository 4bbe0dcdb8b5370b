--[[ Shared head of every script of the ready queue (src/queue/script.ts joins it at load).
  KEYS[1] ready   zset tenant -> start tag (virtual ms): has a held run and a free slot
  KEYS[2] parked  zset tenant -> ms at which its earliest slot runs out: has held runs, no free slot
  KEYS[3] pool    hash: v virtual time, e usual cost of a run in ms, held number of held runs
  KEYS[4] BullMQ's wait list of the pool's wake-ups; nothing but LLEN is ever asked of it
  KEYS[5] prefix, itself no key. Under it, all in the same hash slot:
    q:T zset run -> order;  s:T zset run -> end of its slot in ms (only tenants with a cap)
    t:T hash: f finish tag, a tag its busy period began with, w weight, c cap ('' = none), e usual cost in ms
  Virtual time is slot-ms over weight, written with three decimals: doubles hold it for 2^53 ms. ]]
local ready, parked, pool, wakeUps, prefix = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call = redis.call
local time = call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local v = tonumber(call('HGET', pool, 'v')) or 0
local idleTenantMs = 3600000 -- IDLE_TENANT_MS in tunables.ts; a test compares the two

local function text(number) return string.format('%.3f', number) end

-- What is known of a tenant. Unknown ones (new, or idle for an hour) stand at the virtual time with weight 1.
local function tenantOf(t)
  local s = call('HMGET', prefix .. 't:' .. t, 'f', 'a', 'w', 'c', 'e')
  return { f = tonumber(s[1]) or v, a = tonumber(s[2]) or 0, w = tonumber(s[3]) or 1, cap = tonumber(s[4]), e = tonumber(s[5]) }
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
  if tenant.cap then
    local slots = prefix .. 's:' .. t
    if call('ZCARD', slots) >= tenant.cap then call('ZREMRANGEBYSCORE', slots, '-inf', nowMs) end
    if call('ZCARD', slots) >= tenant.cap then
      call('ZREM', ready, t)
      call('ZADD', parked, call('ZRANGE', slots, 0, 0, 'WITHSCORES')[2] or '+inf', t)
      return
    end
  end
  call('ZREM', parked, t)
  if call('ZADD', ready, text(tenant.f), t) == 1 then beginBusy(t, tenant) end
end

-- Charges (or refunds) slot time. A refund never reaches below the start of the busy period: what was charged before
-- it was forgiven when the period began.
local function charge(t, tenant, deltaMs)
  tenant.f = math.max(tenant.f + deltaMs / tenant.w, tenant.a)
  call('HSET', prefix .. 't:' .. t, 'f', text(tenant.f))
  if call('ZSCORE', ready, t) then
    call('ZADD', ready, 'XX', text(tenant.f), t)
  elseif call('EXISTS', prefix .. 'q:' .. t) == 0 then
    call('PEXPIRE', prefix .. 't:' .. t, idleTenantMs)
  end
end

-- Tenants whose earliest slot has run out (its worker is gone) are looked at again.
local function unpark(limit)
  for _, t in ipairs(call('ZRANGEBYSCORE', parked, '-inf', nowMs, 'LIMIT', 0, limit)) do
    place(t, tenantOf(t))
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
