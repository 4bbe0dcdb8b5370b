import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { signatureOf } from '../src/dev/model-stub/signature.ts';
import { startModelStub, type ModelStub } from '../src/dev/model-stub/server.ts';
import type { FaultKind, StubScript, WireRequest } from '../src/dev/model-stub/wire.ts';
import { isUnbilled } from '../src/domain/model-failure.ts';
import { textOf, type Model, type ModelMessage, type ModelRequest, type ModelTool, type ModelTurn } from '../src/domain/model.ts';
import { makeLog } from '../src/log.ts';
import { makeAnthropicModel, type AnthropicOptions } from '../src/model/anthropic.ts';
import { RETRY_AFTER_CAP_MS } from '../src/model/provider-errors.ts';

const log = makeLog('silent', 'test');
const long = 'You are a patient assistant of a small company. '.repeat(60);
const user = (text: string): ModelMessage => ({ role: 'user', content: [{ type: 'text', text }] });
const signal = (): AbortSignal => new AbortController().signal;

/** Scripts of this file: what they answer is in the user's own message, as `say: {json of the reply}`. */
const toOrder: StubScript = {
  name: 'to-order',
  matches: (request) => lastText(request).startsWith('say: '),
  reply: (request) => JSON.parse(lastText(request).slice(5)) as ReturnType<StubScript['reply']>,
};
function lastText(request: WireRequest): string {
  const content = request.messages.at(-1)?.content;
  return typeof content === 'string' ? content : content?.[0]?.text ?? '';
}
const say = (reply: unknown): ModelMessage => user(`say: ${JSON.stringify(reply)}`);

let stub: ModelStub;
let model: Model;
const connect = (options: Partial<AnthropicOptions> = {}): Model => makeAnthropicModel({ apiKey: 'sk-test', baseUrl: stub.url, log, ...options });
const request = (given: Partial<ModelRequest> = {}): ModelRequest => ({ model: 'claude-sonnet-5-5', system: long, messages: [user('Hello')], maxTokens: 500, ...given });
const turn = (given: Partial<ModelRequest> = {}): Promise<ModelTurn> => model.turn(request(given), { signal: signal() });
const failureOf = async (call: Promise<unknown>): Promise<{ code: string; retryAfterMs: number | undefined; message: string; error: unknown }> => {
  const error = await call.then(() => { throw new Error('the call did not fail'); }, (thrown: unknown) => thrown as { code: string; retryAfterMs: number | undefined; message: string });
  return { code: error.code, retryAfterMs: error.retryAfterMs, message: error.message, error };
};

beforeAll(async () => {
  stub = await startModelStub({ scripts: [toOrder] });
  model = connect();
});
beforeEach(() => stub.reset());
afterAll(() => stub.stop());

const sent = (index = -1): WireRequest => stub.calls().at(index)?.request as WireRequest;
const tool = (name: string, properties: Record<string, unknown> = { text: { type: 'string' } }): ModelTool =>
  ({ name, description: `the tool ${name}`, inputSchema: { type: 'object', properties, required: Object.keys(properties) } });

