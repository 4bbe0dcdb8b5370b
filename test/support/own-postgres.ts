// A durable PostgreSQL server of a test file's own, migrated, for tests that stop it, restart it or let one of its processes crash.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrate } from '../../src/dev/servers/migrate.ts';
import { startPostgres } from '../../src/dev/servers/postgres.ts';
import { endProcess } from '../../src/dev/servers/processes.ts';
import { inDatabase } from '../../src/dev/servers/stack.ts';

export interface OwnPostgres {
  readonly url: string;
  /** An immediate stop: what a crash of the server leaves. */
  crash(): Promise<void>;
  /** Again on the same port. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

export async function startOwnPostgres(): Promise<OwnPostgres> {
  const dir = mkdtempSync(join(tmpdir(), 'mainstay-postgres-'));
  chmodSync(dir, 0o755); // the server may run as another user than root
  let server = await startPostgres(dir, false, () => undefined);
  const url = inDatabase('mainstay', server.url);
  await migrate(url);
  const crash = (): Promise<void> => endProcess(server.mark, 'SIGQUIT', 10_000);
  return {
    url, crash,
    start: async () => {
      server = await startPostgres(dir, false, () => undefined);
      if (inDatabase('mainstay', server.url) !== url) throw new Error('the server came back elsewhere');
    },
    stop: async () => { await crash(); rmSync(dir, { recursive: true, force: true }); },
  };
}
