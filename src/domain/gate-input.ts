// What the memory gate is given and what it answers. Everything it may look at is in here, so that a verdict can be
// replayed from stored inputs alone, under this policy or another.
import type { Room } from './gate-room.ts';
import type { Candidate, Evidence } from './memory.ts';
import type { MemoryScope, MemoryType, SourceRole, VerdictDecision } from './status.ts';
import type { TranscriptEvent } from './transcript.ts';

/** A memory that is valid now, as its row says. */
export interface LiveMemory {
  /** uuid */
  readonly id: string;
  readonly scope: MemoryScope;
  readonly user: string | null;
  readonly agent: string | null;
  readonly type: MemoryType;
  /** folded */
  readonly subject: string;
  /** folded */
  readonly attribute: string;
  readonly value: string;
  readonly statement: string;
  /** hexadecimal sha256 */
  readonly hash: string;
  readonly source: SourceRole;
  readonly confidence: number;
  readonly validFromMs: number;
}

/** A row to insert. `validToMs` is set when it was already overtaken on the day it came. */
export interface NewMemory extends LiveMemory {
  readonly slot: string | null;
  readonly evidence: readonly Evidence[];
  readonly validToMs: number | null;
  readonly supersededBy: string | null;
}

/** A candidate of an earlier run that was too unsure to be admitted, and has not been promoted since. */
export interface Waiting {
  /** uuid */
  readonly run: string;
  readonly index: number;
  readonly source: SourceRole;
  /** Of that run. */
  readonly user: string | null;
  readonly agent: string;
  readonly candidate: Candidate;
}

export interface Neighbour { readonly id: string; readonly cosine: number }

export interface GateInput {
  readonly run: {
    readonly tenant: string;
    /** uuid */
    readonly id: string;
    readonly user: string | null;
    readonly agent: string;
    /** When the run ended: what it observed holds from then on unless the evidence has a time of its own. */
    readonly observedMs: number;
  };
  readonly events: readonly TranscriptEvent[];
  /** As the model gave them, in its order; each gets exactly one verdict. */
  readonly candidates: readonly unknown[];
  /** One fresh id per candidate, so that the same input gives the same rows. */
  readonly ids: readonly string[];
  /** Every live memory that may matter: same hash, same slot, neighbours, injected. Others are ignored. */
  readonly live: readonly LiveMemory[];
  readonly waiting: readonly Waiting[];
  /** Ids of memories this run had in its prompt. */
  readonly injected: readonly string[];
  /** By candidate index: live memories near it, and earlier candidates of this run by their fresh id. Absent: the embedder or
   *  the index did not answer. */
  readonly neighbours: readonly (readonly Neighbour[] | undefined)[];
  /** By candidate index: the live memory the model takes it for; it may be wrong. Absent: it was shown none. */
  readonly hints?: readonly (string | null)[] | undefined;
  /** Fingerprint of the embedder the cosines come from. */
  readonly embedder: string;
  /** Absent: no cap is near. */
  readonly room?: Room | undefined;
}

export interface Verdict {
  readonly index: number;
  readonly decision: VerdictDecision;
  /** The stage that decided. */
  readonly stage: string;
  readonly reason: string;
  readonly confidence: number;
  readonly scores: Readonly<Record<string, number | string | boolean | readonly string[]>>;
  /** The candidate as it may be stored: without secrets, without what no row can hold. */
  readonly candidate: unknown;
  /** The existing memory it is about. */
  readonly target: string | null;
  /** The row to insert; null for all but ADMIT and SUPERSEDE. */
  readonly memory: NewMemory | null;
  /** The memory that goes so that there is room for this one. */
  readonly evicts: string | null;
  /** The quarantined candidate of another run that this one brings in with it, with its evidence. */
  readonly promotes: { readonly run: string; readonly index: number; readonly evidence: readonly Evidence[] } | null;
  /** Evidence to add to `target` (REINFORCE, MERGE). */
  readonly evidence: readonly Evidence[];
  /** MERGE: the statement `target` has from now on, with its hash. */
  readonly statement: { readonly text: string; readonly hash: string } | null;
}

/** A candidate on its way through the stages, with what they found out. */
export interface Considered {
  readonly index: number;
  readonly raw: Candidate;
  /** Whose words the evidence really is: the weakest role among the quoted events and the claimed one. */
  readonly source: SourceRole;
  readonly subject: string;
  readonly attribute: string;
  readonly owner: { readonly user: string | null; readonly agent: string | null };
  readonly hash: string;
  readonly slot: string | null;
  readonly validFromMs: number;
  /** True when `validFromMs` is a day named by the evidence, not the moment something was said. */
  readonly dayOnly: boolean;
  /** When its latest evidence was said. */
  readonly saidMs: number;
  readonly confidence: number;
  /** A person has said that it is right. */
  readonly vouched: boolean;
}

/** What a stage says when it decides; undefined = the next stage goes on. */
export interface Decided {
  readonly decision: VerdictDecision;
  readonly reason: string;
  readonly target?: string | undefined;
  readonly scores?: Verdict['scores'] | undefined;
  /** ADMIT of something overtaken already: closed when, and by whom. */
  readonly closed?: { readonly atMs: number; readonly by: string } | undefined;
}