describe('a whole turn', () => {
  test('streams its text and ends with a stop reason, usage and the provider’s id', async () => {
    const pieces: string[] = [];
    const answer = await model.turn(request({ messages: [say({ text: 'A rather long answer in several pieces, with ünïcode 🦊 in it.' })] }), { signal: signal(), onText: (piece) => pieces.push(piece) });
    expect(textOf(answer.content)).toBe('A rather long answer in several pieces, with ünïcode 🦊 in it.');
    expect(pieces.length).toBeGreaterThan(2);
    expect(pieces.join('')).toBe(textOf(answer.content));
    expect(answer).toMatchObject({ stopReason: 'end_turn', model: 'claude-sonnet-5-5', requestId: expect.stringMatching(/^req_/) });
    expect(answer.usage.outputTokens).toBeGreaterThan(10);
    expect(sent().stream).toBe(true);
  });

  test('tool calls come with whole arguments, thinking goes back unchanged', async () => {
    const input = { query: 'printer "on fire"', nested: { deep: [1, null, 'ö'.repeat(50)] } };
    const first = await turn({ messages: [say({ thinking: 'Let me see.', text: 'Looking.', toolUses: [{ name: 'find', input }, { name: 'noop', input: {} }] })], tools: [tool('find'), tool('noop')] });
    expect(first.stopReason).toBe('tool_use');
    expect(first.content.map((block) => block.type)).toEqual(['opaque', 'text', 'tool_use', 'tool_use']);
    expect(first.content[2]).toMatchObject({ type: 'tool_use', name: 'find', input });
    expect(first.content[3]).toMatchObject({ name: 'noop', input: {} });
    const uses = first.content.filter((block) => block.type === 'tool_use');
    const results: ModelMessage = { role: 'user', content: uses.map((use, index) => ({ type: 'tool_result', tool_use_id: use.id, content: 'done', ...(index === 1 && { is_error: true }) })) };
    await turn({ messages: [user('Find it'), { role: 'assistant', content: first.content }, results], tools: [tool('find'), tool('noop')] });
    const back = sent().messages[1]?.content as readonly unknown[];
    expect(back[0]).toEqual({ type: 'thinking', thinking: 'Let me see.', signature: signatureOf('Let me see.') });
    expect(sent().messages[2]?.content).toMatchObject([{ type: 'tool_result', content: 'done' }, { is_error: true }]);
  });

  test('an answer by schema is JSON; effort and format are sent', async () => {
    const schema = { type: 'object', properties: { colour: { type: 'string', enum: ['red', 'blue'] } }, required: ['colour'], additionalProperties: false };
    const answer = await turn({ outputSchema: schema, effort: 'low' });
    expect(JSON.parse(textOf(answer.content))).toEqual({ colour: 'red' });
    expect(sent().output_config).toEqual({ effort: 'low', format: { type: 'json_schema', schema } });
  });

  test('a turn ended by max_tokens drops a tool call whose arguments are not JSON', async () => {
    const answer = await turn({ messages: [say({ text: 'Looking.', cutTool: { name: 'find', json: '{"half":' } })], tools: [tool('find')] });
    expect(answer).toMatchObject({ stopReason: 'max_tokens', content: [{ type: 'text', text: 'Looking.' }] });
  });
});

describe('the prompt as the cache sees it', () => {
  const tools = [tool('zebra'), tool('ant')];

  test('order of registration changes no byte before the volatile part', async () => {
    await turn({ tools, context: 'today: Monday' });
    await turn({ tools: [...tools].reverse(), context: 'today: Tuesday' });
    const [one, two] = [sent(0), sent(1)];
    expect(JSON.stringify(one.tools)).toBe(JSON.stringify(two.tools));
    expect(one.tools?.map(({ name }) => name)).toEqual(['ant', 'zebra']);
    expect(one.system).toEqual([{ type: 'text', text: long, cache_control: { type: 'ephemeral' } }, { type: 'text', text: 'today: Monday' }]);
    expect(JSON.stringify((two.system as readonly unknown[])[0])).toBe(JSON.stringify((one.system as readonly unknown[])[0]));
  });

  test('the second call reads the prefix the first one wrote, and each meter is counted once', async () => {
    const first = await turn({ context: 'a' });
    const second = await turn({ context: 'b' });
    expect(first.usage).toMatchObject({ cacheReadTokens: 0, cacheWrite1hTokens: 0 });
    expect(first.usage.cacheWrite5mTokens).toBeGreaterThan(500);
    expect(second.usage).toMatchObject({ cacheReadTokens: first.usage.cacheWrite5mTokens, cacheWrite5mTokens: 0 });
    expect(second.usage.inputTokens).toBe(first.usage.inputTokens);
  });

  test('a conversation with tools marks its end too, a single question does not; empty parts are left out', async () => {
    await turn({ tools });
    expect(sent().messages[0]?.content).toEqual([{ type: 'text', text: 'Hello', cache_control: { type: 'ephemeral' } }]);
    await turn({ system: '', tools, messages: [user('One'), { role: 'assistant', content: [{ type: 'text', text: '  ' }] }, user('Two')] });
    expect(sent().system).toBeUndefined();
    expect(sent().tools?.map((offered) => offered.cache_control)).toEqual([undefined, { type: 'ephemeral' }]);
    expect(sent().messages).toHaveLength(2);
    await turn();
    expect(JSON.stringify(sent().messages)).not.toContain('cache_control');
  });

  test('a strict schema says what the provider does not know in words; the others go as they are', async () => {
    const inputSchema = { type: 'object', properties: { name: { type: 'string', minLength: 2 }, size: { anyOf: [{ type: 'integer', minimum: 1 }, { type: 'null' }] } }, required: ['name'] };
    await turn({ tools: [{ name: 'loose', description: 'Loose.', inputSchema }, { name: 'strict', description: 'Strict.', inputSchema, strict: true }] });
    const [loose, strict] = sent().tools ?? [];
    expect(loose).toMatchObject({ input_schema: inputSchema });
    expect(loose).not.toHaveProperty('strict');
    expect(strict).toMatchObject({ strict: true, input_schema: { additionalProperties: false, properties: { name: { type: 'string', description: '{minLength: 2}' } } } });
    expect(JSON.stringify(strict?.input_schema)).not.toMatch(/"(minLength|minimum)"/);
    expect(stub.calls().at(-1)?.status).toBe(200); // which refuses such keywords in a strict schema
  });
});

