// What a person sees of `npm start`: calm lines in aligned columns, a heading before each part, no more than the terminal is
// wide. No colours but two, and those only where a terminal shows them.
import { styleText } from 'node:util';

export interface Terminal {
  heading(text: string): void;
  line(text?: string): void;
  /** A label and what belongs to it; long texts go on below, aligned. */
  pair(label: string, text: string): void;
  /** Columns of a table; the last one may be long and is folded. */
  row(cells: readonly string[], widths: readonly number[]): void;
  /** Something went wrong. */
  warn(text: string): void;
}

const LABEL_WIDTH = 12;

export function openTerminal(stream: NodeJS.WriteStream): Terminal {
  const columns = Math.min(Math.max(stream.columns ?? 110, 60), 130);
  const bold = (text: string): string => styleText('bold', text, { stream });
  const dim = (text: string): string => styleText('dim', text, { stream });
  const write = (text: string): void => { stream.write(`${text}\n`); };
  const hanging = (head: string, visible: number, text: string): void => {
    const [first = '', ...rest] = folded(text, columns - visible);
    write(head + first);
    for (const part of rest) write(' '.repeat(visible) + part);
  };
  return {
    heading: (text) => write(`\n${bold(text)}`),
    line: (text = '') => write(text),
    pair: (label, text) => hanging(`  ${dim(label.padEnd(LABEL_WIDTH))}`, LABEL_WIDTH + 2, text),
    row(cells, widths) {
      const fixed = cells.slice(0, -1).map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  ');
      hanging(`  ${fixed}  `, fixed.length + 4, cells.at(-1) ?? '');
    },
    warn: (text) => write(`\n${bold('!')} ${text}`),
  };
}

/** Lines of at most `width` letters, broken at spaces; line breaks of the text are kept. */
export function folded(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    const lines: string[] = [];
    let line = '';
    for (const word of paragraph.split(' ')) {
      if (line !== '' && line.length + 1 + word.length > width) { lines.push(line); line = word; }
      else line = line === '' ? word : `${line} ${word}`;
    }
    return [...lines, line];
  });
}

/** Micro-dollars as money: `$0.0042`. */
export const money = (microUsd: number): string => `$${(microUsd / 1_000_000).toFixed(4)}`;
export const seconds = (ms: number): string => `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`;
