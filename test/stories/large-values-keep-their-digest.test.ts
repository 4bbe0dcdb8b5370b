// Values too large for a row go to the object store and the row keeps key and digest: step data, records, tool results, outputs.
// What comes back is what was put; where it is gone or was changed the run says so and goes on with nothing else.
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { readValue } from '../../src/values.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const big = (word: string): string => word.repeat(40_000);
const fetchBig = defineTool({ name: 'fetch_big', description: 'Returns a lot.', input: z.strictObject({}), effect: 'read', run: () => Promise.resolve(big('tool ')) });
const machine = defineMachine({
  name: 'large', version: 1, input: z.strictObject({ stop: z.boolean() }), start: 'make', remembers: false, tools: [fetchBig], attempts: 2,
  steps: {
    make: async (step: Step<{ stop: boolean }>) => {
      const record = await step.record('big', () => Promise.resolve(big('record ')));
      const tool = await step.tool('fetch_big', {}) as string;
      if (step.run.attempt === 0) throw new Error('again'); // so that both come from their records
      return step.input.stop ? step.sleep(1_000, 'use', { record, tool }) : step.next('use', { record, tool });
    },
    use: (step: Step<{ stop: boolean }, { record: string; tool: string }>) => Promise.resolve(step.done({ ...step.data, small: [step.data.record.length, step.data.tool.length] })),
  },
});
const dir = mkdtempSync(join(tmpdir(), 'mainstay-values-'));
const stack = await useStack();
const fleet = await startFleet(stack, [machine], { ARTIFACTS_DIR: dir });
const { base } = fleet;
await fleet.worker();
const submit = async (stop: boolean): Promise<string> => (await base.submit({ tenant: 'acme', door: 'test', agent: 'large', input: { stop } })).id;
const files = (): string[] => readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((name) => join(dir, name)).filter((path) => statSync(path).isFile());

test('a run with large values completes, its rows stay small, and each value is what it was', async () => {
  const id = await submit(false);
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: null });
  const [row] = await fleet.rows<{ blob: string; sizes: number[] }>(`SELECT output_blob AS blob, ARRAY(SELECT pg_column_size(s.*) FROM run_steps s WHERE s.run_id = $1 UNION ALL SELECT pg_column_size(k.*) FROM tool_calls k WHERE k.run_id = $1 UNION ALL SELECT pg_column_size(c.*) FROM step_records c WHERE c.run_id = $1) AS sizes FROM agent_runs WHERE id = $1`, [id]);
  expect(Math.max(...(row?.sizes ?? [Infinity]))).toBeLessThan(1_000);
  expect(await readValue(base.blobs, 'acme', row?.blob ?? '')).toEqual({ record: big('record '), tool: big('tool '), small: [280_000, 200_000] });
  expect(files().length).toBe(4); // record, tool, data, output: the same value twice would be one
});

test("another tenant's reference to the same digest finds nothing", async () => {
  const [row] = await fleet.rows<{ blob: string }>(`SELECT output_blob AS blob FROM agent_runs WHERE output_blob IS NOT NULL LIMIT 1`);
  await expect(readValue(base.blobs, 'globex', row?.blob ?? '')).rejects.toMatchObject({ code: 'value_lost' });
});

test('a value that was changed in the store is not believed: the run fails with value_lost', async () => {
  const id = await submit(true);
  await fleet.until('acme', id, (run) => run.status === 'waiting');
  for (const file of files()) writeFileSync(file, 'tampered');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'failed', error_code: 'value_lost' });
});

test('what no store may hold is refused', async () => {
  await expect(base.submit({ tenant: 'acme', door: 'test', agent: 'large', input: { stop: '\u0000' } })).rejects.toMatchObject({ code: 'data_not_storable' });
});
