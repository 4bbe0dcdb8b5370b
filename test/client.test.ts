// The client against a server of this file's own that misbehaves on purpose: cuts connections, refuses, hangs, sends pieces.
// What the client promises is looked at from the other side of the wire. Against the real API it is driven in cli.test.ts.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { Mainstay, MainstayApiError, type MainstayOptions } from '../src/client/client.ts';
import { makeParser } from '../src/client/event-stream.ts';

interface Seen { readonly method: string; readonly url: string; readonly headers: IncomingMessage['headers']; readonly body: unknown }
type Answer = (response: ServerResponse, request: Seen) => void;

const closers: (() => Promise<void>)[] = [];
afterAll(async () => { for (const close of closers) await close(); });

/** Answers the n-th request with the n-th answer, and all later ones with the last. */
async function serve(...answers: Answer[]): Promise<{ seen: Seen[]; url: string; client: (options?: Partial<MainstayOptions>) => Mainstay }> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      const one = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: text === '' ? undefined : JSON.parse(text) as unknown };
      const answer = answers[Math.min(seen.push(one), answers.length) - 1];
      answer?.(response, one);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  closers.push(async () => { server.closeAllConnections(); server.close(); await once(server, 'close'); });
  return { seen, url, client: (options = {}) => new Mainstay({ baseUrl: url, apiKey: 'mk_test', ...options }) };
}

const json = (status: number, body: unknown, headers: Record<string, string> = {}): Answer => (response) => { response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body)); };
const problem = (status: number, code: string, headers: Record<string, string> = {}): Answer =>
  json(status, { type: 'about:blank', title: code, status, detail: `it is ${code}`, code, advice: 'do better', fields: [{ path: 'agent', message: 'wrong' }], requestId: 'req-1' }, headers);
