// A procedure is kept for what came of the runs that cited it: when fewer than four of its newest ten did what was wanted it is closed, by
// the word that makes it so, and no recall finds it. One that works, one that is pinned, and what is no procedure stay.
import { expect, test } from '@jest/globals';
import { newId, publicId } from '../../src/ids.ts';
import { hasFailed } from '../../src/domain/feedback.ts';
import { closeFailed, sayOfRun } from '../../src/store/feedback.ts';
import { eventually } from '../support/agent-process.ts';
import { startApi } from '../support/api.ts';
import { startOutcomes } from '../support/outcomes.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const { fleet, run, indexed, find } = await startOutcomes(stack);
const api = await startApi(stack, [], { config: { REDIS_PREFIX: `${stack.redisPrefix}-api` } });
const [key, second, bobs] = [await api.makeKey(), await api.makeKey(), await api.makeKey({ user: 'bob' })];

async function procedure(says: string, { type = 'procedure', pinned = false, user = 'ada' }: { type?: string; pinned?: boolean; user?: string | null } = {}): Promise<string> {
  const id = newId();
  await fleet.rows(`INSERT INTO memories (tenant_id, id, scope, user_id, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, pinned, valid_from)
    VALUES ('acme', $1::uuid, CASE WHEN $5::text IS NULL THEN 'workspace' ELSE 'user' END::memory_scope, $5, $3::memory_type, 'invoice export', 'how', $2, $2, sha256($1::text::bytea), 'user', 0.8, '[{"event_id":"e1","quote":"q"}]', $1::uuid, 1, $4, now())`, [id, says, type, pinned, user]);
  return id;
}
/** A run of the user that was shown the memory, and cited it unless told otherwise. */
async function use(memory: string, { user = 'ada', cited = true } = {}): Promise<string> {
  const id = await run('acme', user);
  await fleet.rows(`INSERT INTO retrieval_traces (tenant_id, id, run_id, user_id, step_seq, query, embedder, semantic, degraded, candidates, injected, cited, tokens, duration_ms)
    VALUES ('acme', $1, $2, $3, 0, 'q', 'e', true, false, '[]', ARRAY[$4::uuid], CASE WHEN $5::boolean THEN ARRAY[$4::uuid] ELSE '{}' END, 1, 1)`, [newId(), id, user, memory, cited]);
  return id;
}
const say = async (of: string, body: Record<string, unknown>, by = key): Promise<void> => {
  const { status, body: answer } = await api.call('POST', `/v1/runs/${publicId('run', of)}/feedback`, { key: by, body });
  if (status !== 200) throw new Error(JSON.stringify(answer));
};
const isLive = async (memory: string): Promise<boolean> => (await fleet.rows<{ live: boolean }>(`SELECT valid_to IS NULL AS live FROM memories WHERE id = $1`, [memory]))[0]!.live;
const audited = (memory: string) => fleet.rows<{ details: unknown }>(`SELECT details FROM audit_events WHERE action = 'memory.failed' AND object_id = $1`, [publicId('memory', memory)]);
async function uses(memory: string, outcomes: readonly boolean[], over: Parameters<typeof use>[1] = {}): Promise<string[]> {
  const runs: string[] = [];
  for (const resolved of outcomes) { const one = await use(memory, over); await say(one, { resolved }); runs.push(one); }
  return runs;
}
const [YES, NO] = [true, false];

test('the tenth use that shows it closes it: no recall finds it, and the audit says why', async () => {
  const says = 'To export an invoice, restart the worker first.';
  const memory = await procedure(says);
  await indexed();
  expect(await find('acme', 'How is an invoice exported?')).toContain(says);
  await uses(memory, [YES, NO, NO, YES, NO, NO, NO, YES, NO]);
  expect(await isLive(memory)).toBe(true); // nine
  await uses(memory, [NO]);
  expect([await isLive(memory), await audited(memory)]).toEqual([false, [{ details: { uses: 10, successes: 3 } }]]);
  expect(await find('acme', 'How is an invoice exported?')).not.toContain(says); // before the index has heard of it
  await indexed();
  expect(await find('acme', 'How is an invoice exported?')).not.toContain(says);
});

test('the newest ten count: what once worked and fails now goes, and what has come to work stays', async () => {
  const [once, now] = [await procedure('Once it worked.'), await procedure('Now it works.')];
  await uses(once, [...Array<boolean>(8).fill(YES), ...Array<boolean>(6).fill(NO)]);
  await uses(now, [NO, NO, YES, YES, YES, YES, NO, NO, NO, NO, NO]);
  expect([await isLive(once), await isLive(now)]).toEqual([true, true]); // 4 of 10 each
  const [last] = await uses(once, [NO]);
  expect([await isLive(once), await isLive(now)]).toEqual([false, true]);
  await say(last!, { resolved: false }); // said again
  expect(await audited(once)).toHaveLength(1);
});

test('a use is cited and its end known; of several words about it the mean counts, and `satisfied` where nothing was said of `resolved`', async () => {
  const memory = await procedure('It may work.');
  await uses(memory, Array<boolean>(10).fill(NO), { cited: false });
  await use(memory);
  await uses(memory, [YES, YES, YES, ...Array<boolean>(6).fill(NO)]);
  const last = await use(memory);
  await say(last, { handlingMs: 5 });
  expect(await isLive(memory)).toBe(true);
  await say(last, { satisfied: true });
  expect(await isLive(memory)).toBe(true); // 4 of 10
  await say(last, { satisfied: false }, second);
  expect([await isLive(memory), await audited(memory)]).toEqual([false, [{ details: { uses: 10, successes: 3.5 } }]]);
});

test('what is pinned or no procedure stays; a key of a user closes the user’s own alone', async () => {
  const [pinned, fact, shared, own] = [await procedure('Pinned.', { pinned: true }), await procedure('A fact.', { type: 'fact' }), await procedure('Shared.', { user: null }), await procedure('Of bob.', { user: 'bob' })];
  for (const memory of [pinned, fact]) await uses(memory, Array<boolean>(11).fill(NO));
  for (const memory of [shared, own]) for (let at = 0; at < 10; at++) await say(await use(memory, { user: 'bob' }), { resolved: false }, bobs);
  expect([await isLive(pinned), await isLive(fact), await isLive(shared), await isLive(own)]).toEqual([true, true, true, false]);
  await say(await use(shared), { resolved: false });
  expect(await isLive(shared)).toBe(false);
});

test('two words at once are both counted', async () => {
  const memory = await procedure('At once.');
  await uses(memory, Array<boolean>(8).fill(NO));
  const both = [await use(memory), await use(memory)];
  const saying = (of: string, then: () => Promise<unknown> = () => Promise.resolve()) => api.store.withTenant({ tenant: 'acme' }, async (tx) => {
    await sayOfRun(tx, { run: of, actor: 'test', resolved: false, satisfied: undefined, handlingMs: undefined });
    const closed = await closeFailed(tx, of);
    await then();
    return closed.length;
  });
  let [late, hasEnded] = [Promise.resolve(0), false];
  const early = await saying(both[0]!, async () => { // not committed yet
    late = saying(both[1]!).finally(() => { hasEnded = true; });
    await eventually('the second waits for the first, or has not waited', async () => hasEnded || (await fleet.rows(`SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)).length > 0);
  });
  expect([early, await late, await isLive(memory)]).toEqual([0, 1, false]);
  expect([hasFailed({ n: 9, yes: 0 }), hasFailed({ n: 10, yes: 4 }), hasFailed({ n: 10, yes: 3.5 })]).toEqual([false, false, true]);
});
