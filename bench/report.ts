// From rounds to figures: medians with their range, and the ratio of the first number to ours, round by round, because two
// measurements of one round met the same machine and two of an hour did not.
import { median } from './tasks.ts';
import type { Metrics } from './work.ts';

export interface Figure { readonly median: number; readonly min: number; readonly max: number }
export interface Row { readonly peer: string; readonly variant: string; readonly rounds: number; readonly failed: number; readonly metrics: Record<string, Figure>; /** Ours over theirs, of the first metric. */ readonly ratio: number | null }
export interface Rounds { readonly peer: string; readonly variant: string; readonly rounds: readonly (Metrics | { readonly failed: string })[] }

const isGood = (round: Rounds['rounds'][number]): round is Metrics => !('failed' in round);

export function rowsOf(measured: readonly Rounds[]): Row[] {
  const reference = measured.find(({ peer }) => peer === 'mainstay') ?? measured[0];
  return measured.map(({ peer, variant, rounds }) => {
    const good = rounds.filter(isGood);
    const names = [...new Set(good.flatMap((one) => Object.keys(one)))];
    const metrics = Object.fromEntries(names.flatMap((name) => {
      const values = good.map((one) => one[name]).filter((value): value is number => value !== undefined && !Number.isNaN(value));
      return values.length === 0 ? [] : [[name, { median: median(values), min: Math.min(...values), max: Math.max(...values) }]];
    }));
    const first = names[0] ?? '';
    const ratios = rounds.flatMap((one, at) => {
      const ours = reference?.rounds[at];
      const ratio = ours && isGood(ours) && isGood(one) ? (ours[first] ?? NaN) / (one[first] ?? NaN) : NaN;
      return Number.isFinite(ratio) ? [ratio] : [];
    });
    return { peer, variant, rounds: good.length, failed: rounds.length - good.length, metrics, ratio: ratios.length === 0 ? null : median(ratios) };
  });
}

const digits = (value: number): string => (Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2));

/** A table of lines: one metric a line, one peer a column. */
export function tableOf(workload: string, rows: readonly Row[]): string {
  const names = [...new Set(rows.flatMap(({ metrics }) => Object.keys(metrics)))];
  const lines = [
    [workload, ...rows.map(({ peer, variant }) => (variant === 'default' ? peer : `${peer} ${variant}`))],
    ...names.map((name) => [name, ...rows.map(({ metrics }) => { const one = metrics[name]; return one ? `${digits(one.median)} (${digits(one.min)}–${digits(one.max)})` : '–'; })]),
    ['mainstay ÷ it', ...rows.map(({ ratio }) => (ratio === null ? '–' : digits(ratio)))],
    ['rounds', ...rows.map(({ rounds, failed }) => (failed > 0 ? `${rounds}, ${failed} failed` : String(rounds)))],
  ];
  const widths = lines[0]?.map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0))) ?? [];
  return lines.map((line) => line.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  ')).join('\n');
}

export const lineOf = (metrics: Metrics): string => Object.entries(metrics).map(([name, value]) => `${name}=${digits(value)}`).join(' ');
