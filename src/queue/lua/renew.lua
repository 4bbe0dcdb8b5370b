--[[ Renews the slots of running runs and charges what they have used meanwhile, so that a long run is paid for while it
  goes on. A slot that ran out is not given back: Postgres decides who runs.
  KEYS    see head.lua
  ARGV    [1] slot lease in ms; then four each: tenant, run, ms used beyond what was charged, limits ('' = none)
  Output  0 ]]
local leaseMs = tonumber(ARGV[1])
local function renewed(slots, run)
  if call('ZADD', slots, 'XX', 'CH', nowMs + leaseMs, run) == 0 then return false end
  call('PEXPIRE', slots, 2 * leaseMs)
  return true
end
for i = 2, #ARGV, 4 do
  local t, run = ARGV[i], ARGV[i + 1]
  charge(t, tenantOf(t), tonumber(ARGV[i + 2]))
  local slots = prefix .. 's:' .. t
  if renewed(slots, run) and call('ZSCORE', parked, t) then call('ZADD', parked, call('ZRANGE', slots, 0, 0, 'WITHSCORES')[2], t) end
  for _, name in eachLimit(ARGV[i + 3]) do renewed(slots .. '/' .. name, run) end
end
return 0
