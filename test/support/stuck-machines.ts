// Machines that stand still, each for one reason: what `explain` is asked about.
import { z } from 'zod';
import { MainstayError } from '../../src/domain/errors.ts';
import type { Machine, Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { makeHeld } from './api-machines.ts';

const input = z.strictObject({ why: z.string() });
type Input = z.infer<typeof input>;

const flaky = defineTool({ name: 'flaky', description: 'Answers when its breaker lets it.', input: z.strictObject({}), effect: 'read', run: () => Promise.resolve('here') });
const unsure = defineTool({ name: 'unsure', description: 'Ends without saying whether it took effect.', input: z.strictObject({}), run: () => Promise.reject(new Error('connection reset')) });

const reasons: Readonly<Record<string, (step: Step<Input>) => Promise<unknown>>> = {
  approval: (step) => step.waitForApproval({ title: 'Delete the table', details: { table: 'orders' } }),
  signal: (step) => step.waitForSignal('go on', { timeoutMs: 3_600_000 }),
  child: async (step) => step.waitForChildren([await step.spawn('stuck', { why: 'signal' })]),
  outcome: (step) => step.tool('unsure', {}),
  timer: (step) => step.wait(3_600_000),
  budget: (step) => step.model({ model: 'claude-haiku-5-5', system: 'Answer.', messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello.' }] }], maxTokens: 100 }),
  breaker: (step) => step.tool('flaky', {}),
  retry: () => Promise.reject(new MainstayError('step_failed', 'the printer is on fire', { retryAfterMs: 3_600_000 })),
  fails: () => Promise.reject(new MainstayError('data_invalid', 'no such printer')),
};

/** `stuck`: stops for the reason in its input, and is done when nothing stops it. */
export const stuck = defineMachine<Input>({
  name: 'stuck', version: 1, input, start: 'stop', tools: [flaky, unsure], remembers: false, attempts: 4,
  locks: ({ why }) => (why === 'lock' ? ['printer'] : []),
  steps: { stop: async (step: Step<Input>) => { await reasons[step.input.why]?.(step); return step.done('moved'); } },
});

export const held = makeHeld();
export const stuckMachines: readonly Machine[] = [stuck, held.machine];
