// The real agent worker as a process of its own, running the script machine, for stories that kill it, stop it or take its
// servers away. What it logs can be waited for.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { monoMs, pause } from '../../src/clock.ts';
import { brokenGuard } from './broken-process.ts';
import { atFileEnd, type TestStack } from './stack.ts';

export interface AgentProcess {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly lines: readonly string[];
  /** Resolves when it has logged the words so many times; fails after 20 s, or when it ended without. */
  said(words: string, times?: number): Promise<void>;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  kill(signal: NodeJS.Signals): void;
}

/** Ready when it has registered. Leases are of 15 s unless told, so that they explain nothing that happens sooner. */
export async function startAgent(stack: TestStack, change: Record<string, string> = {}): Promise<AgentProcess> {
  const env = { ...process.env, NODE_OPTIONS: '', ...stack.env, EMBEDDER: 'lexical', LEASE_MS: '15000', LOG_LEVEL: 'info', AGENTS_MODULE: 'test/support/script-machine.ts', ANTHROPIC_API_KEY: 'none', ...change };
  const child = spawn(process.execPath, [...brokenGuard(), 'workers/agent.ts'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: string[] = [];
  for (const input of [child.stdout, child.stderr]) createInterface({ input }).on('line', (line) => lines.push(line));
  const ended = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  let isOver = false;
  void ended.then(() => { isOver = true; });
  atFileEnd(async () => { if (!isOver) { child.kill('SIGKILL'); await ended; } });
  const agent: AgentProcess = {
    child, pid: child.pid ?? 0, lines, ended,
    said: async (words, times = 1) => {
      const said = (): boolean => lines.filter((line) => line.includes(words)).length >= times;
      for (const endMs = monoMs() + 60_000; !said(); await pause(10)) if (isOver || monoMs() > endMs) throw new Error(`it never said "${words}" ${times} times:\n${lines.slice(-15).join('\n')}`);
    },
    kill: (signal) => { child.kill(signal); },
  };
  await agent.said('worker registered');
  return agent;
}

/** Waits until `holds` answers something true; fails after 30 s. */
export async function eventually<T>(what: string, holds: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  for (const endMs = monoMs() + 30_000; ; await pause(10)) {
    const answer = await holds();
    if (answer !== undefined && answer !== false) return answer;
    if (monoMs() > endMs) throw new Error(`still not so after 30 s: ${what}`);
  }
}
