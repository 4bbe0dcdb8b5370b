// Our own rules for what runs in Kubernetes: the ones a schema cannot know. Each answers sentences, one per fault, that
// name the resource. They read rendered manifests only, so the same rules hold for base and overlays.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkoutDir } from '../../src/dev/servers/migrate.ts';
import { configFaults } from './config-rules.ts';
import type { Resource } from './kustomize.ts';

type Labels = Record<string, string>;
interface Selector { matchLabels?: Labels; matchExpressions?: { key: string; operator: string; values?: string[] }[] }
interface Probe { httpGet?: { path?: string; port?: string | number } }
interface Container {
  name: string;
  image: string;
  command?: string[];
  ports?: { name?: string; containerPort: number }[];
  env?: { name: string; value?: string }[];
  envFrom?: { configMapRef?: { name: string } }[];
  startupProbe?: Probe;
  livenessProbe?: Probe;
  readinessProbe?: Probe;
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> };
  securityContext?: { allowPrivilegeEscalation?: boolean; readOnlyRootFilesystem?: boolean; privileged?: boolean; capabilities?: { drop?: string[] } };
  volumeMounts?: { name: string; mountPath: string }[];
  lifecycle?: { preStop?: { exec?: { command: string[] } } };
}
interface Volume { name: string; hostPath?: unknown; projected?: { sources: { secret?: { name: string; items?: { key: string; path: string }[] } }[] } }
interface PodSpec {
  containers: Container[];
  volumes?: Volume[];
  serviceAccountName?: string;
  automountServiceAccountToken?: boolean;
  hostNetwork?: boolean;
  securityContext?: { runAsNonRoot?: boolean; seccompProfile?: { type: string } };
  terminationGracePeriodSeconds?: number;
}
/** One Deployment or Job, seen as what Kubernetes would start for it. */
export interface Workload { name: string; kind: string; replicas: number | undefined; selector: Selector | undefined; labels: Labels; pod: PodSpec; container: Container }

const secondsToClose = 10; // for the stores, after the drain
export const matches = ({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels): boolean =>
  Object.entries(matchLabels).every(([key, value]) => labels[key] === value)
  && matchExpressions.every(({ key, operator, values = [] }) => operator === 'In' && values.includes(labels[key] ?? ''));
export const specOf = <T>(resource: Resource): T => resource['spec'] as T;
export const ofKind = (all: readonly Resource[], ...kinds: string[]): Resource[] => all.filter(({ kind }) => kinds.includes(kind));

export function workloads(all: readonly Resource[]): Workload[] {
  return ofKind(all, 'Deployment', 'Job').map((resource) => {
    const spec = specOf<{ replicas?: number; selector?: Selector; template: { metadata: { labels: Labels }; spec: PodSpec } }>(resource);
    const container = spec.template.spec.containers[0];
    if (!container || spec.template.spec.containers.length !== 1) throw new Error(`${resource.metadata.name}: one container a pod`);
    return { name: resource.metadata.name, kind: resource.kind, replicas: spec.replicas, selector: spec.selector, labels: spec.template.metadata.labels, pod: spec.template.spec, container };
  });
}

/** Everything wrong with `all`. Throws when there is nothing to check: a check of nothing must not pass. */
export function ruleFaults(all: readonly Resource[]): string[] {
  const found = workloads(all);
  if (found.length < 5) throw new Error('less than the five workloads: nothing was rendered');
  return [
    ...found.flatMap((one) => [...restricted(one), ...image(one), ...environment(one, all)]),
    ...found.filter(({ kind }) => kind === 'Deployment').flatMap((one) => [...probes(one, all), ...grace(one, all), ...disruption(one, all)]),
    ...ownersLogin(found),
    ...accountAndNamespace(all, found),
    ...services(all, found),
  ];
}

/** Pod Security "restricted", and what we add to it. */
function restricted({ name, pod, container }: Workload): string[] {
  const own = container.securityContext;
  const rules: [boolean, string][] = [
    [pod.securityContext?.runAsNonRoot === true, 'runs as root'],
    [pod.securityContext?.seccompProfile?.type === 'RuntimeDefault', 'has no seccomp profile'],
    [pod.automountServiceAccountToken === false, 'mounts a service account token'],
    [pod.hostNetwork !== true && !(pod.volumes ?? []).some(({ hostPath }) => hostPath), 'reaches into the host'],
    [own?.allowPrivilegeEscalation === false && own.privileged !== true, 'may escalate its privileges'],
    [own?.readOnlyRootFilesystem === true, 'has a writable root file system'],
    [own?.capabilities?.drop?.includes('ALL') === true, 'keeps capabilities'],
    [Boolean(container.resources?.requests?.['memory'] && container.resources.requests['cpu'] && container.resources.limits?.['memory']), 'names no resources'],
  ];
  return rules.filter(([holds]) => !holds).map(([, fault]) => `${name}: ${fault}`);
}

function image({ name, container }: Workload): string[] {
  const faults = container.image.endsWith(':latest') ? [`${name}: image without a version`] : [];
  const compiled = /^dist\/(.+)\.js$/.exec(container.command?.[1] ?? '')?.[1];
  if (compiled && !existsSync(join(checkoutDir, `${compiled}.ts`))) faults.push(`${name}: ${compiled}.ts is not there to be started`);
  return faults;
}

/** The values a container starts with: its ConfigMaps, then `env`; a mounted secret reads as a value fit for its key. */
export function environmentOf({ container }: Workload, all: readonly Resource[]): Record<string, string> {
  const maps = (container.envFrom ?? []).map(({ configMapRef }) => ofKind(all, 'ConfigMap').find(({ metadata }) => metadata.name === configMapRef?.name));
  return Object.assign({}, ...maps.map((map) => map?.['data'] as object), Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value ?? '']))) as Record<string, string>;
}

