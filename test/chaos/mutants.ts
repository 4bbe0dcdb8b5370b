// Broken products the checker must catch, or it proves nothing: each switches guards off in every process (MAINSTAY_BREAK), and
// brings the faults and the runs that need what is gone, so that a short run is enough. A mutant is caught when one of the
// invariants named for it breaks.
import type { FaultKind } from './faults.ts';
import type { InvariantId } from './invariants.ts';
import type { Rows, Strikes } from './stand.ts';
import type { RunKind } from './traffic.ts';

export interface Mutant {
  readonly what: string;
  readonly guards: readonly string[];
  readonly faults: readonly FaultKind[];
  readonly runs: readonly RunKind[];
  /** Times as long a load as others need, and a worker more: the moment it needs is seldom met. */
  readonly patience?: number;
  /** Where and how `fault-point` strikes. */
  readonly strikes?: Strikes;
  /** Any of these names it, in a sentence that holds `saying`. */
  readonly breaks: readonly InvariantId[];
  readonly saying?: string;
  /** Done to the database after a fault of this kind has landed. */
  readonly after?: (kind: FaultKind, rows: Rows) => Promise<unknown>;
}

export const MUTANTS = {
  'fence-off': { what: 'who has lost a run goes on writing', guards: ['commit-fence', 'lease-self-fence'], faults: ['fault-point', 'postgres-cut-off'], runs: ['steps'], strikes: { points: ['step-returned'], actions: ['stop'] }, breaks: ['I6'], patience: 3 },
  'ledger-off': { what: 'recorded calls are made again, unknown ones too', guards: ['record-returned', 'unknown-asks'], faults: ['fault-point'], runs: ['unkeyed'], strikes: { points: ['call-answered', 'result-written'], actions: ['kill'] }, breaks: ['I7'] },
  'outbox-off': { what: 'nobody looks for what is owed to memory and to the index', guards: ['owed-is-swept'], faults: ['fault-point', 'milvus-away'], runs: ['agent', 'steps'], strikes: { points: ['run-left'], actions: ['kill'] }, breaks: ['I17'], saying: 'owed to' },
  'reconciler-off': { what: 'nobody looks for runs that the ready queue has lost', guards: ['lost-is-found'], faults: ['redis-flush', 'redis-kill'], runs: ['no-op', 'steps', 'timer'], breaks: ['I1'] },
  'fence-from-redis': {
    what: 'the counter of fences is lost when Redis is', guards: [], faults: ['redis-flush', 'redis-kill'], runs: ['steps', 'timer'], breaks: ['I5'],
    after: (kind: FaultKind, rows: Rows) => (kind.startsWith('redis') ? rows('ALTER SEQUENCE fence_seq RESTART WITH 1') : Promise.resolve()),
  },
  'key-from-tool-id': { what: 'the key of a call is new with each try, as the id of a tool use in an answer of the model is', guards: ['key-of-place'], faults: ['fault-point'], runs: ['steps'], strikes: { points: ['call-answered'], actions: ['kill'] }, breaks: ['I7'] },
} satisfies Record<string, Mutant>;

export type MutantName = keyof typeof MUTANTS;
const MUTANTS_OF: Readonly<Record<MutantName, Mutant>> = MUTANTS;
export const MUTANT_NAMES = Object.keys(MUTANTS) as MutantName[];

export const patienceFor = (name: MutantName): number => MUTANTS_OF[name].patience ?? 1;

/** The invariants by which a mutant was found out. */
export const caughtBy = (name: MutantName, violations: readonly string[]): InvariantId[] =>
  MUTANTS_OF[name].breaks.filter((id) => violations.some((sentence) => sentence.startsWith(`${id}:`) && sentence.includes(MUTANTS_OF[name].saying ?? '')));
