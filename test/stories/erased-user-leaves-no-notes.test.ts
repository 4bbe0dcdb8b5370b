// What was read out of a user's documents for memory goes with the user: notes, verdicts, what the model was told, vectors, the runs that
// read; also a reading that is owed, under way, or handed out while the erasure goes through. Others' notes stay. Notes for an agent are
// that agent's alone, and go with their document.
import { expect, test } from '@jest/globals';
import { newId, parseId, publicId } from '../../src/ids.ts';
import { submitReadings } from '../../src/memory/document-service.ts';
import { rankFound, searchIndex } from '../../src/memory/find-memories.ts';
import { erase, type EraseDeps } from '../../src/run/erase.ts';
import { openErasures, requestErasure, type ErasureKind } from '../../src/store/engine/erase.ts';
import { read } from '../../workers/assemble-memory.ts';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import { eventually } from '../support/agent-process.ts';
import { startDocuments } from '../support/documents.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const FACT = /The (\S+) workshop closes at nine\./;
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [], {
  scripts: [{
    name: 'reader', matches: (request) => memoryExtraction.matches(request),
    reply: ({ messages }) => {
      const [, name = '', statement = ''] = (([all, one]) => ['', one ?? '', all ?? ''])(FACT.exec(JSON.stringify(messages)) ?? []);
      return { json: { summary: { goal: 'g', result: 'r', decisions: [], open_items: [] }, candidates: [{ type: 'fact', subject: `${name} workshop`, attribute: 'closing time', value: 'nine', statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'tool', stated_or_inferred: 'stated', confidence: 'high', scope: 'workspace' }] } };
    },
  }],
});
const { base } = fleet;
const documents = await startDocuments(stack, { REDIS_PREFIX: `${stack.redisPrefix}-api` });
const index = await openTestIndex(stack);
const { embedder } = fleet.memory;
const deps: EraseDeps = { pool: base.pool, redis: base.redis, keys: base.keys, blobs: base.blobs, index, fingerprint: embedder.fingerprint, signingKey: undefined, log: base.log };

