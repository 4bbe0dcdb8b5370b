// The checker itself: for each invariant a state that breaks it is made by hand, and the claim of that name must break and no
// other row's honest state with it. A checker that finds nothing would let every fault pass.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { check } from './check.ts';
import { Grounds, type Ground } from './ground.ts';
import { defineRow, type Claim } from './row.ts';
import { runRows } from './run-rows.ts';
import { Watch } from './watch.ts';

const grounds = new Grounds('short', 1);
let ground: Ground;
let id = '';
const nothing = defineRow({ id: 'R0', title: 'no fault', short: {}, full: {}, inject: () => Promise.resolve({ landed: {}, held: [] }) });

beforeAll(async () => {
  ground = await grounds.ground(nothing);
  await ground.worker();
  const runs = await ground.submitMany(4, [[{ do: 'keyed', line: 'a' }], [{ do: 'unkeyed', line: 'b' }], [{ do: 'read', line: 'c' }]]);
  id = runs[0]?.id ?? '';
  await ground.rest();
  await ground.until('every step was seen', () => ground.watch.seen, (seen) => seen === 12);
}, 120_000);
afterAll(async () => {
  await ground.close();
  await grounds.close();
}, 60_000);

const broken = async (): Promise<string[]> => (await check(ground)).filter(({ ok }) => !ok).map(({ claim }: Claim) => claim.split(' ')[0] ?? '');
/** Breaks something, looks, and puts it back. */
async function brokenBy(breaks: () => unknown, mends: () => unknown): Promise<string[]> {
  await breaks();
  try { return await broken(); } finally { await mends(); }
}
/** Past the triggers that forbid all this. */
const sql = (text: string): Promise<unknown> => ground.rows(`BEGIN; SET LOCAL session_replication_role = replica; ${text.replaceAll('$id', `'${id}'`)}; COMMIT`);

test('an honest state breaks nothing', async () => { expect(await broken()).toEqual([]); });

test('a run that was accepted and is gone: I1', async () => {
  expect(await brokenBy(() => ground.accepts.push({ tenant: 'acme', key: 'ghost', id: '00000000-0000-7000-8000-000000000000', atMs: 0 }), () => ground.accepts.pop())).toEqual(['I1']);
});

test('a run that nobody submitted: I1', async () => {
  const taken = ground.accepts.splice(0, 1);
  expect(await brokenBy(() => undefined, () => ground.accepts.unshift(...taken))).toEqual(['I1']);
});

test('a second terminal event: I1', async () => {
  expect(await brokenBy(() => sql(`INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, 999, 'run.failed' FROM agent_runs WHERE id = $id`), () => sql(`DELETE FROM run_events WHERE seq = 999`))).toEqual(['I1']);
});

test('one key answered with two ids: I3', async () => {
  const [first, second] = ground.accepts;
  expect(await brokenBy(() => ground.accepts.push({ ...first!, id: second!.id }), () => ground.accepts.pop())).toEqual(['I3']);
});

test('a gap in the steps: I4', async () => {
  expect(await brokenBy(() => sql(`UPDATE run_steps SET seq = 9 WHERE run_id = $id AND seq = 2`), () => sql(`UPDATE run_steps SET seq = 2 WHERE run_id = $id AND seq = 9`))).toContain('I4');
});

test('a recorded step that was written again: I4', async () => {
  const change = (ms: string): Promise<unknown> => sql(`UPDATE run_steps SET duration_ms = duration_ms ${ms} WHERE run_id = $id AND seq = 2`);
  expect(await brokenBy(() => change('+ 1'), () => change('- 1'))).toEqual(['I4']);
});

test('a step under a fence older than the one before it: I5', async () => {
  const broke = await brokenBy(() => sql(`UPDATE run_steps SET fence = fence + 1000 WHERE run_id = $id AND seq = 1`), () => sql(`UPDATE run_steps SET fence = fence - 1000 WHERE run_id = $id AND seq = 1`));
  expect(broke).toContain('I5');
});

test('a step that comes under an older fence after a takeover was seen: I6', async () => {
  const watch = new Watch(ground.rows, 30);
  watch.start();
  const looked = async (): Promise<void> => { const before = watch.looks; await ground.until('two more looks', () => watch.looks, (looks) => looks >= before + 2); };
  await looked();
  await sql(`UPDATE agent_runs SET fence = sign(fence) * 1000000 WHERE id = $id`);
  await looked();
  await sql(`INSERT INTO run_steps (tenant_id, run_id, seq, event_seq, fence, name, duration_ms) SELECT tenant_id, id, 77, 77, 5, 'late', 1 FROM agent_runs WHERE id = $id`);
  await looked();
  await watch.stop();
  expect(watch.fences().ok).toBe(false);
  await sql(`DELETE FROM run_steps WHERE run_id = $id AND seq = 77`);
});

test('an effect applied twice: I7', async () => {
  expect(await brokenBy(() => ground.sink.effects.push({ ...ground.sink.effects[0]! }), () => ground.sink.effects.pop())).toEqual(['I7']);
});

test('an effect that no ledger row knows: I8', async () => {
  expect(await brokenBy(() => ground.sink.effects.push({ kind: 'unkeyed', key: 'unheard of', run: id, line: 'z' }), () => ground.sink.effects.pop())).toEqual(['I8']);
});

test('a run held by nobody alive: I17', async () => {
  const row = await ground.rows<{ finished: string }>(`SELECT finished_at::text AS finished FROM agent_runs WHERE id = '${id}'`);
  const broke = await brokenBy(
    () => sql(`UPDATE agent_runs SET status = 'running', finished_at = NULL, claimed_by = gen_random_uuid(), step_deadline_at = now() + interval '1 hour', pool = 'nobody' WHERE id = $id`),
    () => sql(`UPDATE agent_runs SET status = 'completed', finished_at = '${row[0]?.finished}', claimed_by = NULL, step_deadline_at = NULL WHERE id = $id`),
  );
  expect(broke).toEqual(expect.arrayContaining(['I1', 'I17']));
});

test('a row whose fault did not land fails, whatever held', async () => {
  const { verdicts, done } = runRows([nothing], { form: 'short', seed: 1, together: 1 });
  expect(await verdicts.get('R0')).toMatchObject({ ok: false });
  await done;
}, 120_000);
