// `npm run test:faults -- --row R6,R7|all [--short] [--json FILE] [--seed N]`: injects rows of the fault matrix at their own figures
// and prints what was injected, what landed and what held. Ends with code 1 when a claim broke or a fault did not land.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startMilvusLite } from '../../src/dev/servers/milvus-lite.ts';
import { preparePython } from '../../src/dev/servers/python.ts';
import { defaultStateDir } from '../../src/dev/servers/stack.ts';
import { ROWS } from './rows/all.ts';
import { runRows, type Verdict } from './run-rows.ts';

const USAGE = 'usage: npm run test:faults -- --row R6[,R7…]|all [--short] [--json FILE] [--seed N]\n';

interface Options { rows: string[]; form: 'short' | 'full'; json: string | undefined; seed: number }

function readOptions(words: readonly string[]): Options | undefined {
  const options: Options = { rows: [], form: 'full', json: undefined, seed: 1 };
  for (let at = 0; at < words.length; at++) {
    const value = words[at + 1];
    if (words[at] === '--short') options.form = 'short';
    else if (words[at] === '--row' && value !== undefined) { options.rows.push(...value.split(',')); at++; }
    else if (words[at] === '--json' && value !== undefined) { options.json = value; at++; }
    else if (words[at] === '--seed' && Number.isSafeInteger(Number(value))) { options.seed = Number(value); at++; }
    else return undefined;
  }
  const known = (id: string): boolean => id === 'all' || ROWS.some((row) => row.id === id);
  return options.rows.length > 0 && options.rows.every(known) ? options : undefined;
}

const stops: (() => Promise<void>)[] = [];
let milvus: Promise<string> | undefined;
const milvusAddress = (): Promise<string> => (milvus ??= (async () => {
  const python = await preparePython(join(defaultStateDir, 'venv'), (line) => { process.stderr.write(`${line}\n`); });
  await python.milvus();
  const dir = mkdtempSync(join(tmpdir(), 'mainstay-faults-milvus-'));
  const server = await startMilvusLite(dir, python.python);
  stops.push(async () => { await server.stop(); rmSync(dir, { recursive: true, force: true }); });
  return server.address;
})());

function print({ id, title, ok, landed, held, tries, seconds }: Verdict): void {
  const counts = Object.entries(landed).map(([what, count]) => `${count} ${what}`).join(', ');
  process.stdout.write(`${ok ? 'ok  ' : 'FAIL'} ${id} ${title} (${seconds} s${tries > 1 ? `, landed at try ${tries}` : ''})\n     landed: ${counts || 'nothing'}\n${held.map((one) => `     ${one.ok ? 'held ' : 'BROKE'} ${one.claim}: ${one.evidence}\n`).join('')}`);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130)); // on exit the ground is put away

const options = readOptions(process.argv.slice(2));
if (!options) {
  process.stderr.write(`${USAGE}rows: ${ROWS.map(({ id }) => id).join(' ')}\n`);
  process.exitCode = 64;
} else {
  const rows = options.rows.includes('all') ? ROWS : ROWS.filter(({ id }) => options.rows.includes(id));
  process.stdout.write(`seed ${options.seed}, ${options.form} form, ${rows.length} rows\n`);
  const { verdicts, done } = runRows(rows, { form: options.form, seed: options.seed, together: options.form === 'short' ? 2 : 1, milvusAddress, onVerdict: print });
  const all = await Promise.all(verdicts.values());
  await done;
  await Promise.all(stops.map((stop) => stop()));
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ seed: options.seed, form: options.form, rows: all }, null, 2)}\n`);
  const failed = all.filter(({ ok }) => !ok).length;
  process.stdout.write(`${all.length - failed} passed, ${failed} failed\n`);
  process.exitCode = failed > 0 ? 1 : 0;
}
