--[[ Offers runs that are ready to start. Idempotent: a run already held keeps its place.
  KEYS    see head.lua
  ARGV    [1] window; then five each: tenant, weight, cap ('' = none), run, order (lower goes first within the tenant)
  Output  { wake-ups to add, runs that were not held before } ]]
local known, added = {}, 0
for i = 2, #ARGV, 5 do
  local t, w, c = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local tenant = known[t]
  if not tenant then
    tenant = tenantOf(t)
    known[t] = tenant
    tenant.busy = call('EXISTS', prefix .. 'q:' .. t) == 1
    local moved = tenant.w ~= tonumber(w) or tenant.cap ~= tonumber(c)
    tenant.w, tenant.cap = tonumber(w), tonumber(c)
    call('HSET', prefix .. 't:' .. t, 'w', w, 'c', c)
    -- The second half heals a tenant that holds runs but stands nowhere (keys deleted by hand).
    if tenant.busy and (moved or not (call('ZSCORE', ready, t) or call('ZSCORE', parked, t))) then place(t, tenant) end
  end
  added = added + call('ZADD', prefix .. 'q:' .. t, 'NX', ARGV[i + 4], ARGV[i + 3])
  if not tenant.busy then
    tenant.busy = true
    call('PERSIST', prefix .. 't:' .. t)
    place(t, tenant)
  end
end
if added > 0 then call('HINCRBY', pool, 'held', added) end
return { math.min(added, missingWakeUps(tonumber(ARGV[1]))), added }
