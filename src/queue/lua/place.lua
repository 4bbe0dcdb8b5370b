--[[ Tells where a run stands; changes nothing.
  KEYS    see head.lua
  ARGV    [1] tenant [2] run
  Output  { 'ready' | 'parked' | 'aside' | 'none', runs of the tenant before it, runs of the tenant held, tenants before its
            own, tenants that hold runs, the tenant's weight as text } ]]
local t, run = ARGV[1], ARGV[2]
local held = prefix .. 'q:' .. t
local tenants = call('ZCARD', ready) + call('ZCARD', parked)
local weight = call('HGET', prefix .. 't:' .. t, 'w') or '1'
local runsAhead, turn, state = call('ZRANK', held, run), call('ZRANK', ready, t), 'none'
if runsAhead then state = turn and 'ready' or 'parked' end
for _, name in eachLimit(limitsOf(t, tenantOf(t), run)) do
  local ahead = call('ZRANK', prefix .. 'a:' .. t .. '/' .. name, run)
  if ahead then state, runsAhead = 'aside', ahead end
end
return { state, runsAhead or 0, call('ZCARD', held), turn or 0, tenants, weight }
