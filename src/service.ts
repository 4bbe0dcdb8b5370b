// One contract for everything that runs in the background: start in order, stop in reverse, each with a deadline.
// `stop` is safe when the service never started and when it is called twice.
import { pause } from './clock.ts';
import { messageOf } from './domain/errors.ts';
import type { Log } from './log.ts';

export interface Service {
  readonly name: string;
  /** The longest that `stop` takes by its own promise, milliseconds; undefined = the general deadline. */
  readonly stopMs?: number;
  start(): Promise<void>;
  /** Ends the service. Must not throw; what it cannot finish it leaves to the stores. */
  stop(): Promise<void>;
}

/** Starts services in order; on a failure stops those already started and rethrows. */
export async function startAll(services: readonly Service[], log: Log): Promise<() => Promise<void>> {
  const started: Service[] = [];
  const stopAll = async (): Promise<void> => {
    for (const service of started.splice(0).reverse()) await stopWithin(service, service.stopMs ?? stopDeadlineMs, log);
  };
  try {
    for (const service of services) {
      started.push(service);
      await service.start();
    }
  } catch (error) {
    await stopAll();
    throw error;
  }
  return stopAll;
}

/** Longest a service that names no time of its own may take to stop: a Redis or Postgres that is gone must not hold the process. */
const stopDeadlineMs = 25_000;
/** For what is closed after the services, one by one. */
const closeDeadlineMs = 1_000;

/** Waits for `work`, but no longer than `deadlineMs`. Never rejects; false = the deadline came first. */
export async function within(work: Promise<unknown>, deadlineMs: number): Promise<boolean> {
  const ended = new AbortController();
  const done = work.then(() => true, () => true);
  const result = await Promise.race([done, pause(deadlineMs, ended.signal).then(() => false)]);
  ended.abort();
  return result;
}

/** Closes in order what a process has opened; what hangs is left to the end of the process. */
export async function closeAll(closes: readonly (() => unknown)[]): Promise<void> {
  for (const close of closes) await within(Promise.resolve().then(close), closeDeadlineMs);
}

async function stopWithin(service: Service, deadlineMs: number, log: Log): Promise<void> {
  const ended = service.stop().catch((error: unknown) => log.warn({ service: service.name, error: messageOf(error) }, 'service failed to stop'));
  if (!(await within(ended, deadlineMs))) log.warn({ service: service.name, deadlineMs }, 'service did not stop in time');
}

/** Runs `main` as a process: SIGTERM and SIGINT stop it once, an error ends it with code 1. */
export function runProcess(main: () => Promise<() => Promise<void>>, log: Log): void {
  let stop: (() => Promise<void>) | undefined;
  let stopping = false;
  const end = (signal: string): void => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'stopping');
    void (stop?.() ?? Promise.resolve()).finally(() => { log.info('stopped'); process.exit(0); });
  };
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  main().then(
    (stopper) => { stop = stopper; if (stopping) void stopper().finally(() => process.exit(0)); },
    (error: unknown) => { log.fatal({ error: messageOf(error), stack: error instanceof Error ? error.stack : undefined }, 'could not start'); process.exit(1); },
  );
}
