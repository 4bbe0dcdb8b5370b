// The text of a model's turn while it streams, for people who follow the run: a short Redis stream at `text:{run}`, never durable and
// never read by the engine. Text is provisional until its turn is settled; a turn that is discarded is withdrawn, also when its
// worker died and the next one begins anew. Writes are fire and forget, some at a time: an answer that is there at once writes
// nothing.
import type { Redis } from 'ioredis';
import { LIVE_TEXT_ENTRIES, LIVE_TEXT_TTL_MS, LIVE_TEXT_WRITE_MS } from '../domain/tunables.ts';
import type { RedisKeys } from '../redis.ts';
import { inTime } from './redis-script.ts';

/** `text`: a piece. `settled`: the turn is on record. `withdrawn`: it never was, forget its text. */
export type LiveKind = 'text' | 'settled' | 'withdrawn';
export interface LiveEntry {
  /** Place among the entries of the run. */
  readonly id: string;
  /** Step, path and attempt of the call. */
  readonly turn: string;
  readonly kind: LiveKind;
  readonly text: string;
}

/** The text of one turn, on its way out. */
export interface LiveTurn {
  push(text: string): void;
  settle(): void;
  withdraw(): void;
}

/** Before every entry. */
export const LIVE_START = '0';

export class LiveText {
  readonly #redis: Redis;
  readonly #keys: RedisKeys;

  constructor(redis: Redis, keys: RedisKeys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  open(run: string, turn: string): LiveTurn {
    let waiting = '';
    let timer: NodeJS.Timeout | undefined;
    let told = false;
    const flush = (): void => {
      timer = undefined;
      if (waiting !== '') this.#write(run, turn, 'text', waiting);
      told = true;
      waiting = '';
    };
    const end = (kind: LiveKind): void => {
      clearTimeout(timer);
      if (!told) return; // nobody has seen any of it
      if (kind === 'settled' && waiting !== '') this.#write(run, turn, 'text', waiting);
      this.#write(run, turn, kind, '');
    };
    return {
      push: (text) => {
        waiting += text;
        timer ??= setTimeout(flush, LIVE_TEXT_WRITE_MS).unref();
      },
      settle: () => end('settled'),
      withdraw: () => end('withdrawn'),
    };
  }

  /** What was written after this place, oldest first; nothing where Redis does not answer. */
  async read(run: string, after: string): Promise<LiveEntry[]> {
    try {
      const found = await inTime(this.#redis.xrange(this.#keys.text(run), after === LIVE_START ? '-' : `(${after}`, '+'));
      return found.map(([id, [, turn = '', , kind = 'text', , text = '']]) => ({ id, turn, kind: kind as LiveKind, text }));
    } catch {
      return [];
    }
  }

  #write(run: string, turn: string, kind: LiveKind, text: string): void {
    const key = this.#keys.text(run);
    void this.#redis.pipeline().xadd(key, 'MAXLEN', '~', LIVE_TEXT_ENTRIES, '*', 'turn', turn, 'kind', kind, 'text', text).pexpire(key, LIVE_TEXT_TTL_MS).exec().catch(() => undefined); // nobody depends on it
  }
}

/** What somebody who follows a run is told: pieces and ends of turns, each end once. A turn that another replaces is withdrawn. */
export class LiveReader {
  readonly #open = new Set<string>();
  readonly #over = new Set<string>();
  #isFirst = true;

  take(entries: readonly LiveEntry[]): Omit<LiveEntry, 'id'>[] {
    if (this.#isFirst) for (const { kind, turn } of entries) if (kind !== 'text') this.#over.add(turn); // what was over before one came is no news
    this.#isFirst = false;
    return entries.flatMap((entry) => {
      const { turn, kind, text } = entry;
      if (this.#over.has(turn)) return [];
      if (kind !== 'text') return this.#end(turn, kind);
      const replaced = [...this.#open].filter((other) => other !== turn && placeOf(other) === placeOf(turn));
      this.#open.add(turn);
      return [...replaced.flatMap((other) => this.#end(other, 'withdrawn')), { turn, kind, text }];
    });
  }

  /** The run has ended: what is still open belongs to its answer, or to nothing. */
  end(kind: 'settled' | 'withdrawn'): Omit<LiveEntry, 'id'>[] { return [...this.#open].flatMap((turn) => this.#end(turn, kind)); }

  #end(turn: string, kind: 'settled' | 'withdrawn'): Omit<LiveEntry, 'id'>[] {
    this.#over.add(turn);
    return this.#open.delete(turn) ? [{ turn, kind, text: '' }] : [];
  }
}

/** A turn without its attempt. */
const placeOf = (turn: string): string => turn.slice(0, turn.lastIndexOf('/'));
