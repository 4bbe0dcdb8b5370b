// Renders k8s/ where no kubectl is: the part of kustomize that our files use (resources, namespace, images, replicas,
// literal ConfigMaps with hashed names and merging, JSON patches). It refuses whatever it does not know instead of
// guessing; where kubectl is present a test compares the two, document by document.
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export interface Resource {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  [key: string]: unknown;
}
interface Generator { name: string; behavior?: 'create' | 'merge'; literals?: string[] }
interface Patch { target: { kind?: string; name?: string }; patch: string }
interface Kustomization {
  apiVersion: string;
  kind: string;
  namespace?: string;
  resources?: string[];
  images?: { name: string; newName?: string; newTag?: string }[];
  replicas?: { name: string; count: number }[];
  configMapGenerator?: Generator[];
  patches?: Patch[];
}

const known = new Set(['apiVersion', 'kind', 'namespace', 'resources', 'images', 'replicas', 'configMapGenerator', 'patches']);
const clusterWide = new Set(['Namespace', 'ClusterRole', 'ClusterRoleBinding', 'PriorityClass']);

/** All resources of the folder `dir`, as `kubectl kustomize dir` prints them but in the order of the files. */
export function renderKustomization(dir: string): Resource[] {
  const built = build(dir);
  const names = new Map(built.generated.map((map) => [map.metadata.name, `${map.metadata.name}-${configMapHash(map)}`]));
  const all = [...built.resources, ...built.generated];
  for (const resource of all) {
    walk(resource, (node) => renameConfigMap(node, names));
    if (resource.kind === 'ConfigMap') resource.metadata.name = names.get(resource.metadata.name) ?? resource.metadata.name;
  }
  return all;
}

/** Documents of a YAML file or text. Throws on the first error of syntax. */
export function readYaml(text: string): unknown[] {
  return parseAllDocuments(text).map((document) => {
    if (document.errors[0]) throw document.errors[0];
    return document.toJSON() as unknown;
  });
}

function build(dir: string): { resources: Resource[]; generated: Resource[] } {
  const file = parse(readFileSync(join(dir, 'kustomization.yaml'), 'utf8')) as Kustomization;
  const unknown = Object.keys(file).filter((key) => !known.has(key));
  if (unknown.length > 0) throw new Error(`${dir}: this renderer does not know ${unknown.join(', ')}`);
  const resources: Resource[] = [];
  const generated: Resource[] = [];
  for (const entry of file.resources ?? []) {
    const path = join(dir, entry);
    if (statSync(path).isDirectory()) {
      const below = build(path);
      resources.push(...below.resources);
      generated.push(...below.generated);
    } else {
      resources.push(...(readYaml(readFileSync(path, 'utf8')) as Resource[]));
    }
  }
  for (const one of file.configMapGenerator ?? []) generate(one, generated, dir);
  for (const resource of [...resources, ...generated]) place(resource, file.namespace);
  for (const patch of file.patches ?? []) patchAll(resources, patch, dir);
  for (const { name, count } of file.replicas ?? []) setReplicas(resources, name, count, dir);
  for (const resource of resources) walk(resource, (node) => setImage(node, file.images ?? []));
  return { resources, generated };
}

function generate({ name, behavior = 'create', literals = [], ...rest }: Generator, into: Resource[], dir: string): void {
  if (Object.keys(rest).length > 0) throw new Error(`${dir}: this renderer does not know configMapGenerator.${Object.keys(rest).join(', ')}`);
  const data = Object.fromEntries(literals.map((literal) => {
    const at = literal.indexOf('=');
    if (at < 1) throw new Error(`${dir}: "${literal}" is no KEY=value`);
    return [literal.slice(0, at), literal.slice(at + 1)];
  }));
  const below = into.find((map) => map.metadata.name === name);
  if ((behavior === 'merge') !== (below !== undefined)) throw new Error(`${dir}: ConfigMap ${name} cannot be ${behavior}d`);
  if (below) Object.assign(below['data'] as object, data);
  else into.push({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });
}

function place(resource: Resource, namespace: string | undefined): void {
  if (!namespace) return;
  if (resource.kind === 'Namespace' && resource.metadata.name !== namespace) throw new Error(`the namespace is called ${resource.metadata.name} and ${namespace}`);
  if (!clusterWide.has(resource.kind)) resource.metadata.namespace = namespace;
}