function environment(workload: Workload, all: readonly Resource[]): string[] {
  const { name, kind, container } = workload;
  const faults = (container.envFrom ?? []).filter(({ configMapRef }) => !ofKind(all, 'ConfigMap').some(({ metadata }) => metadata.name === configMapRef?.name))
    .map(({ configMapRef }) => `${name}: ConfigMap ${configMapRef?.name} is not there`);
  const env = environmentOf(workload, all);
  const mounted = mountedFiles(workload);
  for (const [key, file] of Object.entries(env)) if (key.endsWith('_FILE') && !mounted.has(file)) faults.push(`${name}: ${key} names ${file}, which no secret brings`);
  return [...faults, ...configFaults(name, env, kind === 'Deployment')];
}

/** Path in the container → secret it comes from. */
function mountedFiles({ pod, container }: Workload): Map<string, string> {
  return new Map((container.volumeMounts ?? []).flatMap(({ name, mountPath }) =>
    (pod.volumes?.find((volume) => volume.name === name)?.projected?.sources ?? [])
      .flatMap(({ secret }) => (secret?.items ?? []).map(({ path }) => [`${mountPath}/${path}`, secret?.name ?? ''] as const))));
}

function probes(workload: Workload, all: readonly Resource[]): string[] {
  const { name, container } = workload;
  const env = environmentOf(workload, all);
  const wanted = { startupProbe: '/healthz', livenessProbe: '/healthz', readinessProbe: '/readyz' } as const;
  const listens = Number(name === 'mainstay-api' ? env['PORT'] : env['HEALTH_PORT']);
  return (Object.entries(wanted) as [keyof typeof wanted, string][]).flatMap(([probe, path]) => {
    const asked = container[probe]?.httpGet;
    if (asked?.path !== path) return [`${name}: ${probe} does not ask ${path}`];
    return container.ports?.find((port) => port.name === asked.port)?.containerPort === listens ? [] : [`${name}: ${probe} asks a port nobody listens on`];
  });
}

/** Kubernetes kills after the grace period; the drain and the closing of the stores must fit in. */
function grace(workload: Workload, all: readonly Resource[]): string[] {
  const drainMs = Number(environmentOf(workload, all)['DRAIN_MS'] ?? 20_000);
  const preStopMs = Number(/setTimeout\(.*, (\d+)\)/.exec(workload.container.lifecycle?.preStop?.exec?.command.join(' ') ?? '')?.[1] ?? 0);
  const graceMs = (workload.pod.terminationGracePeriodSeconds ?? 30) * 1_000;
  const neededMs = drainMs + preStopMs + secondsToClose * 1_000;
  return graceMs >= neededMs ? [] : [`${workload.name}: the grace period of ${graceMs} ms is shorter than the ${neededMs} ms a stop may take`];
}

function disruption({ name, selector, labels }: Workload, all: readonly Resource[]): string[] {
  const faults = matches(selector ?? { matchLabels: { none: 'none' } }, labels) ? [] : [`${name}: its selector does not match its pods`];
  const budgets = ofKind(all, 'PodDisruptionBudget').map((budget) => specOf<{ selector: Selector; maxUnavailable?: number }>(budget)).filter((budget) => matches(budget.selector, labels));
  if (budgets.length !== 1) faults.push(`${name}: ${budgets.length} disruption budgets match its pods, not one`);
  if (budgets.some(({ maxUnavailable }) => !((maxUnavailable ?? 0) >= 1))) faults.push(`${name}: its disruption budget can hold a node for ever`);
  return faults;
}

/** The login that owns the schema is for migrations; everything else is under row-level security or the engine's role. */
function ownersLogin(found: readonly Workload[]): string[] {
  return found.filter((one) => one.kind !== 'Job' && [...mountedFiles(one).values()].includes('mainstay-owner')).map(({ name }) => `${name}: is given the owner's login`);
}

function accountAndNamespace(all: readonly Resource[], found: readonly Workload[]): string[] {
  const namespace = ofKind(all, 'Namespace')[0];
  const faults = namespace?.metadata.labels?.['pod-security.kubernetes.io/enforce'] === 'restricted' ? [] : ['Namespace: does not enforce the restricted profile'];
  for (const { kind, metadata } of all) if (kind !== 'Namespace' && metadata.namespace !== namespace?.metadata.name) faults.push(`${kind} ${metadata.name}: is in namespace ${metadata.namespace}`);
  const accounts = ofKind(all, 'ServiceAccount').filter((account) => account['automountServiceAccountToken'] === false).map(({ metadata }) => metadata.name);
  for (const { name, pod } of found) if (!accounts.includes(pod.serviceAccountName ?? '')) faults.push(`${name}: its service account is not ours`);
  return faults;
}

function services(all: readonly Resource[], found: readonly Workload[]): string[] {
  return ofKind(all, 'Service').flatMap((service) => {
    const { selector, ports } = specOf<{ selector: Labels; ports: { targetPort: string | number }[] }>(service);
    const behind = found.filter(({ labels }) => matches({ matchLabels: selector }, labels));
    if (behind.length !== 1) return [`Service ${service.metadata.name}: stands for ${behind.length} workloads, not one`];
    return ports.filter(({ targetPort }) => !behind[0]?.container.ports?.some((port) => port.name === targetPort)).map(({ targetPort }) => `Service ${service.metadata.name}: no port ${targetPort} behind it`);
  });
}
