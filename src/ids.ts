// Ids: uuid v7 in the database, so that they sort by time; prefixed at the edge, so that a reader sees what they name.
import { randomFillSync } from 'node:crypto';
import { v7 } from 'uuid';
import { wallMs } from './clock.ts';

/** Drawn for so many ids at a time: for each by itself it costs five times the rest of an id. */
const drawn = Buffer.alloc(256 * 16);
let at = drawn.length;
let msecs = 0;
let seq = 0;

/** Of one process each sorts after the one before, also within a millisecond: its number there goes on from a random one. */
export function newId(): string {
  if (at === drawn.length) {
    randomFillSync(drawn);
    at = 0;
  }
  const random = drawn.subarray(at, at + 16);
  at += 16;
  const nowMs = wallMs();
  if (nowMs > msecs) [msecs, seq] = [nowMs, random.readUInt32BE() >>> 1];
  return v7({ random, msecs, seq: seq++ });
}

const PREFIXES = { run: 'run_', memory: 'mem_', trace: 'trc_', worker: 'wrk_', approval: 'apr_', signal: 'sig_', schedule: 'sch_', erasure: 'era_', document: 'doc_', chunk: 'chk_' } as const;
export type IdKind = keyof typeof PREFIXES;

/** `run_0192f0…`: the prefix and the uuid's 32 hexadecimal digits. */
export const publicId = (kind: IdKind, id: string): string => PREFIXES[kind] + id.replaceAll('-', '');

/** The uuid of a public id, or undefined when it is not one. */
export function parseId(kind: IdKind, text: string): string | undefined {
  const digits = text.startsWith(PREFIXES[kind]) ? text.slice(PREFIXES[kind].length) : '';
  if (!/^[0-9a-f]{32}$/.test(digits)) return undefined;
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`;
}
