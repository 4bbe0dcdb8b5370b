// The registry of a process: every metric is there under its name, nothing is labelled by a user or a run, tenants only where
// their number has an end, and labels from outside cannot grow without end.
import { readFile } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { makeMetrics } from '../src/metrics.ts';

test('a process shows its metrics with its name, and two registries do not meet', async () => {
  const [api, worker] = [makeMetrics('api'), makeMetrics('agent-worker')];
  api.claims.inc({ outcome: 'claimed' });
  api.stepSeconds.observe({ agent: 'support', step: 'think', outcome: 'next' }, 0.2);
  worker.breakerState.set({ breaker: 'model' }, 2);
  const text = await api.registry.metrics();
  expect(text).toContain('mainstay_claims_total{outcome="claimed",process="api"} 1');
  expect(text).toContain('mainstay_step_seconds_bucket{le="0.25",process="api",agent="support",step="think",outcome="next"} 1');
  expect(text).toContain('process_cpu_seconds_total');
  expect(text).not.toContain('mainstay_breaker_state{');
  expect(await worker.registry.metrics()).toContain('mainstay_breaker_state{breaker="model",process="agent-worker"} 2');
});

test('no metric is labelled by user, session, run or job, and few by tenant', () => {
  const metrics = makeMetrics('api').registry.getMetricsAsArray() as unknown as { name: string; labelNames?: string[] }[];
  const ours = metrics.filter(({ name }) => name.startsWith('mainstay_'));
  expect(ours).toHaveLength(42);
  for (const { labelNames } of ours) expect((labelNames ?? []).filter((label) => /user|session|run|job|id$/.test(label))).toEqual([]);
  expect(ours.filter(({ labelNames }) => labelNames?.includes('tenant')).map(({ name }) => name).sort()).toEqual(['mainstay_permits_held', 'mainstay_permits_limit', 'mainstay_slot_seconds_total', 'mainstay_tenant_due_runs', 'mainstay_tenant_oldest_due_run_seconds']);
});

test('the metrics of memory are those docs/memory.md explains, with these labels', async () => {
  const metrics = makeMetrics('api').registry.getMetricsAsArray() as unknown as { name: string; labelNames?: string[] }[];
  const ours = metrics.flatMap(({ name, labelNames = [] }) => (/^mainstay_(gate|recall|memor|citation|index|quarantine)/.test(name) ? [`${name.replace('mainstay_', '')}${labelNames.length === 0 ? '' : `{${labelNames.join(',')}}`}`] : []));
  const page = await readFile(new URL('../docs/memory.md', import.meta.url), 'utf8');
  const table = page.slice(page.indexOf('## What Prometheus sees'), page.indexOf('## How long'));
  const explained = table.split('\n').filter((line) => line.startsWith('| `')).flatMap((line) => [...line.split('|')[1]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!));
  expect(ours).toHaveLength(12);
  expect(explained.sort()).toEqual(ours.sort());
});

test('a label takes a hundred values, then `other`', () => {
  const { bound } = makeMetrics('api');
  const first = Array.from({ length: 100 }, (_, i) => bound('tool', `tool-${i}`));
  expect(new Set(first).size).toBe(100);
  expect(bound('tool', 'one-more')).toBe('other');
  expect(bound('tool', 'tool-7')).toBe('tool-7');
  expect(bound('agent', 'one-more')).toBe('one-more');
});