describe('every fault of the provider has one meaning, and each costs one request', () => {
  const faults: readonly [FaultKind, string, boolean][] = [
    ['overloaded', 'model_unavailable', true],
    ['overloaded_in_stream', 'model_unavailable', false],
    ['server_error', 'model_unavailable', false],
    ['rate_limit', 'rate_limited', true],
    ['spend_limit', 'spend_limit', true],
    ['rejected', 'model_rejected', true],
    ['cut_after_partial_tool', 'model_cut_off', false],
    ['disconnect', 'model_cut_off', false],
    ['cut_before_stop', 'model_cut_off', false],
    ['server_error_in_stream', 'model_unavailable', false],
    ['answer_lost', 'model_unavailable', false],
    ['unavailable', 'model_unavailable', false],
    ['gateway_timeout', 'model_unavailable', false],
    ['timed_out', 'model_unavailable', true],
    ['conflict', 'model_unavailable', true],
    ['ramp_limit', 'rate_limited', true],
    ['unpaid', 'spend_limit', true],
    ['unauthorized', 'model_rejected', true],
    ['forbidden', 'model_rejected', true],
    ['not_found', 'model_rejected', true],
    ['too_large', 'model_rejected', true],
    ['unprocessable', 'model_rejected', true],
  ];
  test.each(faults)('%s is %s', async (kind, code, unbilled) => {
    stub.addFault({ kind, retryAfterS: 7 });
    const failed = await failureOf(turn({ tools: [tool('open_ticket')] }));
    expect(failed.code).toBe(code);
    expect(isUnbilled(failed.error)).toBe(unbilled);
    expect(stub.calls()).toHaveLength(1);
    expect(stub.calls()[0]?.headers['x-stainless-retry-count']).toBe('0');
    expect(textOf((await turn()).content)).toBe('You said: Hello'); // the next call is not disturbed
  });

  test('an ordered wait of hours is taken over, one of days is capped; a spend limit lasts until the month turns', async () => {
    stub.addFault({ kind: 'rate_limit', retryAfterS: 7 });
    expect((await failureOf(turn())).retryAfterMs).toBe(7_000);
    stub.addFault({ kind: 'rate_limit', retryAfterS: 3_600 });
    expect((await failureOf(turn())).retryAfterMs).toBe(3_600_000);
    stub.addFault({ kind: 'rate_limit', retryAfterS: 3_600_000 });
    expect((await failureOf(turn())).retryAfterMs).toBe(RETRY_AFTER_CAP_MS);
    stub.addFault({ kind: 'spend_limit' });
    const turns = new Date(Date.now() + ((await failureOf(turn())).retryAfterMs ?? NaN) + 1_000);
    expect([turns.getUTCDate(), turns.getUTCHours(), turns.getUTCMinutes()]).toEqual([1, 0, 0]);
  });

  test('pings are no content: a stalled stream ends after the idle time', async () => {
    stub.addFault({ kind: 'stall_with_pings', delayMs: 20 });
    const started = performance.now();
    const failed = await failureOf(connect({ contentIdleMs: 200 }).turn(request(), { signal: signal() }));
    expect(failed.code).toBe('model_stalled');
    const tookMs = performance.now() - started;
    expect(tookMs).toBeGreaterThan(150);
    expect(tookMs).toBeLessThan(3_000);
    stub.addFault({ kind: 'stall_in_silence' });
    expect((await failureOf(connect({ contentIdleMs: 200 }).turn(request(), { signal: signal() }))).code).toBe('model_stalled');
  });

  test('an answer that never begins, and one that never ends, meet the limits', async () => {
    stub.addFault({ kind: 'slow', delayMs: 2_000 });
    expect((await failureOf(connect({ contentIdleMs: 100 }).turn(request(), { signal: signal() }))).code).toBe('model_stalled');
    stub.addFault({ kind: 'stall_with_pings', delayMs: 20 });
    expect((await failureOf(connect({ turnDeadlineMs: 150 }).turn(request(), { signal: signal() }))).code).toBe('model_stalled');
    stub.addFault({ kind: 'slow', delayMs: 50 });
    expect((await turn()).stopReason).toBe('end_turn');
  });

  test('cancel ends a call at once, before it is sent and while it streams', async () => {
    const before = new AbortController();
    before.abort();
    expect((await failureOf(model.turn(request(), { signal: before.signal }))).code).toBe('cancelled');
    expect(stub.calls()).toHaveLength(0);
    stub.addFault({ kind: 'stall_with_pings', delayMs: 20 });
    const during = new AbortController();
    const failed = failureOf(model.turn(request(), { signal: during.signal, onText: () => during.abort() }));
    expect((await failed).code).toBe('cancelled');
  });

  test('a wrong key and a request the provider refuses are terminal, and say why', async () => {
    expect(await failureOf(connect({ apiKey: 'invalid' }).turn(request(), { signal: signal() }))).toMatchObject({ code: 'model_rejected', message: expect.stringContaining('401') });
    const orphan: ModelMessage[] = [user('Go'), { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'find', input: {} }] }, user('And?')];
    expect(await failureOf(turn({ messages: orphan }))).toMatchObject({ code: 'model_rejected', message: expect.stringContaining('toolu_1') });
  });

  test('nobody listening is model_unavailable, and certainly not billed', async () => {
    const gone = await startModelStub();
    await gone.stop();
    const failed = await failureOf(connect({ baseUrl: gone.url }).turn(request(), { signal: signal() }));
    expect(failed.code).toBe('model_unavailable');
    expect(isUnbilled(failed.error)).toBe(true);
  });

  test('a server that forgets to end its stream after message_stop is not waited for', async () => {
    const raw = await rawServer([
      ['message_start', { type: 'message_start', message: { id: 'msg_1', type: 'message', role: 'assistant', model: 'm', content: [], stop_reason: null, usage: { input_tokens: 1, output_tokens: 1 } } }],
      ['message_delta', { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 1 } }],
      ['message_stop', { type: 'message_stop' }],
    ], 'left open');
    expect((await connect({ baseUrl: raw.url }).turn(request(), { signal: signal() })).stopReason).toBe('end_turn');
    await raw.stop();
  });

  test.each([
    ['a stop reason', ['message_stop', { type: 'message_stop' }]],
    ['message_stop', ['message_delta', { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 1 } }]],
  ] as const)('without %s there is no turn', async (_lacking, event) => {
    const raw = await rawServer([
      ['message_start', { type: 'message_start', message: { id: 'msg_1', type: 'message', role: 'assistant', model: 'm', content: [], stop_reason: null, usage: { input_tokens: 1, output_tokens: 1 } } }],
      event,
    ]);
    expect((await failureOf(connect({ baseUrl: raw.url }).turn(request(), { signal: signal() }))).code).toBe('model_cut_off');
    await raw.stop();
  });
});

/** A server that answers everything with these events. */
async function rawServer(events: readonly (readonly [string, unknown])[], end: 'ended' | 'left open' = 'ended'): Promise<{ url: string; stop(): Promise<void> }> {
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const [event, data] of events) response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    if (end === 'ended') response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => new Promise((resolve) => { server.close(() => resolve()); server.closeAllConnections(); }),
  };
}
