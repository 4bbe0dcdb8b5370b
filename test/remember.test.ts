// Recall and remembering as a worker does them: every write is made only while the claim holds; what a crash left undone is
// owed by the rows themselves and picked up; the index holds what Postgres says and nothing else.
import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { MilvusClient } from '@zilliz/milvus2-sdk-node';
import { makeEmbedder } from '../src/memory/embedders/make-embedder.ts';
import { endUnjudged, judgeRun } from '../src/memory/judge-run.ts';
import { openIndex } from '../src/memory/milvus.ts';
import { defineAgent } from '../src/run/define-agent.ts';
import { Maintenance } from '../src/run/maintain.ts';
import { openAppStore } from '../src/store/app-store.ts';
import type { ClaimedRun } from '../src/store/engine/claim.ts';
import { registerWorker, retireWorker } from '../src/store/engine/workers.ts';
import { remember } from '../workers/assemble-memory.ts';
import { startMemoryFleet } from './support/fleet.ts';
import { atFileEnd, useStack } from './support/stack.ts';

const agent = defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' });
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [agent]);
const { base, memory } = fleet;
const { config, log } = base;
const store = openAppStore({ url: config.DATABASE_URL, asRole: true, log });
const embedder = await makeEmbedder(config, log);
const index = await openIndex({ address: config.MILVUS_ADDRESS, tls: false, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log });
atFileEnd(async () => { await store.close(); await index.close(); await embedder.close(); });
const deps = { store, embedder, index, log };
const maintenance = new Maintenance({ engine: base.engine, queues: base.queues, metrics: base.metrics, log, fire: () => Promise.resolve(), remember: (run) => remember(base, run), index: () => memory.indexPending(200) });
const who = { tenant: 'acme', user: 'ada', session: 's' };

