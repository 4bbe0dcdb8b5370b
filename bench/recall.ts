// node bench/recall.ts --rows 10000 [--questions 200] [--reembed] [--json FILE]
// What recall costs with so many memories of one tenant, on servers of its own: our part (all but the embedding and the index's answer)
// and all of it without the embedding; and how many rows a second the index is rebuilt with from vectors kept in Postgres. Questions
// are embedded by the built-in model, as a worker does, rows by a hash: the model would need hours for them. Then what the gate takes for a
// run's ten candidates on the same stores, and with `--reembed` a rebuild for another embedder, the built-in model.
import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { monoMs, wallMs } from '../src/clock.ts';
import { withClient } from '../src/dev/servers/migrate.ts';
import { startStack, type Stack } from '../src/dev/servers/stack.ts';
import type { Embedder } from '../src/domain/embedder.ts';
import { MainstayError } from '../src/domain/errors.ts';
import { POLICY } from '../src/domain/gate-policy.ts';
import type { VectorIndex } from '../src/domain/vector-index.ts';
import { newId } from '../src/ids.ts';
import { RecallCache } from '../src/limits/recall-cache.ts';
import { openLimitsRedis } from '../src/limits/redis-script.ts';
import { makeLog, type Log } from '../src/log.ts';
import { builtinEmbedder } from '../src/memory/embedders/builtin.ts';
import { indexPending } from '../src/memory/index-rows.ts';
import { judgeRun, type JudgeDeps } from '../src/memory/judge-run.ts';
import { openIndex } from '../src/memory/milvus.ts';
import { makeRecall, type RecallDeps } from '../src/memory/recall.ts';
import { reindex } from '../src/memory/reindex.ts';
import { redisKeys } from '../src/redis.ts';
import { openAppStore } from '../src/store/app-store.ts';
import { claimRuns } from '../src/store/engine/claim.ts';
import { openEnginePool, type EnginePool } from '../src/store/engine/pool.ts';
import { submitRuns } from '../src/store/engine/submit.ts';
import { registerWorker } from '../src/store/engine/workers.ts';

const { values: args } = parseArgs({ options: { rows: { type: 'string', default: '10000' }, questions: { type: 'string', default: '200' }, reembed: { type: 'boolean', default: false }, json: { type: 'string' } } });
const [rows, questions] = [Number(args.rows), Number(args.questions)];
const USERS = 100;
const DIMENSIONS = 384;
const WORDS = 'engine invoice garden violin lease sensor bridge recipe ticket harbour printer budget clinic thesis lamp river train kettle window report meeting doctor school server contract parcel bicycle camera forest orchard'.split(' ');
const say = (line: string): void => { process.stderr.write(`${line}\n`); };

const digest = (text: string): Buffer => createHash('sha512').update(text).digest();
const pick = (text: string, at: number): string => WORDS[(digest(text)[at] ?? 0) % WORDS.length] ?? '';
const sentence = (n: number): string => `The ${pick(`a${n}`, 0)} near the ${pick(`a${n}`, 1)} needs a ${pick(`a${n}`, 2)} before ${pick(`a${n}`, 3)} number ${n} is ready`;

const hashes: Embedder = {
  fingerprint: `bench:${DIMENSIONS}`, dimensions: DIMENSIONS, semantic: true, close: () => Promise.resolve(),
  embed: (texts) => Promise.resolve(texts.map((text) => {
    const bytes = digest(text);
    const vector = Array.from({ length: DIMENSIONS }, (_, at) => ((bytes[at % 64] ?? 0) ^ (at * 37 & 255)) / 127.5 - 1);
    const length = Math.hypot(...vector);
    return vector.map((value) => value / length);
  })),
};

async function plant(databaseUrl: string): Promise<void> {
  await withClient(databaseUrl, async (client) => {
    for (let at = 0; at < rows; at += 5_000) {
      const page = Array.from({ length: Math.min(5_000, rows - at) }, (_, k) => at + k).map((n) => ({ id: newId(), user: `u${n % USERS}`, statement: sentence(n), hash: digest(`h${n}`).subarray(0, 32).toString('hex'), run: runs[Math.floor(n / 8)] ?? newId() }));
      await client.query(
        `INSERT INTO memories (tenant_id, id, scope, user_id, agent, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, created_at)
         SELECT 'bench', m.id, CASE WHEN abs(hashtext(m.statement)) % 2 = 0 THEN 'user' ELSE 'workspace' END::memory_scope, CASE WHEN abs(hashtext(m.statement)) % 2 = 0 THEN m."user" END, 'bench', 'fact', 'thing ' || abs(hashtext(m.statement)) % 1000, 'note', '', m.statement, decode(m.hash, 'hex'), 'user', 0.8,
           '[{"event_id":"e1","quote":"x"}]', m.run, 1, now(), clock_timestamp() FROM json_to_recordset($1::json) AS m(id uuid, "user" text, statement text, hash text, run uuid)`, [JSON.stringify(page)]);
    }
    await client.query('ANALYZE memories');
  });
}
const runs = Array.from({ length: Math.ceil(rows / 8) }, newId);