const cut: Answer = (response) => response.destroy();
const hang: Answer = () => undefined;
const run = (status: string): Record<string, unknown> => ({ id: 'run_1', status, finishedAt: status === 'running' ? null : '2026-11-25T00:00:00.000Z' });
const failure = async (work: Promise<unknown>): Promise<MainstayApiError> => {
  const error = await work.then(() => { throw new Error('it succeeded'); }, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(MainstayApiError);
  return error as MainstayApiError;
};
const body = { agent: 'echo', input: { message: 'hi' } };

describe('a submission', () => {
  test('is tried again after a cut connection, a refusal and an outage, always under the same key', async () => {
    const { seen, client } = await serve(cut, problem(503, 'unavailable', { 'retry-after': '0' }), problem(429, 'rate_limited'), json(202, run('queued')));
    expect(await client().runs.create(body)).toMatchObject({ id: 'run_1' });
    expect(seen).toHaveLength(4);
    expect(seen.every((one) => one.method === 'POST' && one.url === '/v1/runs' && one.headers.authorization === 'Bearer mk_test')).toBe(true);
    expect(seen.map((one) => one.body)).toEqual([body, body, body, body]);
    expect(new Set(seen.map((one) => one.headers['idempotency-key'])).size).toBe(1);
  });

  test('has a new random key each time, or the one it is given', async () => {
    const { seen, client } = await serve(json(202, run('queued')));
    const mainstay = client();
    await mainstay.runs.create(body);
    await mainstay.runs.create(body);
    await mainstay.runs.create(body, { idempotencyKey: 'mine', waitS: 3 });
    const keys = seen.map((one) => one.headers['idempotency-key']);
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(new Set(keys).size).toBe(3);
    expect([keys[2], seen[2]?.url]).toEqual(['mine', '/v1/runs?wait=3']);
  });

  test('whose body breaks off is tried again', async () => {
    const half: Answer = (response) => { response.writeHead(202, { 'content-length': '100' }).write('{"id":', () => response.destroy()); };
    const { seen, client } = await serve(half, json(202, run('queued')));
    expect(await client().runs.create(body)).toMatchObject({ id: 'run_1' });
    expect(seen[1]?.headers['idempotency-key']).toBe(seen[0]?.headers['idempotency-key']);
  });

  test.each([[400, 'bad_request'], [401, 'unauthenticated'], [422, 'idempotency_conflict'], [500, 'internal']])('that is answered %i is not repeated', async (status, code) => {
    const { seen, client } = await serve(problem(status, code));
    const error = await failure(client().runs.create(body));
    expect({ ...error, message: error.message }).toMatchObject({ code, status, message: `it is ${code}`, advice: 'do better', fields: [{ path: 'agent', message: 'wrong' }], requestId: 'req-1' });
    expect(seen).toHaveLength(1);
  });

  test('gives up after its retries and says how long to stay away', async () => {
    const { seen, client } = await serve(problem(503, 'unavailable', { 'retry-after': '0' }), problem(503, 'unavailable', { 'retry-after': '1' }));
    expect(await failure(client({ retries: 1 }).runs.create(body))).toMatchObject({ code: 'unavailable', status: 503, retryAfterS: 1 });
    expect(seen).toHaveLength(2);
  });

  test('is not tried again while a server asks for a long pause', async () => {
    const { seen, client } = await serve(problem(503, 'unavailable', { 'retry-after': 'Wed, 25 Nov 2026 10:05:00 GMT', date: 'Wed, 25 Nov 2026 10:00:00 GMT' }));
    expect((await failure(client().runs.create(body))).retryAfterS).toBe(300);
    expect(seen).toHaveLength(1);
  });
});

describe('any call', () => {
  test('without an answer is `unreachable`, and a try lasts no longer than its limit', async () => {
    const { seen, url, client } = await serve(hang);
    expect(await failure(client({ timeoutMs: 60, retries: 1 }).agents.list())).toMatchObject({ code: 'unreachable', status: 0 });
    expect(seen).toHaveLength(2);
    const nobody = new Mainstay({ baseUrl: url.replace(/\d+$/, '1'), apiKey: 'k', retries: 0 });
    expect((await failure(nobody.agents.list())).message).toContain('127.0.0.1:1');
  });

  test('ends at once by its signal, while it waits for an answer and between two tries', async () => {
    const reason = new Error('enough');
    const stop = new AbortController();
    const asked = await serve(() => stop.abort(reason));
    await expect(asked.client().runs.get('run_1', { signal: stop.signal })).rejects.toBe(reason);
    expect(asked.seen).toHaveLength(1);

    const between = new AbortController();
    const refused = await serve(problem(503, 'unavailable', { 'retry-after': '50' }));
    const observed: typeof fetch = async (...words) => { // once the refusal is read, only promises lie before the pause of 50 seconds
      const response = await fetch(...words);
      const read = response.json.bind(response);
      return Object.assign(response, { json: () => read().finally(() => setImmediate(() => between.abort(reason))) });
    };
    await expect(refused.client({ fetch: observed }).runs.get('run_1', { signal: between.signal })).rejects.toBe(reason);
    expect(refused.seen).toHaveLength(1);

    const never = await serve(hang);
    await expect(never.client().runs.get('run_1', { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before');
    expect(never.seen).toHaveLength(0);
  });

  test('that a proxy answers is told from an answer of the API', async () => {
    const html: Answer = (response) => { response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>nothing here</h1>'); };
    expect(await failure((await serve(html)).client().agents.list())).toMatchObject({ code: 'http_404', status: 404 });
    const page: Answer = (response) => { response.writeHead(200).end('<h1>welcome</h1>'); };
    expect(await failure((await serve(page)).client().agents.list())).toMatchObject({ code: 'not_json' });
    const elsewhere = await serve((response) => { response.writeHead(302, { location: '/other' }).end(); });
    expect(await failure(elsewhere.client({ retries: 0 }).agents.list())).toMatchObject({ code: 'unreachable' }); // the key goes nowhere else
    expect(elsewhere.seen).toHaveLength(1);
  });

  test('a key is never made twice by a retry, and ids stay inside of their path', async () => {
    const lost = await serve(cut);
    await failure(lost.client().keys.create({ name: 'k', scopes: ['runs:read'] }));
    expect(lost.seen).toHaveLength(1);
    const { seen, client } = await serve((response) => { response.writeHead(204).end(); });
    await client().keys.revoke('../runs?x=1#');
    expect([seen[0]?.method, seen[0]?.url]).toEqual(['DELETE', '/v1/keys/..%2Fruns%3Fx%3D1%23']);
  });

  test('a cancel whose answer was lost finds its work done; a run that ended otherwise is an error', async () => {
    const lost = await serve(cut, problem(409, 'run_finished'), json(200, run('cancelled')));
    expect(await lost.client().runs.cancel('run_1')).toMatchObject({ status: 'cancelled' });
    const late = await serve(problem(409, 'run_finished'), json(200, run('completed')));
    expect(await failure(late.client().runs.cancel('run_1'))).toMatchObject({ code: 'run_finished' });
  });

  test('an iteration fetches the pages one by one, with the same query', async () => {
    const { seen, client } = await serve(json(200, { data: [{ id: 'a' }, { id: 'b' }], nextCursor: 'n/1' }), json(200, { data: [{ id: 'c' }], nextCursor: null }));
    const ids: string[] = [];
    for await (const { id } of client().runs.iterate({ user: 'ada', agent: undefined, limit: 2 })) ids.push(id);
    expect(ids).toEqual(['a', 'b', 'c']);
    expect(seen.map(({ url }) => url)).toEqual(['/v1/runs?user=ada&limit=2', '/v1/runs?user=ada&limit=2&cursor=n%2F1']);
  });
});

describe('waiting for a run', () => {
  test('asks again until it has ended', async () => {
    const { seen, client } = await serve(json(200, run('running')), json(200, run('running')), json(200, run('failed')));
    expect(await client().runs.wait('run_1')).toMatchObject({ status: 'failed' });
    expect(seen.map(({ url }) => url)).toEqual(Array.from({ length: 3 }, () => '/v1/runs/run_1?wait=30'));
  });

  test('ends in `timeout` when its time is over, saying how the run was', async () => {
    const { client } = await serve(json(200, run('running')), hang);
    const error = await failure(client().runs.wait('run_1', { timeoutMs: 500 }));
    expect([error.code, error.message]).toEqual(['timeout', 'run_1 had not ended after 500 ms: it is running.']);
  });
});

describe('a stream of events', () => {
  const event = (seq: number, type = 'step.completed'): string => `id: ${seq}\nevent: ${type}\ndata: ${JSON.stringify({ seq, type, data: { note: 'größer' }, createdAt: 'now' })}\n\n`;
  const head = (response: ServerResponse): ServerResponse => response.writeHead(200, { 'content-type': 'text/event-stream' });
  const events = (...texts: string[]): Answer => (response) => { head(response).end(texts.join('')); };
  const follow = async (client: Mainstay, options = {}): Promise<number[]> => {
    const numbers: number[] = [];
    for await (const { seq } of client.runs.stream('run_1', options)) numbers.push(seq);
    return numbers;
  };

  test('goes on after a broken connection where it stopped, each event once, and ends with the terminal one', async () => {
    const broken: Answer = (response) => { head(response).write(`retry: 1\n\n${event(1)}${event(2)}${event(3).slice(0, 20)}`, () => response.destroy()); };
    const { seen, client } = await serve(broken, problem(503, 'unavailable', { 'retry-after': '0' }), events(event(2), event(3), event(4, 'run.completed'), event(5)));
    expect(await follow(client())).toEqual([1, 2, 3, 4]);
    expect(seen.map(({ url, headers }) => [url, headers['last-event-id'], headers.accept])).toEqual([
      ['/v1/runs/run_1/events?after=0', undefined, 'text/event-stream'],
      ['/v1/runs/run_1/events?after=2', '2', 'text/event-stream'],
      ['/v1/runs/run_1/events?after=2', '2', 'text/event-stream'],
    ]);
  });

  test('closed politely before the run has ended is opened again; after its end it is not', async () => {
    const { seen, client } = await serve(events(event(1)), json(200, run('running')), events(': nothing new\n\n'), json(200, run('completed')), events(event(2)), json(200, run('completed')), events(event(3, 'run.completed')));
    expect(await follow(client())).toEqual([1, 2, 3]);
    expect(seen).toHaveLength(7);
    const over = await serve(events(), json(200, run('completed')), events());
    expect(await follow(over.client(), { after: 9 })).toEqual([]);
    expect(over.seen[0]?.headers['last-event-id']).toBe('9');
  });

  test('of a run one may not see, or with a key that no longer lives, is an error', async () => {
    expect(await failure(follow((await serve(problem(404, 'not_found'))).client()))).toMatchObject({ code: 'not_found', status: 404 });
    expect(await failure(follow((await serve(events(event(1)), problem(401, 'unauthenticated'))).client()))).toMatchObject({ code: 'unauthenticated' });
  });

  test('is closed when its reader leaves, and ends by its signal', async () => {
    for (const how of ['leave', 'abort'] as const) {
      const closed: Promise<unknown>[] = [];
      const { seen, client } = await serve((response) => { closed.push(once(response, 'close')); head(response).write(event(1)); });
      const stop = new AbortController();
      const reading = (async () => {
        for await (const { seq } of client().runs.stream('run_1', { signal: stop.signal })) {
          if (how === 'leave') return seq;
          stop.abort(new Error('enough'));
        }
        return undefined;
      })();
      if (how === 'leave') expect(await reading).toBe(1);
      else await expect(reading).rejects.toThrow('enough');
      await Promise.all(closed); // hangs, and so fails, when the client left the connection open
      expect(seen).toHaveLength(1);
    }
  });

  test('is read the same wherever it is cut, with any line ends', () => {
    const sample = ': hello\nretry: 5\n\nid: 1\nevent: a\ndata: x\ndata:  y: z\n\ndata\n\nevent: lost\n\nid: 2\ndata: {"k":"v"}\n\ndata: incomplete';
    const wanted = [{ id: '1', event: 'a', data: 'x\n y: z' }, { id: '1', event: 'message', data: '' }, { id: '2', event: 'message', data: '{"k":"v"}' }];
    for (const text of [sample, sample.replaceAll('\n', '\r\n'), sample.replaceAll('\n', '\r')]) {
      for (let at = 0; at <= text.length; at++) {
        const parse = makeParser();
        expect([...parse(text.slice(0, at)), ...parse(text.slice(at))]).toEqual(wanted);
      }
    }
  });
});

test('the client can be copied into any application: it imports types and its own folder, and names nothing of Node', () => {
  const folder = join(import.meta.dirname, '../src/client');
  const files = readdirSync(folder);
  expect(files.length).toBeGreaterThan(3);
  for (const file of files) {
    const text = readFileSync(join(folder, file), 'utf8').replace(/^\s*(\/\/|\/?\*).*$/gm, '');
    const imports = [...text.matchAll(/^(import|export) (type )?.*from '([^']+)'/gm)];
    expect(imports.filter(([, , type, from]) => type === undefined && !from?.startsWith('./')).map(([line]) => `${file}: ${line}`)).toEqual([]);
    expect(text).not.toMatch(/\b(process|Buffer|require|NodeJS)\b|'node:/);
  }
});
