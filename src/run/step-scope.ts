// The `step` a machine's code receives: every call gets a path, a record and a guard. When the step runs again, recorded
// successes are returned; where name or arguments differ from the record the run ends with `step_diverged` (a read is called
// again). A park is never an exception user code could catch: the call simply does not return, and once all other open
// calls have settled the step is left behind and later called again from its own top.
import { createHash } from 'node:crypto';
import { codeOf, MainstayError } from '../domain/errors.ts';
import { canonicalJson, type Json } from '../domain/json.ts';
import type { ApprovalDecision, ApprovalRequest, ChildOptions, ChildResult, ChildRun, ModelCallOptions, Move, Recall, RecallOptions, RunInfo, SessionMessage, SignalReceived, Step } from '../domain/machine.ts';
import type { ModelRequest, ModelTurn } from '../domain/model.ts';
import type { SessionState } from '../domain/session.ts';
import type { Tool } from '../domain/tool.ts';
import { isGuarded } from '../guards.ts';
import type { Place, RecordedCall } from '../store/engine/ledger.ts';
import type { WaitResult, WaitSpec } from '../store/engine/waits.ts';
import { Park } from '../tools/call-tool.ts';

/** What the executor does for a step: the calls themselves. */
export interface StepCalls {
  /** Throws `fenced` once the worker's lease may be over. */
  held(): void;
  /** Resolves when all that the step's calls were answered is on record. */
  settled(): Promise<void>;
  tool(tool: Tool, args: unknown, argsHash: string, place: Place, recorded: RecordedCall | undefined): Promise<Json | Park>;
  model(request: ModelRequest, argsHash: string, place: Place, recorded: RecordedCall | undefined, options: ModelCallOptions): Promise<ModelTurn | Park>;
  record(name: string, argsHash: string, place: Place, result: unknown): Promise<void>;
  /** A large result of this run's tools, by its reference. */
  resultOf(reference: string): Promise<Json | undefined>;
  /** The result of a recorded call, wherever it lies. */
  recorded(call: RecordedCall): Promise<unknown>;
  wait(spec: WaitSpec, place: Place): Promise<WaitResult | Park>;
  /** The outputs of children, wherever they lie. */
  outputs(result: WaitResult): Promise<WaitResult>;
  approval(request: ApprovalRequest, argsHash: string, place: Place): Promise<ApprovalDecision | Park>;
  /** uuid of the child */
  spawn(agent: string, input: unknown, options: ChildOptions, place: Place): Promise<string>;
  recall(query: string, asOfMs: number | undefined, summaries: number, place: Place): Promise<Recall>;
  cite(trace: string, memories: readonly string[]): Promise<void>;
  history(): Promise<readonly SessionMessage[]>;
  /** Inputs that wait to be heard, taken and on record. */
  steered(argsHash: string, place: Place): Promise<readonly unknown[]>;
  progress(fraction: number, note: string | undefined): void;
}

export interface StepState {
  readonly run: RunInfo;
  readonly input: unknown;
  readonly data: unknown;
  readonly session: SessionState | undefined;
  readonly signal: AbortSignal;
  readonly place: Omit<Place, 'path'>;
  readonly tools: ReadonlyMap<string, Tool>;
  readonly recorded: ReadonlyMap<string, RecordedCall>;
  readonly calls: StepCalls;
}

/** How a step was left without a move: parked, or ended by an error no code may catch. */
export type Left = { readonly park: Park } | { readonly error: unknown };

/** Shared by a step and its branches: what is open, and whether the step is to be left. */
export class Exit {
  readonly left: Promise<Left>;
  #open = 0;
  #why: Left | undefined;
  #resolve: (left: Left) => void = () => undefined;
  #idle: (() => void)[] = [];

