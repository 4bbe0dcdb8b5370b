// How long the gate takes for ten candidates with ten thousand live memories in scope: all of its stages, without embedding, index
// and database. The candidates are those of the stream, the memories its statements with other subjects.
import { monoMs } from '../../src/clock.ts';
import { judge } from '../../src/domain/gate.ts';
import { hashOf } from '../../src/domain/gate-identity.ts';
import type { GateInput, LiveMemory } from '../../src/domain/gate-input.ts';
import { inputOf } from './ask-gate.ts';
import type { Cosines } from './cosines.ts';
import { TENANT, type LabelledRun } from './format.ts';

const CANDIDATES = 10;
const LIVE = 10_000;
const ROUNDS = 200;
const WARM_UP = 20;

/** Milliseconds. */
export interface Speed { readonly p50Ms: number; readonly p99Ms: number; readonly rounds: number; readonly candidates: number; readonly live: number }

export function speed(runs: readonly LabelledRun[], cosines: Cosines): Speed {
  const inputs = runs.filter((run) => run.candidates.length > 0).map((run) => crowded(inputOf(run, cosines), runs));
  const took: number[] = [];
  for (let round = 0; round < ROUNDS + WARM_UP; round++) {
    const input = inputs[round % inputs.length] as GateInput;
    const fromMs = monoMs();
    judge(input);
    if (round >= WARM_UP) took.push(monoMs() - fromMs);
  }
  took.sort((a, b) => a - b);
  const at = (part: number): number => Math.round((took[Math.min(took.length - 1, Math.floor(took.length * part))] ?? 0) * 100) / 100;
  return { p50Ms: at(0.5), p99Ms: at(0.99), rounds: ROUNDS, candidates: CANDIDATES, live: LIVE };
}

/** The run's candidates, repeated up to ten, among ten thousand memories of the same user. */
function crowded(input: GateInput, runs: readonly LabelledRun[]): GateInput {
  const pick = <T>(items: readonly T[]): T[] => Array.from({ length: CANDIDATES }, (_, at) => items[at % items.length] as T);
  const statements = runs.flatMap((run) => run.candidates.map(({ candidate }) => candidate));
  const live = Array.from({ length: LIVE }, (_, at): LiveMemory => {
    const like = statements[at % statements.length] as (typeof statements)[number];
    const owned = { scope: 'user' as const, user: input.run.user, agent: null };
    const statement = `${like.statement} (${at})`;
    return { id: `m${at}`, ...owned, type: like.type, subject: `thing ${at}`, attribute: like.attribute, value: `${like.value} ${at}`, statement, hash: hashOf(TENANT, owned, like.type, statement), source: 'user', confidence: 0.9, validFromMs: input.run.observedMs - 86_400_000 };
  });
  return { ...input, candidates: pick(input.candidates), ids: Array.from({ length: CANDIDATES }, (_, at) => `c${at}`), neighbours: pick(input.neighbours), live: [...input.live, ...live] };
}
