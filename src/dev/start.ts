// `npm start`: brings up the local servers and the fleet, shows the main job once (see demonstration.ts), and stays up until
// Ctrl-C. Options: `--once` ends after the demonstration, exit code 0 only when every part of it was seen to work;
// `--json FILE` also writes what was seen. Data stays under .mainstay/ and is used again.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Mainstay } from '../client/client.ts';
import { monoMs } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import { demonstrate } from './demonstration.ts';
import { DemonstrationApi } from './demonstration-api.ts';
import { emptyReport, missingIn, type DemonstrationReport } from './demonstration-report.ts';
import { FleetProcesses } from './fleet-processes.ts';
import { localAccess, localSecrets } from './local-access.ts';
import { planFleet, type LocalFleet } from './local-fleet.ts';
import { defaultStateDir, startStack, type Stack } from './servers/stack.ts';
import { openTerminal } from './terminal.ts';

const { values: options } = parseArgs({ options: { once: { type: 'boolean', default: false }, json: { type: 'string' } } });
const terminal = openTerminal(process.stdout);
const report = emptyReport();
const startMs = monoMs();
const stops: (() => Promise<void>)[] = [];
let processes: FleetProcesses | undefined;
let stopping: Promise<void> | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
await main().then(
  (ok) => { if (options.once) return stopAll().then(() => process.exit(ok ? 0 : 1)); },
  async (error: unknown) => {
    if (stopping) return; // the interruption itself
    terminal.warn(messageOf(error));
    report.missing.push(messageOf(error));
    writeReport(report);
    await stopAll();
    process.exit(1);
  },
);

async function main(): Promise<boolean> {
  terminal.heading('Mainstay');
  const stack = await timed('servers', bringServers);
  terminal.pair('servers', `Redis, Postgres, Milvus${stack.kind === 'local' ? ' Lite' : ''} up after ${sinceStart()} (${stack.kind}, data in ${stack.stateDir})`);
  if (stack.embedderReason !== undefined) terminal.pair('embedder', `lexical, so recall matches words only: ${stack.embedderReason}`);
  const secrets = localSecrets(stack.stateDir);
  const fleet = await planFleet(stack, secrets.boardPassword, process.env);
  await timed('processes', () => bringFleet(stack, fleet));
  terminal.pair('processes', `API, two agent workers, memory worker, maintenance worker ready after ${sinceStart()}`);
  terminal.pair('model', fleet.model === 'claude' ? 'Claude (ANTHROPIC_API_KEY is set)' : 'the local model stub, which answers from scripts: set ANTHROPIC_API_KEY to talk to Claude');
  const apiKey = await localAccess(stack, fleet.apiUrl, secrets);
  await demonstrate({ api: new DemonstrationApi(new Mainstay({ baseUrl: fleet.apiUrl, apiKey })), terminal, report });
  report.phases['total'] = secondsSince(startMs);
  report.missing.push(...missingIn(report));
  report.ok = report.missing.length === 0;
  writeReport(report);
  showEnd(stack, fleet, process.env['BOARD_PASSWORD'] || secrets.boardPassword);
  return report.ok;
}

async function bringServers(): Promise<Stack> {
  const { DATABASE_URL, REDIS_URL, MILVUS_ADDRESS } = process.env;
  const given = { DATABASE_URL: DATABASE_URL || undefined, REDIS_URL: REDIS_URL || undefined, MILVUS_ADDRESS: MILVUS_ADDRESS || undefined };
  const stack = await startStack({ stateDir: defaultStateDir, given, say: (line) => terminal.pair('', line) });
  stops.push(() => stack.stop());
  for (const [name, took] of Object.entries(stack.phases)) report.phases[name] = took;
  return stack;
}

async function bringFleet(stack: Stack, fleet: LocalFleet): Promise<void> {
  const started = new FleetProcesses(stack.stateDir, (death) => terminal.warn(death));
  processes = started;
  stops.push(() => started.stop());
  await started.endLeftovers();
  started.start(fleet.plans);
  await Promise.all(started.names().map((name) => started.ready(name)));
}

function showEnd(stack: Stack, fleet: LocalFleet, boardPassword: string): void {
  terminal.heading(report.ok ? `Seen to work, ${sinceStart()} after the start` : 'Not everything was seen to work');
  for (const sentence of report.missing) terminal.pair('missing', sentence);
  terminal.pair('API', `${fleet.apiUrl}/v1  (key in ${join(stack.stateDir, 'local.json')}; description at ${fleet.apiUrl}/openapi.json)`);
  terminal.pair('Bull Board', `${fleet.apiUrl}/board  (login: admin / ${boardPassword})`);
  terminal.pair('metrics', [`${fleet.apiUrl}/metrics`, ...Object.values(fleet.metricsUrls)].join('\n'));
  terminal.pair('logs', join(stack.stateDir, 'logs'));
  if (!options.once) terminal.line('\n  Ctrl-C stops everything; data is kept.');
}

/** First Ctrl-C: everything is stopped in order. Second: workers are killed; their runs go on at the next start. */
function interrupt(): void {
  if (stopping) return processes?.kill();
  terminal.line('\n  stopping (Ctrl-C again kills the workers)');
  void stopAll().then(() => process.exit(options.once ? 130 : 0));
}

function stopAll(): Promise<void> {
  return (stopping ??= (async () => {
    for (const stop of stops.splice(0).reverse()) await stop().catch((error: unknown) => terminal.warn(messageOf(error)));
  })());
}

async function timed<T>(name: string, work: () => Promise<T>): Promise<T> {
  const beganMs = monoMs();
  try { return await work(); } finally { report.phases[name] = secondsSince(beganMs); }
}

function writeReport(seen: DemonstrationReport): void {
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(seen, null, 2)}\n`);
}

function secondsSince(ms: number): number { return Math.round(monoMs() - ms) / 1_000; }
function sinceStart(): string { return `${secondsSince(startMs).toFixed(1)} s`; }
