// What is deployed is what we say: k8s/ and compose.yaml rendered as their tools render them, checked by Kubernetes' and
// KEDA's schemas, by types (unknown fields) and by our own rules; then broken on purpose, once per rule, because a check
// that cannot fail is none.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { NODE_FLAGS } from '../src/dev/fleet-processes.ts';
import { checkoutDir } from '../src/dev/servers/migrate.ts';
import { composeFaults, readCompose, type Compose } from './support/compose-rules.ts';
import { readYaml, renderKustomization, type Resource } from './support/kustomize.ts';
import { ruleFaults } from './support/manifest-rules.ts';
import { schemaFaults, typeFaults } from './support/manifest-schemas.ts';
import { trafficFaults } from './support/traffic-rules.ts';

const folders = ['k8s/base', 'k8s/overlays/production'];
const rendered = (folder: string): Resource[] => renderKustomization(join(checkoutDir, folder));
const read = (file: string): string => readFileSync(join(checkoutDir, file), 'utf8');
const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;
const ownFaults = (all: readonly Resource[]): string[] => [...ruleFaults(all), ...trafficFaults(all)];

describe.each(folders)('%s', (folder) => {
  test('is valid by the schemas of Kubernetes and KEDA', async () => expect(await schemaFaults(rendered(folder))).toEqual([]));
  test('has no field that does not exist', () => expect(typeFaults(rendered(folder))).toEqual([]), 60_000);
  test('keeps our own rules', () => expect(ownFaults(rendered(folder))).toEqual([]));

  (hasKubectl ? test : test.skip)('is rendered as kubectl renders it', () => {
    const theirs = readYaml(execFileSync('kubectl', ['kustomize', join(checkoutDir, folder)], { encoding: 'utf8' })) as Resource[];
    const sorted = (all: readonly Resource[]): Resource[] => [...all].sort((a, b) => (key(a) < key(b) ? -1 : 1));
    const key = ({ kind, metadata }: Resource): string => `${kind}/${metadata.name}`;
    expect(sorted(rendered(folder))).toEqual(sorted(theirs));
  });
});

/** Breaks one resource: the value at `path` becomes `value`, or goes where that is undefined. */
function set(all: Resource[], kind: string, name: string, path: string, value: unknown): void {
  const parts = path.split('.');
  const last = parts.pop() ?? '';
  let node: unknown = all.find((one) => one.kind === kind && one.metadata.name.startsWith(name));
  for (const part of parts) node = (node as Record<string, unknown> | undefined)?.[part];
  if (typeof node !== 'object' || node === null) throw new Error(`${kind} ${name} has no ${path} to break`);
  if (value !== undefined) (node as Record<string, unknown>)[last] = value;
  else if (Array.isArray(node)) node.splice(Number(last), 1);
  else delete (node as Record<string, unknown>)[last];
}
const pod = 'spec.template.spec';
const agent = ['Deployment', 'mainstay-agent-worker'] as const;