const uuid = (id: string): string => parseId('document', id) ?? '';
const add = async (workshop: string, over: object = {}): Promise<string> => uuid((await documents.add({ title: `Notice of ${workshop}`, text: `The ${workshop} workshop closes at nine.`, extract: true, ...over })).id);
const submit = (reading = read): Promise<void> => submitReadings({ pool: base.pool, read: (one, part) => reading(base, one, part) });
const readings = (document: string) => fleet.rows<{ id: string; status: string }>(`SELECT id, status::text FROM agent_runs WHERE agent = 'mainstay.read_document' AND input ->> 'document' = $1`, [document]);
async function noted(workshop: string, over: object = {}): Promise<string> {
  const document = await add(workshop, over);
  await submit();
  await eventually('it is read', async () => { const runs = await readings(document); return runs.length === 1 && runs[0]?.status === 'completed'; });
  while ((await fleet.memory.indexPending(200)) > 0);
  expect(await notes(workshop)).toHaveLength(1);
  return document;
}
const notes = (workshop: string) => fleet.rows<{ id: string; scope: string; user: string | null; agent: string | null }>(`SELECT id, scope::text, user_id AS "user", agent FROM memories WHERE statement LIKE '%' || $1 || '%' AND valid_to IS NULL`, [workshop]);
const inIndex = async (): Promise<string[]> => [...await index.ids('memories', 'acme'), ...await index.ids('run_artifacts', 'acme')].map(({ id }) => id).sort();
const owner = async (): Promise<string[]> => (await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE valid_to IS NULL UNION ALL SELECT id FROM document_chunks WHERE closed_at IS NULL ORDER BY id`)).map(({ id }) => id);

async function erased(kind: ErasureKind, subject: string): Promise<Record<string, Record<string, number>>> {
  const id = newId();
  expect(await requestErasure(base.pool, { tenant: 'acme', id, kind, subject }, 'test')).toBe(true);
  await carryOut();
  return (await fleet.rows<{ receipt: Record<string, Record<string, number>> }>(`SELECT receipt FROM erasures WHERE id = $1`, [id]))[0]!.receipt;
}
async function carryOut(): Promise<void> {
  for (let open; (open = await openErasures(base.pool, 100)).length > 0;) for (const one of open) await erase(deps, one);
}
/** Tables that still name the user, beside those that say who was erased. */
const named = async (user: string): Promise<string[]> => (await fleet.tablesWith(`"${user}"`)).filter((table) => !['audit_events', 'erasures'].includes(table));
const find = async (query: string, agent: string, user?: string): Promise<string[]> => {
  const from = { store: documents.api.store, index, embedder, log: base.log };
  const request = { tenant: 'acme', user, agent, query };
  const searched = await searchIndex(from, request);
  expect(searched.degraded).toBe(false);
  return (await from.store.withTenant({ tenant: 'acme', user }, (tx) => rankFound(from, tx, request, searched))).scored.map(({ row }) => row.statement);
};

test('the user’s notes go with the user, in every store; another’s and the workspace’s stay', async () => {
  await noted('quillfeather', { user: 'ada' });
  await noted('bobbin', { user: 'bob' });
  await noted('common');
  const receipt = await erased('user', 'ada');
  expect(receipt).toMatchObject({ erased: { documents: 1, chunks: 1, memories: 1, verdicts: 1 } });
  expect(await fleet.tablesWith('quillfeather')).toEqual([]);
  expect(await named('ada')).toEqual([]);
  expect(await inIndex()).toEqual(await owner());
  expect([await notes('bobbin'), await notes('common')].map((of) => of.map(({ scope, user }) => [scope, user]))).toEqual([[['user', 'bob']], [['workspace', null]]]);
  expect(await find('When does the common workshop close?', 'helper', 'bob')).toEqual(expect.arrayContaining(['The common workshop closes at nine.', 'The bobbin workshop closes at nine.']));
});

test('a reading that is owed is never begun, and one under way ends without a note', async () => {
  await add('owedquill', { user: 'cleo' });
  const under = await add('stalledquill', { user: 'dora' });
  await fleet.rows(`UPDATE documents SET notes_due = NULL WHERE user_id = 'cleo'`); // only dora's is handed out
  fleet.stub.addFault({ kind: 'stall_with_pings' });
  await submit();
  await fleet.rows(`UPDATE documents SET notes_due = true WHERE user_id = 'cleo'`);
  await eventually('the model is at it', () => Promise.resolve(fleet.stub.calls().some(({ fault }) => fault === 'stall_with_pings')));
  const [run] = await readings(under);
  await erased('user', 'cleo');
  await erased('user', 'dora');
  await submit();
  expect(await fleet.run('acme', run!.id)).toMatchObject({ status: 'cancelled', output: null });
  expect([await fleet.tablesWith('owedquill'), await fleet.tablesWith('stalledquill'), await named('cleo'), await named('dora')]).toEqual([[], [], [], []]);
});

test('a reading that was handed out before the erasure and submitted after it leaves nobody’s name', async () => {
  const document = await add('latequill', { user: 'eva' });
  await submit(async (...late) => { await erased('user', 'eva'); return read(...late); });
  const [run] = await readings(document);
  if (run) await fleet.ended('acme', run.id);
  await carryOut();
  expect([await fleet.tablesWith('latequill'), await named('eva'), await readings(document)]).toEqual([[], [], []]);
});

test('notes of an agent’s document are found by that agent, for any user, and by no other; they outlive a user, and go with the document', async () => {
  const document = await noted('helperquill', { agent: 'helper' });
  expect((await notes('helperquill')).map(({ scope, user, agent }) => [scope, user, agent])).toEqual([['agent', null, 'helper']]);
  expect((await readings(document)).length).toBe(1);
  const says = 'The helperquill workshop closes at nine.';
  const asked = 'When does the helperquill workshop close?';
  expect([await find(asked, 'helper', 'bob'), await find(asked, 'helper')].map((of) => of.includes(says))).toEqual([true, true]);
  expect([await find(asked, 'other', 'bob'), await find(asked, 'other')].map((of) => of.includes(says))).toEqual([false, false]);
  await erased('user', 'bob');
  expect(await find(asked, 'helper')).toContain(says);
  const key = await documents.api.makeKey();
  expect((await documents.api.call('DELETE', `/v1/documents/${publicId('document', document)}`, { key })).status).toBe(204);
  expect(await find(asked, 'helper')).not.toContain(says);
});
