// What the product takes for granted of the Messages API, asked through its own adapter and SDK: of the stub always, of the real
// one where ANTHROPIC_API_KEY is set (a few cents on a small model). What holds of one and not of the other is a fault of the stub.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import Anthropic from '@anthropic-ai/sdk';
import { startModelStub, type ModelStub } from '../src/dev/model-stub/server.ts';
import { isUnbilled } from '../src/domain/model-failure.ts';
import { textOf, type Model, type ModelMessage, type ModelRequest, type ModelTool, type ModelTurn, type ToolUseBlock } from '../src/domain/model.ts';
import { makeLog } from '../src/log.ts';
import { makeAnthropicModel } from '../src/model/anthropic.ts';

interface Target { readonly model: string; readonly apiKey: string; readonly url: string; stop(): Promise<void> }

const KEY = process.env['ANTHROPIC_API_KEY'];
const REAL_URL = process.env['ANTHROPIC_BASE_URL'] ?? 'https://api.anthropic.com';
const PROMPTS = {
  twoTools: 'Look up the weather of Porto and of Lisbon: call the tool twice in one turn, once for each, and say nothing else.',
  longStory: 'Write a story of five hundred words about a lighthouse.',
  colour: 'Name the colour of grass, in lower case.',
};
const weather: ModelTool = { name: 'weather', description: 'The weather of a city, right now.', inputSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false } };
const user = (text: string): ModelMessage => ({ role: 'user', content: [{ type: 'text', text }] });
const failureOf = (call: Promise<unknown>): Promise<{ code: string; message: string }> => call.then(() => { throw new Error('the call did not fail'); }, (error: unknown) => error as { code: string; message: string });

async function stubTarget(): Promise<Target> {
  const stub: ModelStub = await startModelStub();
  stub.tell({ when: PROMPTS.twoTools, turns: [{ toolUses: [{ name: 'weather', input: { city: 'Porto' } }, { name: 'weather', input: { city: 'Lisbon' } }] }, { text: 'It rains in Porto, and the sun shines in Lisbon.' }] });
  stub.tell({ when: PROMPTS.longStory, turns: [{ text: 'Once upon a', stopReason: 'max_tokens' }] });
  stub.tell({ when: PROMPTS.colour, turns: [{ json: { colour: 'green' } }] });
  stub.batches.plan({ endsAfterMs: 'held' });
  return { model: 'claude-haiku-4-5', apiKey: 'stub', url: stub.url, stop: () => stub.stop() };
}

describe('the stub', () => { contract(stubTarget, 5_000); });
(KEY ? describe : describe.skip)(`the real API${KEY ? '' : ' (not asked: ANTHROPIC_API_KEY is not set)'}`, () => {
  contract(() => Promise.resolve({ model: 'claude-haiku-4-5', apiKey: KEY ?? '', url: REAL_URL, stop: () => Promise.resolve() }), 120_000);
});

