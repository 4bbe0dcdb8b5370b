// The lanes of model calls. A batch costs half and answers within a day, mostly within an hour: what nobody waits for goes there.
import type { ModelRequest, ModelTurn } from './model.ts';
import { BATCH_LEAD_MS } from './tunables.ts';

export const LANES = ['realtime', 'batch', 'auto'] as const;
/** As asked for. `auto`: a batch where a deadline leaves room for one, else realtime. */
export type Lane = (typeof LANES)[number];

/** Whether a call goes into a batch. `leftMs`: until its run's deadline; undefined = it has none. */
export const takesBatch = (lane: Lane, leftMs: number | undefined): boolean => (leftMs === undefined ? lane === 'batch' : lane !== 'realtime' && leftMs >= BATCH_LEAD_MS);

/** How an item of a batch ended that was not answered: its call is made live. */
export const FELL_BACK = ['batch_errored', 'batch_canceled', 'batch_expired', 'batch_refused'] as const;
/** Nobody knows what became of its batch: it was booked at its reserve, and goes into another. */
export const BATCH_LOST = 'batch_lost';

export const fellBack = (errorCode: string | null | undefined): boolean => (FELL_BACK as readonly string[]).includes(errorCode ?? '');

/** A batch as the provider shows it: never its items before its end. */
export interface ProviderBatch {
  readonly id: string;
  readonly items: number;
  readonly createdMs: number;
  readonly ended: boolean;
}

/** `id`: the item's own. */
export type BatchResult = { readonly id: string } & ({ readonly turn: ModelTurn } | { readonly unanswered: 'errored' | 'canceled' | 'expired'; readonly detail: string });

/** The port of message batches. What it throws says by its cause (ModelFailure) whether a batch can have been made. */
export interface ModelBatches {
  /** Items by ids of 1 to 64 letters, digits, `_` and `-`. */
  create(items: readonly { readonly id: string; readonly request: ModelRequest }[]): Promise<ProviderBatch>;
  /** Those made since, newest first. */
  since(ms: number): Promise<ProviderBatch[]>;
  /** Undefined: the provider does not know it. */
  look(id: string): Promise<ProviderBatch | undefined>;
  /** Of an ended batch, in an order of the provider's. */
  results(id: string): AsyncIterable<BatchResult>;
  cancel(id: string): Promise<void>;
}
