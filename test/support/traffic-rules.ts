// Our own rules for what reaches what in Kubernetes: scaling, the walls between pods, and what is public. Sentences, one
// per fault, as in manifest-rules.ts.
import type { Resource } from './kustomize.ts';
import { environmentOf, matches, ofKind, specOf, workloads, type Workload } from './manifest-rules.ts';

interface Rule { ports?: { protocol?: string; port: number }[]; to?: unknown[]; from?: unknown[] }
interface Policy { podSelector: Parameters<typeof matches>[0]; policyTypes: string[]; ingress?: Rule[]; egress?: Rule[] }
interface Scaled {
  scaleTargetRef: { name: string };
  minReplicaCount?: number;
  maxReplicaCount?: number;
  fallback?: { replicas: number };
  triggers: { type: string; metadata: Record<string, string>; authenticationRef?: { name: string } }[];
}

/** What KEDA's metrics-api scaler reads; its schema takes any key. */
const triggerKeys = new Set(['url', 'valueLocation', 'targetValue', 'activationTargetValue', 'authMode', 'format', 'unsafeSsl']);
const privatePaths = ['/metrics', '/metrics/scale', '/board', '/healthz', '/readyz'];

export function trafficFaults(all: readonly Resource[]): string[] {
  const found = workloads(all);
  const policies = ofKind(all, 'NetworkPolicy').map((policy) => ({ name: policy.metadata.name, ...specOf<Policy>(policy) }));
  return [
    ...scaling(all, found),
    ...found.flatMap((one) => walls(one, policies, environmentOf(one, all))),
    ...policies.filter(({ podSelector }) => !found.some(({ labels }) => matches(podSelector, labels))).map(({ name }) => `NetworkPolicy ${name}: selects no pod of ours`),
    ...(policies.some((one) => isDefaultDeny(one)) ? [] : ['NetworkPolicy: nothing is denied by default']),
    ...ingress(all),
  ];
}

const isDefaultDeny = ({ podSelector, policyTypes, ingress: into, egress: out }: Policy): boolean =>
  Object.keys(podSelector).length === 0 && !into && !out && policyTypes.includes('Ingress') && policyTypes.includes('Egress');

function scaling(all: readonly Resource[], found: readonly Workload[]): string[] {
  const scaled = ofKind(all, 'ScaledObject');
  const faults = ['mainstay-agent-worker', 'mainstay-memory-worker'].filter((name) => !scaled.some((one) => specOf<Scaled>(one).scaleTargetRef.name === name)).map((name) => `${name}: nothing scales it`);
  for (const resource of scaled) {
    const { scaleTargetRef, minReplicaCount = 0, maxReplicaCount = 100, fallback, triggers } = specOf<Scaled>(resource);
    const target = found.find(({ name, kind }) => kind === 'Deployment' && name === scaleTargetRef.name);
    const say = (fault: string): void => { faults.push(`ScaledObject ${resource.metadata.name}: ${fault}`); };
    if (!target) say(`there is no Deployment ${scaleTargetRef.name}`);
    else if (target.replicas !== undefined) say('its Deployment names `replicas` too: each apply would undo the scaling');
    if (minReplicaCount < 1) say('may scale to zero, where due work would wait for nobody');
    if (!fallback || fallback.replicas < minReplicaCount || fallback.replicas > maxReplicaCount) say('has no sensible fallback for when the API does not answer');
    for (const trigger of triggers) triggerFaults(trigger, all).forEach(say);
  }
  return faults;
}

function triggerFaults({ type, metadata, authenticationRef }: Scaled['triggers'][number], all: readonly Resource[]): string[] {
  if (type !== 'metrics-api') return [`trigger ${type} does not count work in Postgres`];
  const faults = Object.keys(metadata).filter((key) => !triggerKeys.has(key)).map((key) => `KEDA's metrics-api knows no ${key}`);
  const url = new URL(metadata['url'] ?? 'http://none');
  const service = ofKind(all, 'Service').find(({ metadata: { name, namespace } }) => url.hostname === `${name}.${namespace}.svc.cluster.local`);
  if (!service || !specOf<{ ports: { port: number }[] }>(service).ports.some(({ port }) => String(port) === url.port)) faults.push(`no Service answers at ${url.host}`);
  if (url.pathname !== '/metrics/scale' || !/^(agent|memory)$/.test(url.searchParams.get('pool') ?? '')) faults.push(`${url.pathname}${url.search} is not the metric of a pool`);
  if (metadata['valueLocation'] !== 'work') faults.push('reads another number than `work`, which counts queued, due and running');
  if (!(Number(metadata['targetValue']) > 0)) faults.push('has no target');
  const login = ofKind(all, 'TriggerAuthentication').find(({ metadata: { name } }) => name === authenticationRef?.name);
  const token = login && specOf<{ secretTargetRef: { parameter: string; name: string; key: string }[] }>(login).secretTargetRef.find(({ parameter }) => parameter === 'token');
  if (metadata['authMode'] !== 'bearer' || token?.key !== 'METRICS_TOKEN') faults.push('does not bring the token of the metrics');
  return faults;
}

/** With everything denied, each process must have what it needs: names, its stores, its model, its probes' neighbours. */
function walls({ name, kind, labels, container }: Workload, policies: readonly (Policy & { name: string })[], env: Readonly<Record<string, string>>): string[] {
  const mine = policies.filter(({ podSelector }) => matches(podSelector, labels));
  const allows = (direction: 'ingress' | 'egress', port: number): boolean =>
    mine.some((policy) => (policy[direction] ?? []).some((rule) => (rule.to ?? rule.from ?? []).length > 0 && rule.ports?.some((one) => one.port === port)));
  const needs: number[] = [53, 5432];
  if (kind === 'Deployment') needs.push(6379, Number(env['MILVUS_ADDRESS']?.split(':')[1]));
  if (name.endsWith('-worker')) needs.push(443); // the model, and embedders that are hosted: maintenance embeds as well
  return [
    ...needs.filter((port) => !allows('egress', port)).map((port) => `${name}: no policy lets it out to port ${port}`),
    ...(container.ports ?? []).filter(({ containerPort }) => !allows('ingress', containerPort)).map(({ containerPort }) => `${name}: no policy lets anybody in to port ${containerPort}`),
    ...mine.flatMap((policy) => policy.egress ?? []).filter((rule) => !rule.to?.length || !rule.ports?.length).map(() => `${name}: a policy lets it out to everywhere`),
  ];
}

/** What an Ingress makes public must not cover the board, the metrics or the probes. */
function ingress(all: readonly Resource[]): string[] {
  interface Public { rules?: { http?: { paths: { path?: string; pathType: string; backend: { service?: { name: string } } }[] } }[]; tls?: unknown[] }
  return ofKind(all, 'Ingress').flatMap((resource) => {
    const { rules = [], tls = [] } = specOf<Public>(resource);
    const faults = tls.length > 0 ? [] : [`Ingress ${resource.metadata.name}: without TLS`];
    for (const { path = '/', backend } of rules.flatMap(({ http }) => http?.paths ?? [])) {
      const stem = path.replace(/\/$/, '');
      const shown = privatePaths.filter((one) => one === stem || one.startsWith(`${stem}/`));
      if (shown.length > 0) faults.push(`Ingress ${resource.metadata.name}: ${path} makes ${shown.join(', ')} public`);
      if (!ofKind(all, 'Service').some(({ metadata }) => metadata.name === backend.service?.name)) faults.push(`Ingress ${resource.metadata.name}: no Service ${backend.service?.name}`);
    }
    return faults;
  });
}
