--[[ Offers runs that are ready to start. Idempotent: a run already held keeps its place, also aside; one whose limits have
  changed goes by the new ones.
  KEYS    see head.lua
  ARGV    [1] window; then six each: tenant, weight, cap ('' = none), run, order (lower goes first within the tenant),
          limits ('' = none)
  Output  { wake-ups to add, runs that were not held before } ]]

-- Notes the limits of a run; answers whether it is held aside still, and whether it was until now.
local function note(t, tenant, run, limits)
  if limits == '' and not tenant.limited then return false, false end
  local before = limitsOf(t, tenant, run)
  if limits ~= before then
    if limits == '' then call('HDEL', prefix .. 'l:' .. t, run) else call('HSET', prefix .. 'l:' .. t, run, limits) end
  end
  if not tenant.limited then
    tenant.limited = '1'
    call('HSET', prefix .. 't:' .. t, 'l', '1')
  end
  for _, name in eachLimit(before) do
    local aside = prefix .. 'a:' .. t .. '/' .. name
    if limits == before and call('ZSCORE', aside, run) then return true, true end
    if limits ~= before and call('ZREM', aside, run) == 1 then return false, true end
  end
  return false, false
end

local added, queued = 0, 0
for i = 2, #ARGV, 6 do
  local t, w, c, run = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local tenant = tenantOf(t)
  if tenant.busy == nil then -- the first of the group speaks for its tenant
    tenant.busy = call('EXISTS', prefix .. 'q:' .. t) == 1
    local moved = tenant.w ~= tonumber(w) or tenant.cap ~= tonumber(c)
    tenant.w, tenant.cap = tonumber(w), tonumber(c)
    call('HSET', prefix .. 't:' .. t, 'w', w, 'c', c)
    -- The second half heals a tenant that holds runs but stands nowhere (keys deleted by hand).
    if tenant.busy and (moved or not (call('ZSCORE', ready, t) or call('ZSCORE', parked, t))) then place(t, tenant) end
  end
  local isAside, wasAside = note(t, tenant, run, ARGV[i + 5])
  if not isAside then
    local new = call('ZADD', prefix .. 'q:' .. t, 'NX', ARGV[i + 4], run)
    queued = queued + new
    if not wasAside then added = added + new end
    if not tenant.busy then
      tenant.busy = true
      call('PERSIST', prefix .. 't:' .. t)
      place(t, tenant)
    end
  end
end
if added > 0 then call('HINCRBY', pool, 'held', added) end
local missing = math.min(queued, missingWakeUps(tonumber(ARGV[1])))
-- An idle worker looks at once, and takes while its wake-up is still being added; BullMQ sets the same marker once more then.
if missing > 0 then call('ZADD', marker, 0, '0') end
return { missing, added }
