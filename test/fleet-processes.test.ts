// The processes of `npm start`: told ready when they are, reported when they die, ended when asked and after a killed start.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { FleetProcesses } from '../src/dev/fleet-processes.ts';
import { freePort } from '../src/dev/servers/ports.ts';
import { isSame, readJson, type ProcessMark } from '../src/dev/servers/processes.ts';

const scratch = mkdtempSync(join(tmpdir(), 'mainstay-fleet-'));
const started: FleetProcesses[] = [];
afterAll(async () => {
  for (const one of started) await one.stop();
  rmSync(scratch, { recursive: true, force: true });
});

function fleet(name: string): { processes: FleetProcesses; death: Promise<string>; marks: () => ProcessMark[] } {
  let told: (report: string) => void = () => undefined;
  const death = new Promise<string>((resolve) => { told = resolve; });
  const processes = new FleetProcesses(join(scratch, name), told);
  started.push(processes);
  return { processes, death, marks: () => readJson(join(scratch, name, 'fleet.json')) as ProcessMark[] };
}

const desk = async (): Promise<{ name: string; script: [string, string]; readyUrl: string }> => {
  const port = await freePort();
  return { name: 'ticket-desk', script: ['examples/ticket-desk.ts', String(port)], readyUrl: `http://127.0.0.1:${port}/healthz` };
};

test('are ready when they say so, write to their log, and are gone after a stop', async () => {
  const { processes, marks } = fleet('calm');
  const plan = await desk();
  processes.start([plan]);
  await processes.ready('ticket-desk');
  expect((await fetch(plan.readyUrl)).ok).toBe(true);
  const [mark] = marks();
  expect(mark && isSame(mark)).toBe(true);
  await processes.stop();
  await processes.stop();
  expect(mark && isSame(mark)).toBe(false);
  expect(readFileSync(join(scratch, 'calm/logs/ticket-desk.log'), 'utf8')).toContain(new URL(plan.readyUrl).origin);
});

test('one that dies before it is ready is reported with the end of its log, to both who ask', async () => {
  const { processes, death } = fleet('dying');
  processes.start([{ name: 'stub', script: ['src/dev/model-stub/main.ts', 'no-port'], readyUrl: `http://127.0.0.1:${await freePort()}/` }]);
  await expect(processes.ready('stub')).rejects.toThrow(/stub ended with code 2[^]*"no-port" is not a port/);
  expect(await death).toMatch(/stub ended with code 2/);
});

test('those of a killed start are ended by the next one', async () => {
  const killed = fleet('killed');
  killed.processes.start([await desk()]);
  await killed.processes.ready('ticket-desk');
  const [mark] = killed.marks();

  await fleet('killed').processes.endLeftovers();
  expect(mark && isSame(mark)).toBe(false);
  expect(existsSync(join(scratch, 'killed/logs/ticket-desk.log'))).toBe(true);
});
