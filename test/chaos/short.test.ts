// A short seeded storm on a small fleet of real processes, and every broken product that the checker must find out. The whole
// mix, longer: `npm run chaos`.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FaultPostgres } from '../faults/servers.ts';
import { useStack } from '../support/stack.ts';
import { BROKEN_STATES } from './broken-states.ts';
import { catchMutant } from './catch-mutant.ts';
import type { Evidence } from './check-runs.ts';
import { FAULT_KINDS, type FaultKind } from './faults.ts';
import { INVARIANT_IDS } from './invariants.ts';
import { MUTANT_NAMES, MUTANTS, patienceFor } from './mutants.ts';
import { planFaults } from './plan.ts';
import { runChaos, type Looks } from './run-chaos.ts';

/** A dozen seconds of load, in which a schedule fires once. */
const MINUTES = 0.2;
const FLEET = { agent: 2, memory: 1, maintenance: 1, api: 1 } as const;
const MIX: readonly FaultKind[] = ['kill-agent', 'fault-point', 'redis-kill', 'redis-flush', 'postgres-terminate', 'postgres-reset', 'model-errors'];

const { milvusAddress } = await useStack();
const dir = mkdtempSync(join(tmpdir(), 'mainstay-chaos-test-'));
let postgres: FaultPostgres;

beforeAll(async () => { postgres = await FaultPostgres.start(join(dir, 'postgres'), false); }, 60_000);
afterAll(async () => {
  await postgres.stop();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

test('the same seed plans the same faults, each kind at least once', () => {
  const plan = planFaults(7, 60_000, FAULT_KINDS, 18);
  expect(planFaults(7, 60_000, FAULT_KINDS, 18)).toEqual(plan);
  expect(planFaults(8, 60_000, FAULT_KINDS, 18)).not.toEqual(plan);
  expect(new Set(plan.map(({ kind }) => kind)).size).toBe(FAULT_KINDS.length);
  expect(plan.map(({ atMs }) => atMs)).toEqual(plan.map(({ atMs }) => atMs).toSorted((a, b) => a - b));
});

test('a short storm breaks nothing, and what is then broken by hand is seen by the look of its name', async () => {
  const unseen: string[] = [];
  const breakByHand = async (evidence: Evidence, looks: Looks): Promise<void> => {
    for (const { id, what, breaks, mends, look = () => looks[id]() } of BROKEN_STATES) {
      await breaks(evidence);
      const { wrong } = await look(evidence);
      await mends(evidence);
      if (wrong.length === 0 || (await look(evidence)).wrong.length > 0) unseen.push(`${id} ${what}`);
    }
  };
  const { violations, invariants, faults } = await runChaos({ seed: 1, minutes: MINUTES, milvusAddress, postgres, faults: MIX, fleet: FLEET, atRest: breakByHand });
  expect({ violations, unseen }).toEqual({ violations: [], unseen: [] });
  expect(Object.keys(invariants)).toEqual(INVARIANT_IDS);
  expect(Object.keys(faults).sort()).toEqual([...MIX].sort());
}, 400_000);

test.each(MUTANT_NAMES)('the mutant %s is caught', async (mutant) => {
  const { caught } = await catchMutant({ seed: 1, minutes: 0.7 * MINUTES * patienceFor(mutant), milvusAddress, postgres, mutant, fleet: { ...FLEET, agent: patienceFor(mutant) > 1 ? 3 : FLEET.agent } });
  expect(caught).toEqual(MUTANTS[mutant].breaks);
}, 600_000);
