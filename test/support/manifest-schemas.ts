// What Kubernetes and KEDA themselves would say of a rendered manifest, without a server: their schemas (wrong types,
// missing fields) by kubernetes-models, and unknown fields, which those validators let pass, by the compiler: each
// document is written as a literal of its kind's type. Both answer sentences, one per fault.
import { join } from 'node:path';
import ts from 'typescript';
import { checkoutDir } from '../../src/dev/servers/migrate.ts';
import type { Resource } from './kustomize.ts';

const packageOf = (apiVersion: string): string =>
  apiVersion.startsWith('keda.sh/') ? `@kubernetes-models/keda/${apiVersion}` : `kubernetes-models/${apiVersion}`;
const nameOf = ({ kind, metadata }: Resource): string => `${kind} ${metadata.name}`;

type Model = new (data: unknown) => { validate(): void };

/** Faults by the schemas. A kind without a schema is a fault: it would go unchecked. */
export async function schemaFaults(resources: readonly Resource[]): Promise<string[]> {
  const faults: string[] = [];
  for (const resource of resources) {
    const models = await (import(packageOf(resource.apiVersion)) as Promise<Record<string, Model>>).catch(() => undefined);
    const Kind = models?.[resource.kind];
    if (!Kind) {
      faults.push(`${nameOf(resource)}: no schema for ${resource.apiVersion}`);
      continue;
    }
    try {
      new Kind(resource).validate();
    } catch (error) {
      faults.push(`${nameOf(resource)}: ${(error as Error).message}`);
    }
  }
  return faults;
}

/** Faults by the types: above all fields that do not exist. About a second, whatever the number of documents. */
export function typeFaults(resources: readonly Resource[]): string[] {
  const file = join(checkoutDir, 'manifests.check.ts'); // never written: only its place matters, for the imports
  const lines = resources.flatMap((resource, index) => [
    `import type { I${resource.kind} as K${index} } from '${packageOf(resource.apiVersion)}';`,
    `export const d${index}: K${index} = ${JSON.stringify(resource)};`,
  ]);
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true, skipLibCheck: true, noEmit: true, types: [], lib: ['lib.es2023.d.ts'],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => path === file || fileExists(path);
  host.readFile = (path) => (path === file ? lines.join('\n') : readFile(path));
  host.getSourceFile = (path, version) =>
    path === file ? ts.createSourceFile(path, lines.join('\n'), version) : getSourceFile.call(host, path, version);
  const program = ts.createProgram([file], options, host);
  return ts.getPreEmitDiagnostics(program).map((fault) => {
    const line = fault.file && fault.start !== undefined ? fault.file.getLineAndCharacterOfPosition(fault.start).line : 0;
    const resource = resources[Math.floor(line / 2)];
    return `${resource ? nameOf(resource) : 'manifests'}: ${ts.flattenDiagnosticMessageText(fault.messageText, ' ')}`;
  });
}
