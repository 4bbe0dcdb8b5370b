// How a reply of Milvus becomes a value or an error. The SDK answers failures in three ways (a rejected gRPC call, a thrown
// status, a reply with a status) and turns "not implemented" into an empty reply; here they become two codes:
// `index_unavailable`, worth another try, and `index_rejected`, which is not. Nothing passes unread.
import { MainstayError, messageOf } from '../domain/errors.ts';

interface Status { readonly error_code?: unknown; readonly reason?: unknown; readonly code?: unknown; readonly retriable?: unknown }

/** Milvus' codes that pass: not ready, out of quota, not loaded (101), collection gone (100: we make it again). */
const passing = new Set([1, 2, 3, 4, 5, 7, 8, 9, 100, 101, 103, 503, 504]);
/** The collection is missing or not loaded: prepare again before the next call. */
const unprepared = new Set([100, 101]);
/** gRPC codes that mean the call was wrong; all others mean the server or the way to it. */
const wrongCall = new Set([3, 5, 6, 7, 9, 11, 12, 16]);

const asStatus = (value: unknown): Status | undefined => {
  if (typeof value !== 'object' || value === null) return undefined;
  if ('error_code' in value) return value;
  return 'status' in value ? asStatus(value.status) : undefined;
};

/** Runs one call of the SDK. `onUnprepared` is told when the collection is gone or released. */
export async function ask<T>(what: string, call: () => Promise<T>, onUnprepared: () => void = () => undefined): Promise<T> {
  let reply: T;
  try {
    reply = await call();
  } catch (thrown) {
    const status = asStatus(thrown);
    throw status ? fromStatus(what, status, onUnprepared) : fromThrown(what, thrown, onUnprepared);
  }
  const status = asStatus(reply);
  if (!status) throw new MainstayError('index_rejected', `Milvus does not support ${what}.`);
  if (!isSuccess(status)) throw fromStatus(what, status, onUnprepared);
  return reply;
}

const isSuccess = (status: Status): boolean => status.error_code === 'Success' || status.error_code === 0;

function fromStatus(what: string, status: Status, onUnprepared: () => void): MainstayError {
  const code = Number(status.code ?? 0);
  if (unprepared.has(code)) onUnprepared();
  const reason = typeof status.reason === 'string' ? status.reason.slice(0, 200) : '';
  const kind = passing.has(code) || status.retriable === true ? 'index_unavailable' : 'index_rejected';
  return new MainstayError(kind, `Milvus answered ${what} with code ${code}: ${reason}`);
}

function fromThrown(what: string, thrown: unknown, onUnprepared: () => void): MainstayError {
  if (thrown instanceof MainstayError) return thrown;
  // Our arguments are checked, so a TypeError is the SDK stumbling over a failed reply (a collection that has gone).
  if (thrown instanceof TypeError) onUnprepared();
  const code = typeof thrown === 'object' && thrown !== null && 'code' in thrown ? thrown.code : undefined;
  const kind = typeof code === 'number' && wrongCall.has(code) ? 'index_rejected' : 'index_unavailable';
  return new MainstayError(kind, `Milvus failed ${what}: ${messageOf(thrown).slice(0, 200)}`, { cause: thrown });
}

/** `work`, or `index_unavailable` after `timeoutMs`: the SDK's own limit does not cover all its steps. The work goes on unobserved. */
export async function within<T>(what: string, timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new MainstayError('index_unavailable', `Milvus did not answer ${what} within ${timeoutMs} ms.`)), timeoutMs);
  });
  work.catch(() => undefined);
  try { return await Promise.race([work, late]); } finally { clearTimeout(timer); }
}
