// The rows of the batch lane: items that wait for a batch, batches, and the settlement of their results. A result's item, its
// attempt in the ledger, its budgets and its run's wake-up change in one transaction, so that none is paid twice or lost;
// whatever is done again finds no item any more.
import { WOKEN } from './inbox.ts';
import { RUN_SUMS, settleModelCalls, type BudgetNews, type ModelOutcome } from './model-ledger.ts';
import { inTransaction, type EnginePool } from './pool.ts';
import { READY, type Ready } from './sweeps.ts';

export interface BatchItem {
  /** uuid, the custom id */
  readonly id: string;
  readonly tenant: string;
  readonly run: string;
  readonly stepSeq: number;
  readonly path: string;
  readonly attempt: number;
  readonly model: string;
  readonly createdMs: number;
  readonly reservedMicroUsd: bigint;
  /** null = not sent */
  readonly batch: string | null;
}

export interface BatchRow {
  readonly id: string;
  readonly model: string;
  readonly items: number;
  readonly state: 'sending' | 'open' | 'done' | 'lost' | 'refused';
  readonly providerId: string | null;
  readonly adopted: boolean;
  readonly disproved: readonly string[];
  readonly sentMs: number;
  readonly looks: number;
  readonly cancelRequested: boolean;
  /** Items without a result. */
  readonly left: number;
  readonly finishedMs: number | null;
}

export interface Unsent { readonly model: string; readonly items: number; readonly bytes: number; readonly oldestMs: number }

/** What waits to be sent, by model. */
export async function unsentItems(pool: EnginePool): Promise<Unsent[]> {
  return (await pool.query<Unsent>(`SELECT model, count(*)::int AS items, sum(bytes)::float8 AS bytes, (extract(epoch FROM now() - min(created_at)) * 1000)::float8 AS "oldestMs" FROM batch_items WHERE batch_id IS NULL GROUP BY model`)).rows;
}

const ITEM = `i.id, i.tenant_id AS tenant, i.run_id AS run, i.step_seq AS "stepSeq", i.path, i.attempt, i.model, (extract(epoch FROM i.created_at) * 1000)::float8 AS "createdMs", k.reserved_micro_usd AS "reservedMicroUsd", i.batch_id AS batch`;
const OF_CALL = `JOIN model_calls k ON k.tenant_id = i.tenant_id AND k.run_id = i.run_id AND k.step_seq = i.step_seq AND k.path = i.path AND k.attempt = i.attempt`;

/** Unsent items whose runs have ended: nobody wants their answers. */
export async function unwantedItems(pool: EnginePool, limit: number): Promise<BatchItem[]> {
  return (await pool.query<BatchItem>(`SELECT ${ITEM} FROM batch_items i ${OF_CALL} JOIN agent_runs r ON r.tenant_id = i.tenant_id AND r.id = i.run_id WHERE i.batch_id IS NULL AND r.finished_at IS NOT NULL LIMIT $1`, [limit])).rows;
}

export async function itemsById(pool: EnginePool, ids: readonly string[]): Promise<BatchItem[]> {
  return (await pool.query<BatchItem>(`SELECT ${ITEM} FROM batch_items i ${OF_CALL} WHERE i.id = ANY ($1::uuid[])`, [ids])).rows;
}

export async function itemsOf(pool: EnginePool, batch: string, limit: number): Promise<BatchItem[]> {
  return (await pool.query<BatchItem>(`SELECT ${ITEM} FROM batch_items i ${OF_CALL} WHERE i.batch_id = $1 LIMIT $2`, [batch, limit])).rows;
}

