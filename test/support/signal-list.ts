// A list one can wait on: tests wait for the next named event, never for a guessed time.

export interface SignalList<T> {
  push(item: T): void;
  /** The next item that has not been handed out yet; waits until there is one. */
  next(): Promise<T>;
}

export function signalList<T>(): SignalList<T> {
  const items: T[] = [];
  const waiting: ((item: T) => void)[] = [];
  return {
    push: (item) => { const first = waiting.shift(); if (first) first(item); else items.push(item); },
    next: () => (items.length > 0 ? Promise.resolve(items.shift() as T) : new Promise((resolve) => { waiting.push(resolve); })),
  };
}
