// From which cosine on an embedder's pairs are the same: told by the rule of the docs, refused where it cannot be told, and what is
// stored is what the gate goes by.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { readStream } from '../eval/gate/format.ts';
import { pairsOf } from '../eval/gate/pairs.ts';
import { calibrate, pairsSchema, type Measured } from '../src/domain/gate-calibration.ts';
import { POLICY, thresholdsOf } from '../src/domain/gate-policy.ts';
import { gatePolicyOf } from '../src/domain/memory-settings.ts';
import { makeLog } from '../src/log.ts';
import { openAppStore } from '../src/store/app-store.ts';
import { memoryPolicy, setMemoryPolicy } from '../src/store/memory-policies.ts';
import { takeTurn } from '../src/store/memory-room.ts';
import { spawnCli } from './support/spawn-cli.ts';
import { atFileEnd, useStack } from './support/stack.ts';

const stack = await useStack();
const store = openAppStore({ url: stack.databaseUrl, asRole: true, log: makeLog('silent', 'test') });
atFileEnd(() => store.close());
const folder = mkdtempSync(join(tmpdir(), 'mainstay-calibrate-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pair = (same: boolean, cosine: number, over: Partial<Measured> = {}): Measured => ({ a: 'the lamp is red', b: 'the lamp is crimson', same, cosine, ...over });
const many = (n: number, same: boolean, cosineOf: (at: number) => number): Measured[] => Array.from({ length: n }, (_, at) => pair(same, cosineOf(at)));

test('high: the lowest cosine from which 98 % are the same; low: where 95 % of those that are the same lie above', () => {
  const same = many(100, true, (at) => 0.9 - at / 1_000); // .900 down to .801
  expect(calibrate([...same, ...many(30, false, (at) => 0.5 - at / 1_000)])).toEqual({ high: 0.801, low: 0.801 });
  expect(calibrate([...same, pair(false, 0.8495), ...many(30, false, () => 0.4)])).toEqual({ high: 0.801, low: 0.801 });
  expect(calibrate([...same, ...many(3, false, () => 0.8495), ...many(30, false, () => 0.4)])).toEqual({ high: 0.85, low: 0.806 });
});

test('pairs that the guards keep apart count for nothing above: they are never merged, however near', () => {
  const numbers = Array.from({ length: 50 }, () => pair(false, 0.99, { a: 'the limit is 3', b: 'the limit is 5' }));
  expect(calibrate([...many(50, true, () => 0.8), ...many(30, false, () => 0.4), ...numbers])).toEqual({ high: 0.8, low: 0.8 });
  const values = Array.from({ length: 50 }, () => pair(false, 0.99, { values: ['red', 'blue'] }));
  expect(calibrate([...many(50, true, () => 0.8), ...many(30, false, () => 0.4), ...values])).toEqual({ high: 0.8, low: 0.8 });
});

test('too few pairs of a kind, or none told apart, are refused', () => {
  expect(() => calibrate([...many(19, true, () => 0.8), ...many(30, false, () => 0.4)])).toThrow(/19 pairs are the same .* 30 are not the same: at least 20/);
  expect(() => calibrate([...many(30, true, () => 0.8), ...many(19, false, () => 0.4)])).toThrow(/at least 20/);
  expect(() => calibrate([...many(30, true, () => 0.4), ...many(30, false, () => 0.8)])).toThrow(/merge nothing by meaning/);
});

test('on the command line: measured with the configured embedder, stored, and the gate of every tenant goes by it', async () => {
  const file = join(folder, 'pairs.json');
  const pairs = pairsOf(readStream());
  expect(pairsSchema.parse(pairs)).toHaveLength(pairs.length);
  writeFileSync(file, JSON.stringify([...pairs.filter(({ same }) => same).slice(0, 50), ...pairs.filter(({ same }) => !same).slice(0, 30)]));
  const calibrateBy = async (...more: string[]) => spawnCli(['memories', 'calibrate', '--data', file, ...more], { cwd: folder, env: stack.env });
  const measured = await calibrateBy('--json');
  const found = JSON.parse(measured.out) as { embedder: string; high: number; low: number; pairs: number; stored: boolean };
  expect(found).toMatchObject({ embedder: expect.stringMatching(/^builtin:.*minilm/) as unknown, stored: false });
  expect([found.high > 0.6 && found.high < 0.95, found.low <= found.high]).toEqual([true, true]);
  const policyOf = async (tenant: string) => gatePolicyOf(await store.withTenant({ tenant }, (tx) => memoryPolicy(tx)));
  expect(thresholdsOf(await policyOf('acme'), found.embedder)).toEqual(POLICY.thresholds[0]);
  expect((await calibrateBy('--store')).out).toMatch(new RegExp(`merged from ${found.high} on, related from ${found.low} on, by ${found.pairs} pairs; stored`));
  await store.withTenant({ tenant: 'picky' }, (tx) => setMemoryPolicy(tx, { gate: { maxAdmits: 3 } }, 'test'));
  for (const tenant of ['acme', 'picky']) {
    const { policy } = await store.withTenant({ tenant }, (tx) => takeTurn(tx, 'ada', 'helper'));
    expect(thresholdsOf(policy, found.embedder)).toMatchObject({ high: found.high, low: found.low, pairs: found.pairs });
    expect(thresholdsOf(policy, `${found.embedder}:other`)).toEqual(POLICY.thresholds[0]); // its pattern is the fingerprint and no more
  }
  expect((await policyOf('picky')).maxAdmits).toBe(3);
});

test('a file of another form is refused with its place, and words alone are not measured', async () => {
  const file = join(folder, 'odd.json');
  writeFileSync(file, JSON.stringify([{ a: 'x', b: 'y' }]));
  const refused = await spawnCli(['memories', 'calibrate', '--data', file], { cwd: folder, env: stack.env });
  expect([refused.code === 0, refused.err]).toEqual([false, expect.stringContaining('0.same')]);
  writeFileSync(file, JSON.stringify([{ a: 'x', b: 'y', same: true }]));
  expect((await spawnCli(['memories', 'calibrate', '--data', file], { cwd: folder, env: { ...stack.env, EMBEDDER: 'lexical' } })).err).toContain('no meaning');
});
