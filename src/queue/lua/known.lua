--[[ Ends a rebuild: the marker becomes `known` only if it still holds this rebuild's token. A Redis wiped meanwhile, or a
  second rebuild, leaves it as it is, and maintenance rebuilds again.
  KEYS    [7] generation marker; the rest see head.lua
  ARGV    [1] token
  Output  1 = the ready queue is known, 0 = rebuild again ]]
if call('GET', KEYS[7]) ~= ARGV[1] then return 0 end
call('SET', KEYS[7], 'known')
return 1
