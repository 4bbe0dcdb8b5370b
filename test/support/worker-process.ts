// Starts the journal worker as a real process and waits until it may claim.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { brokenGuard } from './broken-process.ts';
import { atFileEnd, type TestStack } from './stack.ts';

export async function startWorkerProcess(stack: TestStack, change: Record<string, string> = {}): Promise<ChildProcess> {
  const child = spawn(process.execPath, [...brokenGuard(), 'test/support/run-journal-worker.ts'], { env: { ...process.env, NODE_OPTIONS: '', ...stack.env, LEASE_MS: '2000', LOG_LEVEL: 'silent', ...change }, stdio: ['ignore', 'pipe', 'inherit'] });
  atFileEnd(async () => { if (child.exitCode === null && child.signalCode === null) { child.kill('SIGKILL'); await once(child, 'exit'); } });
  for await (const line of createInterface({ input: child.stdout })) if (line === 'ready') return child;
  throw new Error('the worker process ended before it was ready');
}

export async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}
