// The fleet as it is deployed: the real roots as processes of their own, over the test's stack, logging at `trace` into files
// that a test may read. For stories that must see every door, every log line and every key.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { FleetProcesses } from '../../src/dev/fleet-processes.ts';
import { planFleet } from '../../src/dev/local-fleet.ts';
import { freePort } from '../../src/dev/servers/ports.ts';
import { writeJson } from '../../src/dev/servers/processes.ts';
import { Mainstay } from '../../src/client/client.ts';
import { SCOPES, type Scope } from '../../src/domain/status.ts';
import { makeLog } from '../../src/log.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { openEnginePool } from '../../src/store/engine/pool.ts';
import { atFileEnd, type TestStack } from './stack.ts';

export interface RealFleet {
  readonly url: string;
  /** All that the processes have logged so far. */
  logs(): string;
  rows<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  makeKey(options: { tenant: string; user?: string; scopes?: readonly Scope[] }): Promise<string>;
  client(apiKey: string): Mainstay;
}

const LEFT_OUT = ['agent-worker-2'];

/** Ready when every process says so. `env` goes to all of them. */
export async function startRealFleet(stack: TestStack, env: Readonly<Record<string, string>> = {}): Promise<RealFleet> {
  const dir = mkdtempSync(join(tmpdir(), 'mainstay-fleet-'));
  // not the usual ports: another suite, or a fleet of somebody's own, may want them at this moment
  writeJson(join(dir, 'ports.json'), { api: await freePort(), desk: await freePort(), data: await freePort() });
  const { plans, apiUrl } = await planFleet({ ...stack, stateDir: dir, kind: 'local', phases: {}, stop: () => Promise.resolve() }, 'board-password', {});
  const processes = new FleetProcesses(dir, (death) => { throw new Error(death); });
  const shared = { ...stack.env, LOG_LEVEL: 'trace', LEASE_MS: '5000', NODE_OPTIONS: '', RATE_LIMIT: '100000', SUBMIT_RATE_LIMIT: '100000', ...env };
  processes.start(plans.filter(({ name }) => !LEFT_OUT.includes(name)).map((plan) => ({ ...plan, env: { ...plan.env, ...shared } })));
  const owner = new pg.Pool({ connectionString: stack.databaseUrl, max: 2 });
  const engine = openEnginePool(stack.databaseUrl, true, 2, makeLog('silent', 'test'));
  atFileEnd(async () => {
    await processes.stop();
    await Promise.all([owner.end(), engine.end()]);
    rmSync(dir, { recursive: true, force: true });
  });
  await Promise.all(processes.names().map((name) => processes.ready(name)));
  return {
    url: apiUrl,
    logs: () => readdirSync(processes.logsDir).map((file) => readFileSync(join(processes.logsDir, file), 'utf8')).join('\n'),
    rows: async <Row extends object>(text: string, values: readonly unknown[] = []) => (await owner.query<Row>(text, [...values])).rows,
    makeKey: async ({ tenant, user, scopes = SCOPES }) => {
      await createTenant(engine, tenant);
      return (await createKey(engine, { tenant, user, name: 'test', scopes, expiresAt: undefined }, 'test')).key;
    },
    client: (apiKey) => new Mainstay({ baseUrl: apiUrl, apiKey }),
  };
}
