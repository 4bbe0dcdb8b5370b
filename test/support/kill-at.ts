// A process of the product that kills itself at a named place.
import { expect } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { FaultPoint } from '../../src/fault-points.ts';
import { atFileEnd } from './stack.ts';

export interface Kill {
  /** The root that is started. */
  readonly process: string;
  readonly env: Readonly<Record<string, string>>;
  /** What it says once it is up. */
  readonly up: string;
  readonly point: FaultPoint;
  readonly pass: number;
  /** What is done once it is up. */
  readonly ready: () => Promise<void>;
}

/** Resolves when the process has killed itself. */
export async function killAt({ process: root, env, up, point, pass, ready }: Kill): Promise<void> {
  const child = spawn(process.execPath, ['--import', './test/chaos/in-process.ts', root], { env: { ...process.env, NODE_OPTIONS: '', LOG_LEVEL: 'info', ANTHROPIC_API_KEY: 'stub', ...env }, stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  atFileEnd(async () => { child.kill('SIGKILL'); await ended; });
  child.stdin.write(`arm ${point} kill ${pass}\n`);
  const lines: string[] = [];
  const isUp = new Promise<void>((resolve) => createInterface({ input: child.stdout }).on('line', (line) => { lines.push(line); if (line.includes(up)) resolve(); }));
  await Promise.race([isUp, ended]);
  await ready();
  const [, signal] = await Promise.race([ended, new Promise<never>((_, reject) => { setTimeout(() => reject(new Error(`${point} was not passed ${pass} times`)), 15_000).unref(); })]);
  expect([signal, lines.some((line) => line.includes(`point ${point} kill`))]).toEqual(['SIGKILL', true]);
}
