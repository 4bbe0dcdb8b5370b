// `mainstay memories calibrate`: measures the configured embedder on labelled pairs, and has the gate merge by what it found.
import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { cosine } from '../domain/gate.ts';
import { calibrate, pairsSchema, type Measured } from '../domain/gate-calibration.ts';
import { makeLog } from '../log.ts';
import { withDatabase } from './connection.ts';
import { printJson, printLine } from './output.ts';
import { issuesOf, readJson } from './read-json.ts';

interface Words { readonly data: string; readonly store?: true; readonly json?: true }

export const addCalibrate = (memories: Command): Command => memories.command('calibrate')
  .description('measure from which cosine on two statements are the same, for the configured embedder')
  .requiredOption('--data <file>', 'JSON: [{ "a": "…", "b": "…", "same": true, "values": ["…", "…"] }, …]').option('--store', 'have the gate merge by it from the next judgement on, for all tenants').option('--json', 'print JSON')
  .action(run);

async function run({ data: file, store, json }: Words): Promise<void> {
  const { data: pairs, error } = pairsSchema.safeParse(readJson(file));
  if (!pairs) throw new MainstayError('bad_request', `${file}: ${issuesOf(error)}`);
  const { makeEmbedder } = await import('../memory/embedders/make-embedder.ts');
  const embedder = await makeEmbedder(configuration(), makeLog('error', 'cli'));
  try {
    if (!embedder.semantic) throw new MainstayError('bad_request', `The embedder ${embedder.fingerprint} knows words and no meaning: there is nothing to measure.`);
    const vectors = await embedder.embed(pairs.flatMap(({ a, b }) => [a, b]), 'document');
    const measured = pairs.map((pair, at): Measured => ({ ...pair, cosine: Math.round(cosine(vectors[2 * at] ?? [], vectors[2 * at + 1] ?? []) * 10_000) / 10_000 }));
    const row = { ...calibrate(measured), pairs: pairs.length };
    if (store) await withDatabase(async (pool) => (await import('../store/engine/embedder-thresholds.ts')).keepThresholds(pool, embedder.fingerprint, row));
    if (json) return printJson({ embedder: embedder.fingerprint, ...row, stored: store === true });
    printLine(`${embedder.fingerprint}: merged from ${row.high} on, related from ${row.low} on, by ${row.pairs} pairs${store ? '; stored' : '; --store has the gate go by it'}`);
  } finally {
    await embedder.close();
  }
}

function configuration(): ReturnType<typeof readConfig> {
  try { return readConfig(); } catch (error) { throw new MainstayError('bad_request', messageOf(error)); }
}
