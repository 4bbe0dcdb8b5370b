// Embedders: the real built-in model finds a paraphrase, in both runtimes and compiled; a wrong folder is refused, a missing
// one is said aloud; the HTTP ones are tried against a server of this file; the cache is one that may fail.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, writeFileSync, existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { monoMs, pause, wallMs } from '../src/clock.ts';
import { readConfig } from '../src/config.ts';
import type { Embedder } from '../src/domain/embedder.ts';
import { makeLog } from '../src/log.ts';
import { builtinEmbedder } from '../src/memory/embedders/builtin.ts';
import { cachedEmbedder, forgetEmbeddings } from '../src/memory/embedders/cached.ts';
import { lexicalEmbedder } from '../src/memory/embedders/lexical.ts';
import { makeEmbedder } from '../src/memory/embedders/make-embedder.ts';
import { openaiEmbedder } from '../src/memory/embedders/openai.ts';
import { voyageEmbedder } from '../src/memory/embedders/voyage.ts';
import { embedQuery, type SearchDeps } from '../src/memory/search-lists.ts';
import { openRedis, redisKeys, redisReady } from '../src/redis.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const log = makeLog('silent', 'test');
const scratch = mkdtempSync(join(tmpdir(), 'mainstay-embedder-'));
afterAll(() => { rmSync(scratch, { recursive: true, force: true }); });

const dot = (a: readonly number[] = [], b: readonly number[] = []): number => a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
const norm = (a: readonly number[] = []): number => Math.sqrt(dot(a, a));

