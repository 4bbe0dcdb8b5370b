// Live state and progress of a run at `job:{run}`, for people who look: never durable, never read by the engine. Writes are
// fire and forget and never throw; of a burst only the latest is sent, and a worker that lost its run (an older fence)
// cannot overwrite what its successor shows.
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { wallMs } from '../clock.ts';
import { RUN_STATUSES, type RunStatus } from '../domain/status.ts';
import { JOB_STATE_TTL_S } from '../domain/tunables.ts';
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

export class JobStates {
  readonly #redis: Redis;
  readonly #keys: RedisKeys;
  readonly #ttlS: number;
  /** Runs whose write is on its way, with what came since; `gone`: nothing is to be shown any more. */
  readonly #sending = new Map<string, JobUpdate | 'gone' | undefined>();

  constructor(redis: Redis, keys: RedisKeys, ttlS = JOB_STATE_TTL_S) {
    this.#redis = redis;
    this.#keys = keys;
    this.#ttlS = ttlS;
  }

  /** A run that waits or has ended holds nothing in Redis. */
  clear(run: string): void { this.write(run, 'gone'); }

  write(run: string, update: JobUpdate | 'gone'): void {
    const busy = this.#sending.has(run);
    this.#sending.set(run, busy ? update : undefined);
    if (!busy) void this.#send(run, update);
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

  async #send(run: string, update: JobUpdate | 'gone'): Promise<void> {
    try {
      if (update === 'gone') await inTime(this.#redis.del(this.#keys.job(run)));
      else await putScript(this.#redis, this.#keys.job(run), [String(update.fence), textOf(update), this.#ttlS]);
    } catch {
      // nobody depends on it
    }
    const next = this.#sending.get(run);
    this.#sending.delete(run);
    if (next) this.write(run, next);
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