/** Puts the oldest items of a model into a batch that is about to be sent; the first one whatever its size. `request` is JSON text. */
export async function beginBatch(pool: EnginePool, batch: { readonly id: string; readonly model: string; readonly maxItems: number; readonly maxBytes: number; readonly lookInMs: number }): Promise<{ id: string; request: unknown }[]> {
  const { rows } = await pool.query<{ id: string; request: unknown }>(`
    WITH first AS MATERIALIZED (SELECT id, bytes, created_at FROM batch_items WHERE batch_id IS NULL AND model = $2::text ORDER BY created_at, id LIMIT $3 FOR UPDATE),
    chosen AS MATERIALIZED (SELECT id FROM (SELECT id, bytes, sum(bytes) OVER (ORDER BY created_at, id) AS total FROM first) f WHERE total <= $4 OR total = bytes),
    b AS (INSERT INTO model_batches (id, model, items, look_at) SELECT $1::uuid, $2::text, count(*), now() + $5::float8 * interval '1 ms' FROM chosen HAVING count(*) > 0 RETURNING id)
    UPDATE batch_items i SET batch_id = b.id FROM chosen s, b WHERE i.id = s.id RETURNING i.id, i.request`, [batch.id, batch.model, batch.maxItems, batch.maxBytes, batch.lookInMs]);
  return rows;
}

/** The provider has it. What was sent is not kept. */
export async function batchIsOpen(pool: EnginePool, id: string, providerId: string, adopted: boolean, lookInMs: number): Promise<void> {
  await pool.query(`
    WITH b AS (UPDATE model_batches SET state = 'open', provider_id = $2, adopted = $3, look_at = now() + $4::float8 * interval '1 ms', looks = 0 WHERE id = $1 AND state = 'sending' RETURNING id)
    UPDATE batch_items i SET request = NULL FROM b WHERE i.batch_id = b.id`, [id, providerId, adopted, lookInMs]);
}

/** The provider refused it for now: its items wait for another. */
export async function batchWasNotSent(pool: EnginePool, id: string): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query(`UPDATE batch_items i SET batch_id = NULL FROM model_batches b WHERE b.id = $1 AND b.state = 'sending' AND i.batch_id = b.id`, [id]);
    await client.query(`DELETE FROM model_batches WHERE id = $1 AND state = 'sending'`, [id]);
  });
}

/** The batch that was taken for it is another's. */
export async function disproveBatch(pool: EnginePool, id: string): Promise<void> {
  await pool.query(`UPDATE model_batches SET state = 'sending', disproved = disproved || provider_id, provider_id = NULL, adopted = false, look_at = now() WHERE id = $1 AND adopted`, [id]);
}

export async function confirmBatch(pool: EnginePool, id: string): Promise<void> { await pool.query(`UPDATE model_batches SET adopted = false WHERE id = $1`, [id]); }

export async function lookLater(pool: EnginePool, id: string, inMs: number): Promise<void> {
  await pool.query(`UPDATE model_batches SET look_at = now() + $2::float8 * interval '1 ms', looks = looks + 1 WHERE id = $1`, [id, inMs]);
}

export async function finishBatch(pool: EnginePool, id: string, state: 'done' | 'lost' | 'refused'): Promise<void> {
  await pool.query(`UPDATE model_batches SET state = $2, finished_at = now() WHERE id = $1 AND finished_at IS NULL`, [id, state]);
}

const BATCH = `b.id, b.model, b.items, b.state, b.provider_id AS "providerId", b.adopted, b.disproved, (extract(epoch FROM b.sent_at) * 1000)::float8 AS "sentMs", b.looks, b.cancel_requested_at IS NOT NULL AS "cancelRequested",
  (SELECT count(*) FROM batch_items i WHERE i.batch_id = b.id)::int AS left, (extract(epoch FROM b.finished_at) * 1000)::float8 AS "finishedMs"`;

/** Batches whose time to be looked at has come. */
export async function dueBatches(pool: EnginePool, limit: number): Promise<BatchRow[]> {
  return (await pool.query<BatchRow>(`SELECT ${BATCH} FROM model_batches b WHERE b.finished_at IS NULL AND b.look_at <= now() ORDER BY b.look_at LIMIT $1`, [limit])).rows;
}

/** Newest first. */
export async function listBatches(pool: EnginePool, limit: number): Promise<BatchRow[]> {
  return (await pool.query<BatchRow>(`SELECT ${BATCH} FROM model_batches b ORDER BY b.sent_at DESC, b.id LIMIT $1`, [limit])).rows;
}

export async function knownProviderIds(pool: EnginePool, ids: readonly string[]): Promise<Set<string>> {
  return new Set((await pool.query<{ id: string }>(`SELECT provider_id AS id FROM model_batches WHERE provider_id = ANY ($1)`, [ids])).rows.map(({ id }) => id));
}

