// The stub's scripts, asked through the product's own adapter: they must answer any input of their kind, not one demonstration.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { startModelStub, type ModelStub } from '../src/dev/model-stub/server.ts';
import { textOf, type Model, type ModelMessage, type ModelRequest, type ModelTool, type ModelTurn } from '../src/domain/model.ts';
import { makeLog } from '../src/log.ts';
import { makeAnthropicModel } from '../src/model/anthropic.ts';

let stub: ModelStub;
let model: Model;
beforeAll(async () => {
  stub = await startModelStub();
  model = makeAnthropicModel({ apiKey: 'stub', baseUrl: stub.url, log: makeLog('silent', 'test') });
});
beforeEach(() => stub.reset());
afterAll(() => stub.stop());

const user = (text: string): ModelMessage => ({ role: 'user', content: [{ type: 'text', text }] });
const strings = (...names: string[]): Record<string, unknown> => ({ type: 'object', properties: Object.fromEntries(names.map((name) => [name, { type: 'string' }])), required: names });
const tool = (name: string, ...names: string[]): ModelTool => ({ name, description: name, inputSchema: strings(...names) });

/** Plays a conversation to its end: tools answer from `outputs`, a function of name and input. */
async function play(request: ModelRequest, outputs: (name: string, input: unknown) => unknown): Promise<{ answer: string; used: { name: string; input: unknown }[] }> {
  const messages = [...request.messages];
  const used: { name: string; input: unknown }[] = [];
  for (let turns = 0; turns < 6; turns++) {
    const turn: ModelTurn = await model.turn({ ...request, messages }, { signal: new AbortController().signal });
    const uses = turn.content.filter((block) => block.type === 'tool_use');
    if (turn.stopReason !== 'tool_use') return { answer: textOf(turn.content), used };
    used.push(...uses.map(({ name, input }) => ({ name, input })));
    messages.push({ role: 'assistant', content: turn.content }, {
      role: 'user',
      content: uses.map((use) => {
        const output = outputs(use.name, use.input);
        return output instanceof Error ? { type: 'tool_result', tool_use_id: use.id, content: output.message, is_error: true } : { type: 'tool_result', tool_use_id: use.id, content: JSON.stringify(output) };
      }),
    });
  }
  throw new Error('the conversation did not end');
}

describe('support agent', () => {
  const tools = [tool('find_tickets', 'customer', 'query'), tool('open_ticket', 'subject', 'body', 'customer')];
  const request = (words: string, context?: string): ModelRequest => ({ model: 'claude-sonnet-5-5', system: 'You are a support agent.', ...(context !== undefined && { context }), messages: [user(words)], tools, maxTokens: 500 });

  test('looks first, opens a ticket for a new problem, and quotes its id', async () => {
    const { answer, used } = await play(request('The espresso machine is broken. It leaks.', 'customer: ada'), (name) => (name === 'find_tickets' ? { tickets: [] } : { id: 'T-4711', status: 'open' }));
    expect(used).toEqual([
      { name: 'find_tickets', input: { customer: 'ada', query: 'The espresso machine is broken. It leaks.' } },
      { name: 'open_ticket', input: { subject: 'The espresso machine is broken', body: 'The espresso machine is broken. It leaks.', customer: 'ada' } },
    ]);
    expect(answer).toContain('T-4711');
  });

  test('does not open a second ticket for a known problem, nor one for a greeting', async () => {
    const known = await play(request('My printer is broken again'), () => [{ id: 'T-7', subject: 'printer broken', status: 'pending' }]);
    expect(known.used.map(({ name }) => name)).toEqual(['find_tickets']);
    expect(known.answer).toContain('T-7');
    const greeting = await play(request('Hello there'), () => ({ tickets: [] }));
    expect(greeting.used).toHaveLength(1);
    const refused = await play(request('My printer is broken'), (name) => (name === 'find_tickets' ? [] : new Error('the desk is closed')));
    expect(refused.answer).toContain('the desk is closed');
  });

  test('cites the memories that fit, and no other', async () => {
    const memories = [
      '[m:a-1] (preference, 2026-11-20, 0.92) The user prefers email.',
      '[m:b-2] (fact, 2026-11-20, 0.81) The espresso machine has serial 99.',
      '[m:c-3] (fact, 2026-11-20, 0.81) The office is in Lisbon.',
    ].join('\n');
    const { answer } = await play(request('The espresso machine is broken', `What you remember:\n${memories}`), (name) => (name === 'find_tickets' ? [] : { id: 'T-1' }));
    expect(answer).toContain('[m:a-1]');
    expect(answer).toContain('[m:b-2]');
    expect(answer).not.toContain('[m:c-3]');
    const none = await play(request('The espresso machine is broken'), (name) => (name === 'find_tickets' ? [] : { id: 'T-1' }));
    expect(none.answer).not.toContain('[m:');
  });

  test('a second message in the conversation looks again', async () => {
    const earlier: ModelMessage[] = [user('My printer is broken'), { role: 'assistant', content: [{ type: 'text', text: 'I opened T-1.' }] }];
    const { used } = await play({ ...request('x'), messages: [...earlier, user('Now the scanner is broken')] }, (name) => (name === 'find_tickets' ? [] : { id: 'T-2' }));
    expect(used.map(({ name }) => name)).toEqual(['find_tickets', 'open_ticket']);
    expect(used[0]?.input).toMatchObject({ query: 'Now the scanner is broken' });
  });
});

