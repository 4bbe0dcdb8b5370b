// What a row of the fault matrix is: a title, figures for the short and the full form, and one function that injects the fault
// and says what landed and what held. A row whose fault did not land proves nothing and fails, whatever held.
import type { Ground } from './ground.ts';

export interface Claim {
  readonly claim: string;
  readonly ok: boolean;
  readonly evidence: string;
}

export interface Observed {
  /** What really happened, counted; each must be above zero. */
  readonly landed: Readonly<Record<string, number>>;
  readonly held: readonly Claim[];
}

/** What a row stands on beside its own Redis, its database and the sink. */
export interface Needs {
  /** The fleet reaches the store through our proxy. */
  readonly redisProxy?: boolean;
  readonly postgresProxy?: boolean;
  /** A PostgreSQL of its own, durable, to be killed. `diskMiB`: on a disk of that size. */
  readonly ownPostgres?: boolean | { readonly diskMiB: number };
  /** Settings of its Redis, as on the command line. */
  readonly redisSettings?: readonly string[];
  readonly milvus?: boolean;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  readonly needs: Needs;
  readonly inject: (ground: Ground, form: 'short' | 'full') => Promise<Observed>;
}

export function defineRow<Params>(row: { id: string; title: string; needs?: Needs; short: Params; full: Params; inject: (ground: Ground, params: Params) => Promise<Observed> }): Row {
  return { id: row.id, title: row.title, needs: row.needs ?? {}, inject: (ground, form) => row.inject(ground, row[form]) };
}

export const holds = (claim: string, ok: boolean, evidence: unknown): Claim => ({ claim, ok, evidence: typeof evidence === 'string' ? evidence : JSON.stringify(evidence) });