function patchAll(resources: Resource[], { target, patch }: Patch, dir: string): void {
  const targets = resources.filter(({ kind, metadata }) => (target.kind ?? kind) === kind && (target.name ?? metadata.name) === metadata.name);
  if (targets.length === 0) throw new Error(`${dir}: no resource for the patch of ${JSON.stringify(target)}`);
  const steps = parse(patch) as { op: string; path: string; value?: Json }[];
  if (!Array.isArray(steps)) throw new Error(`${dir}: only JSON patches (RFC 6902) are known here`);
  for (const resource of targets) for (const step of steps) applyStep(resource, step);
}

/** One `add`, `replace` or `remove` of RFC 6902. A path that leads nowhere throws, as kustomize does. */
function applyStep(resource: Resource, { op, path, value }: { op: string; path: string; value?: Json }): void {
  const parts = path.split('/').slice(1).map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = parts.pop();
  let node: unknown = resource;
  for (const part of parts) node = (node as Record<string, unknown> | undefined)?.[part];
  if (last === undefined || typeof node !== 'object' || node === null) throw new Error(`${resource.metadata.name}: ${path} leads nowhere`);
  const holder = node as Record<string, unknown>;
  if (op !== 'add' && !(last in holder)) throw new Error(`${resource.metadata.name}: ${path} is not there to ${op}`);
  if (op === 'remove') {
    if (Array.isArray(node)) node.splice(Number(last), 1);
    else delete holder[last];
  } else if (op === 'add' && Array.isArray(node)) {
    node.splice(last === '-' ? node.length : Number(last), 0, structuredClone(value));
  } else if (op === 'add' || op === 'replace') {
    holder[last] = structuredClone(value);
  } else {
    throw new Error(`JSON patch operation ${op} is not known here`);
  }
}

function setReplicas(resources: Resource[], name: string, count: number, dir: string): void {
  const found = resources.filter((resource) => resource.kind === 'Deployment' && resource.metadata.name === name);
  if (found.length === 0) throw new Error(`${dir}: replicas of ${name}, which is no Deployment`);
  for (const resource of found) (resource['spec'] as Record<string, unknown>)['replicas'] = count;
}

function setImage(node: Record<string, unknown>, images: NonNullable<Kustomization['images']>): void {
  const lists = [node['containers'], node['initContainers']].filter(Array.isArray) as { image?: string }[][];
  for (const container of lists.flat()) {
    const image = images.find(({ name }) => container.image === name || container.image?.startsWith(`${name}:`));
    if (!image || !container.image) continue;
    const tag = image.newTag ?? container.image.split(':')[1];
    container.image = `${image.newName ?? image.name}${tag === undefined ? '' : `:${tag}`}`;
  }
}

/** The three places of a pod that name a ConfigMap. */
function renameConfigMap(node: Record<string, unknown>, names: ReadonlyMap<string, string>): void {
  for (const key of ['configMapRef', 'configMapKeyRef', 'configMap']) {
    const reference = node[key] as { name?: string } | undefined;
    const renamed = reference?.name === undefined ? undefined : names.get(reference.name);
    if (reference && renamed) reference.name = renamed;
  }
}

function walk(node: unknown, visit: (node: Record<string, unknown>) => void): void {
  if (typeof node !== 'object' || node === null) return;
  if (!Array.isArray(node)) visit(node as Record<string, unknown>);
  for (const value of Object.values(node)) walk(value, visit);
}

/** Kustomize's suffix: ten digits of the content's SHA-256 in an alphabet that spells no words. */
function configMapHash(map: Resource): string {
  const data = Object.fromEntries(Object.entries(map['data'] as Record<string, string>).sort(([a], [b]) => (a < b ? -1 : 1)));
  const text = goJson({ data, kind: 'ConfigMap', name: '' }); // kustomize looks the name up under a key that is never there
  const spelled: Record<string, string> = { 0: 'g', 1: 'h', 3: 'k', a: 'm', e: 't' };
  return [...createHash('sha256').update(text).digest('hex').slice(0, 10)].map((digit) => spelled[digit] ?? digit).join('');
}

/** JSON as Go writes it: these five are escaped. */
const goJson = (value: unknown): string =>
  JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
