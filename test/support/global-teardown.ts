// Ends the servers of the run. Where a test failed its database was kept: then the data folder stays too, and a line
// says how to look at it.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestRun } from './global-setup.ts';
import { removeStateFolder } from './state-folders.ts';

export default async function tearDown(): Promise<void> {
  const run = (globalThis as { mainstayTestRun?: TestRun }).mainstayTestRun;
  if (!run) return;
  await run.stack.stop();
  await run.endContainers();
  const kept = join(run.stack.stateDir, 'kept');
  if (existsSync(kept)) process.stderr.write(`kept for a look until the next run, in ${run.stack.stateDir}:\n${readFileSync(kept, 'utf8')}`);
  else removeStateFolder(run.stack.stateDir, () => undefined);
}
