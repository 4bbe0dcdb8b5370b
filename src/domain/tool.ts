// A tool: something outside that a run may call. Its effect says what a second call with the same arguments would do, and
// so what the engine may do after a crash.
import type { z } from 'zod';
import type { DocumentKind } from './document.ts';
import type { ToolEffect } from './status.ts';
import type { FoundPassages } from './wire-documents.ts';

export interface ToolContext {
  readonly tenant: string;
  readonly user: string | undefined;
  /** The run's uuid. */
  readonly run: string;
  /** The same over every retry of this call: send it as the callee's idempotency key. */
  readonly key: string;
  /** Aborts on the tool's time limit, on cancel and when the worker loses the run. */
  readonly signal: AbortSignal;
  /** Live progress of the run for people: 0 to 1 and a short note without content. Never durable; nothing once the call is over. */
  progress(fraction: number, note?: string): void;
  /** Passages of documents that the run's user and agent may see, best first; 10 of them unless told. */
  searchDocuments(query: string, options?: DocumentSearch): Promise<FoundPassages>;
}

export interface DocumentSearch { /** 1 to 50 */ readonly limit?: number; /** Unset: of either kind. */ readonly kind?: DocumentKind | undefined }

/** So many calls in so many seconds, of the whole fleet, or of each tenant or user. */
export interface ToolRate { readonly calls: number; readonly perS: number; readonly per: 'fleet' | 'tenant' | 'user' }

/** What a call costs, in micro-dollars: at most, known before it, and in the end. */
export interface ToolCost { readonly atMost: (args: never) => bigint; readonly of: (args: never, result: unknown) => bigint }

/** A tool as the engine holds it: the types of arguments and result are checked where it is defined, and forgotten here. */
export interface Tool {
  readonly name: string;
  readonly version: number;
  /** What the model is told. */
  readonly description: string;
  readonly input: z.ZodType;
  readonly effect: ToolEffect;
  /** JSON Schema of the arguments as the model is told it; undefined: made of `input`. */
  readonly inputSchema: Record<string, unknown> | undefined;
  /** The agent whose run this tool is; undefined for all others. */
  readonly agent: string | undefined;
  /** Whether a run may make the same call again and again, to look how something stands. */
  readonly mayRepeat: boolean;
  /** For `keyed`: how long the callee remembers the key. Beyond it the tool counts as unkeyed. */
  readonly keyTtlMs: number;
  /** undefined = free */
  readonly cost: ToolCost | undefined;
  /** How long a result of a `read` may be given again to the same user for the same arguments; undefined = never. */
  readonly cacheMs: number | undefined;
  /** The model's arguments are held to the schema while they are made. */
  readonly strict: boolean;
  readonly timeoutMs: number;
  /** Scopes the run's user must hold, all of them, at the moment of the call. */
  readonly scopes: readonly string[];
  /** Whether long answers are kept as chunks that the run's user and agent find again. */
  readonly searchable: boolean;
  /** The dataset these arguments read: the run's user must be permitted it, and the access is audited. */
  readonly dataset: ((args: never) => string | undefined) | undefined;
  /** The resource these arguments work on: one run at a time holds it. */
  readonly lock: ((args: never) => string | undefined) | undefined;
  /** How often it may be called; a run for which there is no room waits, with no worker. */
  readonly rate: ToolRate | undefined;
  /** Whether a person must agree to a call with these arguments, and until when. */
  readonly approval: { readonly asks: (args: never) => boolean; readonly expiresInMs: number | null; readonly onExpiry: 'approve' | 'deny' } | undefined;
  /** The tool's own name of the effect of these arguments (`order 4711`): within the window one effect stands for all runs. */
  readonly business: { readonly key: (args: never) => string | undefined; readonly windowMs: number } | undefined;
  readonly run: (args: never, context: ToolContext) => Promise<unknown>;
  /** Asks the callee what became of a call: its result, `not_applied`, or undefined when it cannot say. */
  readonly lookup: ((key: string, context: ToolContext) => Promise<{ result: unknown } | 'not_applied' | undefined>) | undefined;
  /** True for errors that prove nothing was done (refused before the effect). All others of an unkeyed call are unknown. */
  readonly notApplied: ((error: unknown) => boolean) | undefined;
}
