--[[ Settles runs that ended, then takes the fairest n: the tenant with the lowest start tag, its first run by order.
  KEYS    see head.lua
  ARGV    [1] window [2] n [3] slot lease in ms [4] cost of a run while nothing is known, in ms
          then five each: tenant, run, ms charged so far, ms it really took (0 = it did not run), '1' = it keeps its slot
  Output  { wake-ups to add, run, tenant, ms charged, run, tenant, ms charged, … } ]]
local window, n, leaseMs, firstMs = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local usualMs = tonumber(call('HGET', pool, 'e'))

for i = 5, #ARGV, 5 do
  local t, run, chargedMs, realMs = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local tenant = tenantOf(t)
  if realMs > 0 then -- a refused claim says nothing of what runs cost
    call('HSET', prefix .. 't:' .. t, 'e', text((tenant.e or realMs) * 0.8 + realMs * 0.2))
    usualMs = (usualMs or realMs) * 0.95 + realMs * 0.05
  end
  charge(t, tenant, realMs - chargedMs)
  if ARGV[i + 4] ~= '1' and call('ZREM', prefix .. 's:' .. t, run) == 1 and call('ZSCORE', parked, t) then
    place(t, tenant)
  end
end
if usualMs then call('HSET', pool, 'e', text(usualMs)) end
unpark(16)

local out, taken = { 0 }, 0
for _ = 1, n do
  local head = call('ZRANGE', ready, 0, 0, 'WITHSCORES')
  local t = head[1]
  if not t then break end
  local tenant = tenantOf(t)
  local run = call('ZPOPMIN', prefix .. 'q:' .. t)[1]
  if run then
    local startTag = tonumber(head[2])
    if startTag > v then v = startTag end
    local costMs = tenant.e or usualMs or firstMs
    tenant.f = startTag + costMs / tenant.w
    call('HSET', prefix .. 't:' .. t, 'f', text(tenant.f))
    if tenant.cap then
      call('ZADD', prefix .. 's:' .. t, nowMs + leaseMs, run)
      call('PEXPIRE', prefix .. 's:' .. t, 2 * leaseMs)
    end
    taken = taken + 1
    local o = #out
    out[o + 1], out[o + 2], out[o + 3] = run, t, text(costMs)
  end
  place(t, tenant)
end
if taken > 0 then
  call('HSET', pool, 'v', text(v))
  call('HINCRBY', pool, 'held', -taken)
end
out[1] = missingWakeUps(window)
return out
