// What people say of a memory counts: praise raises its confidence once for each who gives it, "outdated" ends it now, "wrong" as if it
// had never been, and neither is recalled again. Where a memory was used can be looked up, what came of runs is kept, and a share of
// runs goes without memory so that its worth can be told.
import { expect, test } from '@jest/globals';
import { armOf, meanDifference, praised, rateDifference } from '../../src/domain/feedback.ts';
import { Mainstay } from '../../src/client/client.ts';
import { SCOPES } from '../../src/domain/status.ts';
import { newId, publicId } from '../../src/ids.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startAll } from '../../src/service.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { assembleApi } from '../../workers/assemble-api.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, model: 'claude-haiku-4-5', instructions: 'Answer.' })], { change: { PORT: '0', MEMORY_HOLDOUT: '0.5' } });
const api = assembleApi(fleet.base, {});
const stop = await startAll(api.services, fleet.base.log);
atFileEnd(async () => { await stop(); await api.close(); });
const { pool } = fleet.base.engine;
await createTenant(pool, 'acme');
const client = async (user?: string): Promise<Mainstay> => new Mainstay({ baseUrl: `http://127.0.0.1:${api.server.port}`, apiKey: (await createKey(pool, { tenant: 'acme', user, name: 'test', scopes: SCOPES, expiresAt: undefined }, 'test')).key });
const [ada, second, bob] = [await client(), await client(), await client('bob')];
const memories = async () => (await ada.memories.list({ user: 'ada' })).data;
const talk = (message: string) => fleet.talk('talker', message, { tenant: 'acme', user: 'ada', session: newId() });
const tracesOf = (run: string) => fleet.rows<{ injected: string[]; held: boolean }>(`SELECT injected::text[], held_out AS held FROM retrieval_traces WHERE run_id = $1`, [run]);
/** Talks until a run is told what is known (or not, as asked): the share that goes without is chosen by the run's id. */
async function asked(message: string, held: boolean): Promise<{ id: string; injected: string[] }> {
  for (;;) {
    const run = await talk(message);
    const [trace] = await tracesOf(run.id);
    if (trace?.held === held) return { id: run.id, injected: trace.injected };
  }
}

test('a run that goes without memory is told none of it, is marked, and is the same run whenever it is asked', async () => {
  await talk('Our billing system is Zuora. Our warehouse is in Rotterdam. I prefer to be contacted by e-mail.');
  await fleet.indexed('acme');
  expect((await memories()).length).toBeGreaterThanOrEqual(2);
  const told = await asked('Which billing system do we have, and where is our warehouse?', false);
  const held = await asked('Which billing system do we have, and where is our warehouse?', true);
  expect(told.injected.length).toBeGreaterThan(0);
  expect(held.injected).toEqual([]);
  expect([armOf(told.id, { holdout: 0.5 }), armOf(held.id, { holdout: 0.5 }), armOf(held.id, {})]).toEqual(['told', 'held_out', 'told']);
  const shown = await Promise.all([told, held].map(async ({ id }) => (await ada.runs.traces(publicId('run', id))).data.map(({ heldOut }) => heldOut)));
  expect(shown).toEqual([[false], [true]]);
});

test('a trace says for whom it was looked, as of which memories and by which rules; a change of either is seen in the next', async () => {
  const traceOf = async () => (await ada.runs.traces(publicId('run', (await asked('Which billing system do we have?', false)).id))).data[0]!;
  const trace = await traceOf();
  expect(trace).toMatchObject({ filters: { user: 'ada', agent: 'talker', asOf: null }, decidedBy: { ranking: 1, fuser: 'context', generation: expect.stringMatching(/^g[0-9a-f]{12}$/), gate: 1, model: 'claude-haiku-4-5', budgetTokens: 1_500, cached: false }, policyVersion: null, summaries: [], leftOut: null });
  await ada.memories.setPolicy({ retention: { halfLifeDays: { fact: 100 } } });
  await fleet.rows(`UPDATE memories SET valid_from = valid_from - interval '1 second' WHERE tenant_id = 'acme'`);
  const later = await traceOf();
  expect([later.policyVersion, later.epoch === trace.epoch, /\d/.test(trace.epoch ?? '')]).toEqual([1, false, true]);
});

