// What `mainstay doctor` makes of the rows of a fleet: each check says what was found and, where something is wrong, what to
// do. Pure: counts and ages come in, judged by the database's clock. It names agents, versions and numbers, never a tenant's data.
import { DOCTOR_BATCH_MS, DOCTOR_DUE_MS, DOCTOR_OWED_MS } from './tunables.ts';

export interface Check {
  readonly check: string;
  /** `unknown`: it could not be looked at; that alone is no fault. */
  readonly state: 'ok' | 'wrong' | 'unknown';
  readonly found: string;
  /** What to do; null unless wrong. */
  readonly advice: string | null;
}

export const ok = (check: string, found: string): Check => ({ check, state: 'ok', found, advice: null });
export const wrong = (check: string, found: string, advice: string): Check => ({ check, state: 'wrong', found, advice });
export const unknown = (check: string, found: string): Check => ({ check, state: 'unknown', found, advice: null });

interface Owed { readonly count: number; /** Age of the oldest; 0 where there is none. */ readonly oldestMs: number }

export interface FleetFacts {
  readonly workers: readonly { readonly pool: string; readonly count: number; readonly leaseLeftMs: number }[];
  /** Workers that are dead and still hold runs. */
  readonly deadHolders: readonly { readonly worker: string; readonly runs: number }[];
  /** Runs that some live worker could claim now. */
  readonly due: readonly ({ readonly pool: string } & Owed)[];
  /** Due runs whose version no live worker of a pool that has workers announces. */
  readonly blocked: readonly { readonly agent: string; readonly version: number; readonly runs: number }[];
  readonly outcomes: number;
  readonly restored: number;
  /** Within a day. */
  readonly poison: number;
  readonly suspects: number;
  /** Should have ended as expired. */
  readonly unexpired: number;
  /** Wait for a signal, a decision or a child's end that is there. */
  readonly unread: number;
  /** Finished and not yet remembered. */
  readonly owed: Owed;
  /** Of those: their remembering run has failed. */
  readonly unremembered: number;
  /** Rows whose vector is to be written or to go, of collections that are owed any. */
  readonly unindexed: readonly ({ readonly collection: string } & Owed)[];
  /** Model calls that wait for a batch. */
  readonly unsent: Owed;
  /** Batches under way that should have been looked at. */
  readonly unwatched: number;
  readonly openBatches: Owed;
}

export const FLEET_CHECKS = ['workers', 'dead-workers', 'due-runs', 'versions', 'outcomes', 'poison', 'suspects', 'expiry', 'inboxes', 'restored', 'memory', 'remembering', 'index', 'batches'] as const;

/** One check per name of FLEET_CHECKS. */
export function fleetChecks(facts: FleetFacts, pools: readonly string[]): Check[] {
  return [
    workers(facts, pools), deadHolders(facts), dueRuns(facts), versions(facts),
    count('outcomes', facts.outcomes, 'runs wait for a person to say what became of a call', '`mainstay runs list --status waiting` names them, `mainstay explain <run>` the call, `mainstay runs settle` settles it.'),
    count('poison', facts.poison, 'runs ended their worker again and again within a day', 'Correct the step that their error names, then submit or fork them again.'),
    count('suspects', facts.suspects, 'unfinished runs were inside a step when their worker died', 'They run alone now. `mainstay explain <run>` names the step; look for memory, native code and process.exit in it.'),
    count('expiry', facts.unexpired, 'runs should have ended as expired', 'No maintenance worker is doing its work: `mainstay worker --pool maintenance`.'),
    count('inboxes', facts.unread, 'runs wait for something that has already come', 'Nothing woke them: send them any signal, and report it as a fault of Mainstay.'),
    count('restored', facts.restored, 'runs wait since the restore of a backup', 'Look at what they were about to do before they are released.'),
    owed('memory', facts.owed, 'finished runs are not remembered', 'Is a memory worker alive, and does the model answer? `mainstay worker --pool memory` runs one.'),
    count('remembering', facts.unremembered, 'finished runs whose remembering run failed', 'The failed runs of the pool "memory" hold the error; correct its cause.'),
    unindexed(facts, 'Do Milvus and the embedder answer? Maintenance indexes by itself when they do; recall goes on from Postgres meanwhile.'),
    batches(facts),
  ];
}

