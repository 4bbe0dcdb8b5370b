// Migrations of the development stack and the tests: the very `prisma migrate deploy` of production. Prisma's command
// ends with code 0 in silence when its engine dies, so what counts is the table it writes, read back here. Where that
// table already holds every migration, unchanged, the command (1 s) is skipped.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import pg from 'pg';
import { run } from './processes.ts';

export const checkoutDir = resolve(import.meta.dirname, '../../..');

interface Migration { name: string; checksum: string }

/** Creates the database when it is missing and brings it to the newest migration. Answers whether anything was done. */
export async function migrate(databaseUrl: string): Promise<boolean> {
  await createDatabase(databaseUrl);
  const wanted = migrations();
  if ((await missing(databaseUrl, wanted)).length === 0) return false;
  const said = await run(process.execPath, [join(checkoutDir, 'node_modules/prisma/build/index.js'), 'migrate', 'deploy'], {
    cwd: checkoutDir,
    env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: databaseUrl, PRISMA_HIDE_UPDATE_MESSAGE: '1' },
  });
  const still = await missing(databaseUrl, wanted);
  if (still.length > 0) throw new Error(`migrations not applied: ${still.join(', ')}\n${said.trim().split('\n').slice(-8).join('\n')}`);
  return true;
}

/** The migrations of prisma/migrations, oldest first, with the checksum Prisma records. */
export function migrations(): Migration[] {
  const dir = join(checkoutDir, 'prisma/migrations');
  return readdirSync(dir).sort().filter((name) => existsSync(join(dir, name, 'migration.sql')))
    .map((name) => ({ name, checksum: createHash('sha256').update(readFileSync(join(dir, name, 'migration.sql'))).digest('hex') }));
}

async function missing(databaseUrl: string, wanted: readonly Migration[]): Promise<string[]> {
  return withClient(databaseUrl, async (client) => {
    const table = await client.query<{ found: boolean }>(`SELECT to_regclass('_prisma_migrations') IS NOT NULL AS found`);
    if (!table.rows[0]?.found) return wanted.map(({ name }) => name);
    const { rows } = await client.query<{ migration_name: string; checksum: string }>(
      'SELECT migration_name, checksum FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL');
    const changed = wanted.filter(({ name, checksum }) => rows.some((row) => row.migration_name === name && row.checksum !== checksum));
    // a warning of Prisma's is not enough here: the database would be another one than the code believes
    if (changed.length > 0) throw new Error(`migration ${changed.map(({ name }) => name).join(', ')} was changed after it was applied to this database; a new migration is needed (or, where the data does not matter, another database)`);
    return wanted.filter(({ name }) => !rows.some((row) => row.migration_name === name)).map(({ name }) => name);
  });
}

/** Creates the database the url names, through the database `postgres`, unless it is there. */
export async function createDatabase(databaseUrl: string, template?: string): Promise<void> {
  if (template === undefined && await exists(databaseUrl)) return;
  const url = new URL(databaseUrl);
  const name = decodeURIComponent(url.pathname.slice(1));
  url.pathname = '/postgres';
  await withClient(url.href, (client) => client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}${template === undefined ? '' : ` TEMPLATE ${pg.escapeIdentifier(template)}`}`))
    .catch((error: unknown) => { if ((error as { code?: string }).code !== '42P04') throw error; }); // another one was first
}

const exists = (databaseUrl: string): Promise<boolean> =>
  withClient(databaseUrl, () => Promise.resolve(true)).catch((error: unknown) => {
    if ((error as { code?: string }).code === '3D000') return false;
    throw error;
  });

/** Runs `work` with one connection and closes it. */
export async function withClient<T>(databaseUrl: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  await client.connect();
  try { return await work(client); } finally { await client.end().catch(() => undefined); } // a server that went away has ended it
}