const withModel = stack.embedderDir === undefined ? describe.skip : describe;
withModel('the built-in model', () => {
  const dir = stack.embedderDir ?? '';
  let builtin: Embedder;
  beforeAll(async () => { builtin = await builtinEmbedder({ dir, log }); });
  afterAll(async () => { await builtin.close(); });

  test('a paraphrase without a shared word is nearer than something unrelated', async () => {
    const [query] = await builtin.embed(['How should I reach the customer?'], 'query');
    const [same, other] = await builtin.embed(['Ann likes to be contacted by e-mail.', 'The nightly build compiles in four minutes.'], 'document');
    expect(query).toHaveLength(384);
    expect(norm(query)).toBeCloseTo(1, 5);
    expect(dot(query, same)).toBeGreaterThan(dot(query, other) + 0.2);
    expect(builtin).toMatchObject({ fingerprint: 'builtin:all-minilm-l6-v2-int8:384', dimensions: 384, semantic: true });
  });

  test('a text has the same vector alone and among others, and any text has one', async () => {
    const odd = ['', ' ', '\u0000', 'a\ud800', '語'.repeat(10_000), 'x'.repeat(100_000), '👩‍🚀', 'one\ntwo'];
    const together = await builtin.embed(odd, 'document');
    for (const [at, text] of odd.entries()) expect(await builtin.embed([text], 'document')).toEqual([together[at]]);
    for (const vector of together) expect(norm(vector)).toBeCloseTo(1, 5);
    expect(await builtin.embed([], 'query')).toEqual([]);
  });

  test('a query overtakes documents', async () => {
    const order: string[] = [];
    const documents = Array.from({ length: 20 }, (_, at) => builtin.embed([`document ${at} `.repeat(40)], 'document').then(() => order.push('document')));
    await builtin.embed(['a query'], 'query').then(() => order.push('query'));
    expect(order.length).toBeLessThanOrEqual(3); // at most what was running, before it
    await Promise.all(documents);
    expect(order).toHaveLength(21);
  });

  test('WASM gives nearly the same vectors', async () => {
    const wasm = await builtinEmbedder({ dir, log, runtime: 'wasm' });
    const texts = ['The user prefers e-mail.', 'Invoices are due within 30 days.'];
    const [theirs, ours] = [await wasm.embed(texts, 'document'), await builtin.embed(texts, 'document')];
    for (const at of texts.keys()) expect(dot(theirs[at], ours[at])).toBeGreaterThan(0.995);
    await wasm.close();
    await expect(wasm.embed(['late'], 'query')).rejects.toMatchObject({ code: 'embedder_failed' });
  });

  test('a thread that dies fails the text it held; the others get a new thread; an idle one keeps no process alive', async () => {
    // In a process of its own: jest's `process` does not tell of new threads.
    const script = `
      const threads = [];
      process.on('worker', (thread) => threads.push(thread));
      const { builtinEmbedder } = await import('./src/memory/embedders/builtin.ts');
      const { makeLog } = await import('./src/log.ts');
      const own = await builtinEmbedder({ dir: process.argv[1], log: makeLog('silent', 'test'), runtime: 'wasm' }); // the native one would take the process with it
      const texts = Promise.allSettled([1, 2, 3].map((at) => own.embed([('text ' + at + ' ').repeat(30)], 'document')));
      await threads[0].terminate();
      const failed = (await texts).flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []));
      console.log(JSON.stringify({ failed, threads: threads.length }));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, dir], { cwd: join(import.meta.dirname, '..'), timeout: 50_000 });
    expect(JSON.parse(stdout)).toEqual({ failed: ['embedder_failed'], threads: 2 });
  });

  test('closing lets the text in work finish and fails what waits', async () => {
    const brief = await builtinEmbedder({ dir, log });
    const waiting = Promise.allSettled(['one', 'two', 'three'].map((text) => brief.embed([text.repeat(500)], 'document')));
    await brief.close();
    await brief.close();
    expect((await waiting).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
  });

  test('prefixes of the manifest are put before queries and documents', async () => {
    const folder = join(scratch, 'prefixed');
    cpSync(dir, folder, { recursive: true, dereference: true });
    const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, id: 'prefixed', queryPrefix: 'query: ', documentPrefix: 'passage: ' }));
    const prefixed = await builtinEmbedder({ dir: folder, log });
    expect(await prefixed.embed(['tea'], 'query')).toEqual(await builtin.embed(['query: tea'], 'document'));
    expect(await prefixed.embed(['tea'], 'document')).toEqual(await builtin.embed(['passage: tea'], 'query'));
    expect(prefixed.fingerprint).toBe('builtin:prefixed:384');
    await prefixed.close();
  });

  test.each<[string, (folder: string) => void]>([
    ['another model.onnx', (folder) => { writeFileSync(join(folder, 'model.onnx'), 'not a model'); }],
    ['another tokenizer.json', (folder) => { writeFileSync(join(folder, 'tokenizer.json'), '{}'); }],
    ['no model.onnx', (folder) => { rmSync(join(folder, 'model.onnx')); }],
    ['a manifest that is no JSON', (folder) => { writeFileSync(join(folder, 'manifest.json'), '{'); }],
    ['a manifest without dimensions', (folder) => { writeFileSync(join(folder, 'manifest.json'), '{"id":"x"}'); }],
    ['no manifest', (folder) => { rmSync(join(folder, 'manifest.json')); }],
  ])('a folder with %s is refused', async (what, spoil) => {
    const folder = join(scratch, what.replaceAll(' ', '-'));
    cpSync(dir, folder, { recursive: true, dereference: true });
    spoil(folder);
    const config = readConfig({ ...stack.env, EMBEDDER: 'builtin', EMBEDDER_MODEL_DIR: folder });
    await expect(makeEmbedder(config, log)).rejects.toMatchObject({ code: 'embedder_invalid' });
  });
});

withModel('the built-in model', () => {
  test('its language is said aloud', async () => {
    const said: unknown[] = [];
    const loud = makeLog('silent', 'test');
    loud.warn = ((...words: unknown[]) => { said.push(words); });
    const embedder = await makeEmbedder(readConfig({ ...stack.env, EMBEDDER: 'builtin', EMBEDDER_MODEL_DIR: stack.embedderDir }), loud);
    await embedder.close();
    expect(JSON.stringify(said)).toContain('knows English');
  });
});

describe('the choice', () => {
  test('a missing folder: words only, said aloud', async () => {
    const said: unknown[] = [];
    const loud = makeLog('silent', 'test');
    loud.error = ((...words: unknown[]) => { said.push(words); });
    const embedder = await makeEmbedder(readConfig({ ...stack.env, EMBEDDER: 'builtin', EMBEDDER_MODEL_DIR: join(scratch, 'nowhere') }), loud);
    expect(embedder.semantic).toBe(false);
    expect(JSON.stringify(said)).toContain('NO SEMANTIC RECALL');
    expect(existsSync(join(scratch, 'nowhere'))).toBe(false);
  });

  test('each adapter by its name; a missing key or length is an error', async () => {
    const made = async (env: Record<string, string>) => (await makeEmbedder(readConfig({ ...stack.env, ...env }), log)).fingerprint;
    expect(await made({ EMBEDDER: 'lexical' })).toBe('lexical:grams34-words:384');
    expect(await made({ EMBEDDER: 'voyage', VOYAGE_API_KEY: 'k' })).toBe('voyage:voyage-4-lite:1024');
    expect(await made({ EMBEDDER: 'openai' })).toBe('openai:text-embedding-3-small:1536');
    expect(await made({ EMBEDDER: 'openai', EMBEDDER_MODEL: 'bge-m3', EMBEDDER_DIMENSIONS: '1024' })).toBe('openai:bge-m3:1024');
    await expect(made({ EMBEDDER: 'voyage' })).rejects.toMatchObject({ code: 'embedder_invalid' });
    await expect(made({ EMBEDDER: 'openai', EMBEDDER_MODEL: 'bge-m3' })).rejects.toMatchObject({ code: 'embedder_invalid' });
  });
});

describe('the lexical embedder', () => {
  const lexical = lexicalEmbedder();
  test('shared words and spelling are near, other words are not, and any text has a direction', async () => {
    const [query, same, spelt, other, empty] = await lexical.embed(['open invoices', 'two invoices are open', 'an invoice', 'the cat sleeps', '!?'], 'query');
    expect(dot(query, same)).toBeGreaterThan(0.5);
    expect(dot(query, spelt)).toBeGreaterThan(dot(query, other));
    for (const vector of [query, same, empty]) expect(norm(vector)).toBeCloseTo(1, 9);
    expect(await lexical.embed(['open invoices'], 'document')).toEqual([query]);
  });

  test('vectors are the same on every machine and in every release', async () => {
    const [vector = []] = await lexical.embed(['Grüße 42'], 'query');
    expect(vector.flatMap((value, at) => (value === 0 ? [] : [`${at}:${value.toFixed(3)}`])).join(' ')).toBe('31:-0.213 45:-0.426 132:0.426 136:0.426 142:0.213 152:0.213 155:-0.213 190:0.213 207:-0.213 233:0.213 246:-0.213 289:-0.213 348:-0.213');
  });
});

describe('over HTTP', () => {
  interface Seen { url: string; headers: IncomingHttpHeaders; body: { input: string[] } & Record<string, unknown> }
  let server: Server;
  let baseUrl = '';
  let seen: Seen[] = [];
  let answer: (body: Seen['body'], response: ServerResponse) => void;
  const good = (body: Seen['body'], response: ServerResponse): void => {
    const data = body.input.map((text, index) => ({ index, embedding: [text.length, 1, 0, 0] })).reverse(); // out of order
    response.end(JSON.stringify({ data }));
  };

  beforeAll(async () => {
    server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
        const body = JSON.parse(Buffer.concat(chunks).toString()) as Seen['body'];
        seen.push({ url: request.url ?? '', headers: request.headers, body });
        answer(body, response);
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  });
  beforeEach(() => { seen = []; answer = good; });
  afterAll(async () => { server.closeAllConnections(); server.close(); await once(server, 'close'); });

  const voyage = (over: object = {}) => voyageEmbedder({ apiKey: 'secret-key', baseUrl, dimensions: 4, ...over });

  test('Voyage: batches of 128, the kind of text, in order, at length 1', async () => {
    const texts = Array.from({ length: 300 }, (_, at) => 'x'.repeat(at + 1));
    const vectors = await voyage().embed(texts, 'document');
    expect(vectors.map((vector) => Math.round((vector[0] ?? 0) / (vector[1] ?? 1)))).toEqual(texts.map((text) => text.length));
    for (const vector of vectors) expect(norm(vector)).toBeCloseTo(1, 9);
    expect(seen.map(({ url, body }) => [url, body.input.length, body['input_type'], body['model'], body['output_dimension']])).toEqual(
      [128, 128, 44].map((size) => ['/v1/embeddings', size, 'document', 'voyage-4-lite', 4]));
    expect(seen[0]?.headers.authorization).toBe('Bearer secret-key');
    await voyage().embed(['q'], 'query');
    expect(seen.at(-1)?.body['input_type']).toBe('query');
    expect(await voyage().embed([], 'query')).toEqual([]);
  });

  test('OpenAI-compatible: no dimensions for a model that knows none, no header without a key, an empty text is no empty text', async () => {
    const embedder = openaiEmbedder({ baseUrl: `${baseUrl}/`, model: 'local', dimensions: 4 });
    expect(await embedder.embed(['', 'a\ud800'], 'query')).toHaveLength(2);
    expect(seen[0]).toMatchObject({ url: '/v1/embeddings', body: { model: 'local', input: ['-', 'a\ufffd'], encoding_format: 'float' } });
    expect(seen[0]?.body).not.toHaveProperty('dimensions');
    expect(seen[0]?.headers).not.toHaveProperty('authorization');
    answer = (_body, response) => response.end('{"data":[]}');
    await expect(openaiEmbedder({ baseUrl, dimensions: 512 }).embed(['a'], 'query')).rejects.toMatchObject({ code: 'embedder_failed' });
    expect(seen.at(-1)?.body['dimensions']).toBe(512);
  });

  const reply = (data: unknown) => (_body: unknown, response: ServerResponse): void => { response.end(JSON.stringify({ data })); };
  const vector = [1, 2, 3, 4];
  test.each<[string, typeof answer]>([
    ['no JSON', (_body, response) => response.end('<html>')],
    ['no data', (_body, response) => response.end('{}')],
    ['too few', reply([{ index: 0, embedding: vector }])],
    ['one twice', reply([{ index: 0, embedding: vector }, { index: 0, embedding: vector }])],
    ['one too many', reply([0, 1, 2].map((index) => ({ index, embedding: vector })))],
    ['another length', reply([0, 1].map((index) => ({ index, embedding: [1, 2] })))],
    ['no length', reply([0, 1].map((index) => ({ index, embedding: [0, 0, 0, 0] })))],
    ['null for a number', reply([0, 1].map((index) => ({ index, embedding: [null, 1, 1, 1] })))],
    ['a hang-up', (_body, response) => { response.destroy(); }],
    ['a redirect', (_body, response) => { response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(); }],
  ])('a reply with %s is embedder_failed', async (_what, wrong) => {
    answer = wrong;
    await expect(voyage().embed(['a', 'b'], 'query')).rejects.toMatchObject({ code: 'embedder_failed' });
  });

  /** Answers so many times with what is given, then well. */
  const first = (times: number, wrong: typeof answer): void => {
    let left = times;
    answer = (body, response) => { (left-- > 0 ? wrong : good)(body, response); };
  };
  const status = (code: number, headers: Record<string, string> = {}): typeof answer => (_body, response) => { response.writeHead(code, headers).end('no'); };
  test.each<[string, typeof answer]>([['408', status(408)], ['429', status(429)], ['500', status(500)], ['503', status(503)], ['529', status(529)], ['a hang-up', (_body, response) => { response.destroy(); }], ['a reply that breaks off', (_body, response) => { response.writeHead(200, { 'content-length': '1000' }).write('{'); setTimeout(() => response.destroy(), 20); }]])('%s passes: it is tried again, three times in all, later each time', async (_what, wrong) => {
    first(2, wrong);
    const startMs = monoMs();
    expect(await voyage().embed(['a'], 'query')).toHaveLength(1);
    expect([seen.length, monoMs() - startMs >= 0.75 * (250 + 500) - 5]).toEqual([3, true]);
    first(3, wrong);
    await expect(voyage().embed(['a'], 'query')).rejects.toMatchObject({ code: 'embedder_failed' });
    expect(seen).toHaveLength(6);
  });

  test.each<[string, typeof answer]>([['400', status(400)], ['401', status(401)], ['413', status(413)], ['a redirect', status(302, { location: 'http://127.0.0.1:1/' })], ['a wrong reply', (_body, response) => response.end('<html>')]])('%s does not pass: it is asked once', async (_what, wrong) => {
    first(1, wrong);
    await expect(voyage().embed(['a'], 'query')).rejects.toMatchObject({ code: 'embedder_failed' });
    expect(seen).toHaveLength(1);
  });

  test('the server says how long to wait, in seconds or as a date; and nobody waits beyond whoever asked', async () => {
    for (const retryAfterOf of [() => '1', () => new Date(wallMs() + 2_000).toUTCString()]) {
      const retryAfter = retryAfterOf();
      first(1, status(429, { 'retry-after': retryAfter }));
      const startMs = monoMs();
      await voyage().embed(['a'], 'query');
      expect([retryAfter, monoMs() - startMs >= 900]).toEqual([retryAfter, true]);
    }
    seen = [];
    first(9, status(429, { 'retry-after': '1' }));
    const startMs = monoMs();
    await expect(voyage().embed(['a'], 'query', monoMs() + 900)).rejects.toMatchObject({ code: 'embedder_failed', retryAfterMs: 1_000 });
    await expect(voyage({ timeoutMs: 900 }).embed(['a'], 'query')).rejects.toMatchObject({ code: 'embedder_failed', retryAfterMs: 1_000 });
    expect([seen.length, monoMs() - startMs < 800]).toEqual([2, true]);
    first(9, status(503));
    await expect(voyage().embed(['a'], 'query', monoMs() + 450)).rejects.toMatchObject({ message: expect.stringContaining('503') });
    expect(seen).toHaveLength(4); // the third try would come too late
  });

  test('the search of a recall tries again no longer than it waits itself', async () => {
    const asked: (number | undefined)[] = [];
    const redis = openRedis(readConfig(stack.env).REDIS_URL, 'fast', log);
    const embedder: Embedder = { ...lexicalEmbedder(), fingerprint: 'test:1', dimensions: 1, embed: (_texts, _kind, untilMs) => { asked.push(untilMs); return Promise.resolve([[1]]); } };
    await embedQuery({ embedder: cachedEmbedder(embedder, redis, redisKeys(stack.redisPrefix)) } as unknown as SearchDeps, 'where');
    redis.disconnect();
    expect(asked[0]! - monoMs()).toBeGreaterThan(500);
    expect(asked[0]! - monoMs()).toBeLessThanOrEqual(1_000);
  });

  test('closing ends a pause too', async () => {
    first(9, status(503, { 'retry-after': '5' }));
    const closing = voyage();
    const startMs = monoMs();
    const embedding = closing.embed(['a'], 'query').catch((error: unknown) => error);
    while (seen.length === 0) await pause(5);
    await closing.close();
    expect(await embedding).toMatchObject({ code: 'embedder_failed', message: expect.stringContaining('closed') });
    expect(monoMs() - startMs).toBeLessThan(2_000);
  });

  test('a refusal keeps status and retry-after and shows no key; silence ends in time; closing ends the wait', async () => {
    answer = (_body, response) => { response.writeHead(429, { 'retry-after': '7' }).end('slow down, secret-key'); };
    const refused = await voyage({ timeoutMs: 2_000 }).embed(['a'], 'query').catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'embedder_failed', retryAfterMs: 7_000, message: expect.stringContaining('429') });
    expect(String(refused)).not.toContain('secret-key');
    answer = () => undefined;
    await expect(voyage({ timeoutMs: 50 }).embed(['a'], 'query')).rejects.toMatchObject({ code: 'embedder_failed', message: expect.stringContaining('50 ms') });
    const closing = voyage();
    answer = () => { void closing.close(); };
    await expect(closing.embed(['a'], 'query')).rejects.toMatchObject({ code: 'embedder_failed', message: expect.stringContaining('closed') });
  });
});

describe('the cache', () => {
  const counting = (): Embedder & { asked: string[] } => {
    const lexical = lexicalEmbedder();
    const asked: string[] = [];
    return { ...lexical, asked, embed: (texts, kind) => { asked.push(...texts.map((text) => `${kind} ${text}`)); return lexical.embed(texts, kind); } };
  };

  test('each text is embedded once per kind, in order; forgetting forgets; no text stands in a key', async () => {
    const redis = openRedis(stack.redisUrl, 'fast', log);
    await redisReady(redis);
    const keys = redisKeys(stack.redisPrefix);
    const inner = counting();
    const cached = cachedEmbedder(inner, redis, keys);
    const first = await cached.embed(['b secret', 'a', 'b secret'], 'document');
    await redis.ping(); // replies come in order: the writes are done
    expect(await cached.embed(['b secret', 'a', 'b secret'], 'document')).toEqual(first);
    expect(inner.asked).toEqual(['document b secret', 'document a']);
    await cached.embed(['a', 'c'], 'query');
    expect(inner.asked.slice(2)).toEqual(['query a', 'query c']);
    const names = await redis.keys(`${stack.redisPrefix}:embedding:*`);
    expect(names).toHaveLength(4);
    expect(names.join()).not.toContain('secret');
    for (const name of names) expect(await redis.ttl(name)).toBeGreaterThan(0);
    await forgetEmbeddings(redis, keys, inner.fingerprint, ['b secret', 'a', 'c']);
    expect(await redis.keys(`${stack.redisPrefix}:embedding:*`)).toEqual([]);
    await redis.quit();
  });

  test('a spoilt entry or a Redis that is gone only costs time', async () => {
    const redis = openRedis(stack.redisUrl, 'fast', log);
    await redisReady(redis);
    const inner = counting();
    const cached = cachedEmbedder(inner, redis, redisKeys(`${stack.redisPrefix}-spoilt`));
    const first = await cached.embed(['a'], 'query');
    await redis.ping();
    for (const name of await redis.keys(`${stack.redisPrefix}-spoilt:embedding:*`)) await redis.set(name, 'AAAA');
    expect(await cached.embed(['a'], 'query')).toEqual(first);
    await redis.quit();
    expect(await cached.embed(['a'], 'query')).toEqual(first);
    expect(inner.asked).toHaveLength(3);
  });
});
