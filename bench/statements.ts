// What the hot statements cost: CPU time of the one backend that carries them out and the time until its answer, by how many runs
// share a statement, with nothing else at work. `--idle`: with a pause before each, as on a fleet that has little to do, beside the
// least a statement can be. `--sql TEXT` changes the throw-away schema first, to see what a part of it costs.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { pause } from '../src/clock.ts';
import { withClient } from '../src/dev/servers/migrate.ts';
import { newId } from '../src/ids.ts';
import { makeLog } from '../src/log.ts';
import { claimRuns, type ClaimedRun } from '../src/store/engine/claim.ts';
import { commitRunsIfHeld, type Commit } from '../src/store/engine/commit.ts';
import { openEnginePool } from '../src/store/engine/pool.ts';
import { submitRuns, type NewRun } from '../src/store/engine/submit.ts';
import { startServers } from './servers.ts';
import { percentile } from './tasks.ts';

const { idle, sql } = parseArgs({ options: { idle: { type: 'boolean', default: false }, sql: { type: 'string' } } }).values;
const TENANT = 'bench';
const HOLDER = newId();
const STEPS = 4;
const IDLE_MS = 20;
/** How many runs share a statement, and how many are made. The first measurement is to warm up. */
const MEASURED = idle ? [[1, 50], [1, 250]] as const : [[50, 2_000], [1, 400], [5, 1_000], [20, 2_000], [50, 4_000]] as const;

const servers = await startServers(() => undefined);
const url = await servers.freshDatabase({ migrated: true });
await withClient(url, async (client) => {
  await client.query('CREATE TABLE narrow (id uuid PRIMARY KEY, value text)');
  await client.query('GRANT ALL ON narrow TO PUBLIC');
  if (sql !== undefined) await client.query(sql);
});
const pool = openEnginePool(url, true, 1, makeLog('warn', 'bench'));
const { rows: [backend] } = await pool.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
/** Microseconds of CPU the backend has used. */
const cpu = (): number => Number(readFileSync(`/proc/${backend?.pid}/schedstat`, 'utf8').split(' ')[0]) / 1_000;

interface Cost { readonly cpu: number; readonly wall: number }
const costs = new Map<string, Cost[]>();

async function timed<T>(what: string, call: () => Promise<T>): Promise<T> {
  if (idle) await pause(IDLE_MS);
  const [cpuBefore, before] = [cpu(), performance.now()];
  const answer = await call();
  const cost = { cpu: cpu() - cpuBefore, wall: (performance.now() - before) * 1_000 };
  const some = costs.get(what);
  if (some) some.push(cost);
  else costs.set(what, [cost]);
  return answer;
}

function check(holds: boolean): void { if (!holds) throw new Error('a statement did not do what it is measured for'); }

async function group(size: number): Promise<void> {
  const runs = Array.from({ length: size }, newRun);
  check((await timed('submit', () => submitRuns(pool, runs))).every(({ created }) => created));
  const claimed = await timed('claim', () => claimRuns(pool, runs.map(({ id }) => ({ tenant: TENANT, id })), HOLDER, ['bench@1'], 60_000));
  check(claimed.every((run) => run !== undefined));
  for (let seq = 0; seq < STEPS; seq++) await commit('checkpoint', claimed.map((run) => checkpointOf(run as ClaimedRun, seq)));
  await commit('end', claimed.map((run) => endOf(run as ClaimedRun)));
  if (!idle) return;
  await timed('select 1', () => pool.query({ name: 'least', text: 'SELECT 1' }));
  await timed('a narrow row', () => pool.query({ name: 'narrow', text: 'INSERT INTO narrow VALUES ($1, $2)', values: [newId(), 'x'] }));
}

const commit = async (what: string, commits: readonly Commit[]): Promise<void> =>
  check((await timed(what, () => commitRunsIfHeld(pool, commits))).every((answer) => !(answer instanceof Error) && !answer.fenced));

const newRun = (): NewRun => ({
  tenant: TENANT, id: newId(), agent: 'bench', version: 1, pool: 'agent', visible: true, user: 'somebody', session: null, parent: null, parentStepSeq: null, parentPath: null, expiresInMs: null, start: 'first',
  priority: 0, concurrencyKey: null, concurrencyLimit: null, idempotencyKey: newId(), requestHash: '00'.repeat(16), metadata: '{}', input: '{"kind":"steps"}', model: 'claude-sonnet-5', budgetMicroUsd: null, lane: null,
  deadlineAt: null, startAt: null, delayMs: 0, debounceKey: null, debounceMaxMs: null,
});

const checkpointOf = ({ id, fence }: ClaimedRun, stepSeq: number): Commit => ({
  tenant: TENANT, id, inSession: false, fence, claimedBy: HOLDER, stepSeq, step: { name: 'step', next: 'step', data: JSON.stringify({ result: 'x'.repeat(1_000) }), dataBlob: null, durationMs: 1 }, version: 1, status: 'running',
  waitReason: null, wakeInMs: 0, stepMs: 60_000, failedAttempt: false, inboxSeq: 0, event: null, output: null, outputBlob: null, errorCode: null, errorMessage: null, remember: false, sessionState: null, messages: null,
});

const endOf = (run: ClaimedRun): Commit =>
  ({ ...checkpointOf(run, STEPS), status: 'completed', step: { name: 'step', next: null, data: null, dataBlob: null, durationMs: 1 }, event: { type: 'run.completed', data: '{}' }, output: '{}' });

const rows: object[] = [];
try {
  for (const [at, [size, runs]] of MEASURED.entries()) {
    costs.clear();
    for (let made = 0; made < runs; made += size) await group(size);
    if (at === 0) continue;
    rows.push(...[...costs].map(([what, some]) => {
      const [cpuUs, wallUs] = [percentile(some.map((one) => one.cpu), 0.5), percentile(some.map((one) => one.wall), 0.5)];
      return { statement: what, runs: size, 'CPU µs': Math.round(cpuUs), 'CPU µs a run': Math.round(cpuUs / size), 'answered after µs': Math.round(wallUs) };
    }));
  }
  console.table(rows);
} finally {
  await pool.end();
  await servers.stop();
}
