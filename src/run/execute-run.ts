// Moves one claimed run: call its step, commit the checkpoint under the fence, go on, until it waits, ends, is handed back
// or is found to be another worker's. It decides nothing by time of its own and never writes after its lease is lost.
import { follow, monoMs, pause, wallMs } from '../clock.ts';
import { codeOf, ERRORS, MainstayError, messageOf, type ErrorCode } from '../domain/errors.ts';
import { storable, type Json } from '../domain/json.ts';
import type { BlobStore } from '../domain/blob.ts';
import type { Machine, Move, RunInfo, SessionMessage, Step } from '../domain/machine.ts';
import { emptySession, noteStep, parseSession, type SessionState } from '../domain/session.ts';
import { isTerminal, type RunStatus } from '../domain/status.ts';
import type { Tool } from '../domain/tool.ts';
import { BACKOFF_CAP_MS, BACKOFF_MS, CRASH_LIMIT, LOCK_RETRY_MS } from '../domain/tunables.ts';
import { faultPoint } from '../fault-points.ts';
import { publicId } from '../ids.ts';
import type { JobStates } from '../limits/job-state.ts';
import type { LiveText } from '../limits/live-text.ts';
import type { LockLease, Locks } from '../limits/locks.ts';
import type { SessionStates } from '../limits/session-state.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { RedisKeys } from '../redis.ts';
import type { ClaimedRun } from '../store/engine/claim.ts';
import type { Commit } from '../store/engine/commit.ts';
import { sessionRow } from '../store/engine/context.ts';
import type { Engine } from '../store/engine/engine.ts';
import { interruptedBy } from '../store/engine/multitask.ts';
import type { Park, ToolDeps } from '../tools/call-tool.ts';
import { keepValue, readValue } from '../values.ts';
import type { ModelDeps } from './call-model.ts';
import type { Registry } from './registry.ts';
import type { Recaller } from './recaller.ts';
import { stepCalls, type CallDeps, type InboxRead } from './step-calls.ts';
import { checkedData, whenAborted, type Outcome } from './step-outcome.ts';
import { Exit, StepScope, type StepCalls } from './step-scope.ts';
import type { SubmitRun } from './submit-run.ts';

export interface ExecuteDeps {
  readonly engine: Engine;
  readonly registry: Registry;
  readonly tools: ToolDeps;
  readonly models: ModelDeps;
  readonly recaller: Recaller;
  readonly blobs: BlobStore;
  readonly submit: SubmitRun;
  readonly sessions: SessionStates;
  readonly jobs: JobStates;
  readonly live: LiveText;
  readonly locks: Locks;
  readonly keys: RedisKeys;
  readonly metrics: Metrics;
  readonly log: Log;
  /** For the line at the end of each run: without redaction, which costs more than the line; ids, codes and numbers only. */
  readonly endLog: Log;
  readonly worker: string;
}

/** What the worker holds over a run it executes: why it is to stop, and whether checkpoints are to be handed back. */
export interface Hold {
  readonly incarnation: string;
  /** Aborts with reason `cancelled`, `drain`, or whatever fenced the worker. */
  readonly signal: AbortSignal;
  /** Aborts when another message takes the run's place: it ends at the next safe point. */
  readonly interrupt: AbortSignal;
  draining(): boolean;
  /** False once the worker's lease may be over: asked right before each commit, tool and model call. */
  alive(): boolean;
  /** A step has been committed and the run goes on. */
  checkpoint(): void;
  /** All that is left to do here is to commit that the run ends, waits or goes back. */
  leave(): void;
  /** Shows people where the run is. */
  show(data: Record<string, unknown>): void;
}

/** `wakeInMs` null: no time wakes it. */
export interface Ended { readonly status: RunStatus | 'fenced'; readonly wakeInMs: number | null }

export async function executeRun(deps: ExecuteDeps, run: ClaimedRun, hold: Hold): Promise<Ended> {
  const machine = deps.registry.forRun(run.agent, run.version);
  const execution = new Execution(deps, run, hold, machine);
  if (!machine) return execution.fail(new MainstayError('internal', `This worker does not know ${run.agent}@${run.version}.`));
  if (run.cancelRequested) return execution.cancel();
  if (run.crashesAlone >= CRASH_LIMIT) return execution.fail(new MainstayError('poison', `The run ended its worker ${run.crashesAlone} times, alone in it, in step "${run.nextStep}".`));
  return execution.moveOn(machine).finally(() => { void deps.jobs.forget(run.id); });
}

