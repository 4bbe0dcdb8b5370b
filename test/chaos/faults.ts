// The kinds of faults. Each does one thing to one lane (a store, or one process), undoes it, and answers whether it has really
// happened: a signal that was taken, bytes that were swallowed, an answer that was lost. What did not happen is not counted.
import { readFileSync } from 'node:fs';
import { monoMs, pause } from '../../src/clock.ts';
import { FAULT_KINDS as MODEL_FAULTS, type FaultKind as ModelFault } from '../../src/dev/model-stub/wire.ts';
import type { FaultPoint } from '../../src/fault-points.ts';
import { pick } from '../faults/seed.ts';
import type { Proxy } from '../faults/proxy.ts';
import type { Role, Slot } from './slot.ts';
import type { Stand } from './stand.ts';

export type Lane = 'process' | 'redis' | 'postgres' | 'milvus' | 'model';

interface Kind {
  readonly lane: Lane;
  /** For people. */
  readonly what: string;
  readonly inject: (stand: Stand, random: () => number) => Promise<boolean>;
}

/** Whatever waits for a fault to be met gives up after this. */
const LAND_MS = 8_000;
const between = (random: () => number, lowMs: number, highMs: number): number => Math.round(lowMs + random() * (highMs - lowMs));

/** One process at a time is broken in each slot; a victim that is down or taken gives way to the next. */
async function onSlot(stand: Stand, roles: readonly Role[], random: () => number, work: (slot: Slot) => Promise<boolean>): Promise<boolean> {
  const slots = stand.slots.filter(({ role }) => roles.includes(role));
  const first = Math.floor(random() * slots.length);
  const order = slots.map((_, at) => slots[(first + at) % slots.length] as Slot);
  const slot = await seen(() => order.find(({ busy, process }) => !busy && process.alive), LAND_MS);
  if (!slot) return false;
  slot.busy = true;
  try {
    await slot.ready().catch(() => undefined);
    return await work(slot);
  } finally {
    slot.busy = false;
  }
}

const holds = ({ rows }: Stand, pid: number): Promise<true | undefined> =>
  rows(`SELECT FROM workers w JOIN agent_runs r ON r.claimed_by = w.incarnation AND r.status = 'running' WHERE w.ended_at IS NULL AND w.name LIKE '%-' || $1::text LIMIT 1`, [pid]).then(({ length }) => length > 0 || undefined, () => undefined);

/** What `look` finds within the time. */
async function seen<T>(look: () => T | undefined | Promise<T | undefined>, withinMs: number): Promise<T | undefined> {
  for (const endMs = monoMs() + withinMs; ; await pause(20)) {
    const found = await look();
    if (found !== undefined || monoMs() > endMs) return found;
  }
}

const became = (isSo: () => boolean, withinMs = LAND_MS): Promise<boolean> => seen(() => (isSo() ? true : undefined), withinMs).then((so) => so === true);

/** A process that holds runs is killed while it does, where it comes to hold some in time: with none in hand there is little to break. */
const kill = (role: Role) => (stand: Stand, random: () => number): Promise<boolean> => onSlot(stand, [role], random, async ({ process, pid }) => {
  if (role === 'agent') await seen(() => holds(stand, pid), LAND_MS);
  process.child.kill('SIGKILL');
  return (await process.exited) === 'SIGKILL';
});