function contract(connect: () => Promise<Target>, patienceMs: number): void {
  let target: Target;
  let model: Model;
  let client: Anthropic;
  const adapter = (apiKey: string): Model => makeAnthropicModel({ apiKey, baseUrl: target.url, log: makeLog('silent', 'test') });
  const turn = (given: Partial<ModelRequest>, by = model): Promise<ModelTurn> => by.turn({ model: target.model, system: 'You are terse.', messages: [user('Hello')], maxTokens: 400, ...given }, { signal: new AbortController().signal });
  beforeAll(async () => {
    target = await connect();
    model = adapter(target.apiKey);
    client = new Anthropic({ apiKey: target.apiKey, baseURL: target.url, maxRetries: 0, logLevel: 'off' });
  });
  afterAll(() => target.stop());

  test('a turn has text, a stop reason, an id and counts', async () => {
    const answer = await turn({});
    expect(textOf(answer.content)).not.toBe('');
    expect(answer).toMatchObject({ stopReason: 'end_turn', requestId: expect.stringMatching(/^req_/) });
    expect(answer.usage.inputTokens + answer.usage.cacheReadTokens + answer.usage.cacheWrite5mTokens).toBeGreaterThan(5);
    expect(answer.usage.outputTokens).toBeGreaterThan(0);
  }, patienceMs);

  test('tools are called in parallel and their results, in one message, end the turn', async () => {
    const first = await turn({ messages: [user(PROMPTS.twoTools)], tools: [weather] });
    const uses = first.content.filter((block): block is ToolUseBlock => block.type === 'tool_use');
    expect([first.stopReason, uses.map(({ input }) => input)]).toEqual(['tool_use', [{ city: 'Porto' }, { city: 'Lisbon' }]]);
    const results: ModelMessage = { role: 'user', content: [{ type: 'tool_result', tool_use_id: uses[0]?.id ?? '', content: 'rain' }, { type: 'tool_result', tool_use_id: uses[1]?.id ?? '', content: 'no station', is_error: true }] };
    const second = await turn({ messages: [user(PROMPTS.twoTools), { role: 'assistant', content: first.content }, results], tools: [weather] });
    expect([second.stopReason, textOf(second.content)]).toEqual(['end_turn', expect.stringContaining('Porto')]);
    const steered = await turn({ messages: [user(PROMPTS.twoTools), { role: 'assistant', content: first.content }, { role: 'user', content: [...results.content, { type: 'text', text: 'Thank you.' }] }], tools: [weather] });
    expect(steered.content.length).toBeGreaterThan(0); // a text may follow the results in their message
  }, patienceMs);

  test('max_tokens ends a turn with what there is', async () => {
    const answer = await turn({ messages: [user(PROMPTS.longStory)], maxTokens: 16 });
    expect([answer.stopReason, textOf(answer.content) !== '']).toEqual(['max_tokens', true]);
  }, patienceMs);

  test('an answer by schema is JSON of that schema', async () => {
    const outputSchema = { type: 'object', properties: { colour: { type: 'string' } }, required: ['colour'], additionalProperties: false };
    expect(JSON.parse(textOf((await turn({ messages: [user(PROMPTS.colour)], outputSchema })).content))).toEqual({ colour: 'green' });
  }, patienceMs);

  test('a marked prefix is written once and then read, each token under one heading', async () => {
    const system = `Call ${Math.random()}. ${'The lighthouse keeper writes down the weather of every hour of the day. '.repeat(500)}`; // above every model's least
    const first = await turn({ system, context: 'a' });
    const second = await turn({ system, context: 'b' });
    expect(first.usage.cacheReadTokens).toBe(0);
    expect(first.usage.cacheWrite5mTokens).toBeGreaterThan(4_096);
    expect(second.usage).toMatchObject({ cacheReadTokens: first.usage.cacheWrite5mTokens, cacheWrite5mTokens: 0 });
  }, patienceMs);

  test('what cannot succeed is refused, unbilled, with its reason', async () => {
    const wrongKey = await failureOf(turn({}, adapter('invalid')));
    expect([wrongKey.code, isUnbilled(wrongKey)]).toEqual(['model_rejected', true]);
    const orphan = [user('Go'), { role: 'assistant' as const, content: [{ type: 'tool_use' as const, id: 'toolu_0123', name: 'weather', input: { city: 'Porto' } }] }, user('And?')];
    expect(await failureOf(turn({ messages: orphan, tools: [weather] }))).toMatchObject({ code: 'model_rejected', message: expect.stringContaining('toolu_0123') });
    expect(await failureOf(turn({ messages: [user('Hi'), { role: 'assistant', content: [{ type: 'text', text: 'Well,' }] }], model: 'claude-sonnet-5-5' }))).toMatchObject({ code: 'model_rejected' });
  }, patienceMs);

  test('tokens are counted without an answer', async () => {
    expect((await client.messages.countTokens({ model: target.model, messages: [{ role: 'user', content: 'Hello there' }] })).input_tokens).toBeGreaterThan(2);
  }, patienceMs);

  test('a batch shows nothing of its items before its end, is found in the list, and can be cancelled', async () => {
    const batch = await client.messages.batches.create({ requests: [{ custom_id: 'contract_one', params: { model: target.model, max_tokens: 16, messages: [{ role: 'user', content: 'Hello' }] } }] });
    expect(batch).toMatchObject({ type: 'message_batch', processing_status: 'in_progress', results_url: null, request_counts: { processing: 1, succeeded: 0, errored: 0, canceled: 0, expired: 0 } });
    const { data } = await client.messages.batches.list({ limit: 20 });
    expect(data.map(({ id }) => id)).toContain(batch.id);
    expect(JSON.stringify(data)).not.toContain('contract_one');
    const cancelled = await client.messages.batches.cancel(batch.id);
    expect(['canceling', 'ended']).toContain(cancelled.processing_status);
  }, patienceMs);
}