describe('writes under the fence', () => {
  interface Holder { readonly run: ClaimedRun }
  let old: Holder, now: Holder, spoken: string;

  async function claimBy(id: string): Promise<{ incarnation: string } & Holder> {
    const incarnation = randomUUID();
    await registerWorker(base.pool, { incarnation, name: 'w', pool: 'parked', machines: ['talker@1'], leaseMs: 60_000 });
    const run = await base.engine.claimer(incarnation, ['talker@1'], 'parked', 60_000).claim('acme', id);
    if (!run) throw new Error('not claimed');
    return { incarnation, run };
  }

  /** A finished run, and another one that `old` has lost to `now`. It is never offered: its pool has no worker. */
  beforeEach(async () => {
    spoken = (await fleet.talk('talker', 'Our billing system is Zuora.', { ...who, session: randomUUID() })).id;
    const { id } = await base.submit({ door: 'test', agent: 'talker', input: { message: 'hello' }, tenant: 'acme', user: 'ada', delayMs: 3_600_000 });
    await fleet.rows(`UPDATE agent_runs SET wake_at = now(), pool = 'parked' WHERE id = $1`, [id]);
    const first = await claimBy(id);
    await retireWorker(base.pool, first.incarnation);
    [old, now] = [first, await claimBy(id)];
    await fleet.rows(`UPDATE agent_runs SET memory_state = 'due' WHERE id = $1`, [spoken]);
    await fleet.rows(`DELETE FROM memory_candidates WHERE run_id = $1`, [spoken]);
  });

  const counts = async (): Promise<unknown> => (await fleet.rows(`SELECT (SELECT count(*)::int FROM retrieval_traces) AS traces, (SELECT count(*)::int FROM audit_events) AS audited, (SELECT sum(cited_count)::int FROM memories) AS cited,
    (SELECT count(*)::int FROM memories) AS memories, (SELECT count(*)::int FROM memory_candidates) AS verdicts, (SELECT array_agg(memory_state::text ORDER BY id) FROM agent_runs) AS states`))[0];
  const recallBy = ({ run }: Holder) => memory.recaller.recall({ tenant: 'acme', user: 'ada', agent: 'talker', run: run.id, fence: run.fence, stepSeq: 1, query: 'Which billing system?', signal: AbortSignal.timeout(10_000) });
  const extraction = { summary: { goal: 'g', result: 'r', decisions: [], open_items: [] }, candidates: ['no candidate'] };
  const finished = (id: string) => ({ id, user: 'ada', session: null, agent: 'talker', finishedMs: 0 });

  const WRITES: [string, (holder: Holder, recalled: Awaited<ReturnType<typeof recallBy>>) => Promise<unknown>][] = [
    ['a trace', (holder) => recallBy(holder)],
    ['a citation', ({ run }, recalled) => memory.recaller.cite({ tenant: 'acme', run: run.id, fence: run.fence }, recalled.trace, recalled.memories.map(({ id }) => id))],
    ['verdicts', ({ run }) => judgeRun(deps, { run: run.id, fence: run.fence }, { tenant: 'acme', run: finished(spoken), events: [], extraction })],
    ['a missing summary', ({ run }) => endUnjudged(deps, { run: run.id, fence: run.fence }, 'acme', spoken, [], 'summary_missing')],
  ];
  test.each(WRITES)('%s: written by the holder, refused from an older fence, which changes nothing', async (_what, write) => {
    const recalled = await recallBy(now);
    const before = await counts();
    await expect(write(old, recalled)).rejects.toMatchObject({ code: 'fenced' });
    expect(await counts()).toEqual(before);
    await write(now, recalled);
    expect(await counts()).not.toEqual(before);
  });

  test('verdicts are written once: judging again changes nothing', async () => {
    const judge = () => judgeRun(deps, { run: now.run.id, fence: now.run.fence }, { tenant: 'acme', run: finished(spoken), events: [], extraction });
    expect((await judge()).verdicts.map(({ decision, reason }) => [decision, reason])).toEqual([['REJECT', 'SCHEMA']]);
    const before = await counts();
    expect(await judge()).toMatchObject({ verdicts: [], owed: [] });
    expect(await counts()).toEqual(before);
  });

  test('ten candidates are looked up in the index by one search', async () => {
    const events = [{ id: 'e1', role: 'user' as const, tool: undefined, text: Array.from({ length: 10 }, (_, at) => `Our depot number ${at} is in hall ${at}.`).join(' '), atMs: 0 }];
    const candidates = Array.from({ length: 10 }, (_, at) => ({
      type: at % 2 ? 'fact' : 'decision', subject: `depot number ${at}`, attribute: 'hall', value: `hall ${at}`, statement: `Depot number ${at} is in hall ${at}.`, valid_from: null,
      evidence: [{ event_id: 'e1', quote: `Our depot number ${at} is in hall ${at}.` }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: at % 3 ? 'user' : 'workspace',
    }));
    const sent = jest.spyOn(MilvusClient.prototype, 'search');
    const { verdicts } = await judgeRun(deps, { run: now.run.id, fence: now.run.fence }, { tenant: 'acme', run: finished(spoken), events, extraction: { ...extraction, candidates } });
    expect([verdicts.length, sent.mock.calls.length]).toEqual([10, 1]);
    sent.mockRestore();
    expect(verdicts.filter(({ decision }) => decision === 'ADMIT')).toHaveLength(8); // the most one run may add
  });
});

describe('what was left undone', () => {
  test('a finished run whose worker died before it was sent to memory is remembered by the sweep, once', async () => {
    const { id } = await fleet.talk('talker', 'We are on the Team plan.', { ...who, session: 'left' });
    await fleet.rows(`UPDATE agent_runs SET memory_state = 'due' WHERE id = $1`, [id]);
    await fleet.rows(`DELETE FROM memory_candidates WHERE run_id = $1`, [id]);
    await fleet.rows(`DELETE FROM agent_runs WHERE idempotency_key LIKE 'remember:' || $1 || ':%'`, [id]);
    await maintenance.sweep();
    await maintenance.sweep();
    await fleet.until('acme', id, (run) => run.memory_state === 'done');
    expect((await fleet.rows(`SELECT 1 FROM agent_runs WHERE idempotency_key LIKE 'remember:' || $1 || ':%'`, [id])).length).toBe(1);
    expect((await fleet.rows(`SELECT 1 FROM memory_candidates WHERE run_id = $1`, [id])).length).toBeGreaterThan(0);
  });

  test('a remembering that the build before this one began goes on: its record held the events alone', async () => {
    const { id } = await fleet.talk('talker', 'Our accountant is Vera.', { ...who, user: 'olga', session: 'old' });
    const [first] = await fleet.rows<{ id: string }>(`SELECT id FROM agent_runs WHERE idempotency_key LIKE 'remember:' || $1 || ':%'`, [id]);
    await fleet.rows(`UPDATE agent_runs SET memory_state = 'due' WHERE id = $1`, [id]);
    await fleet.rows(`DELETE FROM memory_candidates WHERE run_id = $1`, [id]);
    const again = await base.submit({ door: 'internal', agent: 'mainstay.remember', input: { run: id }, tenant: 'acme', user: 'olga', delayMs: 3_600_000 });
    const copied = await fleet.rows(`INSERT INTO step_records SELECT (jsonb_populate_record(NULL::step_records, to_jsonb(s) || jsonb_build_object('run_id', $2::uuid, 'result', s.result -> 'events'))).* FROM step_records s WHERE s.run_id = $1 AND s.name = 'transcript' RETURNING result`, [first!.id, again.id]);
    expect(copied).toEqual([{ result: [expect.objectContaining({ role: 'user' }), expect.anything()] }]);
    await fleet.rows(`UPDATE agent_runs SET wake_at = now(), step_claims = 1 WHERE id = $1`, [again.id]); // as one that was claimed before: its records are looked for
    expect(await fleet.ended('acme', again.id)).toMatchObject({ status: 'completed', error_code: null });
    expect((await fleet.run('acme', id)).memory_state).toBe('done');
    expect((await fleet.rows(`SELECT FROM memory_candidates WHERE run_id = $1`, [id])).length).toBeGreaterThan(0);
  });

  test('a memory that no index holds is indexed by the sweep; a closed one leaves the index', async () => {
    await fleet.talk('talker', 'Our warehouse is in Hamburg.', { ...who, user: 'ines', session: 'i' });
    await fleet.indexed('acme');
    const [row] = await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE user_id = 'ines'`);
    const id = row?.id ?? '';
    const held = async (): Promise<string[]> => [...(await index.versions('memories', 'acme', [id])).keys()];
    expect(await held()).toEqual([id]);
    await index.delete('memories', 'acme', [id]);
    await fleet.rows(`UPDATE memories SET indexed_generation = NULL WHERE id = $1`, [id]);
    await maintenance.sweep();
    expect(await held()).toEqual([id]);
    await fleet.rows(`UPDATE memories SET valid_to = now(), version = version + 1, indexed_generation = NULL WHERE id = $1`, [id]);
    await maintenance.sweep();
    expect(await held()).toEqual([]);
  });
});
