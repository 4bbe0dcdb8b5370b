// A tool that takes long says how far it is, and whoever looks at the run sees it. A tool that was given up and goes on talking is
// not heard: its run may wait or have ended, and holds nothing in Redis then.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { pause } from '../../src/clock.ts';
import type { Step } from '../../src/domain/machine.ts';
import { JobStates, type JobState, type JobUpdate } from '../../src/limits/job-state.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const gate = (): { opened: Promise<void>; open: () => void } => { let open: () => void = () => undefined; return { opened: new Promise((resolve) => { open = resolve; }), open }; };
const [slow, given, ignored] = [gate(), gate(), gate()];
let [saidLate, stepSaidLate] = [false, false];
const crawl = defineTool({ name: 'crawl', description: 'Reads pages.', input: z.strictObject({}), effect: 'read', run: async (_, { progress }) => { progress(0.4, 'page 2 of 5'); await slow.opened; return 5; } });
const deaf = defineTool({
  name: 'deaf', description: 'Heeds no time limit.', input: z.strictObject({}), timeoutMs: 50,
  run: async (_, { progress }) => { progress(0.1, 'begun'); await given.opened; progress(0.9, 'still at it'); saidLate = true; throw new Error('never mind'); },
});
const machine = (name: string) => defineMachine({
  name, version: 1, input: z.strictObject({}), start: 'go', remembers: false, tools: [crawl, deaf], steps: { go: async (step: Step<object>) => step.done(await step.tool(name, {})) },
});
const stubborn = defineMachine({
  name: 'stubborn', version: 1, input: z.strictObject({}), start: 'go', remembers: false, stepTimeoutMs: 50, attempts: 1,
  steps: { go: async (step: Step<object>) => { step.progress(0.1, 'step begun'); await ignored.opened; step.progress(0.9, 'step still at it'); stepSaidLate = true; return step.done(1); } },
});
const stack = await useStack();
const fleet = await startFleet(stack, [machine('crawl'), machine('deaf'), stubborn]);
const written: (string | undefined)[] = [];
class WatchedStates extends JobStates {
  override write(run: string, update: JobUpdate): void { written.push(update.note); super.write(run, update); }
}
const jobs = new WatchedStates(fleet.base.redis, fleet.base.keys);
await fleet.worker({ jobs });
const submit = async (agent: string): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent, input: {} })).id;

test('while a tool runs its progress is shown with the run', async () => {
  const id = await submit('crawl');
  let shown: JobState | undefined;
  for (let tries = 0; tries < 500 && shown?.note !== 'page 2 of 5'; tries++) { await pause(10); shown = await jobs.read(id); }
  expect(shown).toMatchObject({ status: 'running', step: 'go', progress: 0.4, note: 'page 2 of 5' });
  slow.open();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: 5 });
});

test('a tool that was given up is heard no more', async () => {
  const id = await submit('deaf');
  await fleet.until('acme', id, ({ wait_reason }) => wait_reason === 'outcome');
  expect(written).toContain('begun');
  given.open();
  await given.opened;
  expect(saidLate).toBe(true);
  expect(written).not.toContain('still at it');
});

test('a step that was given up is heard no more', async () => {
  expect(await fleet.ended('acme', await submit('stubborn'))).toMatchObject({ status: 'failed', error_code: 'attempts_exhausted' });
  expect(written).toContain('step begun');
  ignored.open();
  await ignored.opened;
  expect(stepSaidLate).toBe(true);
  expect(written).not.toContain('step still at it');
});
