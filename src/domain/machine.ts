// A machine: named steps and the moves between them. An agent is a machine built from a model, tools and instructions.
// User code is never replayed from the top of a run: a resumed run calls the step named in its checkpoint. Inside a step
// every recorded call has a path; when the step runs again, recorded successes are returned and failures are called again.
import type { z } from 'zod';
import type { Json } from './json.ts';
import type { ModelRequest, ModelTurn } from './model.ts';
import type { SessionState } from './session.ts';
import type { Tool } from './tool.ts';

export interface RunInfo {
  readonly tenant: string;
  /** uuid */
  readonly id: string;
  readonly user: string | undefined;
  readonly session: string | undefined;
  readonly agent: string;
  readonly version: number;
  /** The model pinned at submission. */
  readonly model: string;
  /** Failures of this step so far. */
  readonly attempt: number;
  readonly fence: bigint;
  /** uuid of the run this one was made for, e.g. the one it remembers. */
  readonly parent: string | undefined;
  readonly metadata: Json;
}

export interface SessionMessage { readonly role: 'user' | 'assistant'; readonly content: string }

/** What a step decides. Made by `step.next`, `step.done`, `step.sleep`; nothing else is a move. */
export type Move =
  | { readonly kind: 'next'; readonly step: string; readonly data: unknown }
  | { readonly kind: 'sleep'; readonly step: string; readonly data: unknown; readonly delayMs: number }
  | { readonly kind: 'done'; readonly output: unknown; readonly messages: readonly SessionMessage[] };

export interface RecalledMemory {
  /** uuid */
  readonly id: string;
  readonly type: string;
  readonly statement: string;
  readonly score: number;
  readonly confidence: number;
  readonly validFrom: string;
}

export interface Recall {
  readonly memories: readonly RecalledMemory[];
  /** The block for the prompt, within the token budget; empty when nothing fits. */
  readonly text: string;
  readonly tokens: number;
  /** False: the embedder matches words, not meaning. */
  readonly semantic: boolean;
  /** True: Milvus did not answer and Postgres did. */
  readonly degraded: boolean;
  readonly embedder: string;
  /** uuid of the stored trace */
  readonly trace: string;
}

export interface Step<I = unknown, D = unknown> {
  readonly run: RunInfo;
  readonly input: I;
  /** Data handed over by the last step; for the first step the machine's `data`. */
  readonly data: D;
  /** Aborts on cancel, on the step's deadline and when the worker loses the run. */
  readonly signal: AbortSignal;
  /** State of the run's session; changes are kept when the run ends. Undefined without a session. */
  readonly session: SessionState | undefined;
  /** Messages of the session before this run, oldest first. */
  history(): Promise<readonly SessionMessage[]>;

  next(step: string, data: unknown): Move;
  done(output: unknown, messages?: readonly SessionMessage[]): Move;
  /** Parks the run, holding no worker, and calls `step` after `delayMs`. */
  sleep(delayMs: number, step: string, data: unknown): Move;

  /** Calls a tool of the machine by name, through permission, schema, ledger, lock and breaker. */
  tool(name: string, args: unknown): Promise<Json>;
  model(request: ModelRequest): Promise<ModelTurn>;
  /** Runs `work` once and records its result under the next path; a resumed step gets the record. */
  record<T extends Json>(name: string, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Concurrent branches, each with a scope of its own for its paths. */
  all<T>(branches: readonly ((branch: Step<I, D>) => Promise<T>)[]): Promise<T[]>;
  /** Memories for this query, traced; recorded like every other call. */
  recall(query: string): Promise<Recall>;
  /** Names the memories an answer used, for the trace. Ids that were not recalled are counted, not stored. */
  cite(trace: string, memories: readonly string[]): Promise<void>;
  /** Live progress for people: 0 to 1 and a short note without content. Never durable. */
  progress(fraction: number, note?: string): void;
}

/** A machine as the engine holds it: the types of input and data are checked where it is defined, and forgotten here. */
export interface Machine {
  readonly name: string;
  readonly version: number;
  /** The pool of workers that runs it: `agent` or, for the product's own, `memory`. */
  readonly pool: string;
  /** False: a machine of the product's own, whose runs lists leave out. */
  readonly visible: boolean;
  readonly description: string;
  readonly input: z.ZodType;
  readonly start: string;
  readonly steps: Readonly<Record<string, (step: Step<never, never>) => Promise<Move>>>;
  readonly tools: readonly Tool[];
  readonly stepTimeoutMs: number;
  readonly attempts: number;
  /** Whether its finished runs are remembered. */
  readonly remembers: boolean;
  /** Resources held while a step runs; other runs that declare the same wait. */
  readonly locks: ((input: never, run: RunInfo) => readonly string[]) | undefined;
  /** The most a run may spend on the model, micro-dollars; undefined = no limit of its own. */
  readonly budgetMicroUsd: bigint | undefined;
  readonly model: string | undefined;
}

export const machineKey = (name: string, version: number): string => `${name}@${version}`;
