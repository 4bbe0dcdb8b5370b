// Submits of one debounce key are one run until it starts, and it runs what came last, so long after it or so long after the first.
// However a submit meets the claim, what it brought is in the run that starts or in a new one: never nowhere.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { Mainstay } from '../../src/client/client.ts';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Registry } from '../../src/run/registry.ts';
import type { Debounce, SubmitResult } from '../../src/run/submit-run.ts';
import { claimRuns } from '../../src/store/engine/claim.ts';
import { expireUnstarted } from '../../src/store/engine/sweeps.ts';
import { Gates, refusal, startControl } from '../support/control.ts';
import { HASH, newRun, newWorker } from '../support/run-bench.ts';
import { useStack } from '../support/stack.ts';

const ran: number[] = [];
const gates = new Gates();
const input = z.strictObject({ n: z.number(), hold: z.string().optional() });
const index = defineMachine({
  name: 'index', version: 1, input, start: 'go', remembers: false,
  steps: { go: async (step: Step<z.infer<typeof input>>) => { ran.push(step.input.n); if (step.input.hold !== undefined) await gates.pass(step.input.hold, step.signal); return step.done(step.input.n); } },
});
const still = defineMachine({ name: 'still', version: 1, input, start: 'go', remembers: false, steps: { go: (step) => Promise.resolve(step.done(null)) } });

const stack = await useStack();
const { api, client, ended, story } = await startControl(stack, [index, still]);
await api.fleet.worker({ registry: new Registry([index]) }); // nobody runs `still`
const { base } = api.fleet;
const HOUR_MS = 3_600_000;

interface More { readonly agent?: string; readonly user?: string; readonly session?: string; readonly metadata?: object; readonly priority?: number; readonly expiresInMs?: number; readonly hold?: string }
const submit = (n: number, debounce: Debounce, { agent = 'still', hold, ...more }: More = {}): Promise<SubmitResult> => base.submit({ tenant: 'acme', door: 'test', agent, input: { n, hold }, debounce, ...more });
interface Row { n: number; folded: number; events: number; wakes: number | null; resumes: number | null; expires: number | null; priority: number; metadata: unknown }
/** Times in seconds after the first submit, rounded to tens: a slow machine takes some between two. */
const row = async (id: string): Promise<Row | undefined> => (await api.fleet.rows<Row>(`SELECT (input ->> 'n')::int AS n, debounced AS folded, event_seq AS events, priority, metadata, round(extract(epoch FROM wake_at - created_at), -1)::int AS wakes,
  round(extract(epoch FROM resume_at - created_at), -1)::int AS resumes, round(extract(epoch FROM expires_at - wake_at), -1)::int AS expires FROM agent_runs WHERE id = $1`, [id]))[0];
const age = (id: string, seconds: number): Promise<unknown[]> => api.fleet.rows(`UPDATE agent_runs SET created_at = created_at - $2 * interval '1 second', wake_at = wake_at - $2 * interval '1 second', debounce_until = debounce_until - $2 * interval '1 second' WHERE id = $1`, [id, seconds]);

test('five submits are one run of the last one’s input, and its history counts them', async () => {
  const answers: SubmitResult[] = [];
  for (const n of [1, 2, 3, 4, 5]) answers.push(await submit(n, { key: 'page-7', windowMs: 400 }, { agent: 'index' }));
  expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
  expect(answers.map(({ created }) => created)).toEqual([true, false, false, false, false]);
  const id = `run_${answers[0]!.id.replaceAll('-', '')}`;
  expect(await ended(id)).toMatchObject({ status: 'completed', output: 5 });
  expect(ran).toEqual([5]);
  expect(await story(id)).toEqual(['run.queued', ...Array<string>(4).fill('run.debounced'), 'run.started', 'step:go', 'run.completed']);
  expect((await client.runs.get(id)).debounced).toBe(4);
  const next = await submit(6, { key: 'page-7', windowMs: 1 }, { agent: 'index' });
  expect([next.created, next.id === answers[0]!.id]).toEqual([true, false]); // it had started
});

