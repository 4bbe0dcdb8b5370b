// Machines made for faults. `fault` runs a plan that its input brings: a list of steps, each a list of actions. So a row says
// what its runs do in one line, and one worker build serves all rows. `versioned` exists in two builds (FAULT_BUILD=1 or 2)
// whose second steps differ: a run that began on one must never see the other.
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { pause, monoMs } from '../../src/clock.ts';
import { MainstayError } from '../../src/domain/errors.ts';
import type { Json } from '../../src/domain/json.ts';
import type { Machine, Step } from '../../src/domain/machine.ts';
import type { ToolContext } from '../../src/domain/tool.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import type { SinkKind } from './sink.ts';

const call = z.strictObject({ sink: z.string(), line: z.string() });
type Call = z.infer<typeof call>;

const ask = async (kind: SinkKind, { sink, line }: Call, who: { run: string; key?: string; fence?: bigint; signal: AbortSignal }): Promise<{ first: boolean }> => {
  const headers = { 'idempotency-key': who.key ?? '', 'x-run': who.run, 'x-pid': String(process.pid), 'x-fence': String(who.fence ?? 0n) };
  return (await fetch(`${sink}/${kind}`, { method: 'POST', headers, body: line, signal: who.signal })).json() as Promise<{ first: boolean }>;
};
const asTool = (kind: SinkKind) => (args: Call, { run, key, signal }: ToolContext) => ask(kind, args, { run, key, signal });
/** Takes effect, and then neither answers nor heeds its signal. */
const deaf = (kind: SinkKind) => async (args: Call, { run, key }: ToolContext): Promise<never> => {
  await ask(kind, args, { run, key, signal: new AbortController().signal });
  return new Promise(() => undefined);
};

export const HANG_TIMEOUT_MS = 1_000;
/** What a user must hold for the tool `scoped`. */
export const EFFECTS_SCOPE = 'effects:write';
const tools = [
  defineTool({ name: 'keyed', description: 'Applies a line once per key.', input: call, effect: 'keyed', run: asTool('keyed') }),
  defineTool({ name: 'unkeyed', description: 'Applies a line each time.', input: call, run: asTool('unkeyed') }),
  defineTool({ name: 'read', description: 'Changes nothing.', input: call, effect: 'read', run: asTool('read') }),
  defineTool({ name: 'asked', description: 'Applies a line once per key, when a person has agreed.', input: call, effect: 'keyed', approval: 'always', run: asTool('keyed') }),
  defineTool({ name: 'scoped', description: 'Applies a line once per key, for users who hold a scope.', input: call, effect: 'keyed', scopes: [EFFECTS_SCOPE], run: asTool('keyed') }),
  defineTool({ name: 'hang_keyed', description: 'Applies a line once per key and never answers.', input: call, effect: 'keyed', timeoutMs: HANG_TIMEOUT_MS, run: deaf('keyed') }),
  defineTool({ name: 'hang_unkeyed', description: 'Applies a line and never answers.', input: call, timeoutMs: HANG_TIMEOUT_MS, run: deaf('unkeyed') }),
] as const;

const action = z.discriminatedUnion('do', [
  z.strictObject({ do: z.enum(['keyed', 'unkeyed', 'read', 'asked', 'scoped', 'hang_keyed', 'hang_unkeyed', 'note']), line: z.string() }),
  /** Something a step waits for: a model, a service. */
  z.strictObject({ do: z.literal('work'), ms: z.number() }),
  /** A timer without a worker. */
  z.strictObject({ do: z.literal('wait'), ms: z.number() }),
  /** Until somebody sends the signal of this name. */
  z.strictObject({ do: z.literal('signal'), name: z.string() }),
  /** Until a person has answered. */
  z.strictObject({ do: z.literal('question'), title: z.string() }),
  /** So many runs of its own, each with one keyed line, waited for. */
  z.strictObject({ do: z.literal('children'), count: z.number(), line: z.string() }),
  /** Ends the run as failed, unless it is another's retry. */
  z.strictObject({ do: z.literal('refuse') }),
  /** Blocks the event loop, the first time this run comes here: for so long, and then until the file is there. */
  z.strictObject({ do: z.literal('block'), ms: z.number(), file: z.string() }),
  /** Ends the worker's process, each time. */
  z.strictObject({ do: z.literal('die') }),
]);
export type Action = z.infer<typeof action>;
export type Plan = Action[][];

