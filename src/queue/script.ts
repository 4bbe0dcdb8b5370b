// Lua scripts by file: text read once, joined to the shared head, called by its digest and sent whole only when Redis does
// not know it (after a restart). Every script is atomic; a lost reply may leave its effect done, so callers never build
// anything that must be true on a single reply.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

export interface Script {
  readonly text: string;
  readonly digest: string;
}

/** Reads `lua/<name>.lua` behind `lua/head.lua`. */
export function loadScript(name: string): Script {
  const text = ['head', name].map((file) => readFileSync(new URL(`./lua/${file}.lua`, import.meta.url), 'utf8')).join('\n');
  return { text, digest: createHash('sha1').update(text).digest('hex') };
}

/** Runs a script. Rejects with the client's error when Redis does not answer. */
export async function runScript(redis: Redis, script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
  try {
    return await redis.evalsha(script.digest, keys.length, ...keys, ...args);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
    return await redis.eval(script.text, keys.length, ...keys, ...args);
  }
}
