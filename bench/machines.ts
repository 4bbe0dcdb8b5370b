// The workloads as machines: an empty run, ten steps that hand on 1 KB each, a run that sleeps, a run that works for 20 ms or as long as it is told.
// They declare no memory, because the others have none to compare; everything else is at its defaults.
import { z } from 'zod';
import type { Machine, Move, Step } from '../src/domain/machine.ts';
import { defineMachine } from '../src/run/define-machine.ts';
import { STEPS, type Tasks } from './tasks.ts';

const input = z.strictObject({ id: z.string(), kind: z.enum(['noop', 'steps', 'sleep', 'work']), tenant: z.string().optional(), ms: z.number().optional() });
type Input = z.infer<typeof input>;

/** The producer knows the machines as well, and runs none of them. */
export function benchMachines(tasks: Tasks): Machine[] {
  const common = { version: 1, input, remembers: false };
  const once = async (step: Step<Input>): Promise<Move> => {
    await tasks.begin(step.input);
    return step.done(null);
  };
  return [
    defineMachine<Input>({ ...common, name: 'bench-noop', start: 'once', steps: { once } }),
    defineMachine<Input>({ ...common, name: 'bench-work', start: 'once', steps: { once } }),
    defineMachine<Input>({ ...common, name: 'bench-steps', start: 's1', steps: tenSteps(tasks) }),
    defineMachine<Input>({
      ...common, name: 'bench-sleep', start: 'rest', steps: {
        rest: async (step: Step<Input>) => { await tasks.begin(step.input); return step.sleep(step.input.ms ?? 0, 'wake', null); },
        wake: async (step: Step<Input>) => step.done(null),
      },
    }),
  ];
}

const tenSteps = (tasks: Tasks): Record<string, (step: Step<Input>) => Promise<Move>> =>
  Object.fromEntries(Array.from({ length: STEPS }, (_, at) => at + 1).map((k) => [`s${k}`, async (step: Step<Input>) => {
    if (k === 1) await tasks.begin(step.input);
    const result = await tasks.stepBody(step.input.id, k);
    return k === STEPS ? step.done(result) : step.next(`s${k + 1}`, result);
  }]));
