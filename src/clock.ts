// The only file that asks the machine for the time. Decisions about runs use the database's clock; this one is for
// durations, deadlines inside this process and the names of things; and where waiting for time ends early.

/** Milliseconds since the epoch by the wall clock; may step backwards. */
export const wallMs = (): number => Date.now();

/** Milliseconds of a clock that only goes forward; its zero means nothing. */
export const monoMs = (): number => performance.now();

/** Resolves after `ms` milliseconds, or at once when `signal` aborts. Never rejects. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => { clearTimeout(timer); signal?.removeEventListener('abort', done); resolve(); };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });

/** Aborts `child` with the reason `parent` aborts with. Answers with what ends it, after which `parent` holds nothing of it: for
 *  signals of short lives under one of a long life, where AbortSignal.any leaves something behind each time. */
export function follow(parent: AbortSignal, child: AbortController): () => void {
  const end = (): void => child.abort(parent.reason);
  if (parent.aborted) end();
  else parent.addEventListener('abort', end, { once: true });
  return () => parent.removeEventListener('abort', end);
}
