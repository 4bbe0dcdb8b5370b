// A document that was added is found: at once by its words, by meaning once it is indexed, each passage with its document, its source and
// the characters it is of. A newer version takes the place of the older one; what was removed is found no more and is in no store.
import { beforeAll, expect, test } from '@jest/globals';
import { parseId } from '../../src/ids.ts';
import { dropRemoved } from '../../src/memory/document-service.ts';
import { reindex } from '../../src/memory/reindex.ts';
import { startDocuments } from '../support/documents.ts';
import { openTestIndex } from '../support/test-index.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const documents = await startDocuments(stack);
const { api } = documents;
const { pool } = api.fleet.base;
const key = await api.makeKey();
const index = await openTestIndex(stack);

const HANDBOOK = [
  '# Handbook of the shop', 'We open at nine and close at six. On Sundays the shop stays shut.',
  'Customers may send goods back within thirty days. The money is transferred to the account it came from.',
  ...Array.from({ length: 30 }, (_, n) => `Paragraph ${n} tells of shelves, of the stock room and of the colour of the walls, which nobody has ever asked for.`),
  'The alarm is switched on by whoever leaves last. Its control stands behind the coffee machine.',
].join('\n\n');
let handbook = '';
beforeAll(async () => {
  handbook = (await documents.add({ title: 'Handbook', text: HANDBOOK, source: 'https://intranet.example/handbook' })).id;
  await documents.add({ title: 'Menu', text: 'Soup of the day, dumplings with sour cream, apple pie.', source: 'menu.md' });
  await documents.add({ title: 'Fleet', text: 'The van is serviced in March. Its tyres are changed in October.' });
  await documents.index();
});

test('what is asked in other words is found by meaning, with its document, its source and its characters', async () => {
  for (const [asked, says] of [['How long do I have to return a purchase?', 'thirty days'], ['Where do I arm the burglar alarm?', 'behind the coffee machine']] as const) {
    const { data: [best], degraded, semantic } = await documents.search(asked);
    expect([degraded, semantic]).toEqual([false, true]);
    expect(best).toMatchObject({ document: handbook, title: 'Handbook', source: 'https://intranet.example/handbook', version: 1, kind: 'document' });
    expect(best?.text).toContain(says);
    expect(HANDBOOK.slice(best?.start, best?.end)).toBe(best?.text);
  }
});

test('before it is indexed a document is found by its words', async () => {
  const added = await documents.add({ title: 'Guest network', text: 'The passphrase of the guest network is on the noticeboard.' });
  expect(added).toMatchObject({ created: true, indexed: 0, chunks: 1 });
  expect((await documents.search('guest network passphrase')).data[0]).toMatchObject({ document: added.id });
  await documents.index();
  expect((await documents.list()).find(({ id }) => id === added.id)).toMatchObject({ indexed: 1 });
});

test('another text of the same source is its next version: only that is found, the older one can still be listed', async () => {
  const first = await documents.add({ title: 'Prices', text: 'A haircut costs twenty euros.', source: 'prices.md' });
  await documents.index();
  const second = await documents.add({ title: 'Prices', text: 'A haircut costs thirty euros.', source: 'prices.md' });
  expect([second.version, second.created]).toEqual([2, true]);
  const found = async (): Promise<string[]> => (await documents.search('What does a haircut cost?')).data.filter(({ title }) => title === 'Prices').map(({ text }) => text);
  expect(await found()).toEqual(['A haircut costs thirty euros.']);
  await documents.index();
  expect(await found()).toEqual(['A haircut costs thirty euros.']);
  expect((await documents.list('?source=prices.md')).map(({ id }) => id)).toEqual([second.id]);
  expect((await documents.list('?source=prices.md&include=replaced')).map(({ id, replacedBy }) => [id, replacedBy])).toEqual([[second.id, null], [first.id, second.id]]);
});

test('what was removed is found no more, and is gone from Postgres and from the index', async () => {
  const { id } = await documents.add({ title: 'Secret recipe', text: 'The cake needs nutmeg and a pinch of smoked salt.' });
  await documents.index();
  const [chunk] = await rows(`SELECT c.id FROM document_chunks c JOIN documents d ON d.id = c.document_id WHERE d.id = $1`, parseId('document', id));
  expect((await index.versions('run_artifacts', 'acme', [String(chunk?.['id'])])).size).toBe(1);
  expect((await api.call('DELETE', `/v1/documents/${id}`, { key })).status).toBe(204);
  expect((await documents.search('nutmeg smoked salt')).data.filter(({ document }) => document === id)).toEqual([]);
  for (const path of ['', '/chunks']) expect((await api.call('GET', `/v1/documents/${id}${path}`, { key })).status).toBe(404);
  expect((await api.call('DELETE', `/v1/documents/${id}`, { key })).status).toBe(404);
  expect(await rows(`SELECT FROM document_chunks WHERE text LIKE '%nutmeg%' UNION ALL SELECT FROM documents WHERE title = 'Secret recipe'`)).toEqual([]);
  await dropRemoved({ pool, index });
  expect((await index.versions('run_artifacts', 'acme', [String(chunk?.['id'])])).size).toBe(0);
  expect(await rows(`SELECT FROM documents WHERE id = $1`, parseId('document', id))).toEqual([]);
});

test('an index that was lost is built anew from Postgres', async () => {
  const held = (await index.ids('run_artifacts', 'acme')).map(({ id }) => id).sort();
  expect(held.length).toBeGreaterThan(5);
  await index.deleteEverywhere('run_artifacts', 'acme', held);
  expect((await documents.search('How long do I have to return a purchase?')).data.filter(({ document }) => document === handbook)).toEqual([]);
  const { drift } = await reindex({ pool, index, embedder: documents.memory.embedder }, () => undefined);
  expect(drift.find(({ collection }) => collection === 'run_artifacts')).toEqual({ collection: 'run_artifacts', rows: held.length, missing: 0, ghosts: 0 });
  expect((await index.ids('run_artifacts', 'acme')).map(({ id }) => id).sort()).toEqual(held);
  expect((await documents.search('How long do I have to return a purchase?')).data[0]?.document).toBe(handbook);
});

test('each read and each change leaves its line in the audit log, with ids and without words', async () => {
  const lines = await rows(`SELECT action, details::text AS details FROM audit_events WHERE action LIKE 'document.%'`);
  expect(new Set(lines.map(({ action }) => action))).toEqual(new Set(['document.added', 'document.read', 'document.removed']));
  expect(lines.filter(({ details }) => /haircut|nutmeg|purchase/.test(String(details)))).toEqual([]);
});

async function rows(text: string, ...values: unknown[]): Promise<Record<string, unknown>[]> { return api.fleet.rows(text, values); }
