// A queued run whose version no living worker has says so, alone and in lists; it is not lost, others pass it, and it goes on when
// a worker announces its version.
import { expect, test } from '@jest/globals';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Registry } from '../../src/run/registry.ts';
import { z } from 'zod';
import { startControl } from '../support/control.ts';
import { until } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

const echo = (version: number): ReturnType<typeof defineMachine> => defineMachine({
  name: 'echo', version, input: z.strictObject({}), start: 'say', remembers: false, steps: { say: (step: Step) => Promise.resolve(step.done({ version })) },
});
const [older, newer] = [echo(1), echo(2)];

const stack = await useStack();
const { api, client, ended } = await startControl(stack, [older, newer]); // the API knows version 2; its workers do not yet
const submit = async (): Promise<string> => (await client.runs.create({ agent: 'echo', input: {} })).id;
const blockedOf = async (run: string): Promise<string | null> => (await client.runs.get(run)).blocked;

test('without any worker, with one of another version, and with its own', async () => {
  const run = await submit();
  expect(await client.runs.get(run)).toMatchObject({ version: 2, status: 'queued', blocked: 'version' });
  const old = await api.fleet.worker({ registry: new Registry([older]) });
  const later = (await client.runs.create({ agent: 'echo', input: {}, delayMs: 3_600_000 })).id;
  await until('a look at the workers', async () => (await api.fleet.rows(`SELECT FROM workers WHERE ended_at IS NULL`)).length === 1);
  const { data } = await client.runs.list({ status: 'queued' });
  expect(data.map(({ id, blocked }) => [id, blocked])).toEqual([[later, 'version'], [run, 'version']]);
  await api.fleet.worker({ registry: new Registry([newer]) });
  expect(await ended(run)).toMatchObject({ status: 'completed', output: { version: 2 } });
  await until('the news', async () => (await blockedOf(later)) === null); // queued, for its time only
  expect(await blockedOf(run)).toBeNull();
  await old.stop();
});