const input = z.strictObject({ sink: z.string(), plan: z.array(z.array(action)), mark: z.string() });
export type FaultInput = z.infer<typeof input>;
interface Data { readonly at: number; readonly mark: string; readonly did: readonly string[] }

const machine = defineMachine<FaultInput>({
  name: 'fault', version: 1, input, start: 'go', tools: [...tools], remembers: false,
  steps: {
    go: async (step: Step<FaultInput, Data | null>) => {
      const { plan, mark } = step.input;
      const { at, did } = step.data ?? { at: 0, did: [] };
      if (step.data !== null && step.data.mark !== mark) throw new Error('this checkpoint is of another run'); // I15
      for (const one of plan[at] ?? []) await act(step, one);
      const done = [...did, `${mark}:${at}`];
      return at + 1 < plan.length ? step.next('go', { at: at + 1, mark, did: done }) : step.done({ mark, did: done });
    },
  },
});

async function act(step: Step<FaultInput, Data | null>, one: Action): Promise<Json | undefined> {
  const { sink } = step.input;
  const who = { run: step.run.id, fence: step.run.fence, signal: step.signal };
  switch (one.do) {
    case 'note': return { ...(await ask('note', { sink, line: one.line }, who)) };
    case 'work': await pause(one.ms, step.signal); step.signal.throwIfAborted(); return;
    case 'wait': await step.wait(one.ms); return;
    case 'block': if ((await ask('once', { sink, line: 'block' }, who)).first) block(one.ms, one.file); return;
    case 'signal': await step.waitForSignal(one.name); return;
    case 'question': await step.waitForApproval({ title: one.title, details: { mark: step.input.mark } }); return;
    case 'children': await withChildren(step, one.count, one.line); return;
    case 'refuse': if (!step.run.fork) throw new MainstayError('bad_request', 'Refused, the first time.'); return;
    case 'die': process.abort(); return;
    default: return step.tool(one.do, { sink, line: one.line });
  }
}

async function withChildren(step: Step<FaultInput, Data | null>, count: number, line: string): Promise<void> {
  const children = [];
  for (let n = 0; n < count; n++) children.push(await step.spawn('fault', { sink: step.input.sink, plan: [[{ do: 'keyed', line: `${line} ${n}` }]], mark: `${step.input.mark}.${n}` }));
  await step.waitForChildren(children);
}

function block(ms: number, file: string): void {
  for (const startMs = monoMs(); monoMs() < startMs + ms || (!existsSync(file) && monoMs() < startMs + 10 * ms););
}

const versioned = (version: 1 | 2): Machine => defineMachine<FaultInput>({
  name: 'versioned', version, input, start: 'first', tools: [...tools], remembers: false,
  steps: {
    first: async (step: Step<FaultInput>) => {
      await act(step as never, { do: 'note', line: `first of ${version}` });
      return step.next(`second-of-${version}`, null);
    },
    [`second-of-${version}`]: async (step: Step<FaultInput>) => {
      await act(step as never, { do: 'keyed', line: `second of ${version}` });
      return step.done({ version });
    },
  },
});

/** `both`: a deploy that keeps the old version for the runs that are on it. */
export function machinesOf(build: string): readonly Machine[] {
  const builds: Record<string, readonly Machine[]> = { 1: [versioned(1)], 2: [versioned(2)], both: [versioned(1), versioned(2)] };
  return [machine, ...(builds[build] ?? [])];
}

/** For real roots, which read AGENTS_MODULE. */
export const machines = machinesOf('1');
