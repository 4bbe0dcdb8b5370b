// The small server beside a worker: is it alive, is it ready, what does it measure. Nothing of a tenant is served here; its
// port is for the cluster's own probes and scrapers. A readiness check that hangs counts as not ready.
import fastify, { type FastifyInstance } from 'fastify';
import { pause } from '../clock.ts';
import type { Metrics } from '../metrics.ts';
import type { Service } from '../service.ts';

export interface HealthServerOptions {
  readonly host: string;
  /** 0 picks a free one, see `port` of the server. */
  readonly port: number;
  ready(): Promise<boolean>;
  readonly metrics: Metrics;
}

export interface HealthServer extends Service {
  /** The port it listens on; undefined before its start. */
  readonly port: number | undefined;
}

/** Longest a readiness check may take: less than a probe waits. */
export const READY_CHECK_MS = 2_000;

export function makeHealthServer({ host, port, ready, metrics }: HealthServerOptions): HealthServer {
  const app = fastify({ logger: false, forceCloseConnections: true, exposeHeadRoutes: false });
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const isReady = await checkInTime(ready);
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'unavailable' });
  });
  app.get('/metrics', async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()));
  return {
    name: 'health',
    get port() { return portOf(app); },
    start: async () => { await app.listen({ host, port }); },
    stop: () => app.close(),
  };
}

/** False for a check that fails, says no, or takes longer than READY_CHECK_MS. */
export async function checkInTime(check: () => Promise<boolean>): Promise<boolean> {
  const ended = new AbortController();
  const answer = check().catch(() => false);
  const result = await Promise.race([answer, pause(READY_CHECK_MS, ended.signal).then(() => false)]);
  ended.abort();
  return result;
}

function portOf(app: FastifyInstance): number | undefined {
  const address = app.server.address();
  return address !== null && typeof address === 'object' ? address.port : undefined;
}
