// Of a share of runs each recall leaves out one memory, by chance and the same one whenever it is asked; never a constraint. The trace says
// which, and all else is told as ever.
import { expect, test } from '@jest/globals';
import { armOf, leftOutOf } from '../../src/domain/feedback.ts';
import { newId } from '../../src/ids.ts';
import { z } from 'zod';
import { defineAgent } from '../../src/run/define-agent.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { plantMemories, plantSummaries } from '../support/memories.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const looker = defineMachine({
  name: 'looker', version: 1, input: z.strictObject({ message: z.string() }), data: z.unknown(), start: 'look',
  steps: { look: async (step) => step.done((await step.recall(step.input.message, { summaries: 2 })).summaries?.map(({ text }) => text) ?? 'none') },
});
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer.' }), looker], { change: { MEMORY_LEAVE_ONE_OUT: '0.5', MEMORY_HOLDOUT: '0.2' } });
const [rule, ...facts] = await plantMemories((sql, values) => fleet.rows(sql, values), 'acme', [
  { user: 'ada', type: 'constraint', subject: 'user', statement: 'Never quote prices of the harbour to anyone.' }, ...['crane', 'pilot', 'depot'].map((name) => ({ user: 'ada', statement: `The ${name} of the harbour is painted red.` })),
]);

test('in its share of the runs one memory is missing, another in other runs, and the constraint never', async () => {
  const runs = new Map<string, { arm: string; injected: string[]; leftOut: string | null }>();
  const enough = (): boolean => new Set([...runs.values()].flatMap(({ leftOut }) => leftOut ?? [])).size > 1 && ['told', 'held_out'].every((arm) => [...runs.values()].some((one) => one.arm === arm));
  while (!enough()) {
    const { id } = await fleet.talk('talker', 'What colour is the harbour?', { tenant: 'acme', user: 'ada', session: newId() });
    const [trace] = await fleet.rows<{ injected: string[]; leftOut: string | null; held: boolean }>(`SELECT injected::text[], left_out::text AS "leftOut", held_out AS held FROM retrieval_traces WHERE run_id = $1`, [id]);
    const arm = armOf(id, { holdout: 0.2, leaveOneOut: 0.5 });
    expect(trace!.held).toBe(arm === 'held_out');
    runs.set(id, { arm, injected: trace!.injected, leftOut: trace!.leftOut });
  }
  for (const { arm, injected, leftOut } of runs.values()) {
    expect(injected).toContain(rule);
    if (arm === 'left_out') expect([...injected, leftOut].sort()).toEqual([rule, ...facts].sort());
    else expect([leftOut, injected.length]).toEqual([null, arm === 'told' ? 4 : 1]);
  }
});

test('a run that goes without memory is told of no earlier run either', async () => {
  const arms = new Set<boolean>();
  while (arms.size < 2) {
    const user = newId(); // somebody new each time: the runs of this test leave summaries, too, which say what was asked
    const [run] = await plantSummaries((sql, values) => fleet.rows(sql, values), 'acme', [{ user, text: 'Goal: repair the fountain\nResult: it runs again' }]);
    const { id, output } = await fleet.talk('looker', 'What became of the fountain?', { tenant: 'acme', user, session: newId() });
    const isHeld = armOf(id, { holdout: 0.2 }) === 'held_out';
    const [trace] = await fleet.rows<{ summaries: string[] }>(`SELECT summaries::text[] FROM retrieval_traces WHERE run_id = $1`, [id]);
    if (isHeld) expect([output, trace?.summaries]).toEqual(['none', []]);
    else expect([(output as string[]).join(), trace?.summaries]).toEqual([expect.stringContaining('it runs again'), [run]]);
    arms.add(isHeld);
  }
});

test('the share is what it was set to, and chance decides of the memory', () => {
  const arms = Array.from({ length: 4_000 }, () => armOf(newId(), { holdout: 0.1, leaveOneOut: 0.1 }));
  for (const arm of ['held_out', 'left_out']) expect(Math.abs(arms.filter((one) => one === arm).length - 400)).toBeLessThan(130);
  expect(new Set(Array.from({ length: 100 }, () => armOf(newId(), {})))).toEqual(new Set(['told']));
  const memories = ['a', 'b', 'c', 'd'].map((id) => ({ id, type: id === 'a' ? 'constraint' : 'fact' }));
  const counts = new Map<string | undefined, number>();
  for (let n = 0; n < 3_000; n++) { const out = leftOutOf(newId(), memories); counts.set(out, (counts.get(out) ?? 0) + 1); }
  expect([...counts.keys()].sort()).toEqual(['b', 'c', 'd']);
  for (const count of counts.values()) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  expect([leftOutOf('r', memories), leftOutOf('r', [{ id: 'a', type: 'constraint' }]), leftOutOf('r', [])]).toEqual([leftOutOf('r', memories.toReversed()), undefined, undefined]);
});
