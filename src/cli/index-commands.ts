// `mainstay reindex`: the vector index built anew from Postgres while reads go on, or looked at and put right where it is. Works on
// the stores themselves, with the embedder of the configuration: start it with the settings of the workers.
import type { Command } from 'commander';
import { readConfig, type Config } from '../config.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { makeLog } from '../log.ts';
import type { IndexDeps } from '../memory/index-rows.ts';
import type { Drift } from '../memory/reindex.ts';
import { openEnginePool } from '../store/engine/pool.ts';
import { note, printJson, printLine } from './output.ts';

interface Words { readonly audit?: boolean; readonly repair?: boolean; readonly dropOld?: boolean; readonly json?: boolean }

export function addIndexCommands(program: Command): void {
  program.command('reindex').description('build the vector index anew from Postgres; reads go on meanwhile')
    .option('--audit', 'only compare the index with Postgres; exit code 1 when they differ').option('--repair', 'compare, and put right what differs, without building anew')
    .option('--drop-old', 'afterwards drop the collections of other embedders: only when no worker uses them').option('--json', 'print JSON').action(run);
}

async function run(words: Words): Promise<void> {
  await withIndex(configuration(), async (deps) => {
    const { auditIndex, reindex } = await import('../memory/reindex.ts');
    if (words.audit || words.repair) {
      const drift = await auditIndex(deps, words.repair ?? false);
      if (words.json) printJson({ generation: deps.index.generation, repaired: words.repair ?? false, drift }); else drift.forEach(show);
      if (!words.repair && drift.some(({ missing, ghosts }) => missing + ghosts > 0)) process.exitCode = 1;
      return;
    }
    const { rows, drift } = await reindex(deps, (done) => { if (!words.json) note(`${done} rows written`); });
    const dropped = words.dropOld ? await deps.index.dropOtherGenerations() : [];
    if (words.json) return printJson({ generation: deps.index.generation, rows, drift, dropped });
    printLine(`${rows} rows in fresh collections, which have taken the place of the old ones (generation ${deps.index.generation}, embedder ${deps.embedder.fingerprint})`);
    drift.forEach(show);
    for (const name of dropped) printLine(`dropped ${name}`);
  });
}

const show = ({ collection, rows, missing, ghosts }: Drift): void =>
  printLine(`${collection}: ${rows} rows hold in Postgres; ${missing} missing from the index or older there, ${ghosts} in it that no longer hold`);

function configuration(): Config {
  try { return readConfig(); } catch (error) { throw new MainstayError('bad_request', messageOf(error)); }
}

async function withIndex(config: Config, work: (deps: IndexDeps) => Promise<void>): Promise<void> {
  const log = makeLog('warn', 'cli');
  const [{ makeEmbedder }, { openIndex }] = await Promise.all([import('../memory/embedders/make-embedder.ts'), import('../memory/milvus.ts')]);
  const embedder = await makeEmbedder(config, log);
  const pool = openEnginePool(config.DATABASE_ENGINE_URL ?? config.DATABASE_URL, config.DATABASE_ENGINE_URL === undefined, 2, log);
  const index = await openIndex({
    address: config.MILVUS_ADDRESS, token: config.MILVUS_TOKEN, tls: config.MILVUS_TLS, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX,
    dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log,
  });
  try {
    await work({ pool, index, embedder });
  } finally {
    await Promise.allSettled([pool.end(), index.close(), embedder.close()]);
  }
}
