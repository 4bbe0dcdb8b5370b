// Requests of tools to the outside: only to the origin that was named, never inside, whatever name or writing leads there; the address
// that was looked at is the one that is connected to; what comes back is capped.
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import type { Tool } from '../src/domain/tool.ts';
import { httpTool, type HttpToolOptions } from '../src/tools/http-tool.ts';
import { isInside, NotSent } from '../src/tools/outbound.ts';

const seen: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] = [];
const server = createServer((request, response) => {
  let body = '';
  request.on('data', (part: Buffer) => { body += part.toString(); });
  request.on('end', () => {
    seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
    if (request.url?.startsWith('/moved')) response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data' }).end();
    else if (request.url?.startsWith('/big')) response.writeHead(200, { 'content-type': 'text/plain' }).end('x'.repeat(5_000));
    else if (request.url?.startsWith('/bytes')) response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(Buffer.from([0, 255]));
    else if (request.url?.startsWith('/status/')) response.writeHead(Number(request.url.split('/')[2])).end('no');
    else if (request.url?.startsWith('/never')) return;
    else response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}');
  });
});
await new Promise<void>((listening) => { server.listen(0, '127.0.0.1', listening); });
const { port } = server.address() as AddressInfo;
afterAll(() => { server.closeAllConnections(); server.close(); });
beforeEach(() => { seen.length = 0; });

interface Args { path: string }
const tool = (change: Partial<HttpToolOptions<Args>> = {}): Tool =>
  httpTool<Args>({ name: 'fetch', description: 'Fetches.', origin: `http://127.0.0.1:${port}`, allowInside: ['127.0.0.1'], input: z.strictObject({ path: z.string() }), call: ({ path }) => ({ path }), ...change });
const run = (one: Tool, path = '/', signal: AbortSignal = AbortSignal.timeout(5_000)): Promise<unknown> => one.run({ path } as never, { tenant: 'acme', user: undefined, run: 'r', key: 'key-1', progress: () => undefined, searchDocuments: () => Promise.reject(new Error('no documents')), signal });

describe('what is inside', () => {
  test.each(['127.0.0.1', '10.1.2.3', '172.31.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '::1', '::', '::ffff:127.0.0.1', '::ffff:a00:1', '64:ff9b::7f00:1', '2002:7f00:1::', 'fe80::1', 'fe80::1%eth0', 'fd00::1', 'ff02::1'])('%s', (address) => expect(isInside(address)).toBe(true));
  test.each(['1.1.1.1', '8.8.8.8', '172.32.0.1', '100.128.0.1', '2606:4700::1111', '2a00:1450:4001::1'])('not %s', (address) => expect(isInside(address)).toBe(false));

  test.each(['http://127.0.0.1', 'http://127.1', 'http://2130706433', 'http://0x7f.0.0.1', 'http://[::1]', 'http://[::ffff:127.0.0.1]', 'http://localhost', 'http://169.254.169.254'])('%s is not reached', async (origin) => {
    await expect(run(tool({ origin: `${origin}:${port}`, allowInside: [] }))).rejects.toMatchObject({ code: 'tool_denied' });
    await expect(run(tool({ origin: `${origin}:${port}`, allowInside: [] }))).rejects.toBeInstanceOf(NotSent);
    expect(seen).toEqual([]);
  });

  test('a redirect is not followed, wherever it leads', async () => {
    await expect(run(tool(), '/moved')).rejects.toMatchObject({ code: 'tool_failed', message: expect.stringContaining('redirect') });
    expect(seen.length).toBe(1);
  });
});

describe('a request', () => {
  test.each(['//evil.example/x', 'http://evil.example/x', '@evil.example/', '\\\\evil.example', '/a/../b'])('the path %j stays below the origin', async (path) => {
    expect(await run(tool(), path)).toMatchObject({ status: 200, body: { ok: true } });
    expect(seen[0]?.headers.host).toBe(`127.0.0.1:${port}`);
  });

  test('method, query, body, the key in its header, and secrets that are asked for at each call', async () => {
    let asked = 0;
    const post = tool({ keyHeader: 'Idempotency-Key', secrets: () => ({ authorization: `Bearer ${++asked}` }), call: ({ path }) => ({ method: 'POST', path, query: { q: 'a b', none: undefined }, json: { n: 1 } }) });
    expect([post.effect, tool({ reads: true }).effect, tool().effect]).toEqual(['keyed', 'read', 'unkeyed']);
    await run(post, '/orders');
    await run(post, '/orders');
    expect(seen).toMatchObject([1, 2].map((n) => ({ method: 'POST', url: '/orders?q=a+b', body: '{"n":1}', headers: { 'idempotency-key': 'key-1', authorization: `Bearer ${n}`, 'content-type': 'application/json' } })));
  });

  test('what is longer than the cap is cut, and says so; bytes come as bytes', async () => {
    expect(await run(tool({ maxBytes: 1_000 }), '/big')).toEqual({ status: 200, type: 'text/plain', cut: true, body: 'x'.repeat(1_000) });
    expect(await run(tool(), '/bytes')).toEqual({ status: 200, type: 'application/octet-stream', body: Buffer.from([0, 255]) });
  });

  test('what is known to have done nothing: a refusal, and nobody there; not a fault of the server', async () => {
    const outcome = async (one: Tool, path: string): Promise<[string, boolean]> => run(one, path).then(() => ['ok', false], (error: { code: string }) => [error.code, one.notApplied?.(error) ?? false]);
    expect(await outcome(tool(), '/status/422')).toEqual(['tool_failed', true]);
    expect(await outcome(tool(), '/status/503')).toEqual(['tool_failed', false]);
    expect(await outcome(tool({ origin: 'http://127.0.0.1:1' }), '/')).toEqual(['tool_failed', true]);
    expect(await outcome(tool({ origin: 'http://name.invalid' }), '/')).toEqual(['tool_failed', true]);
  });

  test('it ends with its signal', async () => {
    await expect(run(tool(), '/never', AbortSignal.timeout(50))).rejects.toThrow(/abort/i);
  });

  test.each(['ftp://x.example', 'https://x.example/path', 'https://user@x.example', 'https://x.example/?q=1'])('%s is no origin', (origin) => expect(() => tool({ origin })).toThrow('must be like'));
});
