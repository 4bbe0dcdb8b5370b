// Puts a labelled run to a decider and says of each candidate what was decided and whether that is right. The gate is one decider;
// the naive ones it is compared with are the others: admit everything, and let cosine alone tell what is known.
import { judge } from '../../src/domain/gate.ts';
import type { GateInput, Verdict } from '../../src/domain/gate-input.ts';
import { POLICY, type GatePolicy } from '../../src/domain/gate-policy.ts';
import { nearnessOf, type Cosines } from './cosines.ts';
import { TENANT, type Labelled, type LabelledRun } from './format.ts';

export type Decision = 'ADMIT' | 'LATE' | 'JOIN' | 'SUPERSEDE' | 'REJECT' | 'QUARANTINE';
export const JOINED_BY = ['REINFORCE', 'MERGE'] as const;
export type JoinedBy = (typeof JOINED_BY)[number];
export interface Decided { readonly decision: Decision; readonly target: string | undefined; readonly stage: string; readonly reason: string; /** How it was joined: no label asks for one of them. */ readonly by?: JoinedBy }
export interface Outcome { readonly run: LabelledRun; readonly index: number; readonly labelled: Labelled; readonly decided: Decided }
export type Decider = (run: LabelledRun) => Decided[];

/** Candidates in the order given (all of them in theirs, unless told otherwise); the id of a candidate's row tells its place: `c1`, `c2`, … */
export function inputOf(run: LabelledRun, cosines: Cosines, order: readonly number[] = run.candidates.map((_, at) => at)): GateInput {
  const near = nearnessOf(cosines, run);
  const base = run.live.length;
  const idOf = (at: number): string => `c${at + 1}`;
  return {
    run: { tenant: TENANT, id: run.id, user: run.user, agent: run.agent, observedMs: run.endedMs }, events: run.events, live: run.live, waiting: [], injected: run.injected, embedder: cosines.embedder,
    candidates: order.map((at) => run.candidates[at]?.candidate), ids: order.map(idOf),
    neighbours: order.map((at, place) => [
      ...run.live.map(({ id }, memory) => ({ id, cosine: near(memory, base + at) })), ...order.slice(0, place).map((other) => ({ id: idOf(other), cosine: near(base + other, base + at) })),
    ]),
  };
}

export const theGate = (cosines: Cosines, policy: GatePolicy = POLICY): Decider => (run) => judge(inputOf(run, cosines), policy).map(decidedOf);

export const decidedOf = ({ decision, memory, target, stage, reason }: Verdict): Decided => ({
  decision: decision === 'MERGE' || decision === 'REINFORCE' ? 'JOIN' : decision === 'ADMIT' && memory?.validToMs !== null ? 'LATE' : decision, target: target ?? undefined, stage, reason, ...(decision === 'MERGE' || decision === 'REINFORCE' ? { by: decision } : {}),
});

export const admitAll: Decider = (run) => run.candidates.map(() => ({ decision: 'ADMIT', target: undefined, stage: 'none', reason: 'NEW' }));

/** The nearest statement from `threshold` on is what it joins; whatever is not near anything is new. */
export const cosineOnly = (cosines: Cosines, threshold: number): Decider => (run) => {
  const near = nearnessOf(cosines, run);
  const base = run.live.length;
  return run.candidates.map((_, at) => {
    const known = [...run.live.map(({ id }, memory) => ({ id, cosine: near(memory, base + at) })), ...Array.from({ length: at }, (__, other) => ({ id: `c${other + 1}`, cosine: near(base + other, base + at) }))];
    const best = known.sort((a, b) => b.cosine - a.cosine)[0];
    return best !== undefined && best.cosine >= threshold ? { decision: 'JOIN', target: best.id, stage: 'cosine', reason: 'NEAR' } : { decision: 'ADMIT', target: undefined, stage: 'cosine', reason: 'NEW' };
  });
};

export const outcomesOf = (runs: readonly LabelledRun[], decide: Decider): Outcome[] =>
  runs.flatMap((run) => decide(run).map((decided, index) => ({ run, index, labelled: run.candidates[index] as Labelled, decided })));

/** What the label asks for; `out` is content with either way of staying out. */
export function expected({ labelled: { right }, decided }: Outcome): Decision {
  switch (right) {
    case 'add': return 'ADMIT';
    case 'join': return 'JOIN';
    case 'super': return 'SUPERSEDE';
    case 'late': return 'LATE';
    case 'held': return 'QUARANTINE';
    case 'rej': return 'REJECT';
    case 'out': return decided.decision === 'QUARANTINE' ? 'QUARANTINE' : 'REJECT';
  }
}

/** The decision and, where the label names one, its target. */
export const isRight = (outcome: Outcome): boolean =>
  outcome.decided.decision === expected(outcome) && (outcome.labelled.target === undefined || outcome.decided.target === outcome.labelled.target);

/** It changes what is remembered: a new row, a row closed, a row seen once more. */
export const enters = (decision: Decision): boolean => decision !== 'REJECT' && decision !== 'QUARANTINE';
