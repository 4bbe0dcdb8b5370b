// What the command line writes: results on standard output, everything else on standard error, so that `| jq` and `> file`
// get results only. Text that a run, a tool or a user wrote is stripped of control characters first: it must never move
// the cursor of, or give orders to, the terminal of whoever reads it.
import { styleText } from 'node:util';

export type Cell = string | number | boolean | null | undefined;

const write = (line: string): void => { process.stdout.write(`${line}\n`); };

/** A note for the person; never a result. */
export const note = (line: string): void => { process.stderr.write(`${printable(line)}\n`); };

export const printJson = (value: unknown): void => write(JSON.stringify(value, null, 2));
/** One value per line, for results that come one by one. */
export const printJsonLine = (value: unknown): void => write(JSON.stringify(value));
export const printLine = (text: string): void => write(printable(text));

/** Text as it comes, without a line of its own. */
export const printPiece = (text: string): void => { process.stdout.write(printable(text)); };

/** Columns as wide as their longest cell; on a terminal the last one is cut at its edge. */
export function printTable(heads: readonly string[], rows: readonly (readonly Cell[])[]): void {
  if (rows.length === 0) return note('nothing found');
  const texts = rows.map((row) => row.map((cell) => printable(textOf(cell)).replace(/\s+/g, ' ')));
  const widths = heads.map((head, at) => Math.max(head.length, ...texts.map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]): string => cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  ').trimEnd();
  const edge = process.stdout.isTTY ? process.stdout.columns : Infinity;
  write(styleText('bold', line(heads).slice(0, edge), { stream: process.stdout }));
  for (const row of texts) {
    const text = line(row);
    write(text.length > edge ? `${text.slice(0, edge - 1)}…` : text);
  }
}

/** A label per line and what belongs to it; what is empty is left out. */
export function printPairs(pairs: readonly (readonly [label: string, value: Cell])[]): void {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  const width = Math.max(...shown.map(([label]) => label.length));
  for (const [label, value] of shown) {
    const head = styleText('dim', label.padEnd(width), { stream: process.stdout });
    write(`${head}  ${printable(textOf(value)).replaceAll('\n', `\n${' '.repeat(width + 2)}`)}`);
  }
}

/** A page: the whole answer as JSON, or a table and how to see the next one. */
export function printPage<Item>(json: boolean | undefined, page: { readonly data: readonly Item[]; readonly nextCursor: string | null }, heads: readonly string[], row: (item: Item) => readonly Cell[]): void {
  if (json) return printJson(page);
  printTable(heads, page.data.map(row));
  if (page.nextCursor !== null) note(`more: --cursor ${page.nextCursor}`);
}

const textOf = (cell: Cell): string => (cell === null || cell === undefined ? '' : String(cell));

/** Control characters become spaces; line breaks and tabs stay. */
const printable = (text: string): string => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, ' ');

/** A JSON value for a person: a string as it is, the rest in one line. */
export const inline = (value: unknown): string => (value === null || value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value));

/** `$0.0042` */
export const money = (microUsd: number): string => `$${(microUsd / 1_000_000).toFixed(4)}`;
/** `2026-11-25 07:49:12`, UTC */
export const shortTime = (iso: string | null): string => iso?.slice(0, 19).replace('T', ' ') ?? '';
