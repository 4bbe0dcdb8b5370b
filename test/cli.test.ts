// The command line as a person or a script uses it: real processes, a real database, exit codes and both outputs.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, test } from '@jest/globals';
import { keyIdOf, keyMatches } from '../src/domain/api-key.ts';
import { SCOPES } from '../src/domain/status.ts';
import { withClient } from '../src/dev/servers/migrate.ts';
import { spawnCli, type Said, type Spawned } from './support/spawn-cli.ts';
import { atFileEnd, useStack } from './support/stack.ts';

const stack = await useStack();
const folder = mkdtempSync(join(tmpdir(), 'mainstay-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const mainstay = (words: readonly string[], options: Spawned = {}): Promise<Said> => spawnCli(words, { cwd: folder, ...options });
const database = { DATABASE_URL: stack.databaseUrl };
const rows = (sql: string): Promise<Record<string, unknown>[]> => withClient(stack.databaseUrl, async (client) => (await client.query<Record<string, unknown>>(sql)).rows);
const nowhere = { MAINSTAY_URL: 'http://127.0.0.1:1', MAINSTAY_API_KEY: 'mk_x' };

describe('bad usage ends with 2, before anything is sent', () => {
  const created = ['runs', 'create', '--agent', 'a', '--input'];
  test.each([
    [[], 'Usage: mainstay'],
    [['nope'], "unknown command 'nope'"],
    [['runs'], 'Usage: mainstay runs'],
    [['runs', 'create', '--input', '{}'], "required option '--agent <name>'"],
    [['runs', 'get'], "missing required argument 'run'"],
    [['runs', 'get', 'a', 'b'], 'too many arguments'],
    [['runs', 'list', '--colour'], "unknown option '--colour'"],
    [['runs', 'list', '--status', 'done'], 'Allowed choices are queued'],
    [['runs', 'list', '--limit', '1.5'], 'whole number'],
    [[...created, '{'], 'not JSON'],
    [[...created, '@missing.json'], 'missing.json cannot be read'],
    [[...created, '{}', '--metadata', '[1]'], 'JSON object'],
    [[...created, '{}', '--start-at', 'tomorrow'], 'time with a zone'],
    [[...created, '{}', '--multitask-strategy', 'shout'], 'Allowed choices'],
    [['permissions', 'set', 'ada'], 'name what to set'],
    [['worker', '--pool', 'swimming'], 'Allowed choices are agent, memory, maintenance'],
    [['worker'], "required option '--pool <pool>'"],
    [['keys', 'create', '--tenant', 't', '--scopes', 'everything'], '"everything" is no scope'],
    [['keys', 'list'], "required option '--tenant <tenant>'"],
    [['tenants', 'limit', 'acme', '--max-running', 'many'], 'whole number'],
    [['tenants', 'limit', 'acme', '--weight', '-1'], 'a number such as'],
  ])('%j', async (words, sentence) => {
    const { code, out, err } = await mainstay(words, { env: nowhere });
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(sentence);
    expect(err).not.toMatch(/\n\s+at /);
  });

  test('help and version are no errors', async () => {
    expect(await mainstay(['--help'])).toMatchObject({ code: 0, err: '', out: expect.stringContaining('sessions') });
    expect(await mainstay(['runs', 'create', '--help'])).toMatchObject({ code: 0, out: expect.stringContaining('--multitask-strategy') });
    const { version } = JSON.parse(readFileSync(resolve(import.meta.dirname, '../package.json'), 'utf8')) as { version: string };
    expect(await mainstay(['--version'], { program: resolve(import.meta.dirname, '../bin/mainstay.mjs') })).toEqual({ code: 0, out: `${version}\n`, err: '' });
  });
});

describe('an error ends with 1, its code and what to do, without a stack', () => {
  test.each([
    [['runs', 'list'], {}, 'bad_request: The address of the API is not known'],
    [['runs', 'list'], { MAINSTAY_URL: 'http://127.0.0.1:1' }, 'unauthenticated: There is no API key'],
    [['runs', 'list'], { MAINSTAY_URL: 'ftp://x', MAINSTAY_API_KEY: 'k' }, 'bad_request: baseUrl must begin with http'],
    [['runs', 'list', '--key-file', 'none'], nowhere, 'bad_request: The key cannot be read'],
    [['keys', 'list', '--tenant', 't'], {}, 'set DATABASE_URL'],
    [['worker', '--pool', 'memory'], {}, 'REDIS_URL: Invalid input'],
    [['api'], { DATABASE_URL: 'mysql://x' }, 'DATABASE_URL: Invalid string'],
    [['keys', 'list', '--tenant', 't'], { DATABASE_URL: 'postgresql://u:secret@127.0.0.1:1/x' }, 'unavailable: Postgres does not answer'],
  ])('%j %j', async (words, env, sentence) => {
    const { code, out, err } = await mainstay(words, { env });
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toContain(sentence);
    expect(err).not.toMatch(/\n\s+at |secret/);
  });

  test('a local fleet’s key goes to the local fleet only, and its database is pointed to', async () => {
    const local = join(folder, 'with-fleet');
    mkdirSync(join(local, '.mainstay'), { recursive: true });
    for (const [name, value] of Object.entries({ local: { apiKey: 'mk_local' }, ports: { api: 1 }, stack: { databaseUrl: stack.databaseUrl } })) writeFileSync(join(local, `.mainstay/${name}.json`), JSON.stringify(value));
    expect((await mainstay(['runs', 'list', '--url', 'http://127.0.0.1:2'], { cwd: local })).err).toContain('unauthenticated: There is no API key');
    const { err } = await mainstay(['keys', 'list', '--tenant', 't'], { cwd: local });
    expect(err).toContain('export DATABASE_URL="$(node -p');
    expect(err).not.toContain(stack.databaseUrl);
  });
});

test('`mainstay api` serves until it is told to stop', async () => {
  const child = spawn(process.execPath, [resolve(import.meta.dirname, '../src/cli/main.ts'), 'api'], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env['PATH'] ?? '', ...stack.env, PORT: '0' } });
  atFileEnd(async () => { if (child.exitCode === null && child.signalCode === null) { child.kill('SIGKILL'); await once(child, 'exit'); } });
  const ended = once(child, 'exit');
  let port: unknown;
  for await (const line of createInterface({ input: child.stdout })) {
    ({ port } = JSON.parse(line) as { port?: unknown });
    if (port !== undefined) break;
  }
  child.stdout.resume();
  const { paths } = await (await fetch(`http://127.0.0.1:${String(port)}/openapi.json`)).json() as { paths: Record<string, unknown> };
  expect(Object.keys(paths)).toContain('/v1/runs');
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});

