// The processes `npm start` brings up: real children, each with a log file and an environment of its own, asked until it is
// ready, told to stop in reverse order. A child that dies while it should live is reported with the end of its log. Those a
// killed start left behind are known by pid and start time, and ended before new ones begin.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { monoMs, pause } from '../clock.ts';
import { checkoutDir } from './servers/migrate.ts';
import { endProcess, endWithMe, markOf, readJson, tailOf, writeJson, type ProcessMark } from './servers/processes.ts';

/** As in the image (Dockerfile): with the 32 MiB of new objects that Node allows by itself a worker takes 80 MB more, and is no faster. */
export const NODE_FLAGS = ['--max-semi-space-size=16'];

export interface ProcessPlan {
  readonly name: string;
  /** Below the checkout, with arguments. */
  readonly script: readonly [file: string, ...args: string[]];
  readonly env?: Readonly<Record<string, string>>;
  /** Answers 200 when the process is ready. */
  readonly readyUrl: string;
}

interface Running { readonly plan: ProcessPlan; readonly child: ChildProcess; readonly mark: ProcessMark; readonly logFile: string; readonly ended: Promise<string> }

const READY_MS = 60_000;
/** Longer than the workers' own drain in development, see `localEnvironment`. */
const STOP_MS = 8_000;

export class FleetProcesses {
  readonly logsDir: string;
  readonly #marksFile: string;
  /** Compiled code from one start to the next: nine processes on two cores wait for little else. */
  readonly #compiledDir: string;
  readonly #onDeath: (report: string) => void;
  readonly #running: Running[] = [];
  #calm: () => void = () => undefined;
  #stopping = false;

  /** onDeath: told once per child that ended without being asked. */
  constructor(stateDir: string, onDeath: (report: string) => void) {
    this.logsDir = join(stateDir, 'logs');
    this.#marksFile = join(stateDir, 'fleet.json');
    this.#compiledDir = join(stateDir, 'compiled');
    this.#onDeath = onDeath;
    mkdirSync(this.logsDir, { recursive: true });
  }

  /** Ends what a killed start left running. */
  async endLeftovers(): Promise<void> {
    const marks = (readJson(this.#marksFile) ?? []) as readonly ProcessMark[];
    await Promise.all(marks.map((mark) => endProcess(mark, 'SIGTERM', 1_000)));
  }

  /** Starts them all at once; they wait for one another by themselves. */
  start(plans: readonly ProcessPlan[]): void {
    for (const plan of plans) this.#running.push(this.#spawn(plan));
    const marks = this.#running.map(({ mark }) => mark);
    writeJson(this.#marksFile, marks);
    this.#calm();
    this.#calm = endWithMe(marks);
  }

  /** Resolves when the named process says so; rejects with the end of its log when it died or takes a minute. */
  async ready(name: string): Promise<void> {
    const one = this.#running.find(({ plan }) => plan.name === name);
    if (!one) throw new Error(`no process ${name}`);
    const died = one.ended.then((how) => { throw new Error(this.#report(one, how)); });
    died.catch(() => undefined); // raced below; after the race nobody asks
    for (const endMs = monoMs() + READY_MS; ; await Promise.race([pause(40), died])) {
      if (await answers(one.plan.readyUrl)) return;
      if (monoMs() > endMs) throw new Error(this.#report(one, `was not ready after ${READY_MS / 1_000} s`));
    }
  }

  names(): string[] { return this.#running.map(({ plan }) => plan.name); }

  /** Latest first, each with its time to finish. Safe to call twice. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const { mark } of this.#running.splice(0).reverse()) await endProcess(mark, 'SIGTERM', STOP_MS);
    this.#calm();
    this.#calm = () => undefined;
    writeJson(this.#marksFile, []);
  }

  /** For the impatient: no time to finish. Runs go on at the next start. */
  kill(): void {
    this.#stopping = true;
    for (const mark of (readJson(this.#marksFile) ?? []) as readonly ProcessMark[]) void endProcess(mark, 'SIGKILL', 1_000);
  }

  #spawn(plan: ProcessPlan): Running {
    const logFile = join(this.logsDir, `${plan.name}.log`);
    if (existsSync(logFile)) renameSync(logFile, join(this.logsDir, `${plan.name}.before.log`)); // the last start's is kept
    const log = openSync(logFile, 'w', 0o600);
    const [file, ...args] = plan.script;
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...NODE_FLAGS, join(checkoutDir, file), ...args], {
      cwd: checkoutDir, stdio: ['ignore', log, log], env: { NODE_COMPILE_CACHE: this.#compiledDir, ...process.env, ...plan.env },
      detached: true, // a terminal's Ctrl-C is for us; we stop them in order
    });
    closeSync(log);
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(`could not be started: ${error.message}`));
      child.once('exit', (code, signal) => resolve(`ended with ${signal ?? `code ${code}`}`));
    });
    const running: Running = { plan, child, mark: markOf(child.pid ?? 0), logFile, ended };
    void ended.then((how) => { if (!this.#stopping) this.#onDeath(this.#report(running, how)); });
    return running;
  }

  #report({ plan, logFile }: Running, how: string): string {
    return `${plan.name} ${how}. The end of ${logFile}:\n${tailOf(logFile, 12)}`;
  }
}

const answers = (url: string): Promise<boolean> => fetch(url, { signal: AbortSignal.timeout(2_000) }).then((response) => response.ok, () => false);
