// Machines for tests of the edge: one that answers at once, one that waits until the test lets it go, one of many steps.
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';

const word = z.strictObject({ word: z.string() });

/** `echo`: done in one step. */
export const echo = defineMachine({
  name: 'echo', version: 1, input: word, start: 'say', remembers: false,
  steps: { say: (step: Step<{ word: string }>) => Promise.resolve(step.done({ said: step.input.word })) },
});

/** `count`: as many steps as asked for. */
export const count = defineMachine({
  name: 'count', version: 1, input: z.strictObject({ to: z.number().int() }), start: 'one', remembers: false,
  steps: { one: (step: Step<{ to: number }, { at: number } | null>) => { const at = (step.data?.at ?? 0) + 1; return Promise.resolve(at < step.input.to ? step.next('one', { at }) : step.done({ at })); } },
});

export interface Held {
  readonly machine: ReturnType<typeof defineMachine>;
  /** Resolves when the run with this word is inside its first step. */
  begun(word: string): Promise<void>;
  letGo(word: string): void;
}

/** `held`: its first step ends when the test says so, or when it is aborted; a second one follows. */
export function makeHeld(): Held {
  const places = new Map<string, { begun: Promise<void>; begin(): void; gone: Promise<void>; go(): void }>();
  const placeOf = (name: string): { begun: Promise<void>; begin(): void; gone: Promise<void>; go(): void } => {
    const known = places.get(name);
    if (known) return known;
    const [start, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const place = { begun: start.promise, begin: start.resolve, gone: end.promise, go: end.resolve };
    places.set(name, place);
    return place;
  };
  const machine = defineMachine({
    name: 'held', version: 1, input: word, start: 'hold', remembers: false,
    steps: {
      hold: async (step: Step<{ word: string }>) => {
        const place = placeOf(step.input.word);
        place.begin();
        await Promise.race([place.gone, new Promise<void>((resolve) => step.signal.addEventListener('abort', () => resolve(), { once: true }))]);
        return step.next('end', null);
      },
      end: (step: Step<{ word: string }>) => Promise.resolve(step.done({ held: step.input.word })),
    },
  });
  return { machine: machine, begun: (name) => placeOf(name).begun, letGo: (name) => placeOf(name).go() };
}
