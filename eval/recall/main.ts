// npm run eval:recall -- --data FILE --json OUT [--fuser context|zscores|weighted|rrf]
// Asks the product's own recall the questions of a set (docs/eval-recall.md) and says how much of the evidence it finds. Servers are
// its own, on free ports and throw-away; the embedder is the configured one. Ends with 65 when the set is wrong, 64 when the call is.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { monoMs } from '../../src/clock.ts';
import { readConfig } from '../../src/config.ts';
import { startStack } from '../../src/dev/servers/stack.ts';
import { messageOf } from '../../src/domain/errors.ts';
import { makeLog } from '../../src/log.ts';
import { FUSERS, type Fuser } from '../../src/memory/fuse-hits.ts';
import { openIndex } from '../../src/memory/milvus.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { openEnginePool } from '../../src/store/engine/pool.ts';
import { ask, LANES } from './ask.ts';
import { evalEmbedder } from './embed-ahead.ts';
import { BadSet, readSet, turnsIn, type RecallSet } from './format.ts';
import { ingest } from './ingest.ts';
import { tableOf } from './report.ts';

const say = (line: string): void => { process.stderr.write(`${line}\n`); };
const OWN_SET = join(import.meta.dirname, 'own-set.json');

const end = (line: string, code: number): never => { say(line); process.exit(code); };

function options(): { data: string; json: string | undefined; fuser: Fuser | undefined } {
  try {
    const { values } = parseArgs({ options: { data: { type: 'string' }, json: { type: 'string' }, fuser: { type: 'string' } } });
    const fuser = FUSERS.find((one) => one === values.fuser);
    if (values.fuser !== undefined && fuser === undefined) throw new Error(`--fuser is one of ${FUSERS.join(', ')}`);
    return { data: values.data ?? OWN_SET, json: values.json, fuser };
  } catch (error) {
    return end(`${messageOf(error)}\nusage: npm run eval:recall -- [--data FILE] [--json OUT] [--fuser ${FUSERS.join('|')}]`, 64);
  }
}

const given = options();
const set = ((): RecallSet => {
  try { return readSet(given.data); } catch (error) { if (error instanceof BadSet) return end(error.message, 65); throw error; }
})();

const stateDir = mkdtempSync(join(tmpdir(), 'mainstay-eval-'));
const stack = await startStack({ stateDir, say, ephemeral: true });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { void stack.stop().finally(() => { rmSync(stateDir, { recursive: true, force: true }); process.exit(130); }); });
try {
  writeResult(await evaluate());
} finally {
  await stack.stop();
  rmSync(stateDir, { recursive: true, force: true });
}

async function evaluate(): Promise<Record<string, unknown>> {
  const config = readConfig({
    EMBEDDER: stack.embedderDir === undefined ? 'lexical' : 'builtin', ...(stack.embedderDir === undefined ? {} : { EMBEDDER_MODEL_DIR: stack.embedderDir }), ...process.env,
    DATABASE_URL: stack.databaseUrl, REDIS_URL: stack.redisUrl, MILVUS_ADDRESS: stack.milvusAddress, MILVUS_DENSE_INDEX: stack.milvusDenseIndex,
  });
  const log = makeLog('warn', 'eval');
  const embedder = await evalEmbedder(config, log);
  const index = await openIndex({ address: stack.milvusAddress, tls: false, prefix: 'eval', denseIndex: stack.milvusDenseIndex, dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log });
  const pool = openEnginePool(stack.databaseUrl, true, 2, log);
  const store = openAppStore({ url: stack.databaseUrl, asRole: true, log, max: LANES });
  try {
    const startMs = monoMs();
    const turns = await ingest(set, stack.databaseUrl, { pool, index, embedder }, progress());
    const ingestedMs = monoMs();
    const fuser = given.fuser ?? config.RECALL_FUSER;
    const found = await ask(set, { store, index, embedder, log, fuser }, turns, progress());
    return {
      set: set.name, embedder: embedder.fingerprint, fuser, ...found,
      size: { conversations: set.conversations.length, turns: turnsIn(set), memories: turns.size, sha256: createHash('sha256').update(JSON.stringify(set)).digest('hex') },
      seconds: { ingest: Math.round((ingestedMs - startMs) / 100) / 10, ask: Math.round((monoMs() - ingestedMs) / 100) / 10 },
    };
  } finally {
    await Promise.allSettled([store.close(), pool.end(), index.close(), embedder.close()]);
  }
}

/** At most a line every two seconds. */
function progress(): (line: string) => void {
  let lastMs = 0;
  return (line) => { if (monoMs() - lastMs > 2_000) { lastMs = monoMs(); say(line); } };
}

function writeResult(result: Record<string, unknown>): void {
  if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(result, null, 2)}\n`);
  process.stdout.write(`${tableOf(result)}\n`);
}
