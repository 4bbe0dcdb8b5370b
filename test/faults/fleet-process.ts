// A process of the fleet as a row sees it: started by node, known by its pid, its log lines kept with the time at which they
// came. It can be killed, stopped in good order, frozen and thawed; what is left of it ends with the row.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { monoMs, pause } from '../../src/clock.ts';
import { checkoutDir } from '../../src/dev/servers/migrate.ts';

export interface LogLine { readonly atMs: number; readonly level: number; readonly msg: string; readonly text: string }
export interface ProcessOptions {
  readonly role: string;
  /** Another root than the harness's own, which says that it is ready by a line like this. */
  readonly root?: { readonly script: string; readonly ready: RegExp };
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** For node itself: a preload. */
  readonly nodeArgs?: readonly string[];
}

const WARN = 40;
const START_MS = 60_000;

export class FleetProcess {
  readonly child: ChildProcess;
  readonly lines: LogLine[] = [];
  stderr = '';
  readonly exited: Promise<number | NodeJS.Signals>;
  readonly #ready: Promise<void>;

  constructor({ role, root, args = [], env, nodeArgs = [] }: ProcessOptions) {
    const script = root ? [root.script] : ['test/faults/run-process.ts', role];
    this.child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...nodeArgs, ...script, ...args], { cwd: checkoutDir, env: { ...process.env, NODE_OPTIONS: '', ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    this.exited = once(this.child, 'exit').then(([code, signal]: (number | NodeJS.Signals | null)[]) => code ?? signal ?? 0);
    this.child.stdin?.on('error', () => undefined); // it died first
    this.child.stderr?.on('data', (chunk: Buffer) => { this.stderr = `${this.stderr}${chunk.toString()}`.slice(-8_000); });
    this.#ready = new Promise((resolve) => {
      if (this.child.stdout) createInterface({ input: this.child.stdout }).on('line', (text) => { if (root ? root.ready.test(text) : text === 'ready') resolve(); if (text !== 'ready') this.lines.push(asLine(text)); });
    });
  }

  get pid(): number { return this.child.pid ?? 0; }
  get alive(): boolean { return this.child.exitCode === null && this.child.signalCode === null; }

  async ready(): Promise<this> {
    const late = new AbortController();
    const outcome = await Promise.race([this.#ready.then(() => 'ready'), this.exited, pause(START_MS, late.signal).then(() => 'still starting')]);
    late.abort();
    if (outcome !== 'ready') throw new Error(`a process of the fleet did not come up (${outcome}): ${this.stderr.slice(-1_000)} ${this.lines.slice(-3).map(({ text }) => text).join(' ')}`);
    return this;
  }

  async kill(): Promise<void> {
    if (!this.alive) return;
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** SIGTERM; answers how long it took to be gone, and by what. */
  async stop(withinMs = 60_000): Promise<{ tookMs: number; by: number | NodeJS.Signals | 'still there' }> {
    const startMs = monoMs();
    this.child.kill('SIGTERM');
    const late = new AbortController();
    const by = await Promise.race([this.exited, pause(withinMs, late.signal).then(() => 'still there' as const)]);
    late.abort();
    return { tookMs: monoMs() - startMs, by };
  }

  /** A word on its standard input. */
  tell(word: string): void { this.child.stdin?.write(`${word}\n`); }

  freeze(): void { this.child.kill('SIGSTOP'); }
  thaw(): void { this.child.kill('SIGCONT'); }

  /** Lines from warning up, since `sinceMs`. */
  warnings(sinceMs = 0): LogLine[] { return this.lines.filter(({ level, atMs }) => level >= WARN && atMs >= sinceMs); }
  said(words: RegExp, sinceMs = 0): LogLine[] { return this.lines.filter(({ text, atMs }) => words.test(text) && atMs >= sinceMs); }

  /** Resident memory in KiB, where the system tells. */
  residentKiB(): number {
    try { return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1] ?? 0); } catch { return 0; }
  }
}

function asLine(text: string): LogLine {
  const atMs = monoMs();
  try {
    const { level, msg } = JSON.parse(text) as { level?: number; msg?: string };
    return { atMs, level: level ?? 0, msg: msg ?? '', text };
  } catch {
    return { atMs, level: 0, msg: text, text };
  }
}
