// What must hold whatever the figures are: candidates in another order leave the same facts behind, a run judged twice adds nothing
// the second time, and the same input gives the same verdicts. Judged by what is live at the end; deterministic, by a seed.
import { judge } from '../../src/domain/gate.ts';
import type { LiveMemory, Verdict } from '../../src/domain/gate-input.ts';
import { inputOf } from './ask-gate.ts';
import type { Cosines } from './cosines.ts';
import type { LabelledRun } from './format.ts';

/** Live memories after the verdicts. */
export function liveAfter(live: readonly LiveMemory[], verdicts: readonly Verdict[]): LiveMemory[] {
  let now = [...live];
  for (const { decision, target, memory, statement } of verdicts) {
    if (decision === 'SUPERSEDE') now = now.filter(({ id }) => id !== target);
    if (memory && memory.validToMs === null) now.push(memory);
    if (statement) now = now.map((one) => (one.id === target ? { ...one, statement: statement.text, hash: statement.hash } : one));
  }
  return now;
}

/** Facts as the labels see them: wordings of one fact are one fact, whichever came first. */
function factsOf(run: LabelledRun, verdicts: readonly Verdict[]): string {
  const factOf = (id: string): string => {
    const labelled = run.candidates[Number(/^c(\d+)$/.exec(id)?.[1]) - 1];
    return labelled?.right === 'join' ? labelled.target ?? id : id;
  };
  return [...new Set(liveAfter(run.live, verdicts).map(({ id }) => factOf(id)))].sort().join(' ');
}

/** Runs that a cap cuts are left out: whoever comes first has the room. */
export function orderStability(runs: readonly LabelledRun[], cosines: Cosines, shuffles = 20): { runs: number; shuffles: number; stable: number } {
  const fit = runs.filter((run) => run.candidates.every((one) => one.class !== 'cap'));
  const random = mulberry(20261125);
  const stable = fit.filter((run) => {
    const order = run.candidates.map((_, at) => at);
    const straight = factsOf(run, judge(inputOf(run, cosines)));
    return Array.from({ length: shuffles }, () => shuffled(order, random)).every((other) => factsOf(run, judge(inputOf(run, cosines, other))) === straight);
  });
  return { runs: fit.length, shuffles, stable: stable.length };
}

export interface Replayed { readonly same: boolean; readonly added: number; readonly superseded: number }

/** Judged again: byte for byte the same from the same input; and against what the first time left behind, nothing is added. */
export function replay(runs: readonly LabelledRun[], cosines: Cosines): Replayed {
  let [same, added, superseded] = [true, 0, 0];
  for (const run of runs) {
    const input = inputOf(run, cosines);
    const first = judge(input);
    same &&= JSON.stringify(first) === JSON.stringify(judge(input));
    const own = first.flatMap((one) => (one.memory && one.memory.validToMs === null ? [one.memory.id] : []));
    const cosinesOfOwn = own.map((id) => ({ id, at: Number(id.slice(1)) - 1 }));
    const again = judge({ ...input, ids: input.ids.map((id) => `again-${id}`), live: liveAfter(run.live, first), neighbours: input.candidates.map((_, index) => [...(input.neighbours[index] ?? []), ...cosinesOfOwn.flatMap(({ id, at }) => (at === index ? [{ id, cosine: 1 }] : []))]) });
    // What the cap kept out the first time may come in the second time: that is a cap, not a repetition.
    const capped = new Set(first.filter((one) => one.reason === 'CAP').map((one) => one.index));
    added += again.filter((one) => one.decision === 'ADMIT' && one.memory?.validToMs === null && !capped.has(one.index)).length;
    superseded += again.filter((one) => one.decision === 'SUPERSEDE').length;
  }
  return { same, added, superseded };
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const out = [...items];
  for (let at = out.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [out[at], out[other]] = [out[other] as T, out[at] as T];
  }
  return out;
}

function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
