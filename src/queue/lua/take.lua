--[[ Settles runs that ended, then takes the fairest n: the tenant with the lowest start tag, its first run by order. A run
  whose limit is full is set aside on the way, at no charge.
  KEYS    see head.lua
  ARGV    [1] window [2] n [3] slot lease in ms [4] cost of a run while nothing is known, in ms [5] runs set aside at most; then
          six each: tenant, run, ms charged so far, ms it really took (0 = it did not run), '1' = it keeps its slots, its limits
  Output  { wake-ups to add, then four each: run, tenant, ms charged, limits } ]]
local window, n, leaseMs, firstMs, asideMax = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local usualMs = tonumber(call('HGET', pool, 'e'))

for i = 6, #ARGV, 6 do
  local t, run, chargedMs, realMs = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local tenant, e = tenantOf(t), nil
  if realMs > 0 then -- a refused claim says nothing of what runs cost
    e = (tenant.e or realMs) * 0.8 + realMs * 0.2
    usualMs = (usualMs or realMs) * 0.95 + realMs * 0.05
  end
  charge(t, tenant, realMs - chargedMs, e)
  if ARGV[i + 4] ~= '1' then freeSlots(t, tenant, run, ARGV[i + 5]) end
end
if usualMs then call('HSET', pool, 'e', text(usualMs)) end
unpark(16)

-- Sets a run aside when one of its limits is full. The others, which it will not use, are the next one's.
local function isSetAside(t, tenant, run, order, limits)
  local full
  for most, name in eachLimit(limits) do full = full or (isFull(prefix .. 's:' .. t .. '/' .. name, tonumber(most)) and name) end
  if not full then return false end
  setAside(t, run, order, full)
  for most, name in eachLimit(limits) do
    if name ~= full and not isFull(prefix .. 's:' .. t .. '/' .. name, tonumber(most)) then bringBack(t, tenant, name, 1) end
  end
  return true
end

local out, taken, aside = { 0 }, 0, 0
while taken < n and aside <= asideMax do
  local head = call('ZRANGE', ready, 0, 0, 'WITHSCORES')
  local t = head[1]
  if not t then break end
  local tenant = tenantOf(t)
  local run, order = unpack(call('ZPOPMIN', prefix .. 'q:' .. t))
  local limits = run and limitsOf(t, tenant, run) or ''
  if run and limits ~= '' and isSetAside(t, tenant, run, order, limits) then
    aside = aside + 1
  elseif run then
    local startTag = tonumber(head[2])
    if startTag > v then v = startTag end
    local costMs = tenant.e or usualMs or firstMs
    tenant.f = startTag + costMs / tenant.w
    call('HSET', prefix .. 't:' .. t, 'f', text(tenant.f))
    if tenant.cap then holdSlot(prefix .. 's:' .. t, run, leaseMs) end
    for _, name in eachLimit(limits) do holdSlot(prefix .. 's:' .. t .. '/' .. name, run, leaseMs) end
    if limits ~= '' then call('HDEL', prefix .. 'l:' .. t, run) end
    taken = taken + 1
    local o = #out
    out[o + 1], out[o + 2], out[o + 3], out[o + 4] = run, t, text(costMs), limits
  end
  place(t, tenant)
end
if taken > 0 then
  call('HSET', pool, 'v', text(v))
  call('HINCRBY', pool, 'held', -taken)
end
out[1] = missingWakeUps(window)
return out
