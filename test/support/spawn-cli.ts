// Runs `mainstay …` as a process of its own, with nothing in its environment but what is given: what the machine that runs the
// tests has set must not decide them.
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';

export interface Said { readonly code: number | null; readonly out: string; readonly err: string }

export interface Spawned {
  readonly env?: Record<string, string>;
  /** What it reads from standard input. */
  readonly input?: string;
  readonly cwd?: string;
  /** Another way to start it than src/cli/main.ts. */
  readonly program?: string;
}

export function spawnCli(words: readonly string[], { env = {}, input = '', cwd = '/', program = resolve(import.meta.dirname, '../../src/cli/main.ts') }: Spawned = {}): Promise<Said> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [program, ...words], { cwd, env: { PATH: process.env['PATH'] ?? '', HOME: cwd, ...env } });
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
    child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString(); });
    child.on('error', fail);
    child.on('close', (code) => done({ code, out, err }));
    child.stdin.on('error', () => undefined); // a program that ended before it read
    child.stdin.end(input);
  });
}
