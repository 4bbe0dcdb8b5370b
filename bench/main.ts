// npm run bench -- --workload W2 --peers mainstay,bullmq --rounds 5 --json FILE
// Each round measures every peer once, in turn, so that all meet the same machine; prints each measurement and at the end a
// table. Ends with 1 when a measurement failed. bench/README.md says what a figure means.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/domain/errors.ts';
import { Measurement, type Subject } from './measurement.ts';
import { loadPeer, SIZES, WORKLOADS, type Workload } from './peer.ts';
import { lineOf, rowsOf, tableOf, type Rounds } from './report.ts';
import { startServers, type OwnServers } from './servers.ts';
import type { Metrics } from './work.ts';
import { measureTurns } from './turns.ts';
import { workloads } from './workloads.ts';

const say = (line: string): void => { process.stdout.write(`${line}\n`); };
const { values: args } = parseArgs({
  options: {
    workload: { type: 'string' }, peers: { type: 'string', default: 'mainstay,bullmq' }, rounds: { type: 'string', default: '5' }, json: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] }, profile: { type: 'string' },
  },
});
const workload = [...WORKLOADS, 'A1' as const].find((one) => one === args.workload);
const rounds = Number(args.rounds);
const sizes = Object.fromEntries(args.set.map((pair) => { const [name = '', value] = pair.split('='); return [name, Number(value)]; }));
if (!workload || !Number.isInteger(rounds) || rounds < 1 || Object.entries(sizes).some(([name, value]) => !(name in SIZES) || !(value > 0))) {
  say(`usage: npm run bench -- --workload ${WORKLOADS.join('|')}|A1 [--peers name[:variant],…] [--rounds N] [--json FILE] [--set ${Object.keys(SIZES).join('|')}=N]… [--profile DIR]`);
  process.exit(64);
}
const names = workload === 'A1' ? ['mainstay'] : args.peers.split(',').filter(Boolean); // A1 has the bare call beside it
if (names.some((name) => !name.startsWith('mainstay'))) installPeers();
const subjects = await Promise.all(names.map(subjectOf));
const measured: Rounds[] = subjects.map(({ name, variantName }) => ({ peer: name, variant: variantName, rounds: [] as Metrics[] }));

let stopping = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { stopping = true; say('stopping after this measurement'); });
const servers = await startServers(say);
try {
  for (let round = 1; round <= rounds && !stopping; round++) {
    for (const [at, subject] of subjects.entries()) {
      if (stopping) break;
      const outcome = await (workload === 'A1' ? measureTurns(servers, sizes['A1turns'] ?? SIZES.A1turns) : measure(servers, subject, workload)).catch((error: unknown) => ({ failed: messageOf(error).slice(0, 1_000) }));
      (measured[at]?.rounds as (typeof outcome)[]).push(outcome);
      say(`${workload} round ${round} ${subject.name}:${subject.variantName} ${'failed' in outcome ? `FAILED ${String(outcome.failed)}` : lineOf(outcome)}`);
    }
  }
} finally {
  await servers.stop();
}

const rows = rowsOf(measured);
say(`\n${tableOf(workload, rows)}`);
if (args.json) {
  mkdirSync(dirname(args.json), { recursive: true });
  const machine = { node: process.version, processors: cpus().length, postgres: servers.settings };
  writeFileSync(args.json, `${JSON.stringify({ workload, rounds, sizes, machine, rows, measured }, null, 1)}\n`);
}
process.exitCode = rows.some(({ failed }) => failed > 0) ? 1 : 0;

async function measure(on: OwnServers, subject: Subject, what: Workload): Promise<Metrics> {
  const metrics: Metrics = {};
  for (const part of workloads[what]) {
    const measurement = await Measurement.open(on, subject, what, sizes, args.profile);
    try { Object.assign(metrics, await part(measurement)); } finally { await measurement.close(); }
  }
  return metrics;
}

async function subjectOf(asked: string): Promise<Subject & { variantName: string }> {
  const [name = '', wanted] = asked.split(':');
  const peer = await loadPeer(name);
  const variantName = wanted ?? peer.usual;
  const variant = peer.variants[variantName];
  if (!variant) throw new Error(`${name} has no variant ${variantName}: ${Object.keys(peer.variants).join(', ')}`);
  return { name, peer, variant, variantName };
}

/** The others' packages, into bench/peers/node_modules and nowhere else, as their lock file says. */
function installPeers(): void {
  const dir = join(import.meta.dirname, 'peers');
  const read = (file: string): Record<string, { version?: string; optional?: boolean }> => (JSON.parse(readFileSync(join(dir, file), 'utf8')) as { packages: Record<string, { version?: string; optional?: boolean }> }).packages;
  if (existsSync(join(dir, 'node_modules/.package-lock.json'))) {
    const [wanted, there] = [read('package-lock.json'), read('node_modules/.package-lock.json')];
    if (Object.entries(wanted).every(([path, one]) => path === '' || one.optional || there[path]?.version === one.version)) return;
  }
  say('installing the peers into bench/peers');
  const ended = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: dir, stdio: ['ignore', 2, 2] });
  if (ended.status !== 0) throw new Error('the peers could not be installed; --peers mainstay needs none of them');
}
