// What was shown, cited and borne out, what was stale, what each type adds to what comes of runs, and which memories nobody uses: told from
// traces, words of people and what became of the memories since.
import { beforeEach, expect, test } from '@jest/globals';
import { rateDifference } from '../../src/domain/feedback.ts';
import type { MemoryWorth } from '../../src/domain/wire-worth.ts';
import type { Memory } from '../../src/domain/wire.ts';
import { newId, publicId } from '../../src/ids.ts';
import { Maintenance } from '../../src/run/maintain.ts';
import { strengthOf } from '../../src/memory/rank-memories.ts';
import { memoriesOf } from '../../src/store/recall-memories.ts';
import { noteUnused } from '../../src/store/engine/unused-memories.ts';
import { startApi } from '../support/api.ts';
import { plantMemories, type Planted } from '../support/memories.ts';
import { startOutcomes } from '../support/outcomes.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const { fleet, run, store } = await startOutcomes(stack);
const api = await startApi(stack, [], { config: { REDIS_PREFIX: `${stack.redisPrefix}-api` } });
let [tenant, key, tenants] = ['', '', 0];
beforeEach(async () => { tenant = `t${++tenants}`; key = await api.makeKey({ tenant }); });

const plant = (...memories: readonly Planted[]): Promise<string[]> => plantMemories((sql, values) => fleet.rows(sql, values), tenant, memories.map((one) => ({ user: 'ada', ...one })));
interface Shown { readonly shown?: readonly string[]; readonly cited?: readonly string[]; readonly supported?: readonly string[]; readonly leftOut?: string; readonly heldOut?: boolean; readonly tokens?: number; readonly state?: string; readonly asOf?: string; readonly resolved?: boolean }
/** A run and the trace of its recall; remembered unless told otherwise. */
async function recalled({ shown = [], cited = [], supported = [], leftOut, heldOut = false, tokens = 0, state = 'done', asOf, resolved }: Shown, of?: string): Promise<string> {
  const id = of ?? await run(tenant, 'ada');
  await fleet.rows(`UPDATE agent_runs SET memory_state = $2::memory_state WHERE id = $1`, [id, state]);
  await fleet.rows(`INSERT INTO retrieval_traces (tenant_id, id, run_id, user_id, step_seq, query, embedder, semantic, degraded, candidates, injected, cited, supported, left_out, held_out, tokens, duration_ms, filters)
    VALUES ($1, $2, $3, 'ada', 0, 'q', 'e', true, false, '[]', $4::uuid[], $5::uuid[], $6::uuid[], $7, $8, $9, 1, json_build_object('asOf', $10::text))`, [tenant, newId(), id, shown, cited, supported, leftOut ?? null, heldOut, tokens, asOf ?? null]);
  if (resolved !== undefined) await fleet.rows(`INSERT INTO run_feedback (tenant_id, run_id, actor, resolved) VALUES ($1, $2, 'p', $3)`, [tenant, id, resolved]);
  return id;
}
const worth = async (): Promise<MemoryWorth> => (await api.call<MemoryWorth>('GET', '/v1/memory-worth', { key })).body;

test('use is counted by type, a memory once a run; what answers bear out only of runs that are remembered', async () => {
  const [fact, wish] = await plant({ statement: 'The crane is red.' }, { statement: 'Ada wants tables.', type: 'preference' }) as [string, string];
  const twice = await recalled({ shown: [fact, wish], cited: [fact], supported: [fact], tokens: 100 });
  await recalled({ shown: [fact], tokens: 20 }, twice);
  await recalled({ shown: [fact, wish], cited: [wish], supported: [fact], tokens: 60 });
  await recalled({ shown: [wish], cited: [wish], supported: [wish], tokens: 1_000, state: 'due' });
  const { use, byType } = await worth();
  expect(use).toEqual({ shown: 5, cited: 3, judged: 4, supported: 2, citedSupported: 1, stale: 0, useRate: 0.6, supportRate: 1 / 3, staleRate: 0, tokens: 180, tokensPerSupported: 90 });
  expect(byType.map(({ type, shown, cited, judged, supported, useRate }) => [type, shown, cited, judged, supported, useRate])).toEqual([['preference', 3, 2, 2, 0, 2 / 3], ['fact', 2, 1, 2, 2, 0.5]]);
});

test('stale is what had ended when it was shown, as is known now, and what somebody calls outdated of that very run; what was asked of an earlier day is not', async () => {
  const [late, wrong, fine] = await plant({ statement: 'The depot is in Lille.' }, { statement: 'The depot is in Lyon.' }, { statement: 'The depot is in Brest.' }) as [string, string, string];
  const first = await recalled({ shown: [late, wrong, fine] });
  await recalled({ shown: [wrong, fine] });
  await recalled({ shown: [late], asOf: '2020-01-01T00:00:00.000Z' });
  expect((await worth()).use.stale).toBe(0);
  await fleet.rows(`UPDATE memories SET valid_to = now() - interval '1 day' WHERE id = $1`, [late]); // the news of its end came later
  await fleet.rows(`UPDATE memories SET valid_to = now() + interval '1 day' WHERE id = $1`, [fine]);
  await fleet.rows(`INSERT INTO memory_feedback (tenant_id, memory_id, actor, run_id, verdict) VALUES ($1, $2, 'p', $3, 'outdated'), ($1, $4, 'p', $3, 'useful')`, [tenant, wrong, first, fine]);
  const { use } = await worth();
  expect([use.shown, use.stale, use.staleRate]).toEqual([6, 2, 1 / 3]);
});

