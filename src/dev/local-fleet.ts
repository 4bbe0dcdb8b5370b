// The fleet of one checkout: which processes `npm start` brings up, and their environment. What the caller's environment
// says wins over our choices, so `EMBEDDER=voyage npm start` does what it says. Ports are kept, so that addresses stay the
// same from one start to the next unless something else has taken one.
import { join } from 'node:path';
import type { ProcessPlan } from './fleet-processes.ts';
import { freePort, freePortNear } from './servers/ports.ts';
import { readJson, writeJson } from './servers/processes.ts';
import type { Stack } from './servers/stack.ts';

export interface LocalFleet {
  readonly plans: readonly ProcessPlan[];
  readonly apiUrl: string;
  /** The workers' own metrics, by process. */
  readonly metricsUrls: Readonly<Record<string, string>>;
  /** Whether Claude answers, or the local model stub. */
  readonly model: 'claude' | 'stub';
}

type Ports = Readonly<Record<'api' | 'desk' | 'data', number>>;
const USUAL: Ports = { api: 7_400, desk: 7_410, data: 7_411 };

export const WORKERS = ['agent-worker-1', 'agent-worker-2', 'memory-worker', 'maintenance-worker'] as const;
const scriptOf = (worker: string): string => `workers/${worker.split('-')[0]}.ts`;

export async function planFleet(stack: Stack, boardPassword: string, given: Readonly<Record<string, string | undefined>>): Promise<LocalFleet> {
  const ports = await keptPorts(join(stack.stateDir, 'ports.json'), Number(given['PORT'] || 0));
  const urlOf = (port: number): string => `http://127.0.0.1:${port}`;
  const healthPorts = await Promise.all(WORKERS.map(() => freePort()));
  const stubPort = given['ANTHROPIC_API_KEY'] || given['ANTHROPIC_API_KEY_FILE'] ? undefined : await freePort();
  const env = {
    ...storesOf(stack, given),
    ...(stubPort === undefined ? {} : { ANTHROPIC_API_KEY: 'local-stub', ANTHROPIC_BASE_URL: urlOf(stubPort) }),
    HOST: '127.0.0.1', PORT: String(ports.api), BOARD_PASSWORD: given['BOARD_PASSWORD'] || boardPassword,
    TICKET_DESK_URL: given['TICKET_DESK_URL'] || urlOf(ports.desk), DATA_SOURCE_URL: given['DATA_SOURCE_URL'] || urlOf(ports.data),
    ARTIFACTS_DIR: given['ARTIFACTS_DIR'] || join(stack.stateDir, 'artifacts'), DRAIN_MS: given['DRAIN_MS'] || '5000',
  };
  return {
    apiUrl: urlOf(ports.api),
    model: stubPort === undefined ? 'claude' : 'stub',
    metricsUrls: Object.fromEntries(WORKERS.map((worker, at) => [worker, `${urlOf(healthPorts[at] ?? 0)}/metrics`])),
    plans: [
      ...(stubPort === undefined ? [] : [{ name: 'model-stub', script: ['src/dev/model-stub/main.ts', String(stubPort)] as const, readyUrl: `${urlOf(stubPort)}/stub/calls` }]),
      { name: 'ticket-desk', script: ['examples/ticket-desk.ts', String(ports.desk), join(stack.stateDir, 'tickets.json')], readyUrl: `${urlOf(ports.desk)}/healthz` },
      { name: 'data-source', script: ['examples/data-source.ts', String(ports.data)], readyUrl: `${urlOf(ports.data)}/healthz` },
      { name: 'api', script: ['workers/api.ts'], env, readyUrl: `${urlOf(ports.api)}/readyz` },
      ...WORKERS.map((worker, at): ProcessPlan => ({ name: worker, script: [scriptOf(worker)], env: { ...env, HEALTH_PORT: String(healthPorts[at]) }, readyUrl: `${urlOf(healthPorts[at] ?? 0)}/readyz` })),
    ],
  };
}

/** Where the stores are; the embedder unless the caller chose one. */
function storesOf(stack: Stack, given: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const embedder: Record<string, string> = given['EMBEDDER'] ? {} : stack.embedderDir === undefined ? { EMBEDDER: 'lexical' } : { EMBEDDER: 'builtin', EMBEDDER_MODEL_DIR: stack.embedderDir };
  return { DATABASE_URL: stack.databaseUrl, REDIS_URL: stack.redisUrl, MILVUS_ADDRESS: stack.milvusAddress, MILVUS_DENSE_INDEX: given['MILVUS_DENSE_INDEX'] || stack.milvusDenseIndex, ...embedder };
}

async function keptPorts(file: string, wantedApi: number): Promise<Ports> {
  const before = { ...USUAL, ...readJson(file) as Partial<Ports> | undefined };
  const ports: Ports = { api: await freePortNear(wantedApi || before.api), desk: await freePortNear(before.desk), data: await freePortNear(before.data) };
  writeJson(file, ports);
  return ports;
}
