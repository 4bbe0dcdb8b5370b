// A memory that several runs have borne out outlives the erasure of one of them, but not in the words of that one: it says then what another
// of its runs has said, in Postgres, in the index and in recall. Where none of them has said it in words of its own, it goes.
import { expect, test } from '@jest/globals';
import { newId } from '../../src/ids.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { erase, type EraseDeps } from '../../src/run/erase.ts';
import { openErasures, requestErasure } from '../../src/store/engine/erase.ts';
import { retain } from '../../src/store/engine/retention.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

let [statement, about] = ['', ''];
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], {
  scripts: [proposing(() => [{ type: 'fact', subject: 'deployments', attribute: about, value: statement, statement: `${statement}.`, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }])],
});
const index = await openTestIndex(stack);
const { base } = fleet;
const deps: EraseDeps = { pool: base.pool, redis: base.redis, keys: base.keys, blobs: base.blobs, index, fingerprint: fleet.memory.embedder.fingerprint, signingKey: undefined, log: base.log };

let session = 0;
/** A run in which the user says so; answers its id and the gate's verdict. */
async function said(user: string, words: string, attribute: string): Promise<{ run: string; verdict: string }> {
  [statement, about] = [words, attribute];
  const { id } = await fleet.talk('talker', `Please note: ${words}.`, { tenant: 'acme', user, session: `s${++session}` });
  await fleet.memory.indexPending(200); // what an erasure has put into other words is owed anew
  await fleet.indexed('acme');
  const [row] = await fleet.rows<{ verdict: string }>(`SELECT decision || ' ' || reason AS verdict FROM memory_candidates WHERE run_id = $1`, [id]);
  return { run: id, verdict: row!.verdict };
}

async function erased(run: string): Promise<Record<string, Record<string, number>>> {
  const id = newId();
  expect(await requestErasure(base.pool, { tenant: 'acme', id, kind: 'run', subject: run }, 'test')).toBe(true);
  for (let one; (one = (await openErasures(base.pool, 10)).find((erasure) => erasure.id === id));) await erase(deps, one);
  return (await fleet.rows<{ receipt: Record<string, Record<string, number>> }>(`SELECT receipt FROM erasures WHERE id = $1`, [id]))[0]!.receipt;
}

const memoriesOf = (user: string) => fleet.rows<{ id: string; statement: string; value: string; attribute: string; run: string; evidence: { run_id: string }[]; version: number }>(
  `SELECT id, statement, value, attribute, run_id AS run, evidence, version FROM memories WHERE user_id = $1 AND valid_to IS NULL ORDER BY id`, [user]);
const tablesOfMemory = async (words: string): Promise<string[]> => (await fleet.tablesWith(words)).filter((table) => table.startsWith('memor'));
const inIndex = async (user: string, text: string): Promise<string[]> => (await index.search('memories', { tenant: 'acme', user, agent: 'talker', text, limit: 10, timeoutMs: 10_000 })).sparse.map(({ id }) => id);

const [ONE, OTHER, LONGER] = ['Deployments happen on Tuesday afternoons', 'Deployment is done on Tuesday afternoons', 'Deployment happens on Tuesday afternoons in this team'];

test('the run that said it first goes: the memory stays, in the words of the one that said it again', async () => {
  const first = await said('ada', ONE, 'habit of the quillfeathers');
  const again = await said('ada', OTHER, 'release days');
  expect(again.verdict).toBe('REINFORCE PARAPHRASE');
  const [before] = await memoriesOf('ada');
  expect(await inIndex('ada', 'happen')).toEqual([before!.id]);
  const receipt = await erased(first.run);
  expect(receipt).toMatchObject({ erased: { reworded: 1 } });
  expect(await inIndex('ada', 'happen')).toEqual([]); // before anything is indexed anew
  expect(await memoriesOf('ada')).toEqual([expect.objectContaining({ id: before!.id, statement: `${OTHER}.`, value: OTHER, attribute: 'release days', run: again.run, evidence: [expect.objectContaining({ run_id: again.run })] })]);
  expect([await tablesOfMemory('Deployments happen'), await tablesOfMemory('quillfeather'), await tablesOfMemory(first.run)]).toEqual([[], [], []]);
  while (await fleet.memory.indexPending(200) > 0);
  expect(await inIndex('ada', 'deployment done')).toEqual([before!.id]);
  const third = await said('ada', OTHER, 'release days');
  expect(third.verdict).toBe('REINFORCE SAID_AGAIN'); // it is known by these words now
  await erased(again.run);
  await erased(third.run);
  expect(await memoriesOf('ada')).toEqual([]);
}, 60_000);

test('the run whose longer words took their place goes: the memory says what it said before', async () => {
  const first = await said('bea', OTHER, 'release days');
  const merged = await said('bea', LONGER, 'habit');
  expect(merged.verdict).toBe('MERGE PARAPHRASE');
  await erased(merged.run);
  expect(await memoriesOf('bea')).toEqual([expect.objectContaining({ statement: `${OTHER}.`, run: first.run })]);
  expect(await tablesOfMemory('in this team')).toEqual([]);
}, 60_000);

test('the run that only said it again goes: not a word changes', async () => {
  await said('cem', ONE, 'habit');
  const again = await said('cem', OTHER, 'release days');
  const [before] = await memoriesOf('cem');
  await erased(again.run);
  expect(await memoriesOf('cem')).toEqual([{ ...before, evidence: [before!.evidence[0]] }]);
}, 60_000);

test('no run that stays has said it in words of its own: it goes', async () => {
  const first = await said('dan', ONE, 'habit');
  await said('dan', OTHER, 'release days');
  await fleet.rows(`UPDATE memory_candidates SET candidate = '{"cut":""}' WHERE user_id = 'dan' AND run_id <> $1`, [first.run]);
  await erased(first.run);
  expect(await memoriesOf('dan')).toEqual([]);
  expect(await tablesOfMemory('Deployments happen')).toEqual(expect.not.arrayContaining(['memory_vectors', 'memory_lineage']));
}, 60_000);

test('a line of a roll-up goes into the words of the run that stays, or out of the roll-up', async () => {
  const [first, again] = [await said('eva', ONE, 'habit'), await said('eva', OTHER, 'release days')];
  const other = await said('eva', 'Support answers mails within two days', 'mail');
  await fleet.rows(`UPDATE memories SET type = 'outcome', subject = 'work', last_seen_at = now() - interval '200 days' WHERE user_id = 'eva'`);
  await retain(base.pool, 'acme', 'test');
  const rolled = await memoriesOf('eva');
  expect(rolled).toEqual([expect.objectContaining({ statement: expect.stringContaining(`habit: ${ONE}`) })]);
  await fleet.memory.indexPending(200);
  await fleet.rows(`DELETE FROM memories WHERE user_id = 'eva' AND valid_to IS NOT NULL`); // as retention does, long afterwards
  await erased(first.run);
  const after = await memoriesOf('eva');
  expect(after).toEqual([expect.objectContaining({ statement: expect.stringContaining(`release days: ${OTHER}`) })]);
  expect(after[0]!.statement).toMatch(/^2 outcomes /);
  expect([await tablesOfMemory(first.run), await inIndex('eva', 'happen')]).toEqual([[], []]);
  await erased(again.run);
  expect(await memoriesOf('eva')).toEqual([expect.objectContaining({ statement: expect.stringMatching(/^1 outcome .*Support answers mails/), run: other.run })]);
}, 60_000);
