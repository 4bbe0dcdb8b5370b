// The sink: a real HTTP service outside of the product that the machines' tools and notes write to. It keeps its own log of
// who asked what and when, applies a keyed write once per key, and can hold answers back: places where a worker is killed,
// stopped or cut off. What it says happened is the truth of I7 and I8.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { monoMs } from '../../src/clock.ts';

export const SINK_KINDS = ['keyed', 'unkeyed', 'read', 'note', 'once'] as const;
export type SinkKind = (typeof SINK_KINDS)[number];

export interface SinkRequest {
  readonly kind: SinkKind;
  readonly line: string;
  readonly key: string;
  /** uuid of the run */
  readonly run: string;
  readonly pid: number;
  /** As the step knew it; 0 in a tool, which is not told. */
  readonly fence: bigint;
  readonly atMs: number;
}

/** Something applied: once per key for keyed writes, once per call for the others. */
export interface Effect { readonly kind: 'keyed' | 'unkeyed'; readonly key: string; readonly run: string; readonly line: string }

type Match = (request: SinkRequest) => boolean;
interface Hold { readonly match: Match; readonly waiting: (() => void)[] }
interface Watch { readonly match: Match; left: number; readonly seen: (request: SinkRequest) => void }

export class Sink {
  readonly requests: SinkRequest[] = [];
  readonly effects: Effect[] = [];
  readonly #server: Server;
  readonly #keys = new Set<string>();
  #holds: Hold[] = [];
  #watches: Watch[] = [];

  private constructor(server: Server) { this.#server = server; }

  static async open(): Promise<Sink> {
    const server = createServer((request, response) => {
      void (async () => {
        const line = await text(request);
        const header = (name: string): string => String(request.headers[name] ?? '');
        const asked: SinkRequest = {
          kind: (request.url ?? '').slice(1) as SinkKind, line, key: header('idempotency-key'), run: header('x-run'), pid: Number(header('x-pid')), fence: BigInt(header('x-fence') || 0), atMs: monoMs(),
        };
        const first = sink.#apply(asked);
        await sink.#held(asked);
        response.end(JSON.stringify({ first }));
      })().catch(() => undefined); // a caller that died while it spoke
    });
    const sink = new Sink(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return sink;
  }

  get url(): string { return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`; }

  /** From now on requests like this get no answer, until `release`. */
  hold(match: Match): void { this.#holds.push({ match, waiting: [] }); }
  release(): void { for (const { waiting } of this.#holds.splice(0)) for (const one of waiting) one(); }

  /** Resolves with the `n`-th request like this that comes from now on. */
  next(match: Match, n = 1): Promise<SinkRequest> { return new Promise((seen) => { this.#watches.push({ match, left: n, seen }); }); }

  of(match: Partial<Pick<SinkRequest, 'kind' | 'line' | 'run' | 'pid'>>): SinkRequest[] {
    return this.requests.filter((one) => Object.entries(match).every(([name, value]) => one[name as keyof SinkRequest] === value));
  }

  async close(): Promise<void> {
    this.release();
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  /** True when this is the first of its kind: an effect that was applied, or a `once` never asked before. */
  #apply(asked: SinkRequest): boolean {
    this.requests.push(asked);
    const mark = asked.kind === 'once' ? `once ${asked.run} ${asked.line}` : `keyed ${asked.key}`;
    const repeated = (asked.kind === 'keyed' || asked.kind === 'once') && this.#keys.has(mark);
    if (asked.kind === 'keyed' || asked.kind === 'once') this.#keys.add(mark);
    if ((asked.kind === 'keyed' && !repeated) || asked.kind === 'unkeyed') this.effects.push({ kind: asked.kind, key: asked.key, run: asked.run, line: asked.line });
    return !repeated;
  }

  async #held(asked: SinkRequest): Promise<void> {
    for (const watch of this.#watches.filter(({ match }) => match(asked))) if (--watch.left === 0) watch.seen(asked);
    this.#watches = this.#watches.filter(({ left }) => left > 0);
    const hold = this.#holds.find(({ match }) => match(asked));
    if (hold) await new Promise<void>((resolve) => { hold.waiting.push(resolve); });
  }
}
