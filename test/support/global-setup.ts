// Brings up the servers once per jest run: Redis and PostgreSQL in containers where an engine answers, local ones where
// none does; Milvus Lite locally in both. The migrated database is the template every test file clones, so nobody may stay
// connected to it. Addresses go to the test files by one environment variable.
import { join } from 'node:path';
import { monoMs } from '../../src/clock.ts';
import { defaultStateDir, startStack, type Stack } from '../../src/dev/servers/stack.ts';
import { writeJson } from '../../src/dev/servers/processes.ts';
import { startContainers } from './containers.ts';
import { removeStateFolder, sweepStateFolders } from './state-folders.ts';

export interface TestRun { stack: Stack; endContainers: () => Promise<void> }

export default async function setUp(): Promise<void> {
  const startMs = monoMs();
  const say = (line: string): void => { process.stderr.write(`${line}\n`); };
  const stateDir = join(defaultStateDir, 'test', `run-${process.pid}`);
  sweepStateFolders(join(defaultStateDir, 'test'), say);
  const containers = await startContainers(say);
  try {
    const stack = await startStack({ stateDir, say, ephemeral: true, given: containers.given, givenKind: 'containers' });
    process.env['MAINSTAY_TEST_STACK'] = JSON.stringify(stack);
    const serversFile = process.env['MAINSTAY_TEST_SERVERS_FILE']; // `npm test` repeats the words in its summary
    if (serversFile) writeJson(serversFile, { words: containers.words });
    (globalThis as { mainstayTestRun?: TestRun }).mainstayTestRun = { stack, endContainers: containers.end };
    say(`\nservers of this run: ${containers.words} (up in ${((monoMs() - startMs) / 1000).toFixed(1)} s)`);
  } catch (error) {
    await containers.end();
    removeStateFolder(stateDir, say);
    throw error;
  }
}
