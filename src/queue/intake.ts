// Plain BullMQ jobs from any service, in any language: the queue `intake-<source>` belongs to one tenant by configuration. A
// job is parsed, submitted by the one use case, and answered: `{ runId }` once the run is committed; failed for good, with
// a stable code first, when it can never be accepted; otherwise put back, for as long as it takes. It never loses a job
// because a store was down, and never believes a tenant that a job names.
import { DelayedError, UnrecoverableError, type Job } from 'bullmq';
import { z } from 'zod';
import { wallMs } from '../clock.ts';
import { isMainstayError } from '../domain/errors.ts';
import { LANES } from '../domain/lane.ts';
import { INTAKE_BACKOFF_CAP_MS, INTAKE_BACKOFF_MS, MAX_NAME, MAX_PRIORITY, MAX_RUNNING_LIMIT } from '../domain/tunables.ts';
import type { Service } from '../service.ts';
import { intakeKeeps, intakeQueueName } from './bull-queue.ts';
import { makeBullWorker, type BullWorkerOptions, type InHand } from './bull-worker.ts';

const name = z.string().min(1).max(MAX_NAME);

/** What a plain job's data holds. The use case checks the rest: agent, its input's schema, sizes. */
export const intakePayload = z.strictObject({
  agent: name,
  input: z.unknown().refine((input) => input !== undefined, 'is required'),
  user: name.optional(),
  session: name.optional(),
  priority: z.int().min(-MAX_PRIORITY).max(MAX_PRIORITY).optional(),
  concurrency: z.strictObject({ key: name, limit: z.int().min(1).max(MAX_RUNNING_LIMIT) }).optional(),
  delayMs: z.int().min(0).optional(),
  startAt: z.iso.datetime({ offset: true }).optional(),
  lane: z.enum(LANES).optional(),
  deadlineAt: z.iso.datetime({ offset: true }).optional(),
  expiresInMs: z.int().min(1).optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
}).refine(({ delayMs, startAt }) => delayMs === undefined || startAt === undefined, { path: ['startAt'], message: 'give delayMs or startAt, not both' });

export type IntakePayload = z.infer<typeof intakePayload>;

export interface IntakeOptions extends Omit<BullWorkerOptions, 'queue'> {
  readonly source: string;
  readonly tenant: string;
  /** The use case. Rejects with a MainstayError; resolves once the run's row is committed. */
  submit(source: string, tenant: string, payload: IntakePayload, idempotencyKey: string | undefined): Promise<{ runId: string }>;
}

/** The consumer of one intake queue. */
export function makeIntake(options: IntakeOptions): Service {
  return makeBullWorker({ ...options, queue: intakeQueueName(options.source) }, intakeKeeps, (inHand) => submitJob(options, inHand));
}

async function submitJob(options: IntakeOptions, { job, token, warn }: InHand): Promise<{ runId: string }> {
  const payload = parse(job);
  try {
    const { runId } = await options.submit(options.source, options.tenant, payload, idempotencyKeyOf(options.source, job));
    return { runId };
  } catch (error) {
    if (isMainstayError(error) && error.kind.on === 'terminal') throw refusal(error.code, error.message);
    warn(error);
    await job.moveToDelayed(wallMs() + againInMs(job, error), token); // not a BullMQ attempt: those run out
    throw new DelayedError();
  }
}

function parse(job: Job): IntakePayload {
  const data: unknown = job.data;
  const tenantKey = typeof data === 'object' && data !== null ? Object.keys(data).find((key) => /^tenant(_?id)?$/i.test(key)) : undefined;
  if (tenantKey !== undefined) throw refusal('tenant_in_payload', `"${tenantKey}" must not be given: this queue decides the tenant`);
  const parsed = intakePayload.safeParse(data);
  if (!parsed.success) throw refusal('input_invalid', parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'data'}: ${message}`).join('; '));
  if ((job.id ?? '').length > MAX_NAME) throw refusal('input_invalid', `the job's id is longer than ${MAX_NAME} characters`);
  return parsed.data;
}

/** Fails a job for good. The code stands first, so that a producer in any language can read it. */
const refusal = (code: string, detail: string): UnrecoverableError => new UnrecoverableError(`${code}: ${detail}`);

/**
 * A job id the caller set is its idempotency key. BullMQ's own are plain integers that begin again at 1 when Redis was wiped:
 * they say nothing by themselves, but with the moment the job was added they name this job, so that one that BullMQ delivers
 * twice (its worker died after the commit) is still one run.
 */
function idempotencyKeyOf(source: string, job: Job): string | undefined {
  if (job.id === undefined) return undefined;
  return /^[1-9]\d*$/.test(job.id) ? `bullmq:${source}:${job.id}:${job.timestamp}` : job.id;
}

/** Doubles with each start of the job, with up to half of it as jitter; what the error asks for is the least. */
function againInMs(job: Job, error: unknown): number {
  const doubled = Math.min(INTAKE_BACKOFF_CAP_MS, INTAKE_BACKOFF_MS * 2 ** Math.min(16, Math.max(0, job.attemptsStarted - 1)));
  const asked = isMainstayError(error) ? (error.retryAfterMs ?? 0) : 0;
  return Math.ceil(Math.max(asked, doubled * (1 + Math.random() / 2)));
}
