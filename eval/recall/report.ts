// The result as a table for people: one line for the whole, one for words alone, one for each category.
import type { Metrics } from './metrics.ts';

const COLUMNS = ['recall@1', 'recall@5', 'recall@10', 'recall@25', 'any@1', 'any@5', 'any@10', 'any@25', 'ndcg@10', 'mrr'];

export function tableOf(result: Record<string, unknown>): string {
  const of = (name: string): Metrics => (result[name] ?? {}) as Metrics;
  const lines: [string, unknown, Metrics][] = [
    ['all', result['questions'], of('metrics')], ['words alone', result['questions'], of('lexical')],
    ...Object.entries((result['perCategory'] ?? {}) as Record<string, Metrics>).map(([name, metrics]): [string, unknown, Metrics] => [name, metrics['questions'], metrics]),
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  const row = (name: string, questions: unknown, cells: readonly string[]): string => [name.padEnd(width), String(questions).padStart(9), ...cells.map((cell) => cell.padStart(9))].join(' ');
  return [
    `${String(result['set'])}, embedder ${String(result['embedder'])}, fuser ${String(result['fuser'])}${Number(result['degraded']) > 0 ? `, ${String(result['degraded'])} DEGRADED` : ''}`,
    row('', 'questions', COLUMNS), ...lines.map(([name, questions, metrics]) => row(name, questions, COLUMNS.map((column) => (metrics[column] ?? 0).toFixed(3)))),
  ].join('\n');
}
