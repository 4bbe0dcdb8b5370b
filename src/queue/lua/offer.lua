--[[ Offers runs that are ready to start. Idempotent: a run already held keeps its place, also aside; one whose limits have
  changed goes by the new ones.
  KEYS    see head.lua
  ARGV    [1] window [2] '1' = runs that are not held are answered and not added; then six each: tenant, weight,
          cap ('' = none), run, order (lower goes first within the tenant), limits ('' = none)
  Output  { wake-ups to add, runs that were added, those that are not held } ]]

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

-- In its tenant's turn, or aside.
local function isHeld(t, tenant, run)
  if call('ZSCORE', prefix .. 'q:' .. t, run) then return true end
  for _, name in eachLimit(limitsOf(t, tenant, run)) do
    if call('ZSCORE', prefix .. 'a:' .. t .. '/' .. name, run) then return true end
  end
  return false
end

local added, queued, missed = 0, 0, {}
local function offer(t, tenant, w, c, run, order, limits)
  if tenant.busy == nil then -- the first of the group speaks for its tenant
    tenant.busy = call('EXISTS', prefix .. 'q:' .. t) == 1
    local moved = tenant.w ~= tonumber(w) or tenant.cap ~= tonumber(c)
    tenant.w, tenant.cap = tonumber(w), tonumber(c)
    call('HSET', prefix .. 't:' .. t, 'w', w, 'c', c)
    -- The second half heals a tenant that holds runs but stands nowhere (keys deleted by hand).
    if tenant.busy and (moved or not (call('ZSCORE', ready, t) or call('ZSCORE', parked, t))) then place(t, tenant) end
  end
  local isAside, wasAside = note(t, tenant, run, limits)
  if not isAside then
    local new = call('ZADD', prefix .. 'q:' .. t, 'NX', order, run)
    queued = queued + new
    if not wasAside then added = added + new end
    if not tenant.busy then
      tenant.busy = true
      call('PERSIST', prefix .. 't:' .. t)
      place(t, tenant)
    end
  end
end

for i = 3, #ARGV, 6 do
  local t, run = ARGV[i], ARGV[i + 3]
  local tenant = tenantOf(t)
  if ARGV[2] == '1' and not isHeld(t, tenant, run) then missed[#missed + 1] = run
  else offer(t, tenant, ARGV[i + 1], ARGV[i + 2], run, ARGV[i + 4], ARGV[i + 5]) end
end
if added > 0 then call('HINCRBY', pool, 'held', added) end
local missing = math.min(queued, missingWakeUps(tonumber(ARGV[1])))
-- An idle worker looks at once, and takes while its wake-up is still being added; BullMQ sets the same marker once more then.
if missing > 0 then call('ZADD', marker, 0, '0') end
return { missing, added, missed }
