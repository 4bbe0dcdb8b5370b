// A storm that was none must not pass: too few faults, a kind that never landed, too few runs, nobody overtaken or fenced.
import { expect, test } from '@jest/globals';
import { wasReal } from './check-rest.ts';
import type { Evidence } from './check-runs.ts';
import { floorsOf } from './run-chaos.ts';

const saw = ({ runs = 400, takeovers = 3, fenced = 2 } = {}): Evidence =>
  ({ stand: { fenced, restarts: 0, rows: (sql: string) => Promise.resolve(sql.includes('chaos_witness') ? [{ claims: 1, takeovers, steps: 1, intents: 1 }] : [{ n: runs }]) } }) as unknown as Evidence;
const wrongOf = async (evidence: Evidence, landed: Readonly<Record<string, number>>): Promise<readonly string[]> => (await wasReal(evidence, landed, floorsOf(2))).wrong;

test('two minutes need twenty faults, each kind at least once, and 200 runs', async () => {
  expect(floorsOf(2)).toEqual({ faults: 20, runs: 200 });
  expect(await wrongOf(saw(), { 'kill-agent': 10, 'redis-kill': 10 })).toEqual([]);
  expect(await wrongOf(saw(), { 'kill-agent': 10, 'redis-kill': 9 })).toEqual(['19 faults landed, at least 20 must']);
  expect(await wrongOf(saw(), { 'kill-agent': 20, 'redis-kill': 0 })).toEqual(['redis-kill never landed']);
  expect(await wrongOf(saw({ runs: 199 }), { 'kill-agent': 20 })).toEqual(['199 runs completed, at least 200 must']);
});

test('where workers were killed somebody must have been overtaken', async () => {
  expect(await wrongOf(saw({ takeovers: 0 }), { 'kill-agent': 20 })).toEqual(['no worker was overtaken']);
});
