// The stub's batch endpoints, through the SDK as production would use it. What holds of the real ones is said in the tests' names;
// test/model-contract.test.ts asks the real ones as well.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import Anthropic from '@anthropic-ai/sdk';
import { startModelStub, type ModelStub } from '../src/dev/model-stub/server.ts';

let stub: ModelStub;
let client: Anthropic;
beforeAll(async () => {
  stub = await startModelStub();
  client = new Anthropic({ apiKey: 'stub', baseURL: stub.url, maxRetries: 0, logLevel: 'off' });
});
beforeEach(() => stub.reset());
afterAll(() => stub.stop());

type Params = Anthropic.MessageCreateParamsNonStreaming;
const params = (text: string, given: Partial<Params> = {}): Params => ({ model: 'claude-sonnet-5-5', max_tokens: 200, messages: [{ role: 'user', content: text }], ...given });
const create = (...texts: string[]): Promise<Anthropic.Messages.MessageBatch> => client.messages.batches.create({ requests: texts.map((text, index) => ({ custom_id: `item_${index}`, params: params(text) })) });

async function resultsOf(id: string): Promise<Anthropic.Messages.MessageBatchIndividualResponse[]> {
  const results = [];
  for await (const line of await client.messages.batches.results(id)) results.push(line);
  return results;
}
const typesOf = (results: readonly Anthropic.Messages.MessageBatchIndividualResponse[]): Record<string, string> => Object.fromEntries(results.map(({ custom_id: id, result }) => [id, result.type]));

describe('the life of a batch', () => {
  test('until it has ended every item counts as processing, no custom id is told, and there are no results', async () => {
    stub.batches.plan({ endsAfterMs: 'held' });
    const batch = await create('One', 'Two');
    expect(batch).toMatchObject({ processing_status: 'in_progress', results_url: null, ended_at: null, request_counts: { processing: 2, succeeded: 0, errored: 0, canceled: 0, expired: 0 } });
    const listed = await client.messages.batches.list();
    expect(listed.data).toEqual([batch]);
    expect(JSON.stringify(listed.data)).not.toContain('item_0');
    await expect(client.messages.batches.results(batch.id)).rejects.toThrow('results_url');
    await expect(fetch(`${stub.url}/v1/messages/batches/${batch.id}/results`, { headers: { 'x-api-key': 'k' } }).then(({ status }) => status)).resolves.toBe(404);
  });

  test('an ended one gives each item its own result, not in the order they were sent, at the tier of batches', async () => {
    stub.batches.plan({ endsAfterMs: 'held' });
    const { id } = await create('One', 'Two', 'Three');
    stub.batches.end(id);
    const results = await resultsOf(id);
    expect(results.map(({ custom_id: item }) => item)).toEqual(['item_2', 'item_1', 'item_0']);
    for (const { custom_id: item, result } of results) {
      expect(result).toMatchObject({ type: 'succeeded', message: { stop_reason: 'end_turn', usage: { service_tier: 'batch' }, content: [{ type: 'text', text: `You said: ${['One', 'Two', 'Three'][Number(item.slice(5))]}` }] } });
    }
    expect(await client.messages.batches.retrieve(id)).toMatchObject({ processing_status: 'ended', request_counts: { processing: 0, succeeded: 3 }, ended_at: expect.any(String) });
  });

  test('part of it fails: what is wrong with an item, what a script says, and what expired stand side by side', async () => {
    stub.tell({ when: 'busy', turns: [{ text: 'later', faults: [{ kind: 'overloaded' }] }] });
    stub.batches.plan({ endsAfterMs: 0 });
    const { id } = await client.messages.batches.create({
      requests: [
        { custom_id: 'fine', params: params('Hello') },
        { custom_id: 'wrong', params: params('Hello', { max_tokens: 0 }) },
        { custom_id: 'busy', params: params('I am busy') },
      ],
    });
    const results = await resultsOf(id);
    expect(typesOf(results)).toEqual({ fine: 'succeeded', wrong: 'errored', busy: 'errored' });
    const errorOf = (item: string): unknown => results.find(({ custom_id: name }) => name === item)?.result;
    expect(errorOf('wrong')).toMatchObject({ error: { type: 'error', error: { type: 'invalid_request_error' } } });
    expect(errorOf('busy')).toMatchObject({ error: { error: { type: 'overloaded_error' } } });
    expect(await client.messages.batches.retrieve(id)).toMatchObject({ request_counts: { succeeded: 1, errored: 2 } });
  });

  test('a cancelled one is canceling first; what was answered by then stays answered', async () => {
    stub.batches.plan({ endsAfterMs: 'held', answeredEarly: 1, cancelTakesMs: 60_000 });
    const slow = await create('One', 'Two');
    expect(await client.messages.batches.cancel(slow.id)).toMatchObject({ processing_status: 'canceling', cancel_initiated_at: expect.any(String), request_counts: { processing: 2 } });
    stub.batches.plan({ endsAfterMs: 'held', answeredEarly: 1 });
    const { id } = await create('One', 'Two', 'Three');
    await client.messages.batches.cancel(id);
    expect(typesOf(await resultsOf(id))).toEqual({ item_0: 'succeeded', item_1: 'canceled', item_2: 'canceled' });
    expect(await client.messages.batches.cancel(id)).toMatchObject({ processing_status: 'ended', request_counts: { succeeded: 1, canceled: 2 } });
  });

  test('one that expires ends with what was not answered as expired', async () => {
    stub.batches.plan({ endsAfterMs: 'held', expiresAfterMs: 0, answeredEarly: 1 });
    const { id } = await create('One', 'Two');
    expect(typesOf(await resultsOf(id))).toEqual({ item_0: 'succeeded', item_1: 'expired' });
  });

  test('a conversation goes on in a batch as it does live, tools and all', async () => {
    stub.tell({ when: 'order', turns: [{ thinking: 'Hm.', toolUses: [{ name: 'find', input: { id: 7 } }, { name: 'find', input: { id: 8 } }] }, { text: 'Both are there.' }] });
    stub.batches.plan({ endsAfterMs: 0 });
    const tools: Anthropic.Tool[] = [{ name: 'find', input_schema: { type: 'object', properties: { id: { type: 'number' } } } }];
    const first = await client.messages.batches.create({ requests: [{ custom_id: 'turn', params: params('My order', { tools }) }] });
    const { result } = (await resultsOf(first.id))[0] ?? {};
    if (result?.type !== 'succeeded') throw new Error('not answered');
    const { content, stop_reason: reason } = result.message;
    expect([reason, content.map(({ type }) => type)]).toEqual(['tool_use', ['thinking', 'tool_use', 'tool_use']]);
    const uses = content.filter((block): block is Anthropic.ToolUseBlock => block.type === 'tool_use');
    const live = await client.messages.create(params('', { tools, messages: [{ role: 'user', content: 'My order' }, { role: 'assistant', content }, { role: 'user', content: uses.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: 'yes' })) }] }));
    expect(live.content).toMatchObject([{ text: 'Both are there.' }]);
  });
});

