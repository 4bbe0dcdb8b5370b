--[[ Drops held runs (cancelled, expired). A run that is running keeps its slot until it is settled.
  KEYS    see head.lua
  ARGV    two each: tenant, run
  Output  runs that were held ]]
local removed = 0
for i = 1, #ARGV, 2 do
  local t, run = ARGV[i], ARGV[i + 1]
  local tenant = tenantOf(t)
  local limits = limitsOf(t, tenant, run)
  local was = call('ZREM', prefix .. 'q:' .. t, run)
  if limits ~= '' then call('HDEL', prefix .. 'l:' .. t, run) end
  for most, name in eachLimit(limits) do
    was = was + call('ZREM', prefix .. 'a:' .. t .. '/' .. name, run)
    -- It may have been brought back for a slot that is free: the next one gets it.
    if not isFull(prefix .. 's:' .. t .. '/' .. name, tonumber(most)) then bringBack(t, tenant, name, 1) end
  end
  if was > 0 then
    removed = removed + 1
    place(t, tenant)
  end
end
if removed > 0 then call('HINCRBY', pool, 'held', -removed) end
return removed