test('what a type adds is what came of runs that were shown one, less that of runs that went without just one', async () => {
  const [fact, other, wish] = await plant({ statement: 'The crane is red.' }, { statement: 'The pilot is blue.' }, { statement: 'Ada wants tables.', type: 'preference' }) as [string, string, string];
  for (const resolved of [true, true, true, false]) await recalled({ shown: [fact, other], resolved });
  for (const resolved of [true, false, false, false, false]) await recalled({ shown: [other, wish], leftOut: fact, resolved });
  await recalled({ heldOut: true, resolved: false });
  const shownLater = await recalled({ shown: [other], leftOut: fact, resolved: true });
  await recalled({ shown: [fact], leftOut: wish }, shownLater); // what its second recall has shown it did not go without
  const { byType, treated, heldOut } = await worth();
  expect([treated.runs, heldOut.runs]).toEqual([4, 1]); // those that went without one are neither
  const [wishes, facts] = byType;
  expect(facts).toMatchObject({ type: 'fact', withRuns: 4, withoutRuns: 5, satisfied: null });
  expect(facts?.resolved).toEqual(rateDifference({ n: 4, yes: 3 }, { n: 5, yes: 1 }, 2));
  expect(wishes).toMatchObject({ type: 'preference', withRuns: 0, withoutRuns: 1, resolved: null });
});

test('a prior of two draws a few answers nearer to nothing than a prior of one, and many answers hardly', () => {
  const [few, fewer] = [rateDifference({ n: 4, yes: 4 }, { n: 4, yes: 0 }), rateDifference({ n: 4, yes: 4 }, { n: 4, yes: 0 }, 2)];
  expect([few?.difference, fewer?.difference]).toEqual([expect.closeTo(4 / 6), expect.closeTo(4 / 8)]);
  const many = (prior: number): number => rateDifference({ n: 4_000, yes: 3_000 }, { n: 4_000, yes: 2_000 }, prior)?.difference ?? 0;
  expect(Math.abs(many(1) - many(2))).toBeLessThan(0.001);
});

test('what twenty runs were shown and none has used ranks lower, until an answer cites it', async () => {
  const statements = ['The lighthouse of Ouessant is old.', 'The lighthouse of Molene is old.', 'The lighthouse of Sein is old.', 'The lighthouse of Batz is old.'];
  const [dead, cited, supported, young, pinned, rule] = await plant(...statements.map((statement) => ({ statement })), { statement: 'The lighthouse of Groix is old.' }, { statement: 'Never mention a lighthouse.', type: 'constraint' }) as [string, string, string, string, string, string];
  await fleet.rows(`UPDATE memories SET pinned = true WHERE id = $1`, [pinned]);
  await fleet.rows(`UPDATE memories SET cited_count = 1 WHERE id = $1`, [cited]);
  const runs: string[] = [];
  for (let n = 0; n < 20; n++) runs.push(await recalled({ shown: [dead, cited, supported, pinned, rule, ...(n > 0 ? [young] : [])], supported: n === 7 ? [supported] : [] }));
  await recalled({ shown: [young] }, runs[3]); // the same run again is no other
  const strengths = async (): Promise<number[]> => {
    const rows = await store.withTenant({ tenant, user: 'ada' }, (tx) => memoriesOf(tx, { user: 'ada', agent: 'helper' }, [dead, young]));
    return [dead, young].map((id) => strengthOf({ ...rows.find((row) => row.id === id)!, idleMs: 0 }));
  };
  expect(await strengths()).toEqual([0.8, 0.8]);
  const { engine, queues, metrics, log } = fleet.base;
  await new Maintenance({ engine, queues, metrics, log, fire: () => Promise.resolve(), remember: () => Promise.resolve(), index: () => Promise.resolve(0) }).sweep();
  expect(await fleet.rows(`SELECT id FROM memories WHERE tenant_id = $1 AND unused`, [tenant])).toEqual([{ id: dead }]);
  expect((await worth()).unused).toEqual({ count: 1, memories: [publicId('memory', dead)] });
  expect(await strengths()).toEqual([0.3, 0.8]);
  expect(await noteUnused(fleet.base.engine.pool)).toBe(0);
  const { status, body } = await api.call<Memory>('PATCH', `/v1/memories/${publicId('memory', dead)}`, { key, body: { version: 1, statement: 'The lighthouse of Ouessant is new.' } });
  expect([status, body.unused]).toEqual([200, false]); // what takes its place was shown to nobody
  await fleet.rows(`UPDATE memories SET valid_to = NULL WHERE id = $1`, [dead]);
  await fleet.rows(`UPDATE memories SET cited_count = 1 WHERE id = $1`, [dead]);
  expect([(await worth()).unused.count, await strengths()]).toEqual([0, [0.8, 0.8]]);
  expect(await noteUnused(fleet.base.engine.pool)).toBe(1);
  expect(await fleet.rows(`SELECT id FROM memories WHERE tenant_id = $1 AND unused`, [tenant])).toEqual([]);
});