describe('data assistant', () => {
  const tools: ModelTool[] = [tool('describe_dataset', 'dataset'), tool('run_query', 'dataset', 'sql')];
  const request = (words: string, context = 'datasets: orders, payroll'): ModelRequest => ({ model: 'claude-sonnet-5-5', system: 'You are a data assistant.', context, messages: [user(words)], tools, maxTokens: 500 });

  test('describes, queries and answers; a remembered definition becomes the condition', async () => {
    const memory = "datasets: orders, payroll\n[m:d-1] (fact, 2026-11-01, 0.9) An active customer means status = 'paid'.";
    const { answer, used } = await play(request('How many active customers are in orders?', memory), (name) => (name === 'describe_dataset' ? { columns: ['id', 'status'] } : { rows: [[42]] }));
    expect(used).toEqual([{ name: 'describe_dataset', input: { dataset: 'orders' } }, { name: 'run_query', input: { dataset: 'orders', sql: "SELECT count(*) FROM orders WHERE status = 'paid'" } }]);
    expect(answer).toContain('42');
    expect(answer).toContain('[m:d-1]');
  });

  test('a refusal is said and not tried again', async () => {
    const { answer, used } = await play(request('What is the total in payroll?'), () => new Error('tool_denied: payroll is not permitted'));
    expect(used).toHaveLength(1);
    expect(answer).toContain('payroll is not permitted');
  });

  test('a definition needs no query', async () => {
    expect((await play(request('An active customer means one with a paid order.'), () => null)).used).toEqual([]);
  });
});

describe('memory extraction', () => {
  const itemProperties = ['type', 'subject', 'attribute', 'value', 'statement', 'valid_from', 'evidence', 'source_role', 'stated_or_inferred', 'confidence', 'scope'];
  const outputSchema = (names: readonly string[] = itemProperties): Record<string, unknown> => ({
    type: 'object',
    properties: { summary: { type: 'object' }, candidates: { type: 'array', items: { type: 'object', properties: Object.fromEntries(names.map((name) => [name, {}])) } } },
  });
  interface Extracted {
    summary: { goal: string; result: string; decisions: string[]; open_items: string[] };
    candidates: { type: string; subject: string; attribute: string; value: string; statement: string; valid_from: string | null; evidence: { event_id: string; quote: string }[]; source_role: string; stated_or_inferred: string; confidence: string; scope: string }[];
  }
  async function extract(transcript: string, schema = outputSchema()): Promise<Extracted> {
    const turn = await model.turn({ model: 'claude-haiku-5-5', system: 'Summarise.', messages: [user(`Transcript:\n${transcript}`)], outputSchema: schema, maxTokens: 2_000 }, { signal: new AbortController().signal });
    return JSON.parse(textOf(turn.content)) as Extracted;
  }

  const transcript = [
    '[e1 user] Hello! My name is Ada Lovelace and call me Ada.',
    'I prefer email over phone. Please never call before noon. We are on the Pro plan since 2026-03-01.',
    '[e2 tool:find_tickets] {"tickets":[]}',
    '[e3 agent] I have opened ticket T-9. I prefer tea.',
    '[e4 user] Thanks. An active customer means one with a paid order. Our warehouse is in Porto. Can you check order 12345?',
  ].join('\n');

  test('claims what the user said, each with a quote that stands in the named event', async () => {
    const { summary, candidates } = await extract(transcript);
    expect(summary).toMatchObject({ goal: 'Hello', result: 'I have opened ticket T-9', decisions: ['I have opened ticket T-9.'], open_items: ['Can you check order 12345?'] });
    const stated = candidates.filter((candidate) => candidate.stated_or_inferred === 'stated');
    expect(stated.map(({ type, attribute, value }) => [type, attribute, value])).toEqual(expect.arrayContaining([
      ['fact', 'name', 'Ada Lovelace'], ['preference', 'form_of_address', 'Ada'], ['preference', 'contact_channel', 'email over phone'],
      ['constraint', 'never_call_before_noon', 'call before noon'], ['fact', 'plan', 'Pro'], ['fact', 'definition', 'one with a paid order'], ['fact', 'warehouse', 'in Porto'],
    ]));
    expect(stated.every(({ source_role, confidence }) => source_role === 'user' && confidence === 'high')).toBe(true);
    expect(stated.find(({ attribute }) => attribute === 'plan')?.valid_from).toBe('2026-03-01');
    expect(stated.find(({ attribute }) => attribute === 'definition')?.scope).toBe('workspace');
    expect(JSON.stringify(stated)).not.toContain('tea'); // the agent said that
    for (const { evidence } of candidates) {
      for (const { event_id: id, quote } of evidence) expect(transcript.slice(transcript.indexOf(`[${id} `))).toContain(quote);
    }
  });

  test('proposes what should be refused, too', async () => {
    const { candidates } = await extract(transcript);
    expect(candidates.filter(({ confidence }) => confidence === 'low')).toHaveLength(1);
    expect(candidates.filter(({ source_role, type }) => source_role === 'tool' && type === 'outcome')).toHaveLength(1);
  });

  test('two preferences on one topic share a slot; a question claims nothing; an empty run proposes nothing', async () => {
    const slots = (await extract('[e1 user] I prefer phone.\n[e2 user] I prefer email.')).candidates.filter(({ type, confidence }) => type === 'preference' && confidence === 'high');
    expect(slots.map(({ attribute }) => attribute)).toEqual(['contact_channel', 'contact_channel']);
    expect((await extract('[e1 user] Which plan means the most?')).candidates.filter(({ stated_or_inferred: how }) => how === 'stated')).toEqual([]);
    expect((await extract('(nothing)')).candidates).toEqual([]);
  });

  test('keeps to the properties of the schema', async () => {
    const { candidates } = await extract(transcript, outputSchema(['type', 'statement']));
    expect(candidates.length).toBeGreaterThan(3);
    for (const candidate of candidates) expect(Object.keys(candidate)).toEqual(['type', 'statement']);
  });
});

