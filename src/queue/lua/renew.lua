--[[ Renews the slots of running runs and charges what they have used meanwhile, so that a long run is paid for while it
  goes on. A slot that ran out is not given back: Postgres decides who runs.
  KEYS    see head.lua
  ARGV    [1] slot lease in ms; then three each: tenant, run, ms used beyond what was charged
  Output  0 ]]
local leaseMs = tonumber(ARGV[1])
for i = 2, #ARGV, 3 do
  local t = ARGV[i]
  charge(t, tenantOf(t), tonumber(ARGV[i + 2]))
  local slots = prefix .. 's:' .. t
  if call('ZADD', slots, 'XX', 'CH', nowMs + leaseMs, ARGV[i + 1]) == 1 then
    call('PEXPIRE', slots, 2 * leaseMs)
    if call('ZSCORE', parked, t) then call('ZADD', parked, call('ZRANGE', slots, 0, 0, 'WITHSCORES')[2], t) end
  end
end
return 0