/** A run of each user in the hands of a worker: a recall is written to the history of the run that asks. */
async function startRuns(pool: EnginePool): Promise<{ user: string; run: string; fence: bigint }[]> {
  const incarnation = randomUUID();
  await registerWorker(pool, { incarnation, name: 'bench', pool: 'agent', machines: ['bench@1'], leaseMs: 3_600_000 });
  const users = Array.from({ length: USERS }, (_, n) => ({ user: `u${n}`, id: newId() }));
  await submitRuns(pool, users.map(({ user, id }) => ({
    tenant: 'bench', id, agent: 'bench', version: 1, pool: 'agent', visible: true, user, session: null, parent: null, parentStepSeq: null, parentPath: null, expiresInMs: null, start: 'ask', priority: 0, concurrencyKey: null, concurrencyLimit: null,
    idempotencyKey: null, requestHash: '00'.repeat(16), metadata: '{}', input: '{}', model: null, budgetMicroUsd: null, lane: null, deadlineAt: null, startAt: null, delayMs: 0, debounceKey: null, debounceMaxMs: null,
  })));
  const claimed = await claimRuns(pool, users.map(({ id }) => ({ tenant: 'bench', id })), incarnation, ['bench@1'], 3_600_000);
  return users.map(({ user, id }, at) => ({ user, run: id, fence: claimed[at]?.fence ?? 0n }));
}

const percentiles = (ms: readonly number[]): Record<string, number> => {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number): number => Math.round((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN) * 10) / 10;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99) };
};

type Where = Pick<Stack, 'databaseUrl' | 'milvusAddress' | 'milvusDenseIndex'>;
const openBenchIndex = ({ milvusAddress, milvusDenseIndex }: Where, log: Log, { fingerprint, dimensions } = hashes): Promise<VectorIndex> =>
  openIndex({ address: milvusAddress, tls: false, prefix: 'bench', denseIndex: milvusDenseIndex, dimensions, fingerprint, log });

/** Rows a second, in a thread of its own: whoever recalls does not index, and has none of its garbage. */
async function fill(where: Where): Promise<Record<string, number>> {
  const log = makeLog('warn', 'bench');
  const index = await openBenchIndex(where, log);
  const pool = openEnginePool(where.databaseUrl, true, 2, log);
  try {
    await plant(where.databaseUrl);
    const ingestMs = monoMs();
    for (let done = 0, more = -1; more !== 0;) { more = await indexPending({ pool, index, embedder: hashes }, 1_000); done += more; if (done % 20_000 === 0) say(`indexed ${done}`); }
    const rebuildMs = monoMs();
    const { rows: rebuilt } = await reindex({ pool, index, embedder: { ...hashes, embed: () => Promise.reject(new Error('a rebuild needs no model')) } }, (n) => { if (n % 20_000 === 0) say(`rebuilt ${n}`); });
    return { ingestRowsPerS: Math.round(rows / ((rebuildMs - ingestMs) / 1_000)), rebuildRowsPerS: Math.round(rebuilt / ((monoMs() - rebuildMs) / 1_000)) };
  } finally {
    await Promise.allSettled([pool.end(), index.close()]);
  }
}

function filled(where: Where): Promise<Record<string, number>> {
  const thread = new Worker(new URL(import.meta.url), { workerData: where, argv: process.argv.slice(2) });
  return new Promise((resolve, reject) => { thread.once('message', resolve); thread.once('error', reject); });
}

