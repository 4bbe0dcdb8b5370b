// For stories of control over runs: the real API with a worker behind it and the real client before it; gates that hold a step
// where the test wants it; and a book in which tools write what they did.
import { z } from 'zod';
import { Mainstay, MainstayApiError } from '../../src/client/client.ts';
import type { Machine } from '../../src/domain/machine.ts';
import type { Tool } from '../../src/domain/tool.ts';
import { parseId } from '../../src/ids.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { startApi, type TestApi } from './api.ts';
import type { TestRun } from './fleet.ts';
import type { TestStack } from './stack.ts';

export interface Control {
  readonly api: TestApi;
  /** Of tenant `acme`, with every scope. */
  readonly client: Mainstay;
  /** Waits until the run's row satisfies `holds`. */
  until(run: string, holds: (row: TestRun) => boolean): Promise<TestRun>;
  /** Waits until the run waits for this. */
  waits(run: string, reason: string): Promise<TestRun>;
  ended(run: string): Promise<TestRun>;
  /** Types of what happened in a run, in order; steps as `step:name`. Throws where a number is missing or there twice. */
  story(run: string): Promise<string[]>;
  /** Who asked for what, oldest first: `run.paused run_…`. */
  audit(object: string): Promise<string[]>;
}

export async function startControl(stack: TestStack, machines: readonly Machine[]): Promise<Control> {
  const api = await startApi(stack, machines, { config: { RATE_LIMIT: '100000', SUBMIT_RATE_LIMIT: '100000' } });
  const client = new Mainstay({ baseUrl: api.url, apiKey: await api.makeKey(), retries: 0 });
  const until = (run: string, holds: (row: TestRun) => boolean): Promise<TestRun> => api.fleet.until('acme', parseId('run', run) ?? '', holds);
  return {
    api, client, until,
    waits: (run, reason) => until(run, (row) => row.wait_reason === reason),
    ended: (run) => until(run, (row) => row.finished_at !== null),
    story: async (run) => {
      const types: string[] = [];
      for await (const { seq, type, data } of client.runs.stream(run)) {
        types.push(type === 'step.completed' ? `step:${(data as { step: string }).step}` : type);
        if (seq !== types.length) throw new Error(`number ${seq} of the history of ${run} comes as number ${types.length}`);
      }
      return types;
    },
    audit: async (object) => (await client.audit.list({ objectId: object, limit: 200 })).data.map(({ action }) => action).reverse(),
  };
}

/** The code of a refusal; fails where the call succeeds. */
export async function refusal(call: Promise<unknown>): Promise<string> {
  const error = await call.then((value) => new Error(`not refused: ${JSON.stringify(value)}`), (thrown: unknown) => thrown);
  if (error instanceof MainstayApiError) return error.code;
  throw error;
}

/** Places where a step stands until the test lets it go. */
export class Gates {
  readonly #gates = new Map<string, { reached: PromiseWithResolvers<void>; open: PromiseWithResolvers<void> }>();

  #of(name: string): { reached: PromiseWithResolvers<void>; open: PromiseWithResolvers<void> } {
    const gate = this.#gates.get(name) ?? { reached: Promise.withResolvers<void>(), open: Promise.withResolvers<void>() };
    this.#gates.set(name, gate);
    return gate;
  }

  /** In a step: waits here; an abort of the step ends it as well. */
  async pass(name: string, signal: AbortSignal): Promise<void> {
    const { reached, open } = this.#of(name);
    reached.resolve();
    await Promise.race([open.promise, new Promise<void>((resolve) => { if (signal.aborted) resolve(); else signal.addEventListener('abort', () => resolve(), { once: true }); })]);
  }

  /** In a test: resolves when a step stands there. */
  reached(name: string): Promise<void> { return this.#of(name).reached.promise; }
  open(name: string): void { this.#of(name).open.resolve(); }
}

const line = z.strictObject({ line: z.string() });

/** What tools did: a keyed write once per key, an unkeyed one each time; the failures a test asks for. */
export class Book {
  readonly lines: string[] = [];
  /** How often each tool was called with a line, whatever came of it. */
  readonly calls: string[] = [];
  readonly #keys = new Set<string>();
  /** Lines whose next call takes effect, and whose answer is then lost. */
  readonly loses = new Set<string>();

  get tools(): Tool[] { return [this.tool('write_keyed', 'keyed'), this.tool('write_unkeyed', 'unkeyed')]; }

  tool(name: string, effect: 'keyed' | 'unkeyed', more: Partial<Parameters<typeof defineTool<{ line: string }, unknown>>[0]> = {}): Tool {
    return defineTool<{ line: string }, unknown>({
      name, effect, description: 'Writes a line.', input: line,
      run: (args, { key }) => {
        this.calls.push(args.line);
        if (effect !== 'keyed' || !this.#keys.has(key)) this.lines.push(args.line);
        this.#keys.add(key);
        return this.loses.delete(args.line) ? Promise.reject(new Error('connection reset')) : Promise.resolve({ wrote: args.line });
      },
      ...more,
    });
  }
}