  constructor() { this.left = new Promise((resolve) => { this.#resolve = resolve; }); }

  begin(): void { this.#open++; }
  end(): void {
    if (--this.#open > 0) return;
    if (this.#why) this.#resolve(this.#why);
    for (const one of this.#idle.splice(0)) one();
  }
  /** The first reason stands. The calling promise never settles. */
  leave(why: Left): void { this.#why ??= why; }
  get wanted(): Left | undefined { return this.#why; }
  /** Resolves when no call is open. */
  settled(): Promise<void> { return this.#open === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve)); }
}

const NEVER = new Promise<never>(() => undefined);

export class StepScope implements Step<unknown, unknown> {
  readonly #state: StepState;
  readonly #exit: Exit;
  readonly #prefix: string;
  #count = 0;

  constructor(state: StepState, exit: Exit, prefix = '') {
    this.#state = state;
    this.#exit = exit;
    this.#prefix = prefix;
  }

  get run(): RunInfo { return this.#state.run; }
  get input(): unknown { return this.#state.input; }
  get data(): unknown { return this.#state.data; }
  get signal(): AbortSignal { return this.#state.signal; }
  get session(): SessionState | undefined { return this.#state.session; }
  history(): Promise<readonly SessionMessage[]> { return this.#state.calls.history(); }
  progress(fraction: number, note?: string): void { this.#state.calls.progress(fraction, note); }
  cite(trace: string, memories: readonly string[]): Promise<void> { return this.#state.calls.cite(trace, memories); }

  next(step: string, data: unknown): Move { return { kind: 'next', step, data }; }
  done(output: unknown, messages: readonly SessionMessage[] = []): Move { return { kind: 'done', output, messages }; }
  sleep(delayMs: number, step: string, data: unknown): Move { return { kind: 'sleep', step, data, delayMs }; }

  tool(name: string, args: unknown): Promise<Json> {
    const tool = this.#state.tools.get(name);
    const hash = hashOf({ tool: name, args });
    return this.#call('tool', name, hash, tool?.effect === 'read', async (place, recorded) => {
      if (!tool) throw new MainstayError('tool_unknown', `The machine has no tool "${name}".`);
      return this.#state.calls.tool(tool, args, hash, place, recorded);
    });
  }

  resultOf(reference: string): Promise<Json | undefined> { return this.#state.calls.resultOf(reference); }

  model(request: ModelRequest, options: ModelCallOptions = {}): Promise<ModelTurn> {
    const hash = hashOf(request);
    return this.#call('model', request.model, hash, false, (place, recorded) => this.#state.calls.model(request, hash, place, recorded, options));
  }

  record<T extends Json>(name: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const hash = hashOf(name);
    return this.#call('record', name, hash, false, async (place) => {
      const result = await work(this.#state.signal);
      await this.#state.calls.record(name, hash, place, result);
      return result;
    });
  }

  async waitForSignal(name: string, { timeoutMs }: { readonly timeoutMs?: number } = {}): Promise<SignalReceived | undefined> {
    const result = await this.#wait({ kind: 'signal', name, timeoutMs: timeoutMs ?? null, targets: [], any: false });
    return 'signal' in result ? result.signal : undefined;
  }

  async wait(delayMs: number): Promise<void> {
    await this.#wait({ kind: 'timer', name: 'wait', timeoutMs: Math.max(0, delayMs), targets: [], any: false });
  }

  async waitForChildren(children: readonly ChildRun[], { any = false, timeoutMs }: { readonly any?: boolean; readonly timeoutMs?: number } = {}): Promise<ChildResult[] | undefined> {
    if (children.length === 0) return [];
    const result = await this.#wait({ kind: 'child', name: any ? 'any' : 'all', timeoutMs: timeoutMs ?? null, targets: children.map(({ run }) => run), any });
    return 'children' in result ? result.children.map(({ errorCode, errorMessage, ...child }) => ({ ...child, errorCode: errorCode ?? undefined, errorMessage: errorMessage ?? undefined })) as ChildResult[] : undefined;
  }

  waitForApproval(request: ApprovalRequest): Promise<ApprovalDecision> {
    const hash = hashOf(request);
    return this.#call('record', 'approval', hash, false, async (place) => {
      const decision = await this.#state.calls.approval(request, hash, place);
      if (!(decision instanceof Park)) await this.#state.calls.record('approval', hash, place, decision);
      return decision;
    });
  }

  spawn(agent: string, input: unknown, options: ChildOptions = {}): Promise<ChildRun> {
    const hash = hashOf({ agent, input, options });
    return this.#call('record', `spawn:${agent}`, hash, false, async (place) => {
      const child: ChildRun = { run: await this.#state.calls.spawn(agent, input, options, place) };
      await this.#state.calls.record(`spawn:${agent}`, hash, place, child);
      return child;
    });
  }

  async #wait(spec: Omit<WaitSpec, 'argsHash'>): Promise<WaitResult> {
    const hash = hashOf(spec);
    return this.#state.calls.outputs(await this.#call('record', `${spec.kind}:${spec.name}`, hash, false, (place) => this.#state.calls.wait({ ...spec, argsHash: hash }, place)));
  }

  /** What was not there when the step ran first is not heard now: its later calls are on record with what they were told. */
  steered(): Promise<readonly unknown[]> {
    const hash = hashOf('steered');
    return this.#call('record', 'steered', hash, false, (place) => (this.#state.recorded.size > 0 ? Promise.resolve([]) : this.#state.calls.steered(hash, place)));
  }

  recall(query: string, { asOf, summaries = 0 }: RecallOptions = {}): Promise<Recall> {
    const asOfMs = asOf === undefined ? undefined : Date.parse(asOf);
    if (Number.isNaN(asOfMs)) throw new MainstayError('bad_request', 'asOf is no date: write it as 2026-03-01 or 2026-03-01T10:00:00Z.');
    const hash = hashOf(asOfMs === undefined ? { recall: query } : { recall: query, asOfMs }); // not the summaries: a record of before has none, and stands
    return this.#call('record', 'recall', hash, false, async (place) => {
      const recall = await this.#state.calls.recall(query, asOfMs, summaries, place);
      await this.#state.calls.record('recall', hash, place, recall);
      return recall;
    });
  }

  all<T>(branches: readonly ((branch: Step<unknown, unknown>) => Promise<T>)[]): Promise<T[]> {
    const path = this.#path();
    return Promise.all(branches.map((branch, at) => branch(new StepScope(this.#state, this.#exit, `${path}.${at}`))));
  }

  #path(): string {
    const number = this.#count++;
    return this.#prefix === '' ? String(number) : `${this.#prefix}.${number}`;
  }

  async #call<T>(kind: RecordedCall['kind'], name: string, hash: string, mayDiffer: boolean, work: (place: Place, recorded: RecordedCall | undefined) => Promise<T | Park>): Promise<T> {
    const path = this.#path();
    if (this.#exit.wanted) return NEVER; // the step is being left: nothing new begins
    const recorded = this.#state.recorded.get(path);
    const same = recorded !== undefined && recorded.kind === kind && recorded.name === name && recorded.argsHash === hash;
    this.#exit.begin();
    try {
      await this.#state.calls.settled(); // nothing is done about an answer that is not on record
      if (recorded && !same && !mayDiffer) {
        this.#exit.leave({ error: new MainstayError('step_diverged', `At ${path} the record holds ${recorded.kind} ${recorded.name}, the step now calls ${kind} ${name} or with other arguments.`) });
        return await NEVER;
      }
      if (same && recorded.status === 'succeeded' && isGuarded('record-returned')) return await this.#state.calls.recorded(recorded) as T;
      this.#state.signal.throwIfAborted();
      this.#state.calls.held();
      const result = await work({ ...this.#state.place, path }, same ? recorded : undefined);
      if (!(result instanceof Park)) return result;
      this.#exit.leave({ park: result });
    } catch (error) {
      if (codeOf(error) !== 'fenced') throw error;
      this.#exit.leave({ error });
    } finally {
      this.#exit.end();
    }
    return NEVER;
  }
}

const hashOf = (value: unknown): string => createHash('sha256').update(canonicalJson(value)).digest('hex');
