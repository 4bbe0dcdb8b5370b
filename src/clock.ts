// The only file that asks the machine for the time. Decisions about runs use the database's clock; this one is for
// durations, deadlines inside this process and the names of things.

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