describe('tenants and keys, straight on Postgres', () => {
  test('a key is made once, shown once, found by its digest, listed without its secret, and revoked', async () => {
    expect(await mainstay(['tenants', 'create', 'acme'], { env: database })).toEqual({ code: 0, out: 'acme\n', err: '' });
    expect(await mainstay(['tenants', 'create', 'acme', '--json'], { env: database })).toMatchObject({ code: 0, out: '{\n  "tenant": "acme"\n}\n' });
    const made = await mainstay(['keys', 'create', '--tenant', 'acme', '--scopes', 'runs:read, runs:write', '--user', 'ada', '--name', 'for a script', '--expires', '2099-01-01T00:00:00Z'], { env: database });
    const key = made.out.trim();
    const id = keyIdOf(key);
    expect(made).toMatchObject({ code: 0, err: expect.stringContaining(`key ${id} of acme`) });
    const [row] = await rows(`SELECT id, tenant_id, user_id, hash, scopes, expires_at FROM api_keys`);
    expect(row).toMatchObject({ id, tenant_id: 'acme', user_id: 'ada', scopes: ['runs:read', 'runs:write'], expires_at: new Date('2099-01-01T00:00:00Z') });
    expect(keyMatches(key, row?.['hash'] as Uint8Array)).toBe(true);

    const table = await mainstay(['keys', 'list', '--tenant', 'acme'], { env: database });
    expect(table.out.split('\n')[1]).toMatch(new RegExp(`^${id}  ada   live   2099-01-01 00:00:00 .* for a script  runs:read runs:write$`));
    expect(table.out).not.toContain(key);
    const revoked = await mainstay(['keys', 'revoke', id ?? '', '--tenant', 'acme'], { env: database });
    expect(revoked).toEqual({ code: 0, out: `${id} is revoked\n`, err: '' });
    const { data } = JSON.parse((await mainstay(['keys', 'list', '--tenant', 'acme', '--json'], { env: database })).out) as { data: Record<string, unknown>[] };
    expect(data).toEqual([expect.objectContaining({ id, name: 'for a script', revokedAt: expect.any(String) })]);
    expect(Object.keys(data[0] ?? {})).not.toContain('hash');
    expect(await rows(`SELECT action, actor LIKE 'cli%' AS ours, object_id FROM audit_events ORDER BY id`)).toEqual(['key.created', 'key.revoked'].map((action) => ({ action, ours: true, object_id: id })));
  });

  test('limits and weight are set, shown and on record', async () => {
    await mainstay(['tenants', 'create', 'limited'], { env: database });
    const set = (...words: string[]) => mainstay(['tenants', 'limit', 'limited', ...words], { env: database });
    expect(await set('--max-running', '4', '--weight', '2.5')).toMatchObject({ code: 0, out: expect.stringMatching(/^tenant +limited\nweight +2\.5\nrunning +0 of 4\n/) });
    expect((await set('--agent', 'support-agent', '--max-running', '1')).out).toMatch(/agent +running\n-*\n?support-agent +0 of 1\n/);
    expect(JSON.parse((await mainstay(['tenants', 'show', 'limited', '--json'], { env: database })).out)).toEqual({ tenant: 'limited', weight: 2.5, maxRunning: 4, running: 0, agents: [{ agent: 'support-agent', maxRunning: 1, running: 0 }] });
    await set('--agent', 'support-agent', '--max-running', 'none');
    expect(JSON.parse((await set('--max-running', 'none', '--json')).out)).toMatchObject({ maxRunning: null, weight: 2.5, agents: [] });
    expect(await rows(`SELECT object_type AS type, actor LIKE 'cli%' AS ours FROM audit_events WHERE tenant_id = 'limited'`)).toEqual(['tenant', 'agent', 'agent', 'tenant'].map((type) => ({ type, ours: true })));
  }, 60_000);

  test('what cannot be done changes nothing', async () => {
    const count = `SELECT (SELECT count(*) FROM tenants)::int AS tenants, (SELECT count(*) FROM api_keys)::int AS keys, (SELECT count(*) FROM audit_events)::int AS lines`;
    const before = await rows(count);
    const refused = async (words: string[], sentence: string): Promise<void> => {
      const said = await mainstay(words, { env: database });
      expect(said).toMatchObject({ code: 1, out: '', err: expect.stringContaining(sentence) });
    };
    await refused(['tenants', 'create', 'Not A Name'], 'bad_request: A tenant is named by');
    await refused(['keys', 'create', '--tenant', 'nobody', '--scopes', 'all'], 'not_found: There is no tenant "nobody": `mainstay tenants create nobody`');
    await refused(['keys', 'create', '--tenant', 'acme', '--scopes', 'all', '--user', 'x'.repeat(201)], 'bad_request: user');
    await refused(['tenants', 'limit', 'nobody', '--max-running', '3'], 'not_found: There is no tenant "nobody"');
    await refused(['tenants', 'limit', 'nobody', '--agent', 'support-agent', '--max-running', '3'], 'not_found: There is no tenant "nobody"');
    await refused(['tenants', 'limit', 'acme', '--max-running', '0'], 'bad_request: A limit is a whole number');
    await refused(['tenants', 'limit', 'acme', '--weight', '0'], 'bad_request: A weight is');
    await refused(['tenants', 'limit', 'acme', '--agent', 'No Agent', '--max-running', '1'], 'bad_request: "No Agent" is no name');
    await refused(['tenants', 'limit', 'acme', '--agent', 'support-agent', '--weight', '1'], 'bad_request: An agent has');
    await refused(['tenants', 'limit', 'acme'], 'bad_request: Give --max-running');
    await refused(['tenants', 'show', 'nobody'], 'not_found: There is no tenant "nobody"');
    await refused(['keys', 'revoke', '0000000000000000', '--tenant', 'acme'], 'not_found: The tenant "acme" has no key');
    expect(await rows(count)).toEqual(before);
  }, 60_000);

  test('`all` is every scope, and DATABASE_URL may come from a file', async () => {
    const file = join(folder, 'url');
    writeFileSync(file, `${stack.databaseUrl}\n`);
    chmodSync(file, 0o600);
    await mainstay(['tenants', 'create', 'globex'], { env: { DATABASE_URL_FILE: file } });
    const { id } = JSON.parse((await mainstay(['keys', 'create', '--tenant', 'globex', '--scopes', 'all', '--json'], { env: { DATABASE_URL_FILE: file } })).out) as { id: string };
    expect(await rows(`SELECT id, scopes FROM api_keys WHERE tenant_id = 'globex'`)).toEqual([{ id, scopes: [...SCOPES] }]);
  });
});
