// The stream's statements in pairs, for calibrating an embedder: each candidate beside each live memory of its run. Of `dev` alone, so that what is reported on `test` is not fitted on it.
import type { Pair } from '../../src/domain/gate-calibration.ts';
import type { CandidateClass, LabelledRun } from './format.ts';

/** Of the others the label does not say whether the statements are the same: an echo is, and is kept out. */
const TOLD: readonly CandidateClass[] = ['clean', 'paraphrase', 'nearmiss', 'supersede', 'late', 'conflict', 'cap', 'unsure'];

export const pairsOf = (runs: readonly LabelledRun[]): Pair[] => runs.filter(({ split }) => split === 'dev').flatMap((run) => run.candidates.filter((one) => TOLD.includes(one.class)).flatMap(({ candidate, right, target }) =>
  run.live.filter(({ statement }) => statement !== candidate.statement).map((memory): Pair => ({ a: memory.statement, b: candidate.statement, same: right === 'join' && target === memory.id, values: [memory.value, candidate.value] }))));