test('each submit moves the start to its window’s end, never beyond what the first allows', async () => {
  const debounce = { key: 'moves', windowMs: 600_000, maxMs: 1_000_000 };
  const { id } = await submit(1, debounce, { metadata: { by: 'first' } });
  expect(await row(id)).toMatchObject({ n: 1, wakes: 600, expires: null });
  await age(id, 100);
  await submit(2, debounce, { metadata: { by: 'second' }, priority: 7, expiresInMs: 60_000 });
  expect(await row(id)).toEqual({ n: 2, folded: 1, events: 2, wakes: 700, resumes: null, expires: 60, priority: 7, metadata: { by: 'second' } });
  await age(id, 800);
  await submit(3, { ...debounce, maxMs: HOUR_MS }, { expiresInMs: 60_000 });
  expect(await row(id)).toMatchObject({ n: 3, wakes: 1_000, expires: 60 }); // the first submit's limit stands
});

test('a key counts within its tenant, agent, user and session', async () => {
  const debounce = { key: 'mine', windowMs: HOUR_MS };
  const made = [await submit(1, debounce), await submit(2, debounce, { user: 'ada' }), await submit(3, debounce, { user: 'ada', session: 's' }), await submit(4, debounce, { user: 'bob', session: 's' }), await submit(5, debounce, { agent: 'index' }),
    await base.submit({ tenant: 'globex', door: 'test', agent: 'still', input: { n: 6 }, debounce })];
  expect(made.map(({ created }) => created)).toEqual(Array(6).fill(true));
  expect(await submit(7, debounce, { user: 'ada', session: 's' })).toMatchObject({ id: made[2]!.id, created: false });
  expect(await Promise.all(made.map(async ({ id }) => (await row(id))?.n))).toEqual([1, 2, 7, 4, 5, 6]);
});

test('a paused run takes it in and stays paused; one that was cancelled or has expired does not', async () => {
  const debounce = { key: 'states', windowMs: HOUR_MS };
  const { id } = await submit(1, debounce, { expiresInMs: 60_000 });
  const run = `run_${id.replaceAll('-', '')}`;
  await client.runs.pause(run);
  expect(await submit(2, debounce)).toMatchObject({ id, created: false, status: 'waiting' });
  expect(await row(id)).toMatchObject({ n: 2, wakes: null, resumes: 3_600 });
  expect(await client.runs.resume(run)).toMatchObject({ status: 'queued', debounced: 1, input: { n: 2 } });
  await client.runs.cancel(run);
  const second = await submit(3, debounce, { expiresInMs: 60_000 });
  expect(second.created).toBe(true);
  await age(second.id, 2 * 3_600);
  await api.fleet.rows(`UPDATE agent_runs SET expires_at = now() WHERE id = $1`, [second.id]);
  expect((await expireUnstarted(base.engine.pool, 10)).map((one) => one.id)).toEqual([second.id]);
  expect((await submit(4, debounce)).created).toBe(true);
  expect([(await row(id))?.n, (await row(second.id))?.n]).toEqual([2, 3]);
});

test('the budget of the last submit is the run’s: raised, taken away and set again', async () => {
  const { engine } = base;
  let run = '';
  const fold = async (budgetMicroUsd: string | null): Promise<unknown> => {
    run = (await engine.submitDebounced(newRun({ debounceKey: HASH, delayMs: HOUR_MS, budgetMicroUsd }))).id;
    const [found] = await api.fleet.rows<{ keys: string[]; limit: number | null }>(`SELECT r.budget_keys AS keys, b.limit_micro_usd::int AS limit FROM agent_runs r LEFT JOIN budgets b ON b.tenant_id = r.tenant_id AND b.key = ANY (r.budget_keys) WHERE r.id = $1`, [run]);
    return found;
  };
  expect(await fold('10')).toEqual({ keys: [`run:${run}/total`], limit: 10 });
  expect(await fold('25')).toEqual({ keys: [`run:${run}/total`], limit: 25 });
  expect(await fold(null)).toEqual({ keys: null, limit: null });
  expect(await fold('7')).toEqual({ keys: [`run:${run}/total`], limit: 7 });
  expect(await api.fleet.rows(`SELECT FROM budgets WHERE subject LIKE 'run:%'`)).toHaveLength(1);
});

