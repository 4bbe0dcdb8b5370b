// `npm run chaos -- [--seed N] [--minutes M] [--json FILE] [--faults KIND,…]`: a real fleet under seeded faults, then the checker. Ends with
// code 1 when an invariant broke or too little happened. `--mutant NAME` does the same to a product that is broken on purpose and
// ends with 1 when the checker finds it out; `--mutant all` ends with 0 when it finds out every one. `--regressions` runs the
// seeds that once found something; `--list-faults` names kinds, points and mutants.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startMilvusLite } from '../../src/dev/servers/milvus-lite.ts';
import { preparePython } from '../../src/dev/servers/python.ts';
import { defaultStateDir } from '../../src/dev/servers/stack.ts';
import { FAULT_POINTS } from '../../src/fault-points.ts';
import { catchMutant } from './catch-mutant.ts';
import { FAULT_KINDS, FAULTS, type FaultKind } from './faults.ts';
import { INVARIANT_IDS, INVARIANTS } from './invariants.ts';
import { MUTANT_NAMES, MUTANTS, type MutantName } from './mutants.ts';
import { runChaos, type ChaosReport } from './run-chaos.ts';
import { KNOWN_SEEDS } from './seeds.ts';

const USAGE = 'usage: npm run chaos -- [--seed N] [--minutes M] [--json FILE] [--faults KIND,…] | --mutant NAME|all [--seed N] | --regressions | --list-faults\n';
const MUTANT_MINUTES = 0.4;

interface Options { readonly seed: number; readonly minutes: number | undefined; readonly json: string | undefined; readonly faults: readonly FaultKind[] | undefined; readonly mutants: readonly MutantName[]; readonly regressions: boolean; readonly list: boolean }

/** Undefined where it makes no sense. */
function readOptions(words: readonly string[]): Options | undefined {
  try {
    const { values } = parseArgs({ args: [...words], options: { seed: { type: 'string' }, minutes: { type: 'string' }, json: { type: 'string' }, faults: { type: 'string' }, mutant: { type: 'string' }, regressions: { type: 'boolean' }, 'list-faults': { type: 'boolean' } } });
    const [seed, minutes] = [Number(values.seed ?? 1), values.minutes === undefined ? undefined : Number(values.minutes)];
    const faults = values.faults?.split(',');
    const mutants = values.mutant === undefined ? [] : values.mutant === 'all' ? MUTANT_NAMES : [values.mutant];
    const known = Number.isSafeInteger(seed) && (minutes === undefined || (minutes > 0 && minutes <= 1_440)) && (faults ?? []).every((kind) => kind in FAULTS) && mutants.every((name) => name in MUTANTS);
    return known ? { seed, minutes, json: values.json, faults: faults as FaultKind[] | undefined, mutants: mutants as MutantName[], regressions: values.regressions ?? false, list: values['list-faults'] ?? false } : undefined;
  } catch {
    return undefined;
  }
}

const say = (line: string): void => { process.stdout.write(`${line}\n`); };

function list(): void {
  say('kinds:');
  for (const kind of FAULT_KINDS) say(`  ${kind.padEnd(22)} ${FAULTS[kind].what}`);
  say('points (kind fault-point):');
  for (const [point, what] of Object.entries(FAULT_POINTS)) say(`  ${point.padEnd(22)} ${what}`);
  say('mutants:');
  for (const name of MUTANT_NAMES) say(`  ${name.padEnd(22)} ${MUTANTS[name].what}; breaks ${MUTANTS[name].breaks.join(' or ')}`);
}

function print({ seed, minutes, mutant, faults, points, invariants, violations, notes }: ChaosReport): void {
  say(`\nseed ${seed}, ${minutes} minutes${mutant === undefined ? '' : `, mutant ${mutant}`}\n`);
  for (const [kind, landed] of Object.entries(faults)) say(`  ${String(landed).padStart(4)}  ${kind.padEnd(22)} ${FAULTS[kind as FaultKind].what}`);
  if (Object.keys(points).length > 0) say(`        points: ${Object.entries(points).map(([strike, n]) => (n > 1 ? `${strike} (${n})` : strike)).join(', ')}`);
  say('');
  for (const id of INVARIANT_IDS) say(`  ${invariants[id].ok ? 'held ' : 'BROKE'} ${id.padEnd(4)} ${String(invariants[id].evidence).padStart(7)} rows  ${INVARIANTS[id]}${notes[id] === undefined ? '' : ` (${notes[id]})`}`);
  say(violations.length === 0 ? '\nnothing broke' : `\n${violations.length} violations:\n${violations.map((one) => `  ${one}`).join('\n')}`);
}

async function withMilvus<T>(work: (address: string) => Promise<T>): Promise<T> {
  const python = await preparePython(join(defaultStateDir, 'venv'), say);
  await python.milvus();
  const dir = mkdtempSync(join(tmpdir(), 'mainstay-chaos-milvus-'));
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  const server = await startMilvusLite(dir, python.python);
  try { return await work(server.address); } finally { await server.stop(); }
}

function keep(json: string | undefined, value: unknown): void { if (json !== undefined) writeFileSync(json, `${JSON.stringify(value, null, 2)}\n`); }

async function mutants({ mutants: names, seed, minutes = MUTANT_MINUTES, json }: Options, milvusAddress: string): Promise<number> {
  const missed: MutantName[] = [];
  const reports: ChaosReport[] = [];
  for (const mutant of names) {
    const { report, caught } = await catchMutant({ seed, minutes, milvusAddress, mutant, say }, (report, caught) => {
      print(report);
      say(`\nmutant ${mutant} is ${caught.length > 0 ? `caught by ${caught.join(', ')}` : 'not caught'} with seed ${report.seed}`);
    });
    if (caught.length === 0) missed.push(mutant);
    reports.push(report);
  }
  for (const name of missed) say(`mutant ${name} is NOT CAUGHT: ${MUTANTS[name].breaks.join(' or ')} should have broken`);
  keep(json, names.length === 1 ? reports[0] : reports);
  return names.length === 1 ? 1 - missed.length : Math.min(1, missed.length);
}

async function seeds({ seed, minutes = 1, json, faults, regressions }: Options, milvusAddress: string): Promise<number> {
  const runs = regressions ? KNOWN_SEEDS : [{ seed, minutes }];
  const reports: ChaosReport[] = [];
  for (const one of runs) {
    const report = await runChaos({ ...one, milvusAddress, ...(faults ? { faults } : {}), say });
    print(report);
    reports.push(report);
    keep(json, regressions ? reports : report);
  }
  return reports.some(({ violations }) => violations.length > 0) ? 1 : 0;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130)); // on exit all is put away

const options = readOptions(process.argv.slice(2));
if (!options) {
  process.stderr.write(`${USAGE}mutants: ${MUTANT_NAMES.join(' ')}\n`);
  process.exitCode = 64;
} else if (options.list) list();
else process.exitCode = await withMilvus((address) => (options.mutants.length > 0 ? mutants(options, address) : seeds(options, address)));
