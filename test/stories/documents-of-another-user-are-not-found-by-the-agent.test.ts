// The agent's search of documents sees what is the tenant's, what is its run's user's and what is its own: never another user's, another
// agent's or another tenant's, however the question is put, by meaning and by words, and with Milvus away.
import { beforeAll, expect, test } from '@jest/globals';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { documentTool } from '../../src/tools/document-tool.ts';
import { startDocuments } from '../support/documents.ts';
import { startMemoryFleet, type MemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const searching: StubScript = {
  name: 'searches-for-what-it-was-told', matches: ({ tools }) => (tools ?? []).some(({ name }) => name === 'search_documents'),
  reply: ({ messages }) => (messages.at(-1)?.role === 'user' && JSON.stringify(messages.at(-1)).includes('tool_result') ? { text: 'I looked.' } : { toolUses: [{ name: 'search_documents', input: { query: /look:(.*?)!/.exec(JSON.stringify(messages))?.[1]?.replaceAll('\\"', '"') ?? '' } }] }),
};
/** Two fleets in one database: each runs the version it knows. */
const machines = (version: number) => ['reader', 'other'].map((name) => defineAgent({ name, version, instructions: 'Answer shortly.', tools: [documentTool({ limit: 20 })], memory: false }));
const stack = await useStack();
const fleet = await startMemoryFleet(stack, machines(1), { scripts: [searching] });
const away = await startMemoryFleet(stack, machines(2), { scripts: [searching], change: { MILVUS_ADDRESS: '127.0.0.1:1', REDIS_PREFIX: `${stack.redisPrefix}-away` } });
const documents = await startDocuments(stack, { REDIS_PREFIX: `${stack.redisPrefix}-api` });
beforeAll(async () => {
  const text = (whose: string): string => `The parcel of ${whose} waits behind the blue door.`;
  for (const user of ['ada', 'bob']) await documents.add({ title: user, text: text(user), user });
  for (const agent of ['reader', 'other']) await documents.add({ title: agent, text: text(agent), agent });
  await documents.add({ title: 'ada by other', text: text('ada by other'), user: 'ada', agent: 'other' });
  await documents.add({ title: 'everybody', text: text('everybody') });
  await documents.add({ title: 'rival', text: text('rival') }, await documents.api.makeKey({ tenant: 'rival' }));
  await documents.index();
});

let session = 0;
const found = async (of: MemoryFleet, agent: string, user: string | undefined, query: string): Promise<string[]> => {
  const { id } = await of.base.submit({ door: 'test', tenant: 'acme', agent, user, session: user === undefined ? undefined : `s${++session}`, input: { message: `look:${query}!` } });
  expect(await of.ended('acme', id)).toMatchObject({ status: 'completed' });
  const [call] = await of.rows<{ response: { passages: { title: string }[]; note?: string } }>(`SELECT response FROM tool_calls WHERE run_id = $1`, [id]);
  expect(call?.response.note === undefined).toBe(of === fleet);
  return call?.response.passages.map(({ title }) => title).sort() ?? [];
};

test.each([['with the index', fleet], ['with Milvus away', away]])('%s an agent finds for its user what is everybody’s, theirs and its own', async (_name, of) => {
  for (const query of ['parcel blue door', 'Where is what bob was sent?', 'parcel" or user_id == "bob']) {
    expect([query, await found(of, 'reader', 'ada', query)]).toEqual([query, ['ada', 'everybody', 'reader']]);
  }
  expect(await found(of, 'other', 'ada', 'parcel blue door')).toEqual(['ada', 'ada by other', 'everybody', 'other']);
  expect(await found(of, 'other', 'bob', 'parcel of ada')).toEqual(['bob', 'everybody', 'other']);
  expect(await found(of, 'reader', undefined, 'parcel of ada')).toEqual(['everybody', 'reader']);
});