test('a submit that waits for a claim under way makes a new run when it commits, and is in the run when it does not', async () => {
  for (const commits of [true, false]) {
    const debounce = { key: `claimed ${commits}`, windowMs: 1 };
    const { id } = await submit(1, debounce);
    await age(id, 1);
    const holder = await newWorker(base.engine.pool);
    const claimer = await base.engine.pool.connect();
    await claimer.query('BEGIN');
    expect((await claimRuns(claimer as never, [{ tenant: 'acme', id }], holder, ['still@1'], 60_000))[0]?.input).toEqual({ n: 1 });
    const second = submit(2, { ...debounce, windowMs: HOUR_MS });
    await waitsForALock();
    await claimer.query(commits ? 'COMMIT' : 'ROLLBACK');
    claimer.release();
    const { id: where, created } = await second;
    expect([where === id, created, (await row(id))?.n, (await row(where))?.n]).toEqual(commits ? [false, true, 1, 2] : [true, false, 2, 2]);
  }
});

/** Until another session of this database waits for a row. */
async function waitsForALock(): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) {
    if ((await api.fleet.rows(`SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)).length > 0) return;
  }
  throw new Error('nobody waits');
}

test('many submits against a worker that claims: none is lost, and each run starts with the last it took in', async () => {
  const debounce = { key: 'race', windowMs: 1, maxMs: 1 }; // due at once, however many come
  const folded = new Map<string, number[]>();
  ran.length = 0;
  await Promise.all(Array.from({ length: 4 }, async (_, lane) => {
    for (let at = 0; at < 100; at++) {
      const n = lane * 1_000 + at;
      const { id } = await submit(n, debounce, { agent: 'index' });
      folded.set(id, [...(folded.get(id) ?? []), n]);
    }
  }));
  expect([...folded.values()].flat()).toHaveLength(400);
  for (const [id, all] of folded) {
    const run = await api.fleet.ended('acme', id);
    expect(all).toContain(run.output);
    expect(await row(id)).toMatchObject({ folded: all.length - 1, n: run.output }); // as many as were told so, none twice
  }
  expect(ran.toSorted((a, b) => a - b)).toEqual((await Promise.all([...folded.keys()].map(async (id) => (await row(id))!.n))).sort((a, b) => a - b));
  expect(folded.size).toBeGreaterThan(1); // some met a run that had started
});

test('over HTTP the answer says that it was folded in; a key bound to a user folds into its own runs only', async () => {
  const key = await api.makeKey();
  const body = { agent: 'still', input: { n: 1 }, user: 'ada', debounce: { key: 'http', windowMs: HOUR_MS } };
  const post = () => api.call<{ id: string; debounced: number }>('POST', '/v1/runs', { key, body });
  const [first, second] = [await post(), await post()];
  expect([first.status, first.headers.get('debounced'), first.body.debounced]).toEqual([202, null, 0]);
  expect([second.status, second.headers.get('debounced'), second.headers.get('idempotent-replayed'), second.body.id, second.body.debounced]).toEqual([202, 'true', null, first.body.id, 1]);
  const bob = new Mainstay({ baseUrl: api.url, apiKey: await api.makeKey({ user: 'bob' }), retries: 0 });
  const { user: _, ...nobodys } = body;
  expect((await bob.runs.create(nobodys)).id).not.toBe(first.body.id);
  expect(await refusal(client.runs.create(body, { idempotencyKey: 'k' }))).toBe('bad_request');
});
