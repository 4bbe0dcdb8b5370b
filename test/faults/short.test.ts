// The short form of every row of the fault matrix: short outages, short leases, tens of runs, on servers and processes of its own.
// The rows run a few side by side from the start of the file, because they wait much; each test asks for one row's verdict.
// `npm run test:faults` injects them at their own figures.
import { expect, test } from '@jest/globals';
import { atFileEnd, useStack } from '../support/stack.ts';
import { runRows } from './run-rows.ts';
import { ROWS } from './rows/all.ts';

const { milvusAddress } = await useStack();
const { verdicts, done } = runRows(ROWS, { form: 'short', seed: 1, together: 3, milvusAddress: () => Promise.resolve(milvusAddress) });
atFileEnd(() => done);

test.each(ROWS)('$id $title', async ({ id }) => {
  const verdict = await verdicts.get(id);
  const broke = verdict?.held.filter(({ ok }) => !ok);
  expect({ broke, landed: Object.values(verdict?.landed ?? {}).every((count) => count > 0) }).toEqual({ broke: [], landed: true });
  expect(verdict?.held.length).toBeGreaterThan(0);
}, 400_000);