test('praise counts once for each who gives it', async () => {
  const [one] = await memories();
  const before = one?.confidence ?? 0;
  const id = one?.id ?? '';
  expect(await ada.memories.feedback(id, { verdict: 'useful' })).toMatchObject({ changed: true, memory: { confidence: praised(before) } });
  expect(await ada.memories.feedback(id, { verdict: 'useful' })).toMatchObject({ changed: false, memory: { confidence: praised(before) } });
  expect((await second.memories.feedback(id, { verdict: 'useful' })).memory.confidence).toBe(praised(praised(before)));
  await expect(bob.memories.feedback(id, { verdict: 'wrong' })).rejects.toMatchObject({ code: 'not_found' });
  await expect(ada.memories.feedback(publicId('memory', newId()), { verdict: 'wrong' })).rejects.toMatchObject({ code: 'not_found' });
  expect((await ada.memories.get(id)).validTo).toBeNull();
});

test('where a memory was used is known; outdated or wrong, it is recalled no more, in the index neither', async () => {
  const question = 'Which billing system do we have, and where is our warehouse?';
  const { id: run, injected } = await asked(question, false);
  const [first = '', other = ''] = injected;
  const uses = (await ada.memories.uses(publicId('memory', first))).data;
  expect(uses.map((use) => use.run)).toContain(publicId('run', run));
  expect((await ada.memories.feedback(publicId('memory', first), { verdict: 'outdated', run: publicId('run', run) })).memory.validTo).not.toBeNull();
  const wrong = (await ada.memories.feedback(publicId('memory', other), { verdict: 'wrong' })).memory;
  expect(wrong.validTo).toBe(wrong.validFrom);
  expect((await ada.memories.uses(publicId('memory', first))).data.find((use) => use.run === publicId('run', run))).toMatchObject({ feedback: 'outdated' });
  while (await fleet.memory.indexPending(200) > 0);
  await fleet.indexed('acme');
  const later = await asked(question, false);
  expect(later.injected).not.toContain(first);
  expect(later.injected).not.toContain(other);
});

test('what came of runs is kept, and told apart by whether they had memory', async () => {
  const told = await asked('Hello again, which billing system?', false);
  const held = await asked('Hello again, which billing system?', true);
  await ada.runs.feedback(publicId('run', told.id), { satisfied: true, handlingMs: 60_000 });
  await ada.runs.feedback(publicId('run', told.id), { resolved: true });
  await ada.runs.feedback(publicId('run', held.id), { satisfied: false, resolved: false, handlingMs: 180_000 });
  await expect(ada.runs.feedback(publicId('run', held.id), {})).rejects.toMatchObject({ status: 400 });
  const worth = await ada.memories.worth({ agent: 'talker' });
  expect(worth).toMatchObject({ treated: { satisfied: { n: 1, yes: 1 }, resolved: { n: 1, yes: 1 }, handlingMs: { n: 1, mean: 60_000 } }, heldOut: { satisfied: { n: 1, yes: 0 }, handlingMs: { n: 1, mean: 180_000 } }, satisfied: null });
  expect(worth.treated.runs + worth.heldOut.runs).toBe((await fleet.rows(`SELECT DISTINCT run_id FROM retrieval_traces`)).length);
  expect(await ada.memories.worth({ agent: 'nobody' })).toMatchObject({ treated: { runs: 0 } });
});

test('a difference claims no more than its numbers bear', () => {
  expect(rateDifference({ n: 1, yes: 1 }, { n: 100, yes: 50 })).toBeNull();
  const few = rateDifference({ n: 4, yes: 4 }, { n: 4, yes: 2 });
  expect([few!.from < 0, few!.to > 0]).toEqual([true, true]);
  const many = rateDifference({ n: 1_000, yes: 800 }, { n: 1_000, yes: 600 });
  expect(many!.from).toBeGreaterThan(0.15);
  expect(many!.to).toBeLessThan(0.25);
  expect(meanDifference({ n: 3, sum: 30, squares: 302 }, { n: 3, sum: 60, squares: 1_202 })).toMatchObject({ difference: -10 });
  const shares = Array.from({ length: 2_000 }, () => armOf(newId(), { holdout: 0.05 })).filter((arm) => arm === 'held_out').length;
  expect([shares > 50, shares < 160]).toEqual([true, true]);
});
