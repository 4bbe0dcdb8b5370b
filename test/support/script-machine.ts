// A machine that does what its input says, for stories of workers that crash, stand still or stop: each step is a list of
// actions. Notes go to the journal of the test, which may hold an answer back; `block` and `abort` harm the process it runs in.
import { z } from 'zod';
import { monoMs, pause } from '../../src/clock.ts';
import type { Move, Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { tools } from './journal-machine.ts';

const input = z.strictObject({ journal: z.string(), steps: z.array(z.array(z.string())) });
type Input = z.infer<typeof input>;
type Data = { at: number } | null;

/** Blocks happen once in a process and run: the second time the step gets on. */
const blocked = new Set<string>();

/** `note:x` and `keyed` tell the journal, `pause:ms` waits, `sleep:ms` parks the run, `block:ms` stops this process from doing
 *  anything else, `abort` kills it. */
async function act(step: Step<Input, Data>, action: string): Promise<void> {
  const { journal } = step.input;
  const [what = '', value = ''] = action.split(':');
  if (what === 'note') await fetch(`${journal}/note`, { method: 'POST', body: value, signal: step.signal });
  else if (what === 'keyed') await step.tool('write_keyed', { journal, line: value });
  else if (what === 'pause') await pause(Number(value), step.signal);
  else if (what === 'abort') process.abort();
  else if (what === 'block' && !blocked.has(step.run.id)) {
    blocked.add(step.run.id);
    for (const endMs = monoMs() + Number(value); monoMs() < endMs;);
  }
}

export const scriptMachine = defineMachine<Input>({
  name: 'script', version: 1, input, start: 'act', tools: [...tools], remembers: false,
  steps: {
    act: async (step: Step<Input, Data>): Promise<Move> => {
      const at = step.data?.at ?? 0;
      const actions = step.input.steps[at] ?? [];
      for (const action of actions) await act(step, action);
      const next = { at: at + 1 };
      const sleepMs = Number(actions.find((action) => action.startsWith('sleep:'))?.slice(6) ?? 0);
      if (sleepMs > 0) return step.sleep(sleepMs, 'act', next);
      return next.at < step.input.steps.length ? step.next('act', next) : step.done('ok');
    },
  },
});

/** For AGENTS_MODULE. */
export const machines = [scriptMachine];