describe('the server', () => {
  const post = (path: string, body: unknown, headers: Record<string, string> = { 'x-api-key': 'k' }): Promise<Response> =>
    fetch(`${stub.url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });
  const plain = { model: 'm', max_tokens: 10, messages: [{ role: 'user', content: 'Hi' }] };

  test('counts tokens, answers unstreamed, and tells its limits', async () => {
    expect(await (await post('/v1/messages/count_tokens', plain)).json()).toEqual({ input_tokens: expect.any(Number) });
    const answer = await post('/v1/messages', plain);
    expect(answer.headers.get('anthropic-ratelimit-requests-remaining')).toBe('999');
    expect(await answer.json()).toMatchObject({ content: [{ type: 'text', text: 'You said: Hi' }], stop_reason: 'end_turn' });
  });

  test('faults are ordered over HTTP, met in order, and gone afterwards', async () => {
    await post('/stub/faults', { kind: 'overloaded', times: 2 });
    await post('/stub/faults', { kind: 'server_error' });
    const statuses = [];
    for (let call = 0; call < 4; call++) statuses.push((await post('/v1/messages', plain)).status);
    expect(statuses).toEqual([529, 529, 500, 200]);
    expect((await post('/stub/faults', { kind: 'nonsense' })).status).toBe(400);
    expect(await (await fetch(`${stub.url}/stub/calls`)).json()).toHaveLength(4);
  });

  test('refuses what the real one refuses, and keeps no key', async () => {
    const refused: unknown[] = [{}, { ...plain, max_tokens: 0 }, { ...plain, temperature: 1 }, { ...plain, messages: [] }, { ...plain, messages: [...plain.messages, { role: 'assistant', content: 'Sure' }] },
      { ...plain, messages: [{ role: 'user', content: [{ type: 'text', text: '' }] }] }, { ...plain, messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'x', content: '' }] }] },
      { ...plain, tools: [{ name: 'a b', input_schema: { type: 'object' } }] }, { ...plain, output_config: { format: { type: 'json_schema' } } }];
    for (const body of refused) expect((await post('/v1/messages', body)).status).toBe(400);
    expect((await post('/v1/messages', plain, {})).status).toBe(401);
    await post('/v1/messages', plain, { authorization: 'Bearer sk-canary-1' });
    expect(JSON.stringify(stub.calls())).not.toContain('sk-canary-1');
  });

  test('runs as a process, says its address and ends on SIGTERM', async () => {
    const child = spawn(process.execPath, ['src/dev/model-stub/main.ts'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const url = await new Promise<string>((resolve) => child.stdout.once('data', (line: Buffer) => resolve(line.toString().trim())));
    expect((await fetch(`${url}/stub/calls`)).status).toBe(200);
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });
});