function workers({ workers: live }: FleetFacts, pools: readonly string[]): Check {
  const found = pools.map((pool) => { const one = live.find((row) => row.pool === pool); return `${pool} ${one === undefined ? 0 : `${one.count} (shortest lease ${Math.round(one.leaseLeftMs / 1_000)} s)`}`; }).join(', ');
  const without = pools.filter((pool) => !live.some((row) => row.pool === pool));
  return without.length === 0 ? ok('workers', `alive: ${found}`) : wrong('workers', `alive: ${found}`, `Start a worker: ${without.map((pool) => `\`mainstay worker --pool ${pool}\``).join(', ')}.`);
}

function deadHolders({ deadHolders: dead }: FleetFacts): Check {
  if (dead.length === 0) return ok('dead-workers', 'no dead worker holds a run');
  return wrong('dead-workers', `dead and still holding runs: ${dead.slice(0, 5).map(({ worker, runs }) => `${worker} (${runs})`).join(', ')}${dead.length > 5 ? ', …' : ''}`, 'Live workers of their pool and a maintenance worker take such runs over within seconds: start some where there are none.');
}

function dueRuns({ due }: FleetFacts): Check {
  const found = due.map(({ pool, count: runs, oldestMs }) => `${pool} ${runs}, the oldest for ${seconds(oldestMs)}`).join('; ') || 'none';
  const late = due.filter(({ oldestMs }) => oldestMs > DOCTOR_DUE_MS);
  if (late.length === 0) return ok('due-runs', `due: ${found}`);
  return wrong('due-runs', `due: ${found}`, `Either there are too few workers (add some), or nobody is woken: ${late.map(({ pool }) => `\`mainstay rebuild queue --pool ${pool}\``).join(', ')}.`);
}

function versions({ blocked }: FleetFacts): Check {
  if (blocked.length === 0) return ok('versions', 'every due run has a worker of its version');
  return wrong('versions', `blocked: ${blocked.slice(0, 10).map(({ agent, version, runs }) => `${agent}@${version} (${runs})`).join(', ')}${blocked.length > 10 ? ', …' : ''}`, 'Start a worker that has the version, or give the newer machine a `migrates` that takes it over.');
}

const count = (check: string, n: number, what: string, advice: string): Check => (n === 0 ? ok(check, 'none') : wrong(check, `${n} ${what}`, advice));

function unindexed({ unindexed: owed }: FleetFacts, advice: string): Check {
  const found = owed.map(({ collection, count: n, oldestMs }) => `${collection} ${n}, the oldest for ${seconds(oldestMs)}`).join('; ');
  if (found === '') return ok('index', 'nothing is owed');
  return owed.some(({ oldestMs }) => oldestMs > DOCTOR_OWED_MS) ? wrong('index', `rows owed to the vector index: ${found}`, advice) : ok('index', `rows owed to the vector index: ${found}`);
}

function batches({ unsent, unwatched, openBatches: open }: FleetFacts): Check {
  const found = `${unsent.count} calls wait to be sent${since(unsent)}, ${open.count} batches are under way${since(open)}`;
  if (unsent.oldestMs > DOCTOR_OWED_MS) return wrong('batches', found, 'Does the provider take batches? `mainstay worker --pool maintenance` sends them, and its log names the refusal.');
  if (unwatched > 0) return wrong('batches', `${found}, ${unwatched} of them not looked at in time`, 'Nobody looks at them: `mainstay worker --pool maintenance`.');
  if (open.oldestMs > DOCTOR_BATCH_MS) return wrong('batches', found, 'The provider ends a batch within a day: `mainstay batches list` names it, `mainstay batches cancel` gives it up.');
  return ok('batches', found);
}

const seconds = (ms: number): string => `${Math.round(ms / 1_000)} s`;
const since = ({ count: n, oldestMs }: Owed): string => (n === 0 ? '' : ` (the oldest for ${seconds(oldestMs)})`);

function owed(check: string, { count: n, oldestMs }: Owed, what: string, advice: string): Check {
  if (n === 0) return ok(check, 'nothing is owed');
  const found = `${n} ${what}, the oldest for ${seconds(oldestMs)}`;
  return oldestMs > DOCTOR_OWED_MS ? wrong(check, found, advice) : ok(check, found);
}
