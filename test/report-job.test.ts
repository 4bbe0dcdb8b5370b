// The report example on a real fleet: collects, analyses, writes and delivers once, at the time it was told to start, and
// only for a user who may read the dataset. The services it calls are the examples' own.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { startDataSource } from '../examples/data-source.ts';
import { reportJob } from '../examples/report-job.ts';
import { wallMs } from '../src/clock.ts';
import { startFleet } from './support/fleet.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const source = await startDataSource();
const artifacts = mkdtempSync(join(tmpdir(), 'mainstay-artifacts-'));
const fleet = await startFleet(stack, [reportJob(source.url, artifacts)]);
afterAll(async () => {
  await source.stop();
  rmSync(artifacts, { recursive: true, force: true });
});

const query = async (sql: string, values: unknown[]): Promise<Record<string, unknown>[]> => (await fleet.base.engine.pool.query<Record<string, unknown>>(sql, values)).rows;
const request = { tenant: 'acme', door: 'test', agent: 'report-job', input: { title: 'Sales of the half-year' } };

test('a report is written and delivered once, no earlier than told', async () => {
  await query(`INSERT INTO permissions (tenant_id, user_id, datasets) VALUES ('acme', 'rita', '{sales}')`, []);
  const startAtMs = wallMs() + 1_200;
  const { id } = await fleet.base.submit({ ...request, user: 'rita', startAt: new Date(startAtMs).toISOString() });
  await fleet.worker();
  const run = await fleet.ended('acme', id);
  expect(run).toMatchObject({ error_message: null, status: 'completed', step_seq: 4 });
  expect(run.started_at?.getTime()).toBeGreaterThanOrEqual(startAtMs - 1);

  const { artifact, bytes } = run.output as { artifact: string; bytes: number };
  const text = readFileSync(join(artifacts, artifact), 'utf8');
  expect(Buffer.byteLength(text)).toBe(bytes);
  expect(text).toContain('# Sales of the half-year');
  expect(text).toContain('- Total: 14100.');
  expect(text).toContain('- Best region: west with 4740 (34 %).');
  expect(readdirSync(join(artifacts, 'acme/reports'))).toHaveLength(1);

  const steps = await query('SELECT name FROM run_steps WHERE run_id = $1 ORDER BY seq', [id]);
  expect(steps.map(({ name }) => name)).toEqual(['collect', 'analyse', 'write', 'deliver']);
  expect(await query('SELECT tool, effect::text, status::text FROM tool_calls WHERE run_id = $1 ORDER BY step_seq, path', [id])).toEqual([
    ...Array.from({ length: 3 }, () => ({ tool: 'run_query', effect: 'read', status: 'succeeded' })),
    { tool: 'deliver_report', effect: 'keyed', status: 'succeeded' },
  ]);
  expect(await query(`SELECT count(*)::int AS n FROM audit_events WHERE user_id = 'rita' AND object_id = 'sales' AND allowed`, [])).toEqual([{ n: 3 }]);
});

test('without the dataset nothing is read or delivered, and the refusal is on record', async () => {
  const { id } = await fleet.base.submit({ ...request, user: 'mallory' });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'failed', error_code: 'tool_denied' });
  expect(readdirSync(join(artifacts, 'acme/reports'))).toHaveLength(1);
  const refused = await query(`SELECT allowed, object_id FROM audit_events WHERE user_id = 'mallory'`, []);
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.every(({ allowed, object_id }) => allowed === false && object_id === 'sales')).toBe(true);
});