describe('the endpoints', () => {
  test('list pages from the newest to the oldest', async () => {
    for (const text of ['a', 'b', 'c', 'd', 'e']) await create(text);
    const ids = [];
    for await (const batch of client.messages.batches.list({ limit: 2 })) ids.push(batch.id);
    expect(ids).toEqual(stub.batches.all().map(({ id }) => id).reverse());
    const page = await client.messages.batches.list({ limit: 2, before_id: ids[3] as string });
    expect(page.data.map(({ id }) => id)).toEqual(ids.slice(1, 3));
  });

  test('refuse what the real ones refuse', async () => {
    const one = { custom_id: 'a', params: params('x') };
    for (const requests of [[], [one, one], [{ ...one, custom_id: 'a b' }], [{ ...one, custom_id: 'x'.repeat(65) }]]) {
      await expect(client.messages.batches.create({ requests })).rejects.toBeInstanceOf(Anthropic.BadRequestError);
    }
    for (const call of [client.messages.batches.retrieve('msgbatch_no'), client.messages.batches.cancel('msgbatch_no'), client.messages.batches.delete('msgbatch_no')]) {
      await expect(call).rejects.toBeInstanceOf(Anthropic.NotFoundError);
    }
    const { id } = await create('x');
    await expect(client.messages.batches.delete(id)).rejects.toBeInstanceOf(Anthropic.BadRequestError);
    stub.batches.end();
    expect(await client.messages.batches.delete(id)).toEqual({ id, type: 'message_batch_deleted' });
  });

  test('an answer that is lost leaves its batch behind; a fault before it leaves none', async () => {
    stub.addFault({ kind: 'overloaded', on: 'batch_create' });
    await expect(create('One')).rejects.toMatchObject({ status: 529 });
    expect(stub.batches.all()).toHaveLength(0);
    stub.addFault({ kind: 'answer_lost', on: 'batch_create' });
    await expect(create('One', 'Two')).rejects.toBeInstanceOf(Anthropic.APIConnectionError);
    const { data } = await client.messages.batches.list();
    expect(data).toMatchObject([{ request_counts: { processing: 2 } }]);
    expect(stub.calls('batch_create').map(({ status }) => status)).toEqual([529, 200]);
    expect(stub.calls()).toHaveLength(0);
  });

  test('results may break off in the middle of a line and be asked for again', async () => {
    stub.batches.plan({ endsAfterMs: 0 });
    const { id } = await create('One', 'Two');
    stub.addFault({ kind: 'disconnect', on: 'batch_results' });
    await expect(resultsOf(id)).rejects.toThrow();
    expect(Object.keys(typesOf(await resultsOf(id)))).toHaveLength(2);
  });
});
