--[[ Tells the ready queue of a tenant's running runs, as Postgres knows them (after a loss, or a claim refused as full).
  KEYS    see head.lua
  ARGV    [1] tenant; then three each: run, ms its slot has left, limits ('' = none)
  Output  0 ]]
local t = ARGV[1]
for i = 2, #ARGV, 3 do
  local run, leftMs = ARGV[i], tonumber(ARGV[i + 1])
  holdSlot(prefix .. 's:' .. t, run, leftMs)
  for _, name in eachLimit(ARGV[i + 2]) do holdSlot(prefix .. 's:' .. t .. '/' .. name, run, leftMs) end
end
place(t, tenantOf(t))
return 0