/** Asks for its cancellation, which its next look carries out. False: it is not under way. */
export async function cancelBatch(pool: EnginePool, id: string): Promise<boolean> {
  return (await pool.query(`UPDATE model_batches SET cancel_requested_at = coalesce(cancel_requested_at, now()), looks = 0, look_at = CASE WHEN state = 'open' THEN now() ELSE look_at END WHERE id = $1 AND finished_at IS NULL`, [id])).rowCount === 1;
}

/** Batches that ended long ago are forgotten. */
export async function dropOldBatches(pool: EnginePool, olderThanMs: number): Promise<void> {
  await pool.query(`DELETE FROM model_batches b WHERE b.finished_at < now() - $1::float8 * interval '1 ms' AND NOT EXISTS (SELECT FROM batch_items i WHERE i.batch_id = b.id)`, [olderThanMs]);
}

export interface BatchCounts { readonly unsent: number; readonly sent: number; readonly open: number; readonly oldestMs: number }

export async function batchCounts(pool: EnginePool): Promise<BatchCounts> {
  const { rows } = await pool.query<BatchCounts>(`SELECT count(*) FILTER (WHERE batch_id IS NULL)::int AS unsent, count(batch_id)::int AS sent, (SELECT count(*) FROM model_batches WHERE finished_at IS NULL)::int AS open,
    coalesce(extract(epoch FROM now() - min(created_at)) * 1000, 0)::float8 AS "oldestMs" FROM batch_items`);
  return rows[0] as BatchCounts;
}

export interface Settled { readonly news: readonly BudgetNews[]; /** Runs that go on. */ readonly ready: readonly Ready[] }

// A run is woken when the last of its items has its result: the others would let it look in vain.
const TAKE = `
WITH d AS (DELETE FROM batch_items WHERE id = ANY ($1::uuid[]) RETURNING id, tenant_id, run_id),
h AS MATERIALIZED (SELECT r.tenant_id, r.id, r.finished_at FROM (SELECT DISTINCT tenant_id, run_id FROM d) n JOIN agent_runs r ON r.tenant_id = n.tenant_id AND r.id = n.run_id
  WHERE NOT EXISTS (SELECT FROM batch_items o WHERE o.tenant_id = r.tenant_id AND o.run_id = r.id AND o.id <> ALL ($1::uuid[])) ORDER BY 1, 2 FOR UPDATE OF r),
u AS (UPDATE agent_runs r SET ${WOKEN} FROM h WHERE r.tenant_id = h.tenant_id AND r.id = h.id AND h.finished_at IS NULL RETURNING r.*)
SELECT (SELECT json_agg(d.id) FROM d) AS taken, x.* FROM (SELECT 1) one LEFT JOIN LATERAL (SELECT ${READY} FROM u r LEFT JOIN tenants t ON t.id = r.tenant_id WHERE r.status = 'queued') x ON true`;
/** What a run cost is summed at its end: what is booked after that is added. */
const TOTALS = `UPDATE agent_runs r SET ${RUN_SUMS} FROM unnest($1::text[], $2::uuid[]) AS n(t, i) WHERE r.tenant_id = n.t AND r.id = n.i AND r.finished_at IS NOT NULL`;

/** Settles items with what became of them, each once. */
export function settleItems(pool: EnginePool, results: readonly { readonly item: BatchItem; readonly outcome: ModelOutcome }[]): Promise<Settled> {
  return inTransaction(pool, async (client) => {
    const { rows } = await client.query<Ready & { taken: readonly string[] | null }>(TAKE, [results.map(({ item }) => item.id)]);
    const taken = new Set(rows[0]?.taken ?? []);
    const mine = results.filter(({ item }) => taken.has(item.id));
    if (mine.length === 0) return { news: [], ready: [] };
    const news = await settleModelCalls(client as unknown as EnginePool, mine.map(({ item, outcome }) => ({ place: { ...item, fence: 0n, claimedBy: '' }, attempt: item.attempt, outcome })));
    await client.query(TOTALS, [mine.map(({ item }) => item.tenant), mine.map(({ item }) => item.run)]);
    return { news, ready: rows.filter(({ id }) => (id as string | null) !== null) };
  });
}
