// Lua in Redis with a hard limit on the time spent waiting for it. What lies in src/limits/ only saves work or protects a
// callee, so a Redis that does not answer within 300 ms counts as gone: the caller goes on without it, or says so.
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Log } from '../log.ts';
import { openRedis } from '../redis.ts';

/** Longest wait for one answer. A healthy Redis needs under a millisecond; a step must not stand for a frozen one. */
export const LIMITS_COMMAND_MS = 300;

/** The client for everything in src/limits/. */
export const openLimitsRedis = (url: string, log: Log): Redis => openRedis(url, 'fast', log, { commandTimeout: LIMITS_COMMAND_MS });

export type Script = (redis: Redis, key: string, args: readonly (string | number)[]) => Promise<unknown>;

/** A script over one key, sent by its digest. Rejects when Redis is gone, slow or refuses. */
export function script(lua: string): Script {
  const digest = createHash('sha1').update(lua).digest('hex');
  return (redis, key, args) => inTime(redis.evalsha(digest, 1, key, ...args).catch((error: unknown) => {
    if (error instanceof Error && error.message.startsWith('NOSCRIPT')) return redis.eval(lua, 1, key, ...args);
    throw error;
  }));
}

/** The answer, or a rejection after the limit. What arrives later is ignored. */
export async function inTime<T>(answer: Promise<T>, limitMs = LIMITS_COMMAND_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => { timer = setTimeout(() => reject(new Error(`Redis did not answer within ${limitMs} ms`)), limitMs); });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
