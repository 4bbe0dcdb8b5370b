// What was found before for the same words, while no memory of its scope has changed: the search is left out, and nothing else. Only ids and
// scores are kept; the memories themselves are read again in Postgres under the same conditions as ever, and ranked by what they are now.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Embedder } from '../domain/embedder.ts';
import type { VectorIndex } from '../domain/vector-index.ts';
import type { RecallCache, RecallPlace } from '../limits/recall-cache.ts';
import type { SqlTx } from '../store/app-store.ts';
import { memoriesOf, type RecallScope } from '../store/recall-memories.ts';
import { DEFAULT_FUSER, type Fuser } from './fuse-hits.ts';
import { bestFirst, scoreOf, type Scored } from './rank-memories.ts';

export interface KnownDeps {
  readonly index: Pick<VectorIndex, 'generation'>;
  readonly embedder: Pick<Embedder, 'fingerprint'>;
  /** Unset: every recall searches. */
  readonly cache?: RecallCache | undefined;
  /** How the two lists of the index become one; `context` unless told. */
  readonly fuser?: Fuser | undefined;
}

export interface KnownRequest extends RecallScope {
  readonly tenant: string;
  readonly session?: string | undefined;
}

/** Of this form; raised when what is found by the same words changes with the code. */
const VERSION = 1;
/** Of the best, as many as a trace keeps: three times what a block holds. */
const KEPT = 60;

const knownSchema = z.object({
  semantic: z.boolean(),
  hits: z.array(z.object({ id: z.uuid(), dense: z.number(), sparse: z.number(), fused: z.number(), slot: z.boolean(), words: z.number() })).max(KEPT),
});
export type KnownHits = z.infer<typeof knownSchema>;

/** Undefined where it has to be searched for. Never rejects. */
export async function knownHits({ cache }: KnownDeps, place: RecallPlace): Promise<KnownHits | undefined> {
  const kept = await cache?.get(place);
  return kept === undefined ? undefined : knownSchema.safeParse(kept).data;
}

/** Keeps what was found; the caller does not wait for it. */
export function keepHits({ cache }: KnownDeps, place: RecallPlace, scored: readonly Scored[], semantic: boolean): void {
  const known: KnownHits = { semantic, hits: scored.slice(0, KEPT).map(({ row: { id, slot, words }, dense, sparse, fused }) => ({ id, dense, sparse, fused, slot, words })) };
  void cache?.put(place, known);
}

export function placeOf({ index, embedder, fuser = DEFAULT_FUSER }: KnownDeps, { tenant, user, session, agent, asOfMs }: KnownRequest, query: string, epoch: string): RecallPlace {
  const decides = [VERSION, fuser, embedder.fingerprint, index.generation, agent, asOfMs ?? null, query];
  return { tenant, user, session, epoch, what: createHash('sha256').update(JSON.stringify(decides)).digest('base64url') };
}

/** Those that are still seen, best first. */
export async function rankKnown(tx: SqlTx, scope: RecallScope, { hits }: KnownHits): Promise<Scored[]> {
  const byId = new Map(hits.map((hit) => [hit.id, hit]));
  const rows = await memoriesOf(tx, scope, [...byId.keys()]);
  return bestFirst(rows.flatMap((row) => { const hit = byId.get(row.id); return hit ? [scoreOf({ ...row, slot: hit.slot, words: hit.words }, hit)] : []; }));
}
