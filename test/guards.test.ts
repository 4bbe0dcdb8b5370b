// A guard no test misses is none: for each name in src/guards.ts the test that keeps its promise runs in a jest of its own
// with that guard switched off, and must fail there. With the guard in place it runs in the suite, and must pass.
import { expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GUARDS, type Guard } from '../src/guards.ts';

interface Proof { readonly file: string; readonly name: string }

const moves = (name: string): Proof => ({ file: 'test/moves.test.ts', name });
const statement = (name: string): Proof => ({ file: 'test/guards/statements.test.ts', name });
const call = (name: string): Proof => ({ file: 'test/guards/calls.test.ts', name });

/** The cheapest test that misses it. */
const PROOFS: Readonly<Record<Guard, Proof>> = {
  'submit-idempotency': call('another request under a key that was used is refused'),
  'claim-live-holder': moves('running claim'),
  'claim-session-head': statement('the second run of a session is not claimed while the first is unfinished'),
  'claim-permit': statement('a run past the limit of its tenant is not claimed, and is when one has ended'),
  'commit-fence': moves('signal finish'),
  'commit-seq': statement('a checkpoint that was committed is not committed again'),
  'commit-inbox': moves('told wait'),
  'ledger-held': moves('signal intent'),
  'result-once': statement('a result that is there is not filled again'),
  'budget-room': statement('a call that a budget has no room for is not reserved, alone or in a group'),
  'record-returned': call('a recorded call is returned when its step runs again'),
  'key-of-place': call('every try of a call carries the same key'),
  'unknown-asks': call('a call whose outcome is unknown is not made again by a run that is woken'),
  'signal-once': statement('one signal is received by one wait'),
  'approval-once': statement('the first decision stands'),
  'approval-arguments': statement('a decision does not count for other arguments than were asked'),
  'settle-known-dead': statement('"not applied" is not believed while the call may be under way, and is once its worker is dead'),
  'business-key': { file: 'test/stories/one-effect-per-business-key.test.ts', name: 'ten runs at once with one business key: one effect, one result for all' },
  'finish-first': moves('completed cancel'),
  'lease-self-fence': call('a lease that may be over is not alive, and a younger one is'),
  'reclaim-order': statement('a worker whose lease is over is not retired while it holds a run, and is when the run has changed hands'),
  'suspect-alone': call('beside a run that has crashed its worker often no other begins'),
  'pause-parks': moves('pausing checkpoint'),
  'lost-is-found': { file: 'test/stories/lost-redis-loses-no-run.test.ts', name: 'FLUSHALL with runs queued, delayed and running loses none' },
  'owed-is-swept': { file: 'test/remember.test.ts', name: 'what was left undone a memory that no index holds is indexed by the sweep; a closed one leaves the index' },
};

interface Results { readonly numPassedTests: number; readonly numFailedTests: number; readonly numRuntimeErrorTestSuites: number }

/** One test of one file, with one guard switched off, on the servers of this run. */
async function runBroken(guard: Guard, { file, name }: Proof): Promise<{ results: Results; said: string }> {
  const scratch = mkdtempSync(join(tmpdir(), 'mainstay-broken-'));
  try {
    const out = join(scratch, 'results.json');
    const pattern = `^${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`;
    const child = spawn(process.execPath, ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js', '--runInBand', '--forceExit', '--json', `--outputFile=${out}`, '--runTestsByPath', file, '--testNamePattern', pattern],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, MAINSTAY_BREAK: guard } });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => { said += chunk.toString(); });
    await new Promise((resolve) => child.on('close', resolve));
    return { results: JSON.parse(readFileSync(out, 'utf8')) as Results, said };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

test.each(Object.entries(PROOFS) as [Guard, Proof][])('without %s a test fails', async (guard, proof) => {
  const { results, said } = await runBroken(guard, proof);
  const { numPassedTests: passed, numFailedTests: failed, numRuntimeErrorTestSuites: broken } = results;
  if (failed !== 1) process.stderr.write(said.slice(0, 4_000));
  expect({ passed, failed, broken }).toEqual({ passed: 0, failed: 1, broken: 0 });
}, 60_000);

test('every guard has its sentence', () => {
  expect(Object.entries(GUARDS).filter(([, sentence]) => !/^["A-Z].*\.$/.test(sentence))).toEqual([]);
});
