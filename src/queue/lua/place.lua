--[[ Tells where a run stands; changes nothing.
  KEYS    see head.lua
  ARGV    [1] tenant [2] run
  Output  { 'ready' | 'parked' | 'none', runs of the tenant before it, runs of the tenant held, tenants before its own,
            tenants that hold runs, the tenant's weight as text } ]]
local t = ARGV[1]
local held = prefix .. 'q:' .. t
local tenants = call('ZCARD', ready) + call('ZCARD', parked)
local weight = call('HGET', prefix .. 't:' .. t, 'w') or '1'
local runsAhead, turn = call('ZRANK', held, ARGV[2]), call('ZRANK', ready, t)
if not runsAhead then return { 'none', 0, call('ZCARD', held), turn or 0, tenants, weight } end
return { turn and 'ready' or 'parked', runsAhead, call('ZCARD', held), turn or 0, tenants, weight }
