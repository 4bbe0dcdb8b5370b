// A run's place is for its steps: while the commit of its end is under way the next run moves in it, one beside at most, and no
// worker stops before all of them are answered.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { withClient } from '../../src/dev/servers/migrate.ts';
import { eventually } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const began: string[] = [];
const held = Promise.withResolvers<undefined>();
const brief = defineMachine({
  name: 'brief', version: 1, input: z.strictObject({ name: z.string() }), start: 'go', remembers: false,
  steps: {
    go: async (step: Step<{ name: string }>) => {
      began.push(step.input.name);
      if (step.input.name === 'first') await held.promise;
      return step.done(step.input.name);
    },
  },
});
const stack = await useStack();
const fleet = await startFleet(stack, [brief]);
const worker = await fleet.worker({ concurrency: 1 });
const submit = async (name: string): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'brief', input: { name } })).id;

test('the next run moves while the last commit of the one before is kept from its row; a third waits for that commit, and so does a stop', async () => {
  const first = await submit('first');
  await eventually('the first to be inside its step', () => began.includes('first'));
  const [second, third] = [await submit('second'), await submit('third')];
  let stopped: Promise<void> | undefined;
  await withClient(fleet.base.config.DATABASE_URL, async (client) => {
    await client.query('BEGIN');
    await client.query('SELECT 1 FROM agent_runs WHERE id = $1 FOR UPDATE', [first]);
    held.resolve(undefined);
    expect((await fleet.ended('acme', second)).output).toBe('second');
    expect((await fleet.run('acme', first)).status).toBe('running');
    stopped = worker.stop();
    expect(worker.running).toBe(1);
    await client.query('COMMIT');
  });
  await stopped;
  expect([(await fleet.run('acme', first)).status, (await fleet.run('acme', third)).status]).toEqual(['completed', 'queued']);
  expect(began).toEqual(['first', 'second']);
  await fleet.worker({ concurrency: 1 });
  expect((await fleet.ended('acme', third)).output).toBe('third');
});
