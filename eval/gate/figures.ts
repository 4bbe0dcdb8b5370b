// The figures of a set of outcomes. Precision and recall are of what enters memory: it counts as right only with the right decision
// about the right target. All shares are of 1, rounded to four places; a share of nothing is null.
import { enters, expected, isRight, JOINED_BY, type Decision, type JoinedBy, type Outcome } from './ask-gate.ts';
import { CLASSES, type CandidateClass } from './format.ts';

export interface Figures {
  readonly candidates: number;
  readonly precision: number | null;
  readonly recall: number | null;
  readonly perDecision: Readonly<Record<Decision, { right: number; decided: number; expected: number; precision: number | null; recall: number | null }>>;
  /** Of what was joined by each: a label says that it is to be joined, not by which, so that there is no recall of one. */
  readonly joinedBy: Readonly<Record<JoinedBy, { right: number; decided: number; precision: number | null }>>;
  readonly perClass: Readonly<Record<CandidateClass, { candidates: number; right: number }>>;
  /** Joined what they only resemble: of the classes nearmiss, supersede, late, conflict, twin. */
  readonly falseMerge: number | null;
  /** Of all supersedes. */
  readonly wrongSupersede: number | null;
  /** Of the class exact: joined their row. */
  readonly exactDedupe: number | null;
  /** Candidates of the class injected that became a preference, constraint or procedure; a count. */
  readonly injectedRules: number;
  /** Of what entered: should have stayed out. */
  readonly junk: number | null;
  /** By what was expected, then by what was decided: counts. */
  readonly confusion: Readonly<Partial<Record<Decision, Partial<Record<Decision, number>>>>>;
}

const DECISIONS: readonly Decision[] = ['ADMIT', 'LATE', 'JOIN', 'SUPERSEDE', 'REJECT', 'QUARANTINE'];
const RESEMBLE: readonly CandidateClass[] = ['nearmiss', 'supersede', 'late', 'conflict', 'twin'];

export const share = (part: number, whole: number): number | null => (whole === 0 ? null : Math.round((part / whole) * 10_000) / 10_000);

export function figuresOf(outcomes: readonly Outcome[]): Figures {
  const count = (test: (outcome: Outcome) => boolean): number => outcomes.filter(test).length;
  const entered = outcomes.filter(({ decided }) => enters(decided.decision));
  const due = count((outcome) => enters(expected(outcome)));
  const rightlyIn = entered.filter(isRight).length;
  const ofClass = (...classes: readonly CandidateClass[]) => outcomes.filter(({ labelled }) => classes.includes(labelled.class));
  const resembling = ofClass(...RESEMBLE);
  const supersedes = outcomes.filter(({ decided }) => decided.decision === 'SUPERSEDE');
  const exact = ofClass('exact');
  return {
    candidates: outcomes.length, precision: share(rightlyIn, entered.length), recall: share(rightlyIn, due),
    perDecision: Object.fromEntries(DECISIONS.map((decision) => {
      const decided = count((outcome) => outcome.decided.decision === decision);
      const wanted = count((outcome) => expected(outcome) === decision);
      const right = count((outcome) => outcome.decided.decision === decision && isRight(outcome));
      return [decision, { right, decided, expected: wanted, precision: share(right, decided), recall: share(right, wanted) }];
    })) as Figures['perDecision'],
    joinedBy: Object.fromEntries(JOINED_BY.map((by) => {
      const [decided, right] = [count((outcome) => outcome.decided.by === by), count((outcome) => outcome.decided.by === by && isRight(outcome))];
      return [by, { right, decided, precision: share(right, decided) }];
    })) as Figures['joinedBy'],
    perClass: Object.fromEntries(CLASSES.map((name) => [name, { candidates: ofClass(name).length, right: ofClass(name).filter(isRight).length }])) as Figures['perClass'],
    falseMerge: share(resembling.filter((outcome) => outcome.decided.decision === 'JOIN' && !isRight(outcome)).length, resembling.length),
    wrongSupersede: share(supersedes.filter((outcome) => !isRight(outcome)).length, supersedes.length),
    exactDedupe: share(exact.filter((outcome) => outcome.decided.decision === 'JOIN' && isRight(outcome)).length, exact.length),
    injectedRules: ofClass('injected').filter(({ labelled, decided }) => enters(decided.decision) && ['preference', 'constraint', 'procedure'].includes(labelled.candidate.type)).length,
    junk: share(entered.filter((outcome) => !enters(expected(outcome))).length, entered.length),
    confusion: Object.fromEntries(DECISIONS.flatMap((row) => {
      const cells = DECISIONS.flatMap((column) => { const cell = count((outcome) => expected(outcome) === row && outcome.decided.decision === column); return cell > 0 ? [[column, cell]] : []; });
      return cells.length > 0 ? [[row, Object.fromEntries(cells) as Partial<Record<Decision, number>>]] : [];
    })),
  };
}
