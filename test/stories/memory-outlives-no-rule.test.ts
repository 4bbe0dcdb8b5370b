// A memory nobody has said again or cited for long is closed, and deleted once it has been closed for long, first in the index, then in
// Postgres. Wishes, decisions and constraints stay. More than a small part of a tenant's memories is never taken in one sweep.
import { beforeEach, expect, test } from '@jest/globals';
import { isBraked } from '../../src/domain/retention.ts';
import { newId } from '../../src/ids.ts';
import { keepRetention } from '../../src/run/keep-retention.ts';
import { dueRetention, retain } from '../../src/store/engine/retention.ts';
import { MEMORY_TYPES, type MemoryType } from '../../src/domain/status.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { spawnCli } from '../support/spawn-cli.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startMemoryFleet(stack, []);
const { pool, log } = fleet.base;
let tenant = '';
let tenants = 0;
beforeEach(() => { tenant = `t${++tenants}`; });

/** A memory last said so many days ago; closed since so many days, where it is. */
async function memory(type: MemoryType, idleDays: number, closedDays?: number): Promise<string> {
  const id = newId();
  await fleet.rows(`INSERT INTO memories (tenant_id, id, scope, user_id, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, valid_to, last_seen_at)
    VALUES ($1, $2::uuid, 'user', 'ada', $3::memory_type, $4::text, $4::text, 'x', $4::text, sha256(convert_to($4::text, 'UTF8')), 'user', 0.9, '[{"event_id":"e1","quote":"x"}]', $2::uuid, 1, now() - interval '900 days', CASE WHEN $6::int IS NOT NULL THEN now() - $6::int * interval '1 day' END, now() - $5::int * interval '1 day')`,
  [tenant, id, type, `${type} ${id}`, idleDays, closedDays ?? null]);
  return id;
}
const live = async (): Promise<string[]> => (await fleet.rows<{ type: string }>(`SELECT type::text FROM memories WHERE tenant_id = $1 AND valid_to IS NULL ORDER BY 1`, [tenant])).map(({ type }) => type);
const index = async (): Promise<void> => { while (await fleet.memory.indexPending(200) > 0); };

test('closed by the rule of its type, and by nothing else', async () => {
  for (const type of MEMORY_TYPES) for (const days of [100, 200, 400]) await memory(type, days);
  expect((await dueRetention(pool, tenant))[0]).toMatchObject({ tenant, memories: 18, closes: 4, rolls: 0, deletes: 0 }); // one fact, two outcomes, one procedure
  await keepRetention(pool, log);
  const left = await live();
  expect(Object.fromEntries(MEMORY_TYPES.map((type) => [type, left.filter((one) => one === type).length]))).toEqual({ preference: 3, fact: 2, decision: 3, constraint: 3, outcome: 1, procedure: 2 });
  expect(await dueRetention(pool, tenant)).toEqual([]);
  expect(await fleet.rows(`SELECT details FROM audit_events WHERE tenant_id = $1 AND action = 'memory.retention'`, [tenant])).toMatchObject([{ details: { closed: 4, rolled: 0, deleted: 0 } }]);
});

test('deleted once it was closed for long and the index has let go of it', async () => {
  const [old, recent] = [await memory('fact', 500, 91), await memory('fact', 500, 89)];
  await keepRetention(pool, log);
  expect(await fleet.rows(`SELECT FROM memories WHERE tenant_id = $1`, [tenant])).toHaveLength(2); // the index still owes it
  await index();
  await keepRetention(pool, log);
  expect(await fleet.rows(`SELECT id FROM memories WHERE tenant_id = $1`, [tenant])).toEqual([{ id: recent }]);
  expect(await fleet.rows(`SELECT FROM memory_vectors WHERE id = $1`, [old])).toEqual([]);
});

test('more than one sweep may take stops all of it for that tenant alone, until a person says so', async () => {
  for (let n = 0; n < 25; n++) await memory('outcome', 200);
  const braked = tenant;
  expect(isBraked((await dueRetention(pool, braked))[0]!)).toBe(true);
  tenant = `${tenant}-other`;
  await memory('outcome', 200);
  await keepRetention(pool, log);
  expect(await live()).toEqual([]);
  tenant = braked;
  expect(await live()).toHaveLength(25);
  const env = { DATABASE_URL: fleet.base.config.DATABASE_URL };
  expect((await spawnCli(['memories', 'retention', '--tenant', braked], { env })).out).toContain('braked');
  expect(await live()).toHaveLength(25);
  expect(await spawnCli(['memories', 'retention', '--apply'], { env })).toMatchObject({ code: 1, err: expect.stringContaining('bad_request') });
  expect((await spawnCli(['memories', 'retention', '--tenant', braked, '--apply'], { env })).out).toContain('0 rolled up, 25 closed, 0 deleted');
  expect(await live()).toEqual([]);
  expect(await retain(pool, braked, 'test')).toMatchObject({ closed: 0, deleted: 0 });
});
