// Submit from a plain BullMQ job: the queue decides the tenant, the caller's job id is the idempotency key, scoped by its
// source, so that two producers of one tenant cannot meet in one key.
import { createHash } from 'node:crypto';
import { publicId } from '../ids.ts';
import type { IntakeOptions } from '../queue/intake.ts';
import type { SubmitRun } from './submit-run.ts';

export const makeSubmitJob = (submit: SubmitRun): IntakeOptions['submit'] => async (source, tenant, payload, key) => {
  const { id } = await submit({ ...payload, tenant, door: 'intake', idempotencyKey: key === undefined ? undefined : `intake:${source}:${shortened(key)}` });
  return { runId: publicId('run', id) };
};

/** BullMQ sets no limit to a job id, a key has one. */
const shortened = (key: string): string => (key.length <= 100 ? key : `sha256-${createHash('sha256').update(key).digest('hex')}`);
