// The few lines of HTTP that both little services of the examples share: JSON in, JSON out, errors as { error }.
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pathToFileURL } from 'node:url';

export interface Asked {
  /** e.g. `GET /tickets` */
  readonly route: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: Readonly<Record<string, unknown>>;
}
export interface Answer { readonly status: number; readonly body: unknown }

export interface JsonServer {
  readonly url: string;
  stop(): Promise<void>;
}

const MAX_BODY_BYTES = 256 * 1024;

/** Loopback, but for a program that is started with `--any-host`: in a container others must reach it. */
const host = (): string => (process.argv.includes('--any-host') ? '0.0.0.0' : '127.0.0.1');

/** Serves on loopback; `port` 0 is a free one. */
export async function serveJson(port: number, answer: (asked: Asked) => Answer): Promise<JsonServer> {
  const server = createServer((request, response) => {
    void readBody(request)
      .then((body): Answer => {
        const url = new URL(request.url ?? '/', 'http://service');
        return answer({ route: `${request.method} ${url.pathname}`, query: url.searchParams, headers: request.headers, body });
      })
      .catch((error: unknown): Answer => ({ status: 400, body: { error: error instanceof Error ? error.message : String(error) } }))
      .then(({ status, body }) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)));
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host(), resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Error('the body is too large');
    chunks.push(chunk);
  }
  const value = bytes === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('the body must be a JSON object');
  return value as Record<string, unknown>;
}

/** When the file is started as a program: starts the service, prints its address and serves until it is told to stop. */
export async function mainOf(fileUrl: string, start: (port: number) => Promise<JsonServer>): Promise<void> {
  if (!process.argv[1] || pathToFileURL(process.argv[1]).href !== fileUrl) return;
  const server = await start(Number(process.argv[2] ?? 0));
  console.log(server.url);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => { void server.stop().then(() => process.exit(0)); });
}
