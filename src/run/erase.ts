// Erasure: what one request asks to be forgotten is forgotten in every store, looked for again, and receipted. The order is what
// makes it safe to die anywhere: runs end first, then what only names of Postgres lead to (copies in Redis, cached vectors) goes
// while those names are there, then the rows are emptied, then vectors and values go by what emptied rows still say, and last
// comes the look. Everything may be done twice. What comes in for the subject meanwhile is erased with it.
import { createHash, createHmac } from 'node:crypto';
import type { Redis } from 'ioredis';
import { pause, wallMs } from '../clock.ts';
import type { BlobStore } from '../domain/blob.ts';
import { messageOf } from '../domain/errors.ts';
import { canonicalJson } from '../domain/json.ts';
import { ERASE_MS, ERASE_PAGE, INTAKE_KEPT_S } from '../domain/tunables.ts';
import type { VectorCollection, VectorIndex } from '../domain/vector-index.ts';
import { publicId } from '../ids.ts';
import type { Log } from '../log.ts';
import { forgetEmbeddings } from '../memory/embedders/cached.ts';
import { embedded } from '../memory/index-rows.ts';
import type { RedisKeys } from '../redis.ts';
import type { Service } from '../service.ts';
import { documentsToErase, dropEmptyDocuments, eraseDocuments, textsOfDocuments } from '../store/engine/documents.ts';
import { clearBlobs, dropEmptied, emptiedRows, endRuns, eraseRest, eraseRuns, finishErasure, heldBlobs, openErasures, oweReworded, reread, runsToErase, scanFor, sessionsOf, textsOf, usersOf, type ErasedTable, type Erasure } from '../store/engine/erase.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { leaderLoop } from '../store/leader-loop.ts';
import { valueKey } from '../values.ts';

export interface EraseDeps {
  readonly pool: EnginePool;
  readonly redis: Redis;
  readonly keys: RedisKeys;
  readonly blobs: BlobStore;
  readonly index: Pick<VectorIndex, 'deleteEverywhere'>;
  /** Of the embedder, as the cache of vectors knows it. */
  readonly fingerprint: string;
  /** Signs receipts; undefined: they carry their digest only. */
  readonly signingKey: string | undefined;
  readonly log: Log;
}

/** First key of the leader's advisory lock. */
const LOCK_CLASS = 0x6d65;
const VECTORS: readonly (readonly [ErasedTable, VectorCollection])[] = [['memories', 'memories'], ['run_summaries', 'conversation_summaries'], ['document_chunks', 'run_artifacts']];
/** A value that another run put just before its row names it is put back when it is named within this time. */
const NAMED_WITHIN_MS = 1_000;
const BLOBS_AT_ONCE = 50;
/** A thousand chunks each, at most. */
const DOCUMENTS_AT_ONCE = 10;

/** Carries out what was requested, one leader at a time; what a store's absence stops goes on when it is back. */
export function makeEraser(deps: EraseDeps): Service {
  return leaderLoop({
    name: 'erasures', pool: deps.pool, log: deps.log, lockClass: LOCK_CLASS, everyMs: ERASE_MS, failed: 'erasures were not looked for',
    round: async (signal) => {
      for (const erasure of await openErasures(deps.pool, ERASE_PAGE)) {
        if (signal.aborted) return;
        await erase(deps, erasure, signal).catch((error: unknown) => deps.log.warn({ erasure: erasure.id, error: messageOf(error) }, 'an erasure could not go on; it is tried again'));
      }
    },
  });
}

/** Goes on with one as far as it can; true when its receipt is written. Rejects when a store does not answer. */
export async function erase(deps: EraseDeps, erasure: Erasure, signal: AbortSignal = new AbortController().signal): Promise<boolean> {
  const { pool, redis, keys } = deps;
  const { open, running } = await endRuns(pool, erasure);
  for (const id of running) await redis.publish(keys.cancelChannel, id);
  if (open > 0) return false; // their workers end them now
  for (const { user, session } of await sessionsOf(pool, erasure)) for (const key of [keys.session(erasure.tenant, user, session), keys.recall(erasure.tenant, user, session)]) await redis.del(key);
  for (const user of await usersOf(pool, erasure)) for (const key of [keys.toolCache(erasure.tenant, user ?? undefined), keys.recall(erasure.tenant, user ?? undefined, undefined)]) await redis.del(key);
  for (let runs = await runsToErase(pool, erasure, ERASE_PAGE); runs.length > 0; runs = await runsToErase(pool, erasure, ERASE_PAGE)) {
    if (signal.aborted) return false;
    await forget(deps, await textsOf(pool, erasure, runs));
    for (const id of runs) for (const key of [keys.job(id), keys.text(id)]) await redis.del(key);
    await eraseRuns(pool, erasure, runs);
  }
  for (let some = await documentsToErase(pool, erasure, DOCUMENTS_AT_ONCE); some.length > 0; some = await documentsToErase(pool, erasure, DOCUMENTS_AT_ONCE)) {
    if (signal.aborted) return false;
    await forget(deps, await textsOfDocuments(pool, erasure.tenant, some));
    await eraseDocuments(pool, erasure, some);
  }
  await forget(deps, await textsOf(pool, erasure, []));
  await eraseRest(pool, erasure);
  const vectors = await dropVectors(deps, erasure);
  const { reworded } = await reread(pool, erasure);
  await deps.index.deleteEverywhere('memories', erasure.tenant, reworded);
  await oweReworded(pool, erasure, reworded);
  await dropValues(deps, await reread(pool, erasure));
  return receipt(deps, await reread(pool, erasure), vectors);
}