const isStopped = (pid: number): boolean => { try { return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')); } catch { return false; } };

const freeze = (stand: Stand, random: () => number): Promise<boolean> => onSlot(stand, ['agent', 'agent', 'memory', 'maintenance'], random, async ({ process, pid }) => {
  process.freeze();
  await pause(stand.leaseMs * (1.1 + random() * 0.6));
  const stopped = isStopped(pid);
  process.thaw();
  return stopped && process.alive;
});

const drain = (stand: Stand, random: () => number): Promise<boolean> => onSlot(stand, ['agent', 'memory', 'api'], random, async ({ process }) => {
  process.child.kill('SIGTERM');
  return (await Promise.race([process.exited, pause(20_000)])) === 0;
});

const blockLoop = (stand: Stand, random: () => number): Promise<boolean> => onSlot(stand, ['agent'], random, (slot) => {
  const ms = Math.round(stand.leaseMs * (1.1 + random() * 0.5));
  const { process } = slot;
  slot.tell(`block ${ms}`);
  return slot.landed(process, `block ${ms}`, ms + LAND_MS);
});

const jumpClock = (stand: Stand, random: () => number): Promise<boolean> => onSlot(stand, ['agent', 'maintenance', 'api'], random, async (slot) => {
  const ms = pick([-60_000, 600_000, -3_600_000], random);
  const { process } = slot;
  slot.tell(`clock ${ms}`);
  const landed = await slot.landed(process, `clock ${ms}`, LAND_MS);
  await pause(between(random, 2_000, 4_000));
  slot.tell('clock 0');
  return landed;
});

/** Which processes pass a point. */
const ROLES_OF: Partial<Record<FaultPoint, readonly Role[]>> = {
  'run-submitted': ['api'], 'verdicts-stored': ['memory'], 'vectors-written': ['memory'], 'outputs-kept': ['memory'],
  'occurrence-fired': ['maintenance'], 'batch-begun': ['maintenance'], 'batch-created': ['maintenance'], 'batch-answered': ['maintenance'],
};
/** Passed every few seconds only. */
const SELDOM: readonly FaultPoint[] = ['occurrence-fired', 'budget-wanted', 'outputs-kept', 'steers-taken'];
const atPoint = (stand: Stand, random: () => number): Promise<boolean> => {
  const { point, action } = stand.nextStrike();
  return onSlot(stand, ROLES_OF[point] ?? ['agent'], random, async (slot) => {
    const { process } = slot;
    slot.tell(`arm ${point} ${action}`);
    if (point === 'orphans-found') stand.of('agent').find((other) => other !== slot && !other.busy)?.process.child.kill('SIGKILL'); // its occasion
    const landed = await slot.landed(process, `point ${point} ${action}`, SELDOM.includes(point) ? 2 * LAND_MS : LAND_MS);
    slot.tell('disarm');
    if (landed) stand.struck[`${point} ${action}`] = (stand.struck[`${point} ${action}`] ?? 0) + 1;
    if (!landed || action !== 'stop') return landed;
    await pause(stand.leaseMs * 1.3);
    process.thaw();
    return true;
  });
};

/** What a fault does between `begin` and `end`, with a count that must have grown meanwhile. */
async function forAWhile(ms: number, count: () => number, begin: () => unknown, end: () => unknown): Promise<boolean> {
  const before = count();
  await begin();
  try { await pause(ms); await became(() => count() > before, LAND_MS); } finally { await end(); }
  return count() > before;
}

async function killRedis(stand: Stand, random: () => number): Promise<boolean> {
  await stand.redis.kill();
  await pause(between(random, 300, 4_000));
  await stand.redis.launch();
  return true;
}

async function flushRedis({ redis }: Stand): Promise<boolean> {
  if ((await redis.client.dbsize()) === 0) return false;
  return (await redis.client.flushall()) === 'OK';
}

async function freezeRedis({ redis }: Stand, random: () => number): Promise<boolean> {
  redis.freeze();
  try {
    await pause(between(random, 1_500, 6_000));
    return isStopped(redis.pid);
  } finally {
    redis.thaw();
  }
}

const resets = (of: (stand: Stand) => readonly Proxy[]) => async (stand: Stand, random: () => number): Promise<boolean> => {
  const proxies = of(stand);
  const count = (): number => proxies.reduce((sum, { counts }) => sum + counts.resets, 0);
  const before = count();
  for (let times = 1 + Math.floor(random() * 4); times > 0; times--) {
    for (const proxy of proxies) proxy.reset(0.6);
    await pause(between(random, 100, 600));
  }
  return count() > before;
};

/** Half of the fleet's connections, as a fail-over of a pooler or an operator would. */
async function terminate({ rows }: Stand): Promise<boolean> {
  const ended = await rows<{ done: boolean }>(`SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'chaos' AND random() < 0.5`);
  return ended.some(({ done }) => done);
}

async function restartPostgres({ postgres }: Stand, random: () => number): Promise<boolean> {
  await postgres.kill(pick(['SIGQUIT', 'SIGKILL'] as const, random));
  await pause(between(random, 100, 2_500));
  await postgres.startAgain();
  return true;
}

/** Statements whose answers are lost, as they go over the wire. */
const LOST = ['INSERT INTO run_steps', 'COMMIT', 'INSERT INTO tool_calls', 'UPDATE tool_calls', 'nextval(', 'INSERT INTO agent_runs', 'completion', 'claim'] as const;

const loseAnswers = (stand: Stand, random: () => number): Promise<boolean> => {
  const proxies = stand.slots.map(({ postgres }) => postgres);
  const pattern = pick(LOST, random);
  const lost = (): number => proxies.reduce((sum, { counts }) => sum + counts.repliesDropped, 0);
  return forAWhile(500, lost, () => { for (const proxy of proxies) proxy.dropReplies(pattern, 2, 0.5); }, () => { for (const proxy of proxies) proxy.dropReplies('', 0); });
};

/** One process is cut off; what it has sent arrives after its lease is over. */
const cutOff = (stand: Stand, random: () => number): Promise<boolean> => onSlot(stand, ['agent', 'agent', 'memory'], random, ({ postgres }) =>
  forAWhile(stand.leaseMs * (1.2 + random() * 0.5), () => postgres.counts.bytesHeld, () => postgres.hold(), () => postgres.letGo()));

const modelFaults = (kinds: readonly ModelFault[]) => async ({ model }: Stand, random: () => number): Promise<boolean> => {
  const met = (): number => model.calls().filter(({ fault }) => fault !== undefined).length;
  const before = met();
  for (let times = 1 + Math.floor(random() * 3); times > 0; times--) model.addFault({ kind: pick(kinds, random), delayMs: 500, retryAfterS: 1 });
  return became(() => met() > before, 2 * LAND_MS);
};

/** Pings for ever; the connection then dies, since a run would wait a minute for its own watchdog. */
const stallModel = async ({ model, proxies }: Stand, random: () => number): Promise<boolean> => {
  const met = (): number => model.calls().filter(({ fault }) => fault === 'stall_with_pings').length;
  const before = met();
  model.addFault({ kind: 'stall_with_pings', delayMs: 200 });
  const landed = await became(() => met() > before, 2 * LAND_MS);
  await pause(between(random, 1_000, 5_000));
  proxies.model.reset();
  return landed;
};

const swallowed = ({ counts }: Proxy): number => counts.bytesSwallowed;

export const FAULTS = {
  'kill-agent': { lane: 'process', what: 'SIGKILL of an agent worker', inject: kill('agent') },
  'kill-memory': { lane: 'process', what: 'SIGKILL of a memory worker', inject: kill('memory') },
  'kill-maintenance': { lane: 'process', what: 'SIGKILL of a maintenance process', inject: kill('maintenance') },
  'kill-api': { lane: 'process', what: 'SIGKILL of the API with the intake', inject: kill('api') },
  'stop-process': { lane: 'process', what: 'SIGSTOP of a process past its lease, then SIGCONT', inject: freeze },
  'drain-process': { lane: 'process', what: 'SIGTERM of a process, which hands back and ends', inject: drain },
  'block-loop': { lane: 'process', what: 'event loop of an agent worker blocked past its lease', inject: blockLoop },
  'clock-jump': { lane: 'process', what: 'wall clock of a process jumps, and back', inject: jumpClock },
  'fault-point': { lane: 'process', what: 'a process is killed, stopped, blocked or fails at a named point', inject: atPoint },
  'redis-kill': { lane: 'redis', what: 'Redis killed; it comes back empty', inject: killRedis },
  'redis-flush': { lane: 'redis', what: 'FLUSHALL', inject: flushRedis },
  'redis-freeze': { lane: 'redis', what: 'Redis stopped for seconds', inject: freezeRedis },
  'redis-half-open': { lane: 'redis', what: 'standing connections to Redis swallow every byte', inject: ({ proxies: { redis } }, random) => forAWhile(between(random, 1_000, 5_000), () => swallowed(redis), () => redis.blackhole('standing'), () => redis.pass()) },
  'redis-reset': { lane: 'redis', what: 'connections to Redis reset again and again', inject: resets(({ proxies }) => [proxies.redis]) },
  'redis-slow': { lane: 'redis', what: 'Redis answers late', inject: ({ proxies: { redis } }, random) => forAWhile(between(random, 1_000, 4_000), () => redis.counts.bytesDelayed, () => redis.delay(between(random, 30, 300)), () => redis.delay(0)) },
  'postgres-terminate': { lane: 'postgres', what: 'half of the connections to PostgreSQL ended by the server', inject: terminate },
  'postgres-restart': { lane: 'postgres', what: 'PostgreSQL killed or stopped at once, and started again', inject: restartPostgres },
  'postgres-reset': { lane: 'postgres', what: 'connections to PostgreSQL reset', inject: resets(({ slots }) => slots.map(({ postgres }) => postgres)) },
  'postgres-lost-answer': { lane: 'postgres', what: 'a statement is carried out and its answer lost', inject: loseAnswers },
  'postgres-cut-off': { lane: 'process', what: 'one process cut off from PostgreSQL; what it sent arrives after its lease', inject: cutOff },
  'milvus-away': { lane: 'milvus', what: 'Milvus refuses every connection for seconds', inject: ({ proxies: { milvus } }, random) => forAWhile(between(random, 2_000, 6_000), () => milvus.counts.resets + milvus.counts.refused, () => milvus.refuse(), () => milvus.pass()) },
  'milvus-half-open': { lane: 'milvus', what: 'Milvus takes bytes and never answers', inject: ({ proxies: { milvus } }, random) => forAWhile(between(random, 2_000, 5_000), () => swallowed(milvus), () => milvus.blackhole('all'), () => milvus.pass()) },
  'model-errors': { lane: 'model', what: 'the model refuses: 429, 500, 529', inject: modelFaults(['overloaded', 'server_error', 'rate_limit']) },
  'model-broken-stream': { lane: 'model', what: 'an answer of the model breaks off', inject: modelFaults(MODEL_FAULTS.filter((kind) => ['overloaded_in_stream', 'cut_after_partial_tool', 'disconnect', 'slow'].includes(kind))) },
  'model-stall': { lane: 'model', what: 'an answer of the model stalls with pings', inject: stallModel },
} satisfies Record<string, Kind>;

export type FaultKind = keyof typeof FAULTS;
export const FAULT_KINDS = Object.keys(FAULTS) as FaultKind[];

/** What a run is broken by where it names nothing: each kind, and some more often, because there is more to them. */
export const MIX: readonly FaultKind[] = [...FAULT_KINDS, ...Array<FaultKind>(6).fill('fault-point'), 'kill-agent', 'stop-process', 'postgres-lost-answer', 'postgres-cut-off'];
