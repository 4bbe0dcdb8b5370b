// The object store: one contract, held by a folder and by a real S3 server alike, and below it what only one of them can
// get wrong. What is not there is undefined, what does not answer is `value_unavailable`, and the two are never mixed up.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { openFiles } from '../src/artifacts/files.ts';
import { openBlobStore } from '../src/artifacts/open.ts';
import { openS3 } from '../src/artifacts/s3.ts';
import { monoMs } from '../src/clock.ts';
import { readConfig } from '../src/config.ts';
import type { BlobStore } from '../src/domain/blob.ts';
import { signalList } from './support/signal-list.ts';
import { S3_LOGIN, startS3Server, type S3Server } from './support/s3-server.ts';

const scratch = mkdtempSync(join(tmpdir(), 'mainstay-blobs-'));
const newFolder = (): string => mkdtempSync(join(scratch, 'f-'));
let server: S3Server;
let s3Settings: { bucket: string; region: string; endpoint: string; forcePathStyle: boolean; credentials: typeof S3_LOGIN };
let prefixes = 0;

beforeAll(async () => {
  server = await startS3Server();
  await server.makeBucket('values');
  s3Settings = { bucket: 'values', region: 'us-east-1', endpoint: server.url, forcePathStyle: true, credentials: S3_LOGIN };
}, 180_000);
afterAll(async () => {
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const unavailable = { code: 'value_unavailable' };
const allUnavailable = (calls: readonly Promise<unknown>[]): Promise<unknown> => Promise.all(calls.map((call) => expect(call).rejects.toMatchObject(unavailable)));
const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (found: Uint8Array | undefined): string | undefined => (found === undefined ? undefined : Buffer.from(found).toString());
const isOneLetter = (found: Uint8Array): boolean => found.every((byte) => byte === found[0]);

/** Two doors to one empty store, as two processes have. */
const implementations: [string, () => [BlobStore, BlobStore]][] = [
  ['a folder', () => { const folder = newFolder(); return [openFiles(folder), openFiles(folder)]; }],
  ['a bucket', () => { const settings = { ...s3Settings, prefix: `p-${prefixes++}` }; return [openS3(settings), openS3(settings)]; }],
];

describe.each(implementations)('%s', (_name, open) => {
  test('gives back what was put, to any process, until it is deleted', async () => {
    const [store, other] = open();
    await store.ping();
    const everyByte = Uint8Array.from({ length: 256 }, (_none, byte) => byte);
    await store.put('values/acme/run/one.json', everyByte);
    await store.put('values/acme/run/none.json', new Uint8Array());
    expect(Buffer.compare(await other.get('values/acme/run/one.json') ?? bytes(''), everyByte)).toBe(0);
    expect(await other.get('values/acme/run/none.json')).toHaveLength(0);
    await other.delete('values/acme/run/one.json');
    expect(await store.get('values/acme/run/one.json')).toBeUndefined();
    expect(await store.get('values/acme/run/none.json')).toHaveLength(0);
  });

  test('holds 8 MiB', async () => {
    const [store, other] = open();
    const large = randomBytes(8 << 20);
    await store.put('values/acme/run/large.json', large);
    expect(Buffer.compare(await other.get('values/acme/run/large.json') ?? bytes(''), large)).toBe(0);
  });

  test('takes the same key twice', async () => {
    const [store, other] = open();
    for (const door of [store, other, store]) await door.put('values/acme/run/same.json', bytes('same'));
    expect(text(await store.get('values/acme/run/same.json'))).toBe('same');
  });

  test('knows nothing under a key never put, below one, or above one; deleting it is no error', async () => {
    const [store] = open();
    await store.put('values/acme/run/one.json', bytes('1'));
    for (const key of ['values/acme/run/two.json', 'exports/x', 'values/acme/run/one.json/below', 'values/acme']) {
      expect(await store.get(key)).toBeUndefined();
      await store.delete(key);
    }
    expect(text(await store.get('values/acme/run/one.json'))).toBe('1');
  });

  test.each([
    ['empty', ''], ['absolute', '/etc/passwd'], ['climbing', '../x'], ['climbing inside', 'values/../../x'], ['climbing at the end', 'values/..'], ['holding a dot', 'values/./x'],
    ['holding an empty part', 'values//x'], ['ending in one', 'values/x/'], ['holding a backslash', 'values\\x'], ['holding NUL', 'values/a\0b'], ['holding a space', 'values/a b'],
    ['holding a letter that file systems spell in two ways', 'values/é'], ['where unfinished files lie', '#new/x'], ['of too long a part', `values/${'x'.repeat(256)}`], ['too long', `${'x'.repeat(200)}/`.repeat(4) + 'x'],
  ])('refuses a key that is %s', async (_what, key) => {
    const [store] = open();
    const internal = { code: 'internal' };
    await expect(store.put(key, bytes('x'))).rejects.toMatchObject(internal);
    await expect(store.get(key)).rejects.toMatchObject(internal);
    await expect(store.delete(key)).rejects.toMatchObject(internal);
  });

  test('keeps apart whatever names are encoded into keys', async () => {
    const [store] = open();
    const keys = ['acme', '../acme', 'acme/run', 'acme%2Frun', "it's (so) *new*!~", 'ünïcode 雪', '...'].map((name) => `values/${encodeURIComponent(name)}/x.json`);
    for (const key of keys) await store.put(key, bytes(key));
    for (const key of keys) expect(text(await store.get(key))).toBe(key);
  });

  test('two writers of one key at once: a reader sees one whole value or none', async () => {
    const [store, other] = open();
    const key = 'values/acme/run/contested.json';
    const letters = ['a', 'b'].map((letter) => Buffer.alloc(1 << 20, letter));
    const seen: (Uint8Array | undefined)[] = [];
    const reader = async (): Promise<void> => { for (let reads = 0; reads < 10; reads++) seen.push(await store.get(key)); };
    await Promise.all([...Array.from({ length: 8 }, (_none, nth) => [store, other][nth % 2]?.put(key, letters[nth % 2] ?? bytes(''))), reader()]);
    seen.push(await other.get(key));
    expect(seen.at(-1)).toHaveLength(1 << 20);
    for (const found of seen) expect(found === undefined || (found.length === 1 << 20 && isOneLetter(found))).toBe(true);
  });
});

describe('the folder', () => {
  const key = 'values/acme/run/one.json';

  test('gone or no folder at all is value_unavailable, never a missing value', async () => {
    const gone = join(newFolder(), 'unmounted');
    await expect(openFiles(gone).get(key)).rejects.toMatchObject(unavailable);
    await expect(openFiles(gone).delete(key)).rejects.toMatchObject(unavailable);
    const file = join(newFolder(), 'file');
    writeFileSync(file, 'in the way');
    const store = openFiles(file);
    const failed = await store.put(key, bytes('1')).catch((error: unknown) => error);
    expect(failed).toMatchObject({ ...unavailable, cause: { code: expect.stringMatching(/^E[A-Z]+$/) } });
    await expect(store.get(key)).rejects.toMatchObject(unavailable);
    await expect(store.ping()).rejects.toMatchObject(unavailable);
  });

  test('a put that fails leaves nothing behind', async () => {
    const folder = newFolder();
    const store = openFiles(folder);
    await store.put(key, bytes('1'));
    await expect(store.put('values/acme/run', bytes('a folder has this name'))).rejects.toMatchObject(unavailable);
    expect(readdirSync(join(folder, '#new'))).toEqual([]);
    expect(text(await store.get(key))).toBe('1');
  });

  test('holds the file under its key and nothing else, and no folder once it is empty', async () => {
    const folder = newFolder();
    const store = openFiles(folder);
    await store.put(key, bytes('1'));
    await store.put('values/acme/other/two.json', bytes('2'));
    expect(readFileSync(join(folder, key), 'utf8')).toBe('1');
    await store.delete(key);
    expect(readdirSync(join(folder, 'values/acme'))).toEqual(['other']);
    await store.delete('values/acme/other/two.json');
    expect(readdirSync(folder)).toEqual(['#new']);
  });

  test('is made again for a put whose place a delete has just emptied and removed', async () => {
    const folder = newFolder();
    const cycle = async (writer: number): Promise<void> => {
      const store = openFiles(folder);
      for (let round = 0; round < 100; round++) {
        const own = `values/acme/run/${writer}-${round}.json`;
        await store.put(own, bytes('1'));
        expect(text(await store.get(own))).toBe('1');
        await store.delete(own);
      }
    };
    await Promise.all([1, 2, 3, 4].map(cycle));
    expect(readdirSync(folder)).toEqual(['#new']);
  });

  test('what a killed writer left goes after a day, what another is writing stays', async () => {
    const folder = newFolder();
    mkdirSync(join(folder, '#new'));
    for (const name of ['left', 'being-written']) writeFileSync(join(folder, '#new', name), 'half');
    const yesterday = new Date('2020-01-01T00:00:00Z');
    utimesSync(join(folder, '#new', 'left'), yesterday, yesterday);
    await openFiles(folder).put(key, bytes('1'));
    expect(readdirSync(join(folder, '#new'))).toEqual(['being-written']);
  });
});

describe('the bucket', () => {
  const key = 'values/acme/run/one.json';
  const scripted: Server[] = [];
  /** A server that breaks HTTP in ways a real one does only on bad days. */
  const startScripted = async (answer: RequestListener): Promise<string> => {
    const made = createServer(answer).listen(0, '127.0.0.1');
    scripted.push(made);
    await once(made, 'listening');
    return `http://127.0.0.1:${(made.address() as AddressInfo).port}`;
  };
  const owned: S3Server[] = [];
  /** One that a test may stop or freeze, with the bucket in it. */
  const startOwn = async (): Promise<S3Server> => {
    const own = await startS3Server();
    owned.push(own);
    await own.makeBucket('values');
    return own;
  };
  afterEach(async () => {
    for (const made of scripted.splice(0)) { made.closeAllConnections(); made.close(); }
    for (const own of owned.splice(0)) await own.stop();
  });
  const at = (endpoint: string, over: Partial<Parameters<typeof openS3>[0]> = {}): BlobStore => openS3({ ...s3Settings, endpoint, prefix: 'mainstay', ...over });
  const bodyOf = async (request: IncomingMessage): Promise<Buffer> => Buffer.concat(await request.toArray() as Buffer[]);

  test('two prefixes of one bucket never meet', async () => {
    const [one, two] = [at(server.url, { prefix: 'one' }), at(server.url, { prefix: 'two' })];
    await one.put(key, bytes('1'));
    expect(await two.get(key)).toBeUndefined();
  });

  test('a bucket that is not there is value_unavailable, never a missing value', async () => {
    const store = at(server.url, { bucket: 'nobody-made-it' });
    await allUnavailable([store.get(key), store.put(key, bytes('1')), store.delete(key), store.ping()]);
  });

  test('a 404 that no object store wrote is value_unavailable as well', async () => {
    const store = at(await startScripted((_request, response) => { response.writeHead(404, { 'content-type': 'text/html' }).end('<html>no such page</html>'); }));
    await expect(store.get(key)).rejects.toMatchObject(unavailable);
  });

  test('a server that is gone is value_unavailable within two seconds', async () => {
    const own = await startOwn();
    const store = at(own.url);
    await store.put(key, bytes('1'));
    await own.stop();
    const fromMs = monoMs();
    await allUnavailable([store.get(key), store.put(key, bytes('1')), store.delete(key), store.ping()]);
    expect(monoMs() - fromMs).toBeLessThan(2_000);
  });

  test('a server that is silent is given up, and used again when it speaks', async () => {
    const own = await startOwn();
    const store = at(own.url, { silenceMs: 300 });
    await store.put(key, bytes('1'));
    own.freeze();
    const fromMs = monoMs();
    await allUnavailable([store.get(key), store.put(key, bytes('2')), store.ping()]);
    expect(monoMs() - fromMs).toBeLessThan(6_000);
    own.thaw();
    await own.makeBucket('other'); // answered: so it has caught up with what it slept through
    expect(text(await store.get(key))).toMatch(/^[12]$/);
  });

  test.each([['stops', { silenceMs: 300 }], ['drips', { deadlineMs: 600 }]])('a body that %s halfway is given up', async (how, limits) => {
    const closed = signalList<true>();
    const store = at(await startScripted((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('half of it');
      const drip = setInterval(() => { if (how === 'drips') response.write('.'); }, 50);
      response.once('close', () => { clearInterval(drip); closed.push(true); });
    }), limits);
    await expect(store.get(key)).rejects.toMatchObject(unavailable);
    await closed.next(); // and its connection with it
  });

  test('a body that is cut off is value_unavailable, not a shorter value', async () => {
    const store = at(await startScripted((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('half of it', () => response.destroy());
    }));
    await expect(store.get(key)).rejects.toMatchObject(unavailable);
  });

  test('a platform that is asked for a login and says nothing is given up', async () => {
    const silent = await startScripted(() => undefined);
    process.env['AWS_CONTAINER_CREDENTIALS_FULL_URI'] = silent; // where the SDK looks when it is given no login
    try {
      const fromMs = monoMs();
      await expect(at(server.url, { credentials: undefined, deadlineMs: 200 }).get(key)).rejects.toMatchObject(unavailable);
      expect(monoMs() - fromMs).toBeLessThan(1_000); // the SDK itself would wait for two seconds and more
    } finally {
      delete process.env['AWS_CONTAINER_CREDENTIALS_FULL_URI'];
    }
  });

  test('a kept connection that the server has just closed costs no call', async () => {
    let calls = 0;
    const store = at(await startScripted((request, response) => {
      if (++calls === 2) return void request.socket.destroy();
      void bodyOf(request).then(() => response.writeHead(200).end());
    }));
    await store.put(key, bytes('1'));
    await store.put(key, bytes('2'));
    expect(calls).toBe(3);
  });

  test('a put is one request under the digest of its bytes, sent without waiting to be told', async () => {
    const large = randomBytes(4 << 20);
    const requests: { headers: IncomingMessage['headers']; digest: string }[] = [];
    const store = at(await startScripted((request, response) => {
      void bodyOf(request).then((body) => {
        requests.push({ headers: request.headers, digest: createHash('sha256').update(body).digest('hex') });
        response.writeHead(200).end();
      });
    }));
    await store.put(key, large);
    const digest = createHash('sha256').update(large).digest('hex');
    expect(requests).toMatchObject([{ digest, headers: { 'x-amz-content-sha256': digest, 'content-length': String(4 << 20) } }]);
    expect(requests[0]?.headers.expect).toBeUndefined();
    expect(Object.keys(requests[0]?.headers ?? {}).filter((name) => /checksum|trailer|content-encoding/.test(name))).toEqual([]); // unknown to many servers
  });
});

describe('the configuration', () => {
  const needed = { DATABASE_URL: 'postgresql://db/mainstay', REDIS_URL: 'redis://redis', MILVUS_ADDRESS: 'milvus:19530' };
  const openWith = (env: Record<string, string>): BlobStore => openBlobStore(readConfig({ ...needed, ...env }));

  test('without a bucket values go to the folder, which is made when it is needed', async () => {
    const folder = join(newFolder(), 'artifacts');
    const store = openWith({ ARTIFACTS_DIR: folder });
    expect(existsSync(folder)).toBe(false);
    await store.put('values/x', bytes('1'));
    expect(readFileSync(join(folder, 'values/x'), 'utf8')).toBe('1');
  });

  test('with a bucket they go there, under the prefix', async () => {
    const store = openWith({ S3_BUCKET: 'values', S3_ENDPOINT: server.url, S3_FORCE_PATH_STYLE: 'true', S3_PREFIX: 'fleet/one', S3_ACCESS_KEY_ID: S3_LOGIN.accessKeyId, S3_SECRET_ACCESS_KEY: S3_LOGIN.secretAccessKey });
    await store.put('values/x', bytes('1'));
    expect(text(await openS3({ ...s3Settings, prefix: 'fleet' }).get('one/values/x'))).toBe('1');
  });

  test.each([
    ['an address without a bucket', { S3_ENDPOINT: 'http://s3' }, /S3_BUCKET/],
    ['a login without a bucket', { S3_ACCESS_KEY_ID: 'x', S3_SECRET_ACCESS_KEY: 'y' }, /S3_BUCKET/],
    ['half a login', { S3_BUCKET: 'b', S3_ACCESS_KEY_ID: 'x' }, /both or none/],
    ['a prefix that climbs', { S3_BUCKET: 'b', S3_PREFIX: '../other' }, /S3_PREFIX/],
    ['an address without a scheme', { S3_BUCKET: 'b', S3_ENDPOINT: 's3:9000' }, /S3_ENDPOINT/],
  ])('refuses %s', (_what, env, fault) => {
    expect(() => openWith(env as Record<string, string>)).toThrow(fault);
  });
});
