// A TCP proxy of our own, between the fleet and a store: it passes, delays, swallows (a half-open connection: bytes are taken,
// none come out, nobody is told), refuses, resets, half closes, holds bytes back and delivers them late, and drops the one
// reply that follows a pattern. It counts what it really did, so that a row can tell that its fault landed. Where it chooses,
// it chooses by the seed.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  /** Bytes are taken and go nowhere; an end on one side is not told to the other. */
  swallowing: boolean;
  /** The next bytes of the server are thrown away and the connection reset. */
  dropping: boolean;
  /** End of what the client sent last: a pattern may lie across two chunks. */
  tail: Buffer;
}

interface Drop { readonly pattern: Buffer; left: number; readonly chance: number }

export class Proxy {
  readonly port: number;
  readonly #listener: Server;
  readonly #random: () => number;
  readonly #pairs = new Set<Pair>();
  #targetPort: number;
  #delayMs = 0;
  #mode: 'pass' | 'swallow' | 'refuse' = 'pass';
  #drop: Drop | undefined;
  /** What waits to be delivered, in order, while bytes are held back. */
  #held: (() => void)[] | undefined;
  readonly counts = { accepted: 0, resets: 0, repliesDropped: 0, bytesSwallowed: 0, refused: 0, bytesHeld: 0, bytesDelayed: 0 };

  private constructor(listener: Server, targetPort: number, random: () => number) {
    this.#listener = listener;
    this.port = (listener.address() as AddressInfo).port;
    this.#targetPort = targetPort;
    this.#random = random;
    listener.on('connection', (client) => this.#accept(client));
  }

  static async open(targetPort: number, random: () => number): Promise<Proxy> {
    const listener = createServer({ allowHalfOpen: true });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return new Proxy(listener, targetPort, random);
  }

  /** `url` with this proxy's port in place of the server's. */
  inFrontOf(url: string): string {
    const through = new URL(url);
    through.port = String(this.port);
    return through.href;
  }

  get open(): number { return this.#pairs.size; }

  /** New connections go to this port; those that stand are left alone. */
  target(port: number): void { this.#targetPort = port; }
  delay(ms: number): void { this.#delayMs = ms; }

  /** Connections that stand become half-open; with `all` new ones are too. Answers how many stood. */
  blackhole(which: 'standing' | 'all'): number {
    for (const pair of this.#pairs) pair.swallowing = true;
    if (which === 'all') this.#mode = 'swallow';
    return this.#pairs.size;
  }

  /** New connections are reset at once, standing ones now. */
  refuse(): void { this.#mode = 'refuse'; this.reset(); }

  /** Everything passes again; a connection that lost bytes cannot go on and is reset. */
  pass(): void {
    this.#mode = 'pass';
    for (const pair of [...this.#pairs]) if (pair.swallowing) this.#reset(pair);
  }

  /** Resets each standing connection with this chance. */
  reset(chance = 1): void { for (const pair of [...this.#pairs]) if (chance >= 1 || this.#random() < chance) this.#reset(pair); }

  /** From now on bytes and ends of both sides wait here; `letGo` delivers them in order, however late. */
  hold(): void { this.#held ??= []; }
  letGo(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const deliver of held) deliver();
  }

  /** The client sees an end, but may go on writing. */
  halfClose(): void { for (const pair of this.#pairs) pair.client.end(); }

  /** Of the next `times` requests that hold `pattern` the server gets all, and the client no answer but a reset. */
  dropReplies(pattern: string | Buffer, times: number, chance = 1): void { this.#drop = { pattern: Buffer.from(pattern), left: times, chance }; }

  async close(): Promise<void> {
    for (const pair of [...this.#pairs]) { pair.client.destroy(); pair.server.destroy(); }
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    await closed;
  }

  #accept(client: Socket): void {
    this.counts.accepted++;
    client.on('error', () => undefined); // an error is followed by a close, which is dealt with
    if (this.#mode === 'refuse') { this.counts.refused++; client.resetAndDestroy(); return; }
    const server = connect({ port: this.#targetPort, host: '127.0.0.1', allowHalfOpen: true });
    server.on('error', () => undefined);
    const pair: Pair = { client, server, swallowing: this.#mode === 'swallow', dropping: false, tail: Buffer.alloc(0) };
    this.#pairs.add(pair);
    client.setNoDelay(true);
    server.setNoDelay(true);
    client.on('data', (chunk: Buffer) => { this.#look(pair, chunk); this.#forward(pair, server, chunk); });
    server.on('data', (chunk: Buffer) => {
      if (pair.dropping) { this.counts.repliesDropped++; this.#reset(pair); return; }
      this.#forward(pair, client, chunk);
    });
    for (const [from, to] of [[client, server], [server, client]] as const) {
      from.on('end', () => { if (!pair.swallowing) this.#later(() => to.end()); });
      from.on('close', (hadError) => {
        if (pair.swallowing && from === server) return; // the client of a half-open connection is not told
        this.#pairs.delete(pair);
        if (hadError) this.#later(() => { if (!to.destroyed) to.resetAndDestroy(); });
        else this.#later(() => to.destroySoon());
      });
    }
  }

  #look(pair: Pair, chunk: Buffer): void {
    const drop = this.#drop;
    if (!drop || drop.left <= 0 || pair.swallowing) return;
    const seen = Buffer.concat([pair.tail, chunk]);
    pair.tail = seen.subarray(Math.max(0, seen.length - drop.pattern.length + 1));
    if (!seen.includes(drop.pattern) || (drop.chance < 1 && this.#random() >= drop.chance)) return;
    drop.left--;
    pair.dropping = true;
  }

  #forward(pair: Pair, to: Socket, chunk: Buffer): void {
    if (pair.swallowing) { this.counts.bytesSwallowed += chunk.length; return; }
    if (this.#held) this.counts.bytesHeld += chunk.length;
    if (this.#delayMs > 0) this.counts.bytesDelayed += chunk.length;
    this.#later(() => { if (!to.destroyed && to.writable) to.write(chunk); });
  }

  /** With a constant delay timers fire in the order in which they were set, so chunks stay in theirs. */
  #later(work: () => void): void {
    if (this.#held) this.#held.push(work);
    else if (this.#delayMs <= 0) work();
    else setTimeout(work, this.#delayMs).unref();
  }

  #reset(pair: Pair): void {
    this.#pairs.delete(pair);
    this.counts.resets++;
    pair.swallowing = false;
    pair.client.resetAndDestroy();
    pair.server.resetAndDestroy();
  }
}
