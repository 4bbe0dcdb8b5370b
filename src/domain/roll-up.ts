// Old outcomes of one owner and subject, rolled into one memory. Its statement is made of a line for each of them and of nothing else: the
// same lines, the same words, so that it can be made again when one of its sources has to go.
import { MAX_STATEMENT } from './memory.ts';

/** Outcomes of one owner and subject that are old enough; one alone stays what it is. */
export const ROLL_UP_FROM = 2;
/** Lines of one roll-up, the newest; more than its statement can name, and few enough to be read and copied at once. */
export const ROLL_UP_LINES = 100;
/** Characters of a line. */
const LINE = 80;

export interface RollUpLine {
  /** uuid of the outcome */
  readonly source: string;
  readonly line: string;
  readonly saidMs: number;
}

/** What is kept of an outcome. */
export const lineOf = ({ attribute, value }: { readonly attribute: string; readonly value: string }): string => clip(`${attribute}: ${value}`, LINE);

/** The newest first; of those said twice, by source. */
export const newestFirst = <Line extends RollUpLine>(lines: readonly Line[]): Line[] => [...lines].sort((a, b) => b.saidMs - a.saidMs || (a.source < b.source ? -1 : 1));

/** Names as many as find room, the newest first, and how many there are. `lines` is not empty. */
export function rollUpText(subject: string, lines: readonly RollUpLine[]): { readonly value: string; readonly statement: string } {
  const sorted = newestFirst(lines);
  const value = `${sorted.length} ${sorted.length === 1 ? 'outcome' : 'outcomes'}`;
  const times = Map.groupBy(sorted, ({ line }) => line);
  const parts = [...times].map(([line, of]) => (of.length > 1 ? `${line} (${of.length} times)` : line));
  const head = `${value} of ${subject} from ${dayOf(sorted.at(-1)?.saidMs)} to ${dayOf(sorted[0]?.saidMs)}: `;
  for (let shown = parts.length; shown > 1; shown--) {
    const statement = head + parts.slice(0, shown).join('; ') + (shown < parts.length ? `; and ${parts.length - shown} more` : '');
    if (statement.length <= MAX_STATEMENT) return { value, statement };
  }
  return { value, statement: clip(head + (parts[0] ?? ''), MAX_STATEMENT) };
}

const dayOf = (ms = 0): string => new Date(ms).toISOString().slice(0, 10);
const clip = (text: string, most: number): string => (text.length <= most ? text : `${text.slice(0, most - 1)}…`).toWellFormed();
