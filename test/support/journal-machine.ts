// A machine for stories of crashes: its steps write into a journal (an HTTP server of the test) through tools of each effect.
// The journal counts what it was asked and applies each key once, as a service that honours keys does.
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';

const entry = z.strictObject({ journal: z.string(), line: z.string() });
type Entry = z.infer<typeof entry>;

const post = async (path: string, { journal, line }: Entry, key: string, signal: AbortSignal): Promise<{ applied: boolean }> => {
  const answer = await fetch(`${journal}${path}`, { method: 'POST', headers: { 'idempotency-key': key }, body: line, signal });
  if (!answer.ok) throw new Error(`journal: ${answer.status}`);
  return (await answer.json()) as { applied: boolean };
};

export const tools = [
  defineTool({ name: 'write_keyed', description: 'Writes a line, once per key.', input: entry, effect: 'keyed', run: (args, { key, signal }) => post('/keyed', args, key, signal) }),
  defineTool({ name: 'write_unkeyed', description: 'Writes a line each time it is called.', input: entry, run: (args, { key, signal }) => post('/unkeyed', args, key, signal) }),
] as const;

const input = z.strictObject({ journal: z.string(), tool: z.enum(['write_keyed', 'write_unkeyed']) });
type Input = z.infer<typeof input>;

/** before → write → after; each step also notes in the journal that its code ran. */
export const journalMachine = defineMachine<Input>({
  name: 'journal', version: 1, input, start: 'before', tools: [...tools], remembers: false,
  steps: {
    before: async (step: Step<Input>) => {
      await note(step, 'before');
      return step.next('write', {});
    },
    write: async (step: Step<Input>) => {
      const written = await step.tool(step.input.tool, { journal: step.input.journal, line: 'the effect' });
      await note(step, 'after-effect'); // the journal may hold this answer back: a place to be killed in
      return step.next('after', { written });
    },
    after: async (step: Step<Input, { written: unknown }>) => {
      await note(step, 'after');
      return step.done(step.data.written);
    },
  },
});

const note = async (step: Step<Input>, what: string): Promise<void> => {
  await fetch(`${step.input.journal}/note`, { method: 'POST', body: what, signal: step.signal });
};