/** What is broken, how, and the words of the fault it must give. */
const broken: [what: string, [kind: string, name: string, path: string, value: unknown], fault: RegExp][] = [
  ['root', [...agent, `${pod}.securityContext.runAsNonRoot`, false], /agent-worker: runs as root/],
  ['no seccomp', [...agent, `${pod}.securityContext.seccompProfile`, undefined], /no seccomp profile/],
  ['a token', ['Job', 'mainstay-migrate', `${pod}.automountServiceAccountToken`, true], /migrate: mounts a service account token/],
  ['the host', [...agent, `${pod}.volumes.1`, { name: 'tmp', hostPath: { path: '/' } }], /reaches into the host/],
  ['writable root', ['Deployment', 'mainstay-api', `${pod}.containers.0.securityContext.readOnlyRootFilesystem`, undefined], /api: has a writable root/],
  ['capabilities', [...agent, `${pod}.containers.0.securityContext.capabilities.drop`, ['NET_RAW']], /keeps capabilities/],
  ['no memory limit', [...agent, `${pod}.containers.0.resources.limits`, undefined], /names no resources/],
  ['latest', [...agent, `${pod}.containers.0.image`, 'mainstay:latest'], /image without a version/],
  ['no such process', [...agent, `${pod}.containers.0.command.1`, 'dist/workers/agents.js'], /workers\/agents\.ts is not there/],
  ['an unknown key', [...agent, `${pod}.containers.0.env.0.name`, 'DATABASE_ULR_FILE'], /DATABASE_ULR_FILE is no configuration key/],
  ['a value out of range', ['ConfigMap', 'mainstay-config', 'data.CONCURRENCY', '0'], /CONCURRENCY/],
  ['an unknown key in the ConfigMap', ['ConfigMap', 'mainstay-config', 'data.DRAIN_SECONDS', '20'], /DRAIN_SECONDS is no configuration key/],
  ['a required key that nobody gives', [...agent, `${pod}.containers.0.env.3`, undefined], /REDIS_URL/],
  ['a file that no secret brings', [...agent, `${pod}.volumes.0.projected.sources.1`, undefined], /ANTHROPIC_API_KEY_FILE names .* which no secret brings/],
  ['another ConfigMap', [...agent, `${pod}.containers.0.envFrom.0.configMapRef.name`, 'config'], /ConfigMap config is not there/],
  ['no readiness', [...agent, `${pod}.containers.0.readinessProbe`, undefined], /readinessProbe does not ask \/readyz/],
  ['a probe of the wrong port', ['ConfigMap', 'mainstay-config', 'data.HEALTH_PORT', '9465'], /livenessProbe asks a port nobody listens on/],
  ['a grace shorter than the drain', ['ConfigMap', 'mainstay-config', 'data.DRAIN_MS', '60000'], /grace period of 60000 ms is shorter/],
  ['a selector of others', [...agent, 'spec.selector.matchLabels', { app: 'other' }], /selector does not match its pods/],
  ['a budget of nobody', ['PodDisruptionBudget', 'mainstay-agent-worker', 'spec.selector.matchLabels', { app: 'other' }], /agent-worker: 0 disruption budgets/],
  ['a budget that holds nodes', ['PodDisruptionBudget', 'mainstay-api', 'spec', { minAvailable: 1, selector: { matchLabels: { 'app.kubernetes.io/component': 'api' } } }], /can hold a node for ever/],
  ['the owner’s login', ['Deployment', 'mainstay-api', `${pod}.volumes.0.projected.sources.0.secret.name`, 'mainstay-owner'], /api: is given the owner's login/],
  ['a lax namespace', ['Namespace', 'mainstay', 'metadata.labels', {}], /does not enforce/],
  ['another namespace', ['Service', 'mainstay-api', 'metadata.namespace', 'default'], /is in namespace default/],
  ['a Service of nobody', ['Service', 'mainstay-api', 'spec.selector', { app: 'other' }], /stands for 0 workloads/],
  ['a port that is not there', ['Service', 'mainstay-api', 'spec.ports.0.targetPort', 'web'], /no port web behind it/],
  ['scaling against the Deployment', [...agent, 'spec.replicas', 3], /names `replicas` too/],
  ['scaling to zero', ['ScaledObject', 'mainstay-agent-worker', 'spec.minReplicaCount', 0], /may scale to zero/],
  ['scaling what is not there', ['ScaledObject', 'mainstay-memory-worker', 'spec.scaleTargetRef.name', 'memory'], /memory-worker: nothing scales it/],
  ['a list length as metric', ['ScaledObject', 'mainstay-agent-worker', 'spec.triggers.0.type', 'redis'], /does not count work in Postgres/],
  ['the metric of no Service', ['ScaledObject', 'mainstay-agent-worker', 'spec.triggers.0.metadata.url', 'http://api:7400/metrics/scale?pool=agent'], /no Service answers/],
  ['another number', ['ScaledObject', 'mainstay-agent-worker', 'spec.triggers.0.metadata.valueLocation', 'runnable'], /another number/],
  ['an unknown word for KEDA', ['ScaledObject', 'mainstay-agent-worker', 'spec.triggers.0.metadata.target', '8'], /knows no target/],
  ['no token for KEDA', ['TriggerAuthentication', 'mainstay-scale', 'spec.secretTargetRef.0.key', 'TOKEN'], /does not bring the token/],
  ['no default deny', ['NetworkPolicy', 'default-deny', 'spec.policyTypes', ['Ingress']], /nothing is denied by default/],
  ['walled off from Postgres', ['NetworkPolicy', 'stores', 'spec.podSelector.matchExpressions.0.values', ['api']], /agent-worker: no policy lets it out to port 5432/],
  ['walled off from a hosted embedder', ['NetworkPolicy', 'model', 'spec.podSelector.matchExpressions.0.values', ['agent-worker', 'memory-worker']], /maintenance-worker: no policy lets it out to port 443/],
  ['a policy of nobody', ['NetworkPolicy', 'migrate', 'spec.podSelector.matchLabels', { app: 'other' }], /NetworkPolicy migrate: selects no pod/],
  ['out to everywhere', ['NetworkPolicy', 'dns', 'spec.egress', [{}]], /lets it out to everywhere/],
  ['the board made public', ['Ingress', 'mainstay-api', 'spec.rules.0.http.paths.0.path', '/'], /makes \/metrics, .*\/board.* public/],
];

test.each(broken)('our rules find: %s', (_, [kind, name, path, value], fault) => {
  const all = rendered('k8s/overlays/production');
  set(all, kind, name, path, value);
  const faults = ownFaults(all);
  expect(faults.join('\n')).toMatch(fault);
});

test('the schemas find wrong types, missing fields and kinds they do not know', async () => {
  const all = rendered('k8s/base');
  set(all, 'ScaledObject', 'mainstay-agent-worker', 'spec.maxReplicaCount', 'many');
  set(all, 'ScaledObject', 'mainstay-memory-worker', 'spec.triggers.0.type', undefined);
  set(all, 'Deployment', 'mainstay-api', 'spec.selector', undefined);
  all.push({ apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledThing', metadata: { name: 'x' } });
  const faults = (await schemaFaults(all)).join('\n');
  for (const fault of [/agent-worker: .*maxReplicaCount must be integer/, /memory-worker: .*must have required property type/, /mainstay-api: .*must have required property selector/, /ScaledThing x: no schema/]) expect(faults).toMatch(fault);
});

test('the types find fields that do not exist', () => {
  const all = rendered('k8s/base');
  set(all, 'PodDisruptionBudget', 'mainstay-api', 'spec.minAvailabel', 1);
  set(all, 'Deployment', 'mainstay-api', `${pod}.containers.0.livenessprobe`, {});
  set(all, 'ScaledObject', 'mainstay-agent-worker', 'spec.cooldown', 30);
  const faults = typeFaults(all);
  expect(faults).toHaveLength(3);
  for (const field of ['minAvailabel', 'livenessprobe', 'cooldown']) expect(faults.join('\n')).toContain(`'"${field}"'`);
}, 60_000);

test('the renderer refuses what it does not know', () => {
  const dir = mkdtempSync(join(tmpdir(), 'mainstay-kustomize-'));
  try {
    for (const [text, fault] of [
      ['commonLabels: {a: b}', /does not know commonLabels/],
      ['configMapGenerator: [{name: a, files: [b]}]', /does not know configMapGenerator.files/],
      ['configMapGenerator: [{name: a, behavior: merge, literals: [B=c]}]', /cannot be merged/],
      ['patches: [{target: {kind: Deployment}, patch: "[]"}]', /no resource for the patch/],
      ['replicas: [{name: a, count: 2}]', /which is no Deployment/],
    ] as const) {
      writeFileSync(join(dir, 'kustomization.yaml'), text);
      expect(() => renderKustomization(dir)).toThrow(fault);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('compose.yaml keeps our rules', () => expect(composeFaults(readCompose(read('compose.yaml')))).toEqual([]));

test.each<[string, (compose: Compose) => void, RegExp]>([
  ['an unknown key', ({ services }) => { services['api']!.environment!['BOARD_PASWORD'] = 'x'; }, /BOARD_PASWORD is no configuration key/],
  ['a value out of range', ({ services }) => { services['api']!.environment!['PORT'] = '70000'; }, /api: .*PORT/s],
  ['a short grace', ({ services }) => { services['agent-worker']!.stop_grace_period = '10s'; }, /killed before its drain/],
  ['no migrations first', ({ services }) => { services['memory-worker']!.depends_on = {}; }, /does not wait for the migrations/],
  ['a store in the open', ({ services }) => { services['redis']!.ports = ['6379:6379']; }, /nobody else's business/],
  ['eviction', ({ services }) => { services['redis']!.command = ['redis-server', '--appendonly', 'yes']; }, /noeviction/],
  ['no process', ({ services }) => { services['api']!.command = ['node', 'dist/workers/apis.js']; }, /starts nothing of ours/],
  ['a service that is gone', ({ services }) => { delete services['maintenance-worker']; }, /maintenance-worker: is missing/],
  ['latest', ({ services }) => { services['milvus']!.image = 'docker.io/milvusdb/milvus'; }, /milvus: its image has no version/],
])('and the rules find: %s', (_, breakIt, fault) => {
  const compose = readCompose(read('compose.yaml'));
  breakIt(compose);
  expect(composeFaults(compose).join('\n')).toMatch(fault);
});

test('the Dockerfile copies what is there and ends as a process that is not root and can be stopped', () => {
  const text = read('Dockerfile');
  const sources = [...text.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, list]) => list!.split(' '));
  expect(sources.length).toBeGreaterThan(15);
  expect(sources.filter((source) => !existsSync(join(checkoutDir, source)))).toEqual([]);
  const allowed = read('.dockerignore').split('\n').filter((line) => line.startsWith('!')).map((line) => line.slice(1));
  expect(sources.filter((source) => !allowed.some((one) => source === one || source.startsWith(`${one}/`)))).toEqual([]);
  const runtime = text.slice(text.indexOf('AS runtime'), text.indexOf('AS model-stub'));
  for (const line of [/^USER 1000:1000$/m, /^STOPSIGNAL SIGTERM$/m, /^HEALTHCHECK /m]) expect(runtime).toMatch(line);
  expect(runtime).toContain(`\nENV NODE_OPTIONS=${NODE_FLAGS.join(' ')}\n`); // as `npm start` and the bench have it
  expect(text.trimEnd().split('\n').at(-1)).toBe('FROM runtime');
});

test('docs/deploy.md names every Secret and key that the manifests refer to', () => {
  const docs = read('docs/deploy.md');
  const text = JSON.stringify(rendered('k8s/base'));
  const secrets = new Set([...text.matchAll(/"secret":\{"name":"([^"]+)"/g)].map(([, name]) => name!));
  const keys = new Set([...text.matchAll(/"key":"([A-Z_]+)","path"/g)].map(([, key]) => key!));
  expect(secrets.size).toBe(4);
  expect(keys.size).toBe(8);
  for (const word of [...secrets, ...keys]) expect(docs).toContain(word);
});
