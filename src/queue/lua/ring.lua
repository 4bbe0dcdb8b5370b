--[[ The sweep's look: tenants whose slots ran out become ready again, and wake-ups that got lost are replaced.
  KEYS    see head.lua
  ARGV    [1] window
  Output  wake-ups to add ]]
unpark(1000)
return missingWakeUps(tonumber(ARGV[1]))
