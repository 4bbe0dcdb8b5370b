// Our own rules for compose.yaml: the stores as we need them, the processes hardened and complete. Answers sentences, one
// per fault.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { checkoutDir } from '../../src/dev/servers/migrate.ts';
import { configFaults } from './config-rules.ts';

export interface Service {
  image?: string;
  command?: string[];
  environment?: Record<string, string>;
  depends_on?: Record<string, { condition: string }>;
  volumes?: string[];
  ports?: string[];
  healthcheck?: unknown;
  read_only?: boolean;
  cap_drop?: string[];
  security_opt?: string[];
  stop_grace_period?: string;
  deploy?: { replicas?: number };
  build?: { context: string; target?: string };
}
export interface Compose { services: Record<string, Service>; volumes: Record<string, unknown> }

const processes = ['api', 'agent-worker', 'memory-worker', 'maintenance-worker'];
const stores = ['redis', 'postgres', 'milvus'];

/** The file with its merges done and its variables filled in, as compose sees it when every required one is given. */
export const readCompose = (text: string): Compose => fill(parse(text, { merge: true })) as Compose;

/** `${KEY:-default}` becomes the default, any other variable a made-up value. */
function fill(node: unknown): unknown {
  if (typeof node === 'string') return node.replace(/\$\{([A-Z0-9_]+)(?::([?-])([^}]*))?\}/g, (_, key: string, sort?: string, rest = '') => (sort === '-' ? rest : `a-${key.toLowerCase()}`));
  if (Array.isArray(node)) return node.map(fill);
  if (typeof node !== 'object' || node === null) return node;
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, fill(value)]));
}

export function composeFaults({ services, volumes }: Compose): string[] {
  const missing = [...processes, ...stores, 'migrate'].filter((name) => !services[name]).map((name) => `${name}: is missing`);
  if (missing.length > 0) return missing;
  return Object.entries(services).flatMap(([name, service]) => [
    ...anyService(name, service, services, volumes),
    ...(stores.includes(name) ? store(name, service) : own(name, service)),
    ...(processes.includes(name) ? processOf(name, service) : []),
  ]).concat((services['agent-worker']?.deploy?.replicas ?? 1) >= 2 ? [] : ['agent-worker: one worker shows nothing of what a fleet does']);
}

function anyService(name: string, service: Service, services: Compose['services'], volumes: Compose['volumes']): string[] {
  const faults = /:[^/]+$/.test(service.image ?? '') && !service.image?.endsWith(':latest') ? [] : [`${name}: its image has no version`];
  for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
    const there = services[other];
    if (!there) faults.push(`${name}: depends on ${other}, which is not there`);
    else if (condition === 'service_healthy' && !there.healthcheck) faults.push(`${name}: waits for the health of ${other}, which says nothing about it`);
  }
  for (const volume of service.volumes ?? []) if (!(volume.split(':')[0]! in volumes)) faults.push(`${name}: volume ${volume} is not declared`);
  for (const port of service.ports ?? []) if (!port.startsWith('127.0.0.1:')) faults.push(`${name}: ${port} is open to the network`);
  return faults;
}

function store(name: string, { command = [], ports, volumes, healthcheck, environment = {} }: Service): string[] {
  const words = command.join(' ');
  const faults = [...(ports ? [`${name}: a store is nobody else's business`] : []), ...(volumes ? [] : [`${name}: keeps nothing`]), ...(healthcheck ? [] : [`${name}: nobody knows when it is ready`])];
  if (name === 'redis' && !/--appendonly yes/.test(words)) faults.push('redis: without its append-only file a restart forgets what waits');
  if (name === 'redis' && !/--maxmemory-policy noeviction/.test(words)) faults.push('redis: BullMQ needs noeviction');
  if (name === 'milvus' && environment['DEPLOY_MODE'] !== 'STANDALONE') faults.push('milvus: standalone is not said, and 2.6 then does not start alone');
  return faults;
}

/** What we build: hardened as in Kubernetes. */
function own(name: string, { build, read_only: readOnly, cap_drop: dropped, security_opt: options }: Service): string[] {
  const rules: [boolean, string][] = [
    [build?.context === '.', 'is not built from here'],
    [readOnly === true, 'has a writable root file system'],
    [dropped?.includes('ALL') === true, 'keeps capabilities'],
    [options?.includes('no-new-privileges:true') === true, 'may escalate its privileges'],
  ];
  return rules.filter(([holds]) => !holds).map(([, fault]) => `${name}: ${fault}`);
}

function processOf(name: string, { command = [], environment = {}, depends_on: after, stop_grace_period: grace }: Service): string[] {
  const faults = configFaults(name, environment, true);
  const source = /^dist\/(.+)\.js$/.exec(command[1] ?? '')?.[1];
  if (!source || !existsSync(join(checkoutDir, `${source}.ts`))) faults.push(`${name}: ${command.join(' ')} starts nothing of ours`);
  if (after?.['migrate']?.condition !== 'service_completed_successfully') faults.push(`${name}: does not wait for the migrations`);
  if (!(Number(/^(\d+)s$/.exec(grace ?? '')?.[1]) * 1_000 >= Number(environment['DRAIN_MS'] ?? 20_000) + 10_000)) faults.push(`${name}: is killed before its drain can end`);
  return faults;
}
