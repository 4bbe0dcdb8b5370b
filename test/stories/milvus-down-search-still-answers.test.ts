// Documents are searched while Milvus is away: by full text and by the vectors kept in Postgres, and the answer says that it is degraded. What
// was added meanwhile is owed, and indexed when Milvus is back.
import { expect, test } from '@jest/globals';
import { startDocuments } from '../support/documents.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const documents = await startDocuments(stack);
const away = await startDocuments(stack, { MILVUS_ADDRESS: '127.0.0.1:1', REDIS_PREFIX: `${stack.redisPrefix}-a` });

test('R43: search answers from Postgres, by words and by meaning, and says so', async () => {
  const indexed = await documents.add({ title: 'Returns', text: 'Customers may send goods back within thirty days.' });
  await documents.add({ title: 'Menu', text: 'Soup of the day, dumplings, apple pie.' });
  await documents.index();
  const fresh = await away.add({ title: 'Parking', text: 'Visitors park on level two of the garage.' });
  const byMeaning = await away.search('How long may I take to return a purchase?');
  expect([byMeaning.degraded, byMeaning.semantic, byMeaning.data[0]?.document]).toEqual([true, true, indexed.id]);
  const byWords = await away.search('visitors park');
  expect([byWords.degraded, byWords.data[0]?.document]).toEqual([true, fresh.id]);
  await away.index(); // it cannot
  expect((await documents.list()).find(({ id }) => id === fresh.id)).toMatchObject({ indexed: 0 });
  await documents.index();
  expect((await documents.list()).find(({ id }) => id === fresh.id)).toMatchObject({ indexed: 1 });
  expect((await documents.search('Where do guests leave their cars?')).data[0]?.document).toBe(fresh.id);
});
