// Live state and progress of a run at `job:{run}`, for people who look: never durable, never read by the engine. Writes are
// fire and forget and never throw. They are sent late, the latest of a quarter of a second, so that a run nobody can have
// looked at costs Redis nothing; a worker that lost its run (an older fence) cannot overwrite what its successor shows.
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { wallMs } from '../clock.ts';
import { RUN_STATUSES, type RunStatus } from '../domain/status.ts';
import { JOB_STATE_TTL_S, JOB_STATE_WRITE_MS } from '../domain/tunables.ts';
import type { RedisKeys } from '../redis.ts';
import { inTime, script } from './redis-script.ts';

// Writes unless a newer fence has written. ARGV: fence, JSON, ttl in s. Output: 1 written, 0 not.
const putScript = script(`
  local there = redis.call('GET', KEYS[1])
  if there then
    local readable, state = pcall(cjson.decode, there)
    if readable and type(state) == 'table' and (tonumber(state.fence) or 0) > tonumber(ARGV[1]) then return 0 end
  end
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return 1`);

const jobStateSchema = z.object({
  status: z.enum(RUN_STATUSES),
  step: z.string().nullable(),
  /** 0 to 1 */
  progress: z.number(),
  /** Short, without content. */
  note: z.string(),
  /** The worker's incarnation. */
  worker: z.string(),
  /** Decimal digits: a fence is a bigint. */
  fence: z.string(),
  /** ISO 8601, by the writer's wall clock. */
  updatedAt: z.string(),
});
export type JobState = z.infer<typeof jobStateSchema>;

export interface JobUpdate {
  readonly status: RunStatus;
  readonly step: string | null;
  readonly progress: number;
  readonly note?: string;
  readonly worker: string;
  readonly fence: bigint;
}

const MAX_NOTE = 200;

/** `sent`: the last write, when there was one. */
interface Shown { latest: JobUpdate; timer: NodeJS.Timeout | undefined; sent: Promise<void> | undefined }

export class JobStates {
  readonly #redis: Redis;
  readonly #keys: RedisKeys;
  readonly #ttlS: number;
  readonly #shown = new Map<string, Shown>();

  constructor(redis: Redis, keys: RedisKeys, ttlS = JOB_STATE_TTL_S) {
    this.#redis = redis;
    this.#keys = keys;
    this.#ttlS = ttlS;
  }

  /** A run that waits or has ended holds nothing in Redis. */
  clear(run: string): void {
    const sent = this.forget(run);
    if (sent) void sent.then(() => inTime(this.#redis.del(this.#keys.job(run)))).catch(() => undefined); // it ends with its life
  }

  /** Writes no more about a run and leaves what is shown to its next worker. */
  forget(run: string): Promise<void> | undefined {
    const shown = this.#shown.get(run);
    clearTimeout(shown?.timer);
    this.#shown.delete(run);
    return shown?.sent;
  }

  write(run: string, update: JobUpdate): void {
    const shown: Shown = this.#shown.get(run) ?? { latest: update, timer: undefined, sent: undefined };
    this.#shown.set(run, shown);
    shown.latest = update;
    shown.timer ??= setTimeout(() => { shown.timer = undefined; shown.sent = this.#send(run, shown.latest); }, JOB_STATE_WRITE_MS).unref();
  }

  /** What was last shown, or undefined: ended long ago, never begun, unreadable or out of reach. */
  async read(run: string): Promise<JobState | undefined> {
    try {
      const text = await inTime(this.#redis.get(this.#keys.job(run)));
      return text === null ? undefined : jobStateSchema.safeParse(JSON.parse(text)).data;
    } catch {
      return undefined;
    }
  }

  async #send(run: string, update: JobUpdate): Promise<void> {
    try {
      await putScript(this.#redis, this.#keys.job(run), [String(update.fence), textOf(update), this.#ttlS]);
    } catch {
      // nobody depends on it
    }
  }
}

function textOf({ status, step, progress, note = '', worker, fence }: JobUpdate): string {
  const state: JobState = {
    status,
    step,
    progress: Number.isFinite(progress) ? Math.min(Math.max(progress, 0), 1) : 0,
    note: note.slice(0, MAX_NOTE),
    worker,
    fence: String(fence),
    updatedAt: new Date(wallMs()).toISOString(),
  };
  return JSON.stringify(state);
}
