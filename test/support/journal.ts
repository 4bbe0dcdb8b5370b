// The journal: a real HTTP service that a run's tools write to, with places where a test may hold an answer back.
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface Journal {
  readonly url: string;
  /** What was asked, in order: `note:before`, `keyed`, `unkeyed`. */
  readonly asked: string[];
  /** Lines in effect: one per key for keyed writes, one per call for the others. */
  readonly lines: { key: string; line: string }[];
  /** From now on requests named so get no answer, until `release`; resolves when the first is held. */
  hold(name: string): Promise<void>;
  release(): void;
  close(): Promise<void>;
}

export async function startJournal(): Promise<Journal> {
  const asked: string[] = [];
  const lines: { key: string; line: string }[] = [];
  let held: { name: string; seen: () => void } | undefined;
  const waiting: (() => void)[] = [];
  const server: Server = createServer((request, response) => {
    void (async () => {
      const body = await text(request);
      const name = request.url === '/note' ? `note:${body}` : (request.url ?? '').slice(1);
      const key = String(request.headers['idempotency-key'] ?? '');
      asked.push(name);
      const repeated = name === 'keyed' && lines.some((line) => line.key === key);
      if ((name === 'keyed' && !repeated) || name === 'unkeyed') lines.push({ key, line: body });
      if (held?.name === name) { held.seen(); await new Promise<void>((resolve) => waiting.push(resolve)); }
      response.end(JSON.stringify({ applied: !repeated }));
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref(); // a test that fails before its close must not keep the process
  const release = (): void => { held = undefined; for (const one of waiting.splice(0)) one(); };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    lines,
    hold: (name) => new Promise((seen) => { held = { name, seen }; }),
    release,
    async close() { release(); server.closeAllConnections(); server.close(); await once(server, 'close'); },
  };
}
