--[[ Tells the ready queue of a tenant's running runs, as Postgres knows them (after a loss, or a claim refused as full).
  KEYS    see head.lua
  ARGV    [1] tenant; then two each: run, ms its slot has left
  Output  0 ]]
local t, slots, longestMs = ARGV[1], prefix .. 's:' .. ARGV[1], 0
for i = 2, #ARGV, 2 do
  local leftMs = tonumber(ARGV[i + 1])
  call('ZADD', slots, nowMs + leftMs, ARGV[i])
  if leftMs > longestMs then longestMs = leftMs end
end
if longestMs > call('PTTL', slots) then call('PEXPIRE', slots, 2 * longestMs) end
place(t, tenantOf(t))
return 0
