// How near the texts of each run are to one another by the built-in model, kept in cosines.json so that the evaluation needs neither
// model nor network: per run the upper triangle, in thousandths, over its live memories and then its candidates. Made anew with
// `npm run eval:gate -- --embed DIR` (a folder with the model); texts that have changed since are refused, never compared wrongly.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { cosine } from '../../src/domain/gate.ts';
import type { Embedder } from '../../src/domain/embedder.ts';
import type { LabelledRun } from './format.ts';

const FILE = join(import.meta.dirname, 'cosines.json');
const schema = z.object({ embedder: z.string(), runs: z.record(z.string(), z.object({ texts: z.string(), thousandths: z.array(z.int()) })) });
export type Cosines = z.infer<typeof schema>;

const textsOf = (run: LabelledRun): string[] => [...run.live.map((memory) => memory.statement), ...run.candidates.map(({ candidate }) => candidate.statement)];
const digest = (texts: readonly string[]): string => createHash('sha256').update(JSON.stringify(texts)).digest('hex').slice(0, 16);
const pairs = (count: number): [number, number][] => Array.from({ length: count }, (_, a) => Array.from({ length: count - a - 1 }, (__, b): [number, number] => [a, a + b + 1])).flat();

export const readCosines = (): Cosines => schema.parse(JSON.parse(readFileSync(FILE, 'utf8')));

/** Cosine of two texts of a run by their place: live memories first, then candidates. */
export function nearnessOf(cosines: Cosines, run: LabelledRun): (a: number, b: number) => number {
  const texts = textsOf(run);
  const kept = cosines.runs[run.id];
  if (kept?.texts !== digest(texts)) throw new Error(`the texts of run ${run.id} are not those that cosines.json was made of: npm run eval:gate -- --embed DIR makes it anew`);
  const byPair = new Map(pairs(texts.length).map(([a, b], at) => [`${a} ${b}`, (kept.thousandths[at] ?? 0) / 1_000]));
  return (a, b) => (a === b ? 1 : byPair.get(`${Math.min(a, b)} ${Math.max(a, b)}`) ?? 0);
}

export async function makeCosines(embedder: Embedder, runs: readonly LabelledRun[]): Promise<void> {
  const made: Cosines['runs'] = {};
  for (const run of runs) {
    const texts = textsOf(run);
    const vectors = await embedder.embed(texts, 'document');
    made[run.id] = { texts: digest(texts), thousandths: pairs(texts.length).map(([a, b]) => Math.round(cosine(vectors[a] ?? [], vectors[b] ?? []) * 1_000)) };
  }
  const lines = Object.entries(made).map(([id, run]) => ` ${JSON.stringify(id)}: ${JSON.stringify(run)}`);
  writeFileSync(FILE, `{"embedder": ${JSON.stringify(embedder.fingerprint)}, "runs": {\n${lines.join(',\n')}\n}}\n`);
}
