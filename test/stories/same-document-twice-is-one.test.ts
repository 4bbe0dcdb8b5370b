// The same document is one row however often it is sent, one after the other or all at once; so is a source: of many versions sent at
// once exactly one is live. Another owner, agent, source or title makes another document.
import { expect, test } from '@jest/globals';
import { startDocuments } from '../support/documents.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const documents = await startDocuments(stack);
const count = async (where: string): Promise<number> => (await documents.api.fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM documents d WHERE ${where}`))[0]?.n ?? -1;

test('sent again it is the document that is there', async () => {
  const body = { title: 'Rules', text: 'Be kind. Lock the door.', source: 'rules.md', user: 'ada', agent: 'helper' };
  const first = await documents.add(body);
  expect(first.created).toBe(true);
  expect(await documents.add(body)).toEqual({ ...first, created: false });
  for (const other of [{ user: 'bob' }, { agent: 'other' }, { source: 'more.md' }]) expect((await documents.add({ ...body, ...other })).created).toBe(true);
  expect(await documents.add({ ...body, title: 'House rules' })).toMatchObject({ created: true, version: 2 });
  expect(await documents.add(body)).toMatchObject({ created: true, version: 3 }); // back to the first text is a version too
});

test('sent twelve times at once it is one, with its chunks once', async () => {
  const body = { title: 'At once', text: 'A sentence about lighthouses. '.repeat(200) };
  const all = await Promise.all(Array.from({ length: 12 }, () => documents.add(body)));
  expect(new Set(all.map(({ id }) => id)).size).toBe(1);
  expect(all.filter(({ created }) => created)).toHaveLength(1);
  expect(await count(`title = 'At once'`)).toBe(1);
  expect(await count(`title = 'At once' AND chunks = (SELECT count(*) FROM document_chunks c WHERE c.document_id = d.id)`)).toBe(1);
});

test('of eight texts of one source sent at once one is live, and each knows what took its place', async () => {
  const all = await Promise.all(Array.from({ length: 8 }, (_, n) => documents.add({ title: 'Race', text: `Text number ${n}.`, source: 'race.md' })));
  expect(all.map(({ version }) => version).sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(await count(`title = 'Race' AND closed_at IS NULL`)).toBe(1);
  expect(await count(`title = 'Race' AND closed_at IS NOT NULL AND EXISTS (SELECT FROM documents n WHERE n.id = d.replaced_by AND n.version = d.version + 1)`)).toBe(7);
  expect(await count(`title = 'Race' AND (closed_at IS NULL) <> EXISTS (SELECT FROM document_chunks c WHERE c.document_id = d.id AND c.closed_at IS NULL)`)).toBe(0);
});