class Execution {
  readonly #deps: ExecuteDeps;
  readonly #run: ClaimedRun;
  readonly #hold: Hold;
  #ownLog: Log | undefined;
  readonly #machine: Machine | undefined;
  #seq: number;
  #step: string;
  #data: unknown;
  #attempt: number;
  #input: unknown;
  #session: SessionState | undefined;
  #progress = 0;
  /** What the waits of the current step have read of the inbox. */
  #inbox: InboxRead = { seq: undefined, children: false };
  #calls: StepCalls | undefined;

  constructor(deps: ExecuteDeps, run: ClaimedRun, hold: Hold, machine: Machine | undefined) {
    this.#deps = deps;
    this.#run = run;
    this.#hold = hold;
    this.#machine = machine;
    this.#seq = run.stepSeq;
    this.#step = run.nextStep;
    this.#data = run.data;
    this.#attempt = run.attempt;
    this.#input = run.input;
  }

  /** Made when something is to be said: a child goes through every redaction rule, which most runs can do without. */
  get #log(): Log {
    const { tenant, id, fence, agent } = this.#run;
    return this.#ownLog ??= this.#deps.log.child({ tenant, run: id, fence: fence.toString(), agent });
  }

  async moveOn(machine: Machine): Promise<Ended> {
    const parsed = machine.input.safeParse(this.#run.input);
    if (!parsed.success) return this.fail(new MainstayError('data_invalid', 'The stored input no longer matches the schema of this version.'));
    this.#input = parsed.data;
    try {
      await this.#loadData(machine);
    } catch (error) {
      return this.#failed(machine, error, 0);
    }
    this.#session = await this.#loadSession();
    let resumed = this.#run.stepClaims > 1;
    for (;;) {
      const leases = await this.#lock(machine);
      if (!leases) return this.#commit({ status: 'waiting', waitReason: 'rate', wakeInMs: LOCK_RETRY_MS });
      const startedMs = monoMs();
      const outcome = await this.#callStep(machine, resumed).finally(() => Promise.all(leases.map((lease) => lease.release())));
      const ended = await this.#settle(machine, outcome, monoMs() - startedMs);
      if (ended) return ended;
      resumed = false;
    }
  }

  /** Commits what came of a step; undefined = the same worker goes on. */
  async #settle(machine: Machine, outcome: Outcome, durationMs: number): Promise<Ended | undefined> {
    if (this.#hold.signal.aborted) return this.#stopped();
    if (this.#hold.interrupt.aborted && !('move' in outcome)) return this.cancel(); // what a tool has done in this step is on record
    if ('park' in outcome) return this.#park(outcome.park);
    if ('error' in outcome) return this.#failed(machine, outcome.error, durationMs);
    const { move } = outcome;
    try {
      faultPoint('step-returned');
      if (move.kind === 'done') return await this.#done(machine, move, durationMs);
      if (!machine.steps[move.step]) throw new MainstayError('step_unknown', `${machine.name} moved to "${move.step}", which is none of its steps.`);
      const data = checkedData(machine, move.step, move.data);
      const { json, blob } = await keepValue(this.#deps.blobs, this.#run.tenant, data, `the data for step "${move.step}"`);
      const step = { name: this.#step, next: move.step, data: json, dataBlob: blob, durationMs };
      if (move.kind === 'sleep') return await this.#commit({ status: 'waiting', waitReason: 'timer', wakeInMs: Math.max(0, move.delayMs), step });
      const ended = await this.#commit({ status: this.#hold.draining() ? 'queued' : 'running', step, stepMs: machine.stepTimeoutMs });
      if (ended.status !== 'running') return ended;
      faultPoint('checkpoint-committed');
      this.#observeStep('next', durationMs);
      this.#hold.checkpoint();
      if (this.#session) noteStep(this.#session, this.#run.id, this.#step, new Date(wallMs()).toISOString());
      this.#seq++;
      this.#step = move.step;
      this.#data = json === null ? structuredClone(data) : JSON.parse(json);
      this.#attempt = 0;
      return undefined;
    } catch (error) {
      if (codeOf(error) === 'internal') throw error;
      return ERRORS[codeOf(error)].on === 'terminal' ? this.fail(error) : this.#failed(machine, error, durationMs);
    }
  }

  async #callStep(machine: Machine, resumed: boolean): Promise<Outcome> {
    const run = this.#run;
    const recorded = resumed || this.#attempt > 0 ? await this.#deps.engine.recordedCalls({ tenant: run.tenant, run: run.id, stepSeq: this.#seq + 1 }) : [];
    const stop = new AbortController();
    const { signal } = stop;
    const unfollow = follow(this.#hold.signal, stop);
    const model = new AbortController();
    const unfollowModel = [follow(signal, model), follow(this.#hold.interrupt, model)];
    const deadline = setTimeout(() => stop.abort(new MainstayError('step_timeout', `Step "${this.#step}" ran past its ${machine.stepTimeoutMs} ms.`)), machine.stepTimeoutMs);
    const exit = new Exit();
    this.#inbox = { seq: undefined, children: false };
    this.#calls = stepCalls(this.#callDeps, run, machine, { signal, modelSignal: model.signal, failures: this.#attempt, alive: () => this.#hold.alive() }, this.#inbox, (fraction, note) => {
      if (signal.aborted) return; // a step that was given up and goes on talking
      this.#progress = Math.max(0, Math.min(1, fraction));
      this.#show('running', note);
    });
    const scope = new StepScope({
      run: this.#info(), input: this.#input, data: this.#data, session: this.#session, signal,
      place: { tenant: run.tenant, run: run.id, fence: run.fence, claimedBy: this.#hold.incarnation, stepSeq: this.#seq + 1 },
      tools: new Map(machine.tools.map((tool: Tool) => [tool.name, tool])), recorded: new Map(recorded.map((call) => [call.path, call])),
      calls: this.#calls,
    }, exit);
    this.#show('running', undefined);
    const step = machine.steps[this.#step] as ((step: Step) => Promise<Move>) | undefined;
    try {
      if (!step) throw new MainstayError('step_unknown', `${machine.name} has no step "${this.#step}".`);
      const code = (async (): Promise<Outcome> => {
        const move = await step(scope);
        await exit.settled(); // calls the step did not wait for are waited for here
        return exit.wanted ?? { move };
      })().catch(async (error: unknown): Promise<Outcome> => {
        if (this.#hold.interrupt.aborted) await exit.settled(); // a tool beside the call that was aborted is let finish
        return exit.wanted ?? { error };
      });
      return await Promise.race([code, exit.left, whenAborted(signal, code)]);
    } catch (error) {
      return { error };
    } finally {
      clearTimeout(deadline);
      for (const end of [unfollow, ...unfollowModel]) end();
    }
  }

  async #done(machine: Machine, move: Extract<Move, { kind: 'done' }>, durationMs: number): Promise<Ended> {
    const { json, blob } = await keepValue(this.#deps.blobs, this.#run.tenant, move.output, 'the output');
    return this.#commit({ status: 'completed', step: { name: this.#step, next: null, data: null, dataBlob: null, durationMs }, output: json, outputBlob: blob, remember: machine.remembers, messages: move.messages, event: { type: 'run.completed', data: '{}' } });
  }

  #failed(machine: Machine, error: unknown, durationMs: number): Promise<Ended> | Ended {
    const code = codeOf(error, 'step_failed');
    if (code === 'fenced') return this.#fenced('step');
    const attempts = this.#attempt + 1;
    this.#log.warn({ step: this.#step, code, attempts, error: messageOf(error) }, 'step failed');
    if (ERRORS[code].on === 'terminal') return this.fail(error);
    if (attempts >= machine.attempts) return this.fail(new MainstayError('attempts_exhausted', `Step "${this.#step}" failed ${attempts} times; the last time with ${code}: ${messageOf(error).slice(0, 300)}`));
    this.#observeStep('retry', durationMs);
    const backOff = Math.min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** this.#attempt);
    const wakeInMs = (error instanceof MainstayError ? error.retryAfterMs : undefined) ?? backOff / 2 + Math.random() * (backOff / 2);
    return this.#commit({ status: 'queued', wakeInMs, failedAttempt: true, event: { type: 'step.failed', data: JSON.stringify({ step: this.#step, attempt: attempts, code, message: messageOf(error).slice(0, 500) }) } });
  }

  fail(error: unknown): Promise<Ended> {
    const code: ErrorCode = codeOf(error, 'step_failed');
    const message = messageOf(error).replaceAll('\u0000', '').slice(0, 1_000);
    return this.#commit({ status: 'failed', errorCode: code, errorMessage: message, event: { type: 'run.failed', data: JSON.stringify({ step: this.#step, code, message }) } });
  }

  /** Ends as cancelled. Where it was the session's next message that wanted it, what was said so far stays in the session. */
  async cancel(): Promise<Ended> {
    const { tenant, id } = this.#run;
    const by = await interruptedBy(this.#deps.engine.pool, tenant, id);
    const end = { status: 'cancelled' as const, errorMessage: null, event: { type: 'run.cancelled', data: JSON.stringify({ step: this.#step, ...(by === null ? {} : { interruptedBy: publicId('run', by) }) }) } };
    if (by === null) return this.#commit({ ...end, errorCode: 'cancelled' });
    return this.#commit({ ...end, errorCode: 'interrupted', errorMessage: `${publicId('run', by)} took its place.`, messages: await this.#messagesSoFar() });
  }

  async #messagesSoFar(): Promise<readonly SessionMessage[]> {
    const { tenant, dataBlob, stepSeq } = this.#run;
    if (dataBlob !== null && this.#seq === stepSeq && this.#data === null) this.#data = await readValue(this.#deps.blobs, tenant, dataBlob).catch(() => null);
    return this.#machine?.interrupted?.(this.#input as never, this.#data as never) ?? [];
  }

  /** A child that ended while this run was about to park did not wake it: whoever commits last looks. */
  async #park({ reason, delayMs }: Park): Promise<Ended> {
    const ended = await this.#commit({ status: 'waiting', waitReason: reason, wakeInMs: delayMs ?? null });
    if (ended.status !== 'waiting' || !this.#inbox.children) return ended;
    const woken = await this.#deps.engine.wakeIfAnswered(this.#run.tenant, this.#run.id).catch(() => false); // the sweep looks too
    return woken ? { status: 'queued', wakeInMs: 0 } : ended;
  }

  /** The worker's signal ended the step: a cancel ends the run, a drain hands it back, a lost lease writes nothing. */
  #stopped(): Promise<Ended> | Ended {
    const reason: unknown = this.#hold.signal.reason;
    if (reason === 'cancelled') return this.cancel();
    if (reason === 'drain') return this.#commit({ status: 'queued' });
    return this.#fenced('lease');
  }

  #fenced(operation: string): Ended {
    this.#deps.metrics.fencedCommits.inc({ operation });
    this.#log.warn({ operation }, 'fenced: another worker holds the run');
    return { status: 'fenced', wakeInMs: 0 };
  }

  async #commit(change: Partial<Omit<Commit, 'messages' | 'wakeInMs'>> & { status: RunStatus; wakeInMs?: number | null; messages?: readonly SessionMessage[] }): Promise<Ended> {
    const run = this.#run;
    const ends = isTerminal(change.status);
    const session = ends ? this.#endSession() : undefined;
    const { messages, wakeInMs, ...rest } = change;
    const commit: Commit = {
      tenant: run.tenant, id: run.id, inSession: run.session !== null, version: this.#machine?.version ?? run.version, fence: run.fence, claimedBy: this.#hold.incarnation, stepSeq: this.#seq, step: null, waitReason: null, stepMs: 0, failedAttempt: false,
      inboxSeq: this.#inbox.seq ?? run.inboxSeq, event: null, output: null, outputBlob: null, errorCode: null, errorMessage: null, remember: false, sessionState: session ? JSON.stringify(session) : null, ...rest,
      wakeInMs: wakeInMs === undefined ? 0 : wakeInMs, messages: messages && messages.length > 0 ? storable(messages, 'the messages') : null,
    };
    // A checkpoint and the settlement of its turn go side by side: should only the first be there after a crash, the next claim
    // books the call at its reserve. Whatever else ends the claim comes after the settlement.
    const settled = this.#calls?.settled();
    if (change.status !== 'running') {
      await settled;
      this.#hold.leave();
    }
    const [answer] = await Promise.all([this.#send(commit), settled]);
    if (answer.fenced) return this.#fenced('commit');
    if (answer.cancelRequested && answer.status === 'running') {
      if (commit.step) { this.#seq++; this.#step = commit.step.next ?? this.#step; this.#data = commit.step.data === null ? this.#data : JSON.parse(commit.step.data); }
      return this.cancel();
    }
    if (session && run.user !== null && run.session !== null) await this.#deps.sessions.put(run.tenant, run.user, run.session, session);
    if (answer.status === 'running') this.#show('running', undefined);
    else this.#deps.jobs.clear(run.id);
    if (isTerminal(answer.status)) this.#observeEnd(answer.status);
    return { status: answer.status, wakeInMs: answer.status === 'queued' ? 0 : commit.wakeInMs };
  }

  /** A store that is away is asked again for as long as the lease lasts: the step's result must not be lost with a hiccup. */
  async #send(commit: Commit): ReturnType<Engine['commitIfHeld']> {
    for (let tries = 0; ; tries++) {
      if (!this.#hold.alive()) return { fenced: true };
      try {
        return await this.#deps.engine.commitIfHeld(commit);
      } catch (error) {
        this.#log.warn({ error: messageOf(error), tries }, 'commit failed');
        if (this.#hold.signal.aborted && this.#hold.signal.reason !== 'cancelled') return { fenced: true };
        if (tries >= 600) throw error;
        await pause(Math.min(2_000, 100 * 2 ** tries), this.#hold.signal);
      }
    }
  }

  /** The checkpoint's data, from its row or the object store; of an older version, as this one's migration makes it. */
  async #loadData(machine: Machine): Promise<void> {
    const { tenant, dataBlob, version } = this.#run;
    if (dataBlob !== null) this.#data = await readValue(this.#deps.blobs, tenant, dataBlob);
    if (version === machine.version || !machine.migrates) return;
    try {
      const { step, data } = machine.migrates.migrate({ version, step: this.#step, data: this.#data as Json });
      if (!machine.steps[step]) throw new MainstayError('step_unknown', `The migration of ${machine.name}@${version} leads to "${step}", which is none of its steps.`);
      [this.#step, this.#data] = [step, JSON.parse(storable(checkedData(machine, step, data), 'migrated data')) as unknown];
    } catch (error) {
      throw error instanceof MainstayError ? error : new MainstayError('data_invalid', `${machine.name}@${machine.version} could not take over version ${version}: ${messageOf(error).slice(0, 300)}`);
    }
  }

  get #callDeps(): CallDeps {
    const { engine, tools, models, recaller, blobs, submit, live } = this.#deps;
    return { pool: engine.pool, tools, models, recaller, blobs, submit, live };
  }

  async #loadSession(): Promise<SessionState | undefined> {
    const { tenant, user, session, sessionVersion } = this.#run;
    if (user === null || session === null) return undefined;
    const version = sessionVersion ?? 0;
    const cached = await this.#deps.sessions.get(tenant, user, session, version);
    if (cached && cached.version === version) return cached;
    const row = await sessionRow(this.#deps.engine.pool, tenant, user, session);
    const kept = row ? parseSession(JSON.stringify(row.state)) : undefined;
    return kept ? { ...kept, version } : emptySession(new Date(wallMs()).toISOString(), version);
  }

  #endSession(): SessionState | undefined {
    if (!this.#session) return undefined;
    noteStep(this.#session, this.#run.id, this.#step, new Date(wallMs()).toISOString());
    this.#session.conversation.runs++;
    this.#session.version = (this.#run.sessionVersion ?? 0) + 1;
    return this.#session;
  }

  async #lock(machine: Machine): Promise<LockLease[] | undefined> {
    const resources = machine.locks?.(this.#input as never, this.#info()) ?? [];
    if (resources.length === 0) return [];
    const held = await this.#deps.locks.holdAll(resources.map((resource) => this.#deps.keys.lock(this.#run.tenant, resource)));
    return Array.isArray(held) ? held : undefined;
  }

  #info(): RunInfo {
    const { tenant, id, user, session, agent, model, fence, parent, metadata, forkedFrom, forkedSeq } = this.#run;
    return {
      tenant, id, user: user ?? undefined, session: session ?? undefined, agent, version: this.#machine?.version ?? this.#run.version, model: model ?? '', attempt: this.#attempt, fence, parent: parent ?? undefined,
      fork: forkedFrom === null ? undefined : { run: forkedFrom, seq: forkedSeq ?? 0 }, metadata: metadata as RunInfo['metadata'],
    };
  }

  #show(status: RunStatus, note: string | undefined): void {
    const { id, tenant, agent, fence } = this.#run;
    if (status !== 'running') this.#deps.jobs.clear(id);
    else this.#deps.jobs.write(id, { status, step: this.#step, progress: this.#progress, ...(note === undefined ? {} : { note }), worker: this.#deps.worker, fence });
    this.#hold.show({ run: id, tenant, agent, status, step: this.#step, progress: this.#progress });
  }

  #observeStep(outcome: string, durationMs: number): void {
    this.#deps.metrics.stepSeconds.observe({ agent: this.#deps.metrics.bound('agent', this.#run.agent), step: this.#deps.metrics.bound('step', this.#step), outcome }, durationMs / 1_000);
  }

  #observeEnd(status: RunStatus): void {
    const agent = this.#deps.metrics.bound('agent', this.#run.agent);
    this.#deps.metrics.runsFinished.inc({ agent, status });
    this.#deps.metrics.runSeconds.observe({ agent, status }, Math.max(0, wallMs() - this.#run.createdMs) / 1_000);
    const { tenant, id, fence } = this.#run;
    this.#deps.endLog.info({ tenant, run: id, fence: fence.toString(), agent: this.#run.agent, status, steps: this.#seq + 1, machine: this.#machine?.name }, 'run ended');
  }
}
