// A machine: named steps and the moves between them. An agent is a machine built from a model, tools and instructions.
// User code is never replayed from the top of a run: a resumed run calls the step named in its checkpoint. Inside a step
// every recorded call has a path; when the step runs again, recorded successes are returned and failures are called again.
import type { z } from 'zod';
import type { Json } from './json.ts';
import type { Lane } from './lane.ts';
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
  /** uuid of the run this one was made for: the one that spawned it, or the one it remembers. */
  readonly parent: string | undefined;
  /** Set in a fork: its first steps are those of another run. */
  readonly fork: { readonly run: string; readonly seq: number } | undefined;
  readonly metadata: Json;
}

export interface SignalReceived { readonly payload: Json; readonly sentBy: string }

/** What a person is asked. They may approve, deny, or approve with changed `details`. */
export interface ApprovalRequest {
  /** One line: what is to be done. */
  readonly title: string;
  /** What it would be done with; a decision counts for exactly this. */
  readonly details: Json;
  /** An unanswered question counts as `onExpiry` after this; without it, it stays open. */
  readonly expiresInMs?: number;
  readonly onExpiry?: 'approve' | 'deny';
}
export interface ApprovalDecision {
  readonly approved: boolean;
  /** `key:<id>`; undefined = nobody answered in time. */
  readonly by: string | undefined;
  readonly reason: string | undefined;
  /** As the person changed them, else as asked. */
  readonly details: Json;
}

export interface ChildRun { readonly run: string }
export interface ChildOptions { readonly user?: string; readonly metadata?: Readonly<Record<string, Json>>; readonly priority?: number; readonly delayMs?: number; readonly concurrency?: { readonly key: string; readonly limit: number } }
export interface ChildResult {
  readonly run: string;
  readonly status: 'completed' | 'failed' | 'cancelled' | 'expired';
  readonly output: Json;
  readonly errorCode: string | undefined;
  readonly errorMessage: string | undefined;
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

/** What an earlier run came to. */
export interface RecalledSummary {
  /** uuid */
  readonly run: string;
  readonly agent: string;
  /** Without lines that want to steer whoever reads them. */
  readonly text: string;
  /** ISO time at which the run was remembered. */
  readonly at: string;
  readonly score: number;
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
  /** Best first; only where they were asked for. They are no part of `text`. */
  readonly summaries?: readonly RecalledSummary[];
}

export interface ModelCallOptions {
  /** Its text is shown, as provisional, to those who follow the run. */
  readonly live?: boolean;
  /** Unset: the run's, as asked for at submission, else the machine's. */
  readonly lane?: Lane;
}

export interface RecallOptions {
  /** What held at this time, instead of what holds now: an ISO date, alone or with a time. It is looked for in Postgres alone. */
  readonly asOf?: string;
  /** Also what so many earlier runs of the user came to (of the agent, where there is no user): 10 at most, none unless told, and none with `asOf`. */
  readonly summaries?: number;
}

/**
 * What a step's code is handed. A step may run more than once: after a crash, a failure or a wait it is called again *from its
 * own top*, recorded calls return what they returned before, and only what has no record is done. So a step must make the
 * same calls in the same order up to where it was; `step_diverged` ends a run that does not. Concurrent calls go through
 * `all`, so that each branch counts for itself.
 */
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
  /** Inputs of the runs that were submitted to this session with `steer` for this agent and have not started: they are taken, end
   *  as delivered, and are recorded like every other call. Nothing where the step runs again and had not looked in vain before. */
  steered(): Promise<readonly unknown[]>;

  next(step: string, data: unknown): Move;
  done(output: unknown, messages?: readonly SessionMessage[]): Move;
  /** Parks the run, holding no worker, and calls `step` after `delayMs`. */
  sleep(delayMs: number, step: string, data: unknown): Move;

  /** Calls a tool of the machine by name, through permission, schema, ledger, lock and breaker. */
  tool(name: string, args: unknown): Promise<Json>;
  /** A tool's result of this run that is too large for its row, by its reference; undefined: this run has none of that name. */
  resultOf(reference: string): Promise<Json | undefined>;
  /** One turn; in the lane `batch` the run parks until its batch has come back. */
  model(request: ModelRequest, options?: ModelCallOptions): Promise<ModelTurn>;
  /** Runs `work` once and records its result under the next path; a resumed step gets the record. */
  record<T extends Json>(name: string, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Concurrent branches, each with a scope of its own for its paths. */
  all<T>(branches: readonly ((branch: Step<I, D>) => Promise<T>)[]): Promise<T[]>;
  /** Parks, holding no worker, until a signal of this name is there (also one sent before), or `timeoutMs` is over: undefined. */
  waitForSignal(name: string, options?: { readonly timeoutMs?: number }): Promise<SignalReceived | undefined>;
  /** Parks until a person has decided, or the question's time is over. */
  waitForApproval(request: ApprovalRequest): Promise<ApprovalDecision>;
  /** Parks for so many milliseconds, by the database's clock. */
  wait(delayMs: number): Promise<void>;
  /** Submits a run of its own, once, however often the step runs. It shares the session this run holds and has none itself. */
  spawn(agent: string, input: unknown, options?: ChildOptions): Promise<ChildRun>;
  /** Parks until all of these have ended, or the first with `any`; those that have ended, in the order asked. */
  waitForChildren(children: readonly ChildRun[], options?: { readonly any?: boolean; readonly timeoutMs?: number }): Promise<ChildResult[] | undefined>;
  /** Memories for this query, traced; recorded like every other call. */
  recall(query: string, options?: RecallOptions): Promise<Recall>;
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
  /** What is handed from step to step; checked at every move where it is given. */
  readonly data: z.ZodType | undefined;
  /** Takes over runs of these older versions: their data becomes this version's in the first checkpoint, and never goes back. */
  readonly migrates: Migration | undefined;
  readonly start: string;
  readonly steps: Readonly<Record<string, (step: Step<never, never>) => Promise<Move>>>;
  readonly tools: readonly Tool[];
  readonly stepTimeoutMs: number;
  readonly attempts: number;
  /** Whether its finished runs are remembered. */
  readonly remembers: boolean;
  /** Resources held while a step runs; other runs that declare the same wait. */
  readonly locks: ((input: never, run: RunInfo) => readonly string[]) | undefined;
  /** The most a run and what it spawns may spend, micro-dollars; undefined = no limit of its own. */
  readonly budgetMicroUsd: bigint | undefined;
  /** What a call does that finds no room in it: ask for more and wait, or end the run with `budget_exceeded`. */
  readonly overBudget: 'ask' | 'fail';
  readonly model: string | undefined;
  /** Of its calls of the model. */
  readonly lane: Lane;
  /** What stays in the session of a run that another message interrupted, told from the last checkpoint. Pure. */
  readonly interrupted: ((input: never, data: never) => readonly SessionMessage[]) | undefined;
}

export interface Migration {
  readonly from: readonly number[];
  /** Pure: the step to go on with and its data. Throws where a run cannot be taken over; it then stays on its version. */
  readonly migrate: (old: { readonly version: number; readonly step: string; readonly data: Json }) => { readonly step: string; readonly data: unknown };
}

export const machineKey = (name: string, version: number): string => `${name}@${version}`;