/** Cached vectors of these texts: a query is embedded whole, a row by its beginning. */
const forget = ({ redis, keys, fingerprint }: EraseDeps, texts: readonly string[]): Promise<void> => forgetEmbeddings(redis, keys, fingerprint, [...new Set(texts.flatMap((text) => [text, embedded(text)]))]);

/** Vectors of emptied rows, in every generation; then the rows. Answers how many there were. */
async function dropVectors({ pool, index }: EraseDeps, { tenant }: Erasure): Promise<number> {
  let dropped = 0;
  for (const [table, collection] of VECTORS) {
    for (let ids = await emptiedRows(pool, table, tenant, ERASE_PAGE); ids.length > 0; ids = await emptiedRows(pool, table, tenant, ERASE_PAGE)) {
      await index.deleteEverywhere(collection, tenant, ids);
      await dropEmptied(pool, table, tenant, ids);
      dropped += ids.length;
    }
  }
  await dropEmptyDocuments(pool, tenant);
  return dropped;
}

/** Values that no other row of the tenant names. */
async function dropValues({ pool, blobs }: EraseDeps, erasure: Erasure): Promise<void> {
  for (let at = 0; at < erasure.blobs.length; at += BLOBS_AT_ONCE) {
    const some = erasure.blobs.slice(at, at + BLOBS_AT_ONCE);
    const held = await heldBlobs(pool, erasure.tenant, some);
    const gone = new Map<string, Uint8Array>();
    for (const reference of some) {
      const key = valueKey(erasure.tenant, reference);
      const bytes = held.has(reference) ? undefined : await blobs.get(key);
      if (!bytes) continue;
      await blobs.delete(key);
      gone.set(reference, bytes);
    }
    if (gone.size > 0) await pause(NAMED_WITHIN_MS);
    for (const reference of await heldBlobs(pool, erasure.tenant, [...gone.keys()])) await blobs.put(valueKey(erasure.tenant, reference), gone.get(reference) as Uint8Array);
    await clearBlobs(pool, erasure, some);
  }
}

/** Looks for everything again. False: something is there, such as what came in meanwhile; the next round takes it. */
async function receipt({ pool, signingKey, log }: EraseDeps, erasure: Erasure, vectors: number): Promise<boolean> {
  const scan = await scanFor(pool, erasure);
  const left = Object.entries(scan).filter(([, n]) => n > 0);
  if (left.length > 0) {
    log.info({ erasure: erasure.id, left: Object.fromEntries(left) }, 'an erasure goes on: there is more of it');
    return false;
  }
  const finishedMs = wallMs();
  const facts = {
    erasure: publicId('erasure', erasure.id), tenant: erasure.tenant, kind: erasure.kind, subject: erasure.subject,
    requestedAt: new Date(erasure.requestedMs).toISOString(), finishedAt: new Date(finishedMs).toISOString(), erased: { ...erasure.counts, ...(vectors > 0 ? { vectors } : {}) }, found: scan,
    remains: [
      { what: 'rows of runs, steps and calls without their content, for accounting', until: null },
      { what: 'lines of the audit log, which name ids and never content', until: null },
      { what: 'jobs of intake queues, as they were sent', until: new Date(finishedMs + 7 * INTAKE_KEPT_S * 1_000).toISOString() },
      { what: 'backups of the database and the object store', until: null },
    ],
  };
  const text = canonicalJson(facts);
  await finishErasure(pool, erasure, { ...facts, sha256: createHash('sha256').update(text).digest('hex'), signature: signingKey === undefined ? null : createHmac('sha256', signingKey).update(text).digest('hex') });
  return true;
}
