--[[ Drops held runs (cancelled, expired). A run that is running keeps its slot until it is settled.
  KEYS    see head.lua
  ARGV    two each: tenant, run
  Output  runs that were held ]]
local removed = 0
for i = 1, #ARGV, 2 do
  if call('ZREM', prefix .. 'q:' .. ARGV[i], ARGV[i + 1]) == 1 then
    removed = removed + 1
    place(ARGV[i], tenantOf(ARGV[i]))
  end
end
if removed > 0 then call('HINCRBY', pool, 'held', -removed) end
return removed
