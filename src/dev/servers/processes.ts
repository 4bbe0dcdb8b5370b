// Other processes of this machine: run one to its end, tell whether a recorded one is still the same, end it. A process
// is known by pid *and* start time, because pids are used again; only what was recorded so is ever signalled.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { monoMs, pause } from '../../clock.ts';

export interface ProcessMark { readonly pid: number; readonly startedAt: string }

/** When the process started, as this system words it; undefined when there is none (or only its zombie). */
export function startOf(pid: number): string | undefined {
  try {
    if (process.platform !== 'linux') return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim() || undefined;
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the name before it may hold spaces
    return fields[0] === 'Z' ? undefined : `${bootId()}:${fields[19]}`;
  } catch {
    return undefined;
  }
}

/** Start times count from boot: without the boot's id a recorded process could come back to life after a reboot. */
const bootId = (): string => {
  const file = '/proc/sys/kernel/random/boot_id';
  return existsSync(file) ? readFileSync(file, 'utf8').trim().slice(0, 8) : '';
};

export const markOf = (pid: number): ProcessMark => ({ pid, startedAt: startOf(pid) ?? 'gone' });
export const isSame = (mark: ProcessMark): boolean => startOf(mark.pid) === mark.startedAt;

/** Sends `signal`, waits for the end, then SIGKILL after `graceMs`. Does nothing to a process that is not `mark`. */
export async function endProcess(mark: ProcessMark, signal: NodeJS.Signals, graceMs: number): Promise<void> {
  if (!isSame(mark)) return;
  process.kill(mark.pid, signal);
  if (await goneWithin(mark, graceMs)) return;
  try { process.kill(mark.pid, 'SIGKILL'); } catch { return; }
  await goneWithin(mark, 5_000);
}

async function goneWithin(mark: ProcessMark, withinMs: number): Promise<boolean> {
  for (const endMs = monoMs() + withinMs; monoMs() < endMs; await pause(10)) if (!isSame(mark)) return true;
  return !isSame(mark);
}

/** Runs a command to its end. Rejects with the last lines it wrote. */
export const run = (command: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number } = {}): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile(command, args, { cwd: options.cwd, env: options.env ?? process.env, timeout: options.timeoutMs ?? 600_000, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      const said = `${stdout}\n${stderr}`.trim().split('\n').slice(-12).join('\n');
      reject(new Error(`${command} ${args.slice(0, 3).join(' ')} failed (${error.code ?? error.signal ?? ''}): ${said || error.message}`));
    });
  });

/**
 * Ends `marks` as soon as this process is gone, however it went: a shell waits for the end of a pipe only we hold. For
 * throw-away servers only; those that keep data are found again and adopted by the next start.
 */
export function endWithMe(marks: readonly ProcessMark[]): () => void {
  const kills = marks.map((mark) => `kill -QUIT ${mark.pid} 2>/dev/null || kill -KILL ${mark.pid} 2>/dev/null`).join('; ');
  const guard = spawn('sh', ['-c', `read -r calm && [ "$calm" = calm ] || { ${kills}; }`], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  guard.unref();
  guard.stdin.on('error', () => undefined);
  (guard.stdin as unknown as { unref?: () => void }).unref?.();
  return () => guard.stdin.end('calm\n');
}

/** Reads JSON that one of our own files holds; undefined when it is missing or torn. */
export function readJson(file: string): unknown {
  try { return JSON.parse(readFileSync(file, 'utf8')); } catch { return undefined; }
}

/** Replaces a JSON file in one move, readable by its owner only: it may hold a password. */
export function writeJson(file: string, value: unknown): void {
  const next = `${file}.${process.pid}`;
  writeFileSync(next, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  renameSync(next, file);
}

/** The last lines of a log file, for an error message. */
export function tailOf(file: string, lines = 8): string {
  try { return readFileSync(file, 'utf8').trim().split('\n').slice(-lines).join('\n'); } catch { return ''; }
}
