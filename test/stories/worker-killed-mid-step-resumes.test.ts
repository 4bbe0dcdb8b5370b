// A real worker process is killed with SIGKILL inside a step: another goes on from the last checkpoint, what is recorded
// does not run again, and a keyed effect is applied once.
import { expect, test } from '@jest/globals';
import { startFleet } from '../support/fleet.ts';
import { journalMachine } from '../support/journal-machine.ts';
import { startJournal } from '../support/journal.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { kill, startWorkerProcess } from '../support/worker-process.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [journalMachine]);
const submit = (journal: string, tool: string): Promise<{ id: string }> => fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'journal', input: { journal, tool } });

test('killed after the effect, before the checkpoint: the effect stays one, the checkpointed step is not run again', async () => {
  const journal = await startJournal();
  atFileEnd(() => journal.close());
  const worker = await startWorkerProcess(stack);
  const inside = journal.hold('note:after-effect');
  const { id } = await submit(journal.url, 'write_keyed');
  await inside;
  expect((await fleet.run('acme', id)).status).toBe('running');
  await kill(worker);
  journal.release();
  await fleet.worker();
  const run = await fleet.ended('acme', id);
  expect(run).toMatchObject({ status: 'completed', step_seq: 3, output: { applied: true } });
  expect(journal.lines).toHaveLength(1);
  expect(journal.asked).toEqual(['note:before', 'keyed', 'note:after-effect', 'note:after-effect', 'note:after']);
});

test('killed inside the call of a keyed tool: it is called again under its key, and took effect once', async () => {
  const journal = await startJournal();
  atFileEnd(() => journal.close());
  const worker = await startWorkerProcess(stack);
  for (const other of fleet.workers) await other.stop(); // only the process may take it
  const inside = journal.hold('keyed');
  const { id } = await submit(journal.url, 'write_keyed');
  await inside;
  await kill(worker);
  journal.release();
  await fleet.worker();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  expect(journal.asked.filter((asked) => asked === 'keyed')).toHaveLength(2);
  expect(journal.lines).toHaveLength(1);
});

test('killed inside the call of an unkeyed tool: the run waits for a person and never calls again', async () => {
  const journal = await startJournal();
  atFileEnd(() => journal.close());
  const worker = await startWorkerProcess(stack);
  for (const other of fleet.workers) await other.stop(); // only the process may take it
  const inside = journal.hold('unkeyed');
  const { id } = await submit(journal.url, 'write_unkeyed');
  await inside;
  await kill(worker);
  journal.release();
  await fleet.worker();
  const run = await fleet.until('acme', id, (row) => row.status === 'waiting');
  expect(run.wait_reason).toBe('outcome');
  expect(journal.lines).toHaveLength(1);
  const { rows } = await fleet.base.engine.pool.query(`SELECT status::text FROM tool_calls WHERE run_id = $1`, [id]);
  expect(rows).toEqual([{ status: 'unknown' }]);
});
