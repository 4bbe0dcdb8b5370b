// One chaos run, from an empty stand to its verdict: traffic and storm for as long as was asked, then everything is healed, the
// fleet shows that it works, all comes to rest, and the invariants are looked at. Throws only where the harness itself failed.
import { monoMs, pause } from '../../src/clock.ts';
import { messageOf } from '../../src/domain/errors.ts';
import type { FaultPostgres } from '../faults/servers.ts';
import { indexMatches } from './check-index.ts';
import { budgetsKept, ledgerOfModel, validTranscripts } from './check-money.ts';
import { inTime, nothingLeft, schedulesKept, unfinished, wasReal, type Floors } from './check-rest.ts';
import { asked, denseSteps, effectsOnce, endsOnce, ledgerMatches, noZombies, oneRunPerKey, permitted, risingFences, type Evidence } from './check-runs.ts';
import { MIX, type FaultKind } from './faults.ts';
import { judge, type InvariantId, type Look, type Verdicts } from './invariants.ts';
import { MUTANTS, type Mutant, type MutantName } from './mutants.ts';
import { People } from './people.ts';
import { planFaults } from './plan.ts';
import type { Role } from './slot.ts';
import { Stand } from './stand.ts';
import { Storm } from './storm.ts';
import { Traffic } from './traffic.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly minutes: number;
  readonly milvusAddress: string;
  /** Kinds of the mix; the mutant's, or every kind, unless told. */
  readonly faults?: readonly FaultKind[];
  readonly fleet?: Readonly<Record<Role, number>>;
  readonly mutant?: MutantName | undefined;
  /** A server that others use too, where the mix does not restart it. */
  readonly postgres?: FaultPostgres;
  /** How long all may take to come to rest; beyond it what is unfinished counts as lost. */
  readonly restMs?: number;
  /** How long what is left then may take to go. */
  readonly calmMs?: number;
  readonly say?: (line: string) => void;
  /** Called when all has come to rest, before the stand is put away. */
  readonly atRest?: (evidence: Evidence, looks: Looks) => Promise<void>;
}

export type Looks = Readonly<Record<InvariantId, () => Promise<Look> | Look>>;

export interface ChaosReport {
  readonly seed: number;
  readonly minutes: number;
  readonly mutant?: MutantName;
  readonly faults: Readonly<Record<string, number>>;
  /** Where `fault-point` landed, as `point action`. */
  readonly points: Readonly<Record<string, number>>;
  readonly invariants: Verdicts;
  readonly violations: readonly string[];
  /** For people: what a look has to say besides. */
  readonly notes: Readonly<Partial<Record<InvariantId, string>>>;
}

export const FLEET: Readonly<Record<Role, number>> = { agent: 3, memory: 1, maintenance: 1, api: 1 };
/** Short, so that many takeovers fit into a minute; a second of it is the worker's margin. */
const LEASE_MS = 4_000;
const RUNS_PER_SECOND = 12;
const REST_MS = 300_000;
const HEAL_MS = 60_000;
const SAY_MS = 5_000;
/** Some will not land. */
const FAULTS_PLANNED_PER_MINUTE = 18;
/** A mutant has little time to show itself. */
const MUTANT_FAULTS_PER_MINUTE = 30;
/** What must have landed and completed, or the run proves nothing. */
const FAULTS_PER_MINUTE = 10;
const RUNS_COMPLETED = 200;

export const floorsOf = (minutes: number): Floors => ({ faults: Math.ceil(FAULTS_PER_MINUTE * minutes), runs: Math.floor(RUNS_COMPLETED * Math.min(1, minutes)) });

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, minutes, say = () => undefined } = options;
  const mutant: Mutant | undefined = options.mutant === undefined ? undefined : MUTANTS[options.mutant];
  const faults = options.faults ?? mutant?.faults ?? MIX;
  const stand = await Stand.start({ seed, milvusAddress: options.milvusAddress, fleet: options.fleet ?? FLEET, leaseMs: LEASE_MS, postgres: options.postgres, broken: mutant?.guards ?? [], strikes: mutant?.strikes });
  try {
    const traffic = await Traffic.open(stand, { seed, runsPerSecond: RUNS_PER_SECOND, ...(mutant ? { emphasis: mutant.runs } : {}) });
    const people = new People(stand, traffic);
    const storm = new Storm(stand, planFaults(seed, minutes * 60_000, faults, mutant ? MUTANT_FAULTS_PER_MINUTE : FAULTS_PLANNED_PER_MINUTE), (kind) => mutant?.after?.(kind, stand.rows));
    const talking = new AbortController();
    const talk = telling(stand, traffic, storm, talking.signal, say);
    say(`${stand.slots.length} processes stand; ${minutes} minutes of ${new Set(faults).size} kinds of faults begin`);
    people.start();
    traffic.start();
    await Promise.all([storm.blow(), pause(minutes * 60_000)]);
    stand.heal();
    say('the last fault is over');
    const healed = await heal(stand, traffic);
    await traffic.stop();
    await rest(stand, options.restMs ?? REST_MS);
    talking.abort();
    await talk;
    await people.stop();
    const evidence = { stand, log: traffic.log };
    say('all has come to rest, or had its time: what happened is looked at');
    const looks = looksOf(evidence, storm, healed, floorsOf(minutes), options.calmMs);
    const seen = await lookAt(looks, storm);
    await options.atRest?.(evidence, looks);
    await traffic.close();
    return report(options, storm, seen, stand.struck);
  } finally {
    await stand.close();
  }
}

