// `npm test`: jest with the flag its ESM needs, the arguments passed on. Ends with the servers that were used and one
// plain line, `N passed, N failed`, for people and machines; the exit code is jest's. A file that could not be loaded
// counts as a failure, and so does a jest that left no results.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkoutDir } from './servers/migrate.ts';
import { readJson } from './servers/processes.ts';

interface Results { numPassedTests: number; numFailedTests: number; numPendingTests: number; numRuntimeErrorTestSuites: number }

const scratch = mkdtempSync(join(tmpdir(), 'mainstay-results-'));
const resultsFile = join(scratch, 'results.json');
const serversFile = join(scratch, 'servers.json');

const child = spawn(process.execPath, [
  '--experimental-vm-modules', '--disable-warning=ExperimentalWarning', join(checkoutDir, 'node_modules/jest/bin/jest.js'),
  '--json', `--outputFile=${resultsFile}`, ...process.argv.slice(2),
], { cwd: checkoutDir, stdio: ['inherit', 'ignore', 'inherit'], env: { ...process.env, MAINSTAY_TEST_SERVERS_FILE: serversFile } }); // jest reports on standard error

for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
process.on('SIGINT', () => undefined); // the terminal sent it to jest as well
child.on('exit', (code, signal) => {
  const results = readJson(resultsFile) as Results | undefined;
  const servers = readJson(serversFile) as { words: string } | undefined;
  rmSync(scratch, { recursive: true, force: true });
  const failed = results ? results.numFailedTests + results.numRuntimeErrorTestSuites : 1;
  if (servers) process.stdout.write(`servers: ${servers.words}\n`);
  if (results && results.numPendingTests > 0) process.stdout.write(`${results.numPendingTests} skipped\n`);
  process.stdout.write(`${results?.numPassedTests ?? 0} passed, ${failed} failed\n`);
  process.exitCode = signal ? 1 : code || (failed > 0 ? 1 : 0);
});