async function ask(stack: Stack): Promise<Record<string, unknown>> {
  const log = makeLog('warn', 'bench');
  if (stack.embedderDir === undefined) throw new MainstayError('embedder_failed', 'The built-in model is not here: questions are embedded by it.');
  const model = await builtinEmbedder({ dir: stack.embedderDir, log });
  const index = await openBenchIndex(stack, log);
  const pool = openEnginePool(stack.databaseUrl, true, 2, log);
  const store = openAppStore({ url: stack.databaseUrl, asRole: true, log, max: 2 });
  const redis = openLimitsRedis(stack.redisUrl, log);
  let [embedMs, indexMs] = [0, 0];
  const timed: RecallDeps & JudgeDeps = {
    store, log, cache: new RecallCache(redis, redisKeys('bench')),
    embedder: { ...hashes, embed: async (texts, kind) => {
      const startMs = monoMs();
      try { return await model.embed(texts, kind); } finally { embedMs = monoMs() - startMs; }
    } },
    index: { ...index, search: async (collection, request) => {
      const startMs = monoMs();
      try { return await index.search(collection, { ...request, timeoutMs: 30_000 }); } finally { indexMs = monoMs() - startMs; }
    } },
  };
  try {
    await withClient(stack.databaseUrl, (client) => client.query('VACUUM (ANALYZE)')); // as autovacuum would, but not while recall is timed
    const { recall } = makeRecall(timed);
    const asking = await startRuns(pool);
    const [own, whole, embedding]: [number[], number[], number[]] = [[], [], []];
    for (let n = 0; n < questions + 20; n++) {
      const startMs = monoMs();
      await recall({ tenant: 'bench', agent: 'bench', stepSeq: 0, ...asking[n % USERS]!, query: `Which ${pick(`q${n}`, 0)} is beside the ${pick(`q${n}`, 1)}?` });
      const tookMs = monoMs() - startMs;
      if (n >= 20) { whole.push(tookMs - embedMs); own.push(tookMs - embedMs - indexMs); embedding.push(embedMs); } // the first ones plan their statements
    }
    const [judged, near]: [number[], number[]] = [[], []];
    for (const [n, { user, run, fence }] of asking.entries()) {
      const said = Array.from({ length: 10 }, (_, k) => sentence(rows + 10 * n + k));
      const candidates = said.map((statement, k) => ({ type: 'fact', subject: `order ${n} ${k}`, attribute: 'note', value: statement, statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }));
      const startMs = monoMs();
      const { verdicts } = await judgeRun(timed, { run, fence }, { tenant: 'bench', run: { id: run, user, session: null, agent: 'bench', finishedMs: wallMs() }, events: [{ id: 'e1', role: 'user', tool: undefined, text: said.join('. '), atMs: wallMs() }], extraction: { candidates } });
      if (verdicts.filter(({ decision }) => decision === 'ADMIT').length < POLICY.maxAdmits) throw new Error(`not taken for facts: ${JSON.stringify(verdicts.map(({ reason }) => reason))}`);
      if (n >= 10) { judged.push(monoMs() - startMs); near.push(embedMs + indexMs); } // the ten searches go out together: the last to come is the longest
    }
    return { ownMs: percentiles(own), withIndexMs: percentiles(whole), embeddingMs: percentiles(embedding), judgedMs: percentiles(judged), judgedNearMs: percentiles(near), ...(args.reembed && { reembedRowsPerS: await reembed(stack, pool, model, log) }) };
  } finally {
    await Promise.allSettled([store.close(), pool.end(), index.close(), model.close(), redis.quit()]);
  }
}

/** Rows a second of a rebuild for an embedder that has seen none of them. */
async function reembed(stack: Stack, pool: EnginePool, model: Embedder, log: Log): Promise<number> {
  const index = await openBenchIndex(stack, log, model);
  try {
    const startMs = monoMs();
    const { rows: made } = await reindex({ pool, index, embedder: model }, (n) => { say(`embedded anew ${n}`); });
    return Math.round(made / ((monoMs() - startMs) / 1_000));
  } finally {
    await index.close();
  }
}

async function main(): Promise<void> {
  const stateDir = mkdtempSync(join(tmpdir(), 'mainstay-bench-recall-'));
  const stack = await startStack({ stateDir, say, ephemeral: true });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { void stack.stop().finally(() => { rmSync(stateDir, { recursive: true, force: true }); process.exit(130); }); });
  try {
    const { databaseUrl, milvusAddress, milvusDenseIndex } = stack;
    const perSecond = await filled({ databaseUrl, milvusAddress, milvusDenseIndex });
    const result = { rows, questions, ...await ask(stack), ...perSecond };
    if (args.json !== undefined) writeFileSync(args.json, `${JSON.stringify(result, null, 2)}\n`);
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } finally {
    await stack.stop();
    rmSync(stateDir, { recursive: true, force: true });
  }
}

if (isMainThread) await main();
else parentPort?.postMessage(await fill(workerData as Where));