/** Fresh runs until every agent worker that stands has run one: told by the sink. */
async function heal(stand: Stand, traffic: Traffic): Promise<{ workers: number; seen: number; tookMs: number }> {
  const startMs = monoMs();
  const seen = (): number => stand.of('agent').filter(({ pid }) => stand.sink.requests.some((request) => request.line === 'probe' && request.pid === pid)).length;
  const workers = stand.of('agent').length;
  for (let n = 0; seen() < workers && monoMs() - startMs < HEAL_MS; n++) await Promise.all([traffic.probe(n), pause(100)]);
  return { workers, seen: seen(), tookMs: monoMs() - startMs };
}

async function rest(stand: Stand, withinMs: number): Promise<void> {
  for (const endMs = monoMs() + withinMs; monoMs() < endMs; await pause(200)) {
    const { open, owed } = await unfinished(stand).catch(() => ({ open: 1, owed: 1 }));
    if (open === 0 && owed === 0) return;
  }
}

async function telling(stand: Stand, traffic: Traffic, storm: Storm, over: AbortSignal, say: (line: string) => void): Promise<void> {
  const startMs = monoMs();
  while (!over.aborted) {
    await pause(SAY_MS, over);
    if (over.aborted) return;
    const now = await unfinished(stand).catch(() => undefined);
    say(`${((monoMs() - startMs) / 60_000).toFixed(1)} min: ${storm.total} faults landed, ${traffic.log.accepted.length} runs accepted, ${now ? `${now.ended} ended, ${now.open} open, the oldest ${(now.oldestMs / 1_000).toFixed(0)} s, ${now.owed} owed to memory` : 'PostgreSQL is away'}`);
  }
}

function looksOf(evidence: Evidence, storm: Storm, healed: Awaited<ReturnType<typeof heal>>, floors: Floors, calmMs?: number): Looks {
  return {
    I1: () => endsOnce(evidence), I2: () => asked(evidence), I3: () => oneRunPerKey(evidence), I4: () => denseSteps(evidence), I5: () => risingFences(evidence), I6: () => noZombies(evidence),
    I7: () => effectsOnce(evidence), I8: () => ledgerMatches(evidence), I9: () => permitted(evidence), I10: () => ledgerOfModel(evidence), I11: () => budgetsKept(evidence), I12: () => validTranscripts(evidence),
    I14: () => indexMatches(evidence), I17: () => nothingLeft(evidence, calmMs), I19: () => schedulesKept(evidence), I21: () => inTime(evidence, healed), I22: () => wasReal(evidence, storm.landed, floors),
  };
}

async function lookAt(looks: Looks, storm: Storm): Promise<ReadonlyMap<InvariantId, Look>> {
  const seen = new Map<InvariantId, Look>();
  for (const [id, one] of Object.entries(looks) as [InvariantId, () => Promise<Look> | Look][]) seen.set(id, await Promise.resolve().then(one).catch((error: unknown) => ({ evidence: 0, wrong: [`not looked at: ${messageOf(error)}`] })));
  if (storm.troubles.length > 0) seen.set('I22', { evidence: 0, ...seen.get('I22'), wrong: [...(seen.get('I22')?.wrong ?? []), ...storm.troubles] });
  return seen;
}

function report({ seed, minutes, mutant }: ChaosOptions, storm: Storm, looks: ReadonlyMap<InvariantId, Look>, points: ChaosReport['points']): ChaosReport {
  const { verdicts, violations } = judge(looks);
  const notes = Object.fromEntries([...looks].flatMap(([id, { note }]) => (note === undefined ? [] : [[id, note]])));
  return { seed, minutes, ...(mutant === undefined ? {} : { mutant }), faults: storm.landed, points, invariants: verdicts, violations, notes };
}
