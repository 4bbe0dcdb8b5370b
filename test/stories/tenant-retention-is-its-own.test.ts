// A tenant says for how long its memories keep their strength, when they are closed and when they are deleted. Those of others go by the
// rules of everybody. What a change would take is shown before it is made, and a sweep says which rule took what.
import { beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Mainstay } from '../../src/client/client.ts';
import { SCOPES, type MemoryType } from '../../src/domain/status.ts';
import { strengthOf } from '../../src/memory/rank-memories.ts';
import { dropRemoved } from '../../src/memory/document-service.ts';
import { newId } from '../../src/ids.ts';
import { keepRetention } from '../../src/run/keep-retention.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { dueRetention, retain } from '../../src/store/engine/retention.ts';
import { takeTurn } from '../../src/store/memory-room.ts';
import { memoriesOf } from '../../src/store/recall-memories.ts';
import { startDocuments } from '../support/documents.ts';
import { spawnCli } from '../support/spawn-cli.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const stack = await useStack();
const { api, index: bringIndex } = await startDocuments(stack);
const index = await openTestIndex(stack);
const { fleet, store } = api;
const { pool, log } = fleet.base;
const folder = mkdtempSync(join(tmpdir(), 'mainstay-retention-'));
atFileEnd(() => { rmSync(folder, { recursive: true }); return Promise.resolve(); });

interface Tenant { readonly name: string; readonly client: Mainstay }
let [own, other]: Tenant[] = [];
let tenants = 0;
async function newTenant(): Promise<Tenant> {
  const name = `t${++tenants}`;
  await createTenant(pool, name);
  const { key } = await createKey(pool, { tenant: name, user: undefined, name: 'test', scopes: [...SCOPES], expiresAt: undefined }, 'test');
  return { name, client: new Mainstay({ baseUrl: api.url, apiKey: key }) };
}
beforeEach(async () => { [own, other] = [await newTenant(), await newTenant()]; });

/** A memory last said so many days ago; closed since so many days, where it is. */
async function memory({ name }: Tenant, type: MemoryType, idleDays: number, { closedDays, pinned = false }: { closedDays?: number; pinned?: boolean } = {}): Promise<string> {
  const id = newId();
  await fleet.rows(`INSERT INTO memories (tenant_id, id, scope, user_id, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, valid_to, last_seen_at, pinned)
    VALUES ($1, $2::uuid, 'user', 'ada', $3::memory_type, $4::text, $4::text, 'x', $4::text, sha256(convert_to($4::text, 'UTF8')), 'user', 0.9, '[{"event_id":"e1","quote":"x"}]', $2::uuid, 1, now() - interval '900 days', CASE WHEN $6::int IS NOT NULL THEN now() - $6::int * interval '1 day' END, now() - $5::int * interval '1 day', $7)`,
  [name, id, type, `${type} ${id}`, idleDays, closedDays ?? null, pinned]);
  return id;
}
const live = async ({ name }: Tenant): Promise<string[]> => (await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE tenant_id = $1 AND valid_to IS NULL ORDER BY id`, [name])).map(({ id }) => id);
const reports = async ({ name }: Tenant): Promise<unknown[]> => (await fleet.rows<{ details: unknown }>(`SELECT details FROM audit_events WHERE tenant_id = $1 AND action = 'memory.retention' ORDER BY id`, [name])).map(({ details }) => details);

test('what a tenant has set closes its memories, and those of no other; what is pinned stays; the report names rules and settings', async () => {
  const { version } = await own!.client.memories.setPolicy({ retention: { idleDays: { outcome: 10, fact: 'never', preference: 50 } } });
  for (const [type, days] of [['outcome', 11], ['preference', 60]] as const) await memory(own!, type, days);
  const [fact, pinned] = [await memory(own!, 'fact', 400), await memory(own!, 'outcome', 11, { pinned: true })];
  const otherOutcome = await memory(other!, 'outcome', 11);
  await memory(other!, 'fact', 400);
  await keepRetention(pool, log);
  expect(await live(own!)).toEqual([fact, pinned].sort());
  expect(await live(other!)).toEqual([otherOutcome]);
  expect(await reports(own!)).toEqual([{ closed: 2, rolled: 0, deleted: 0, settings: version, took: [{ rule: 'idleDays.preference', days: 50, memories: 1 }, { rule: 'idleDays.outcome', days: 10, memories: 1 }] }]);
  expect(await reports(other!)).toEqual([{ closed: 1, rolled: 0, deleted: 0, settings: 0, took: [{ rule: 'idleDays.fact', days: 365, memories: 1 }] }]);
});

test('the newest settings count, and null goes back to the rule of everybody', async () => {
  await own!.client.memories.setPolicy({ retention: { idleDays: { fact: 10 } } });
  await own!.client.memories.setPolicy({ retention: { idleDays: { fact: null } } });
  const kept = await memory(own!, 'fact', 11);
  await retain(pool, own!.name, 'test');
  expect(await live(own!)).toEqual([kept]);
  await own!.client.memories.setPolicy({ retention: { idleDays: { fact: 11 } } });
  expect((await own!.client.memories.policy()).retention).toMatchObject({ idleDays: { fact: 11, outcome: 180, decision: 'never' }, halfLifeDays: { fact: 90 }, closedDays: 90 });
  await retain(pool, own!.name, 'test');
  expect(await live(own!)).toEqual([]);
});

test('what is closed is kept as long as its tenant says: memories, and replaced versions of documents', async () => {
  await own!.client.memories.setPolicy({ retention: { closedDays: 5 } });
  const ids = [];
  for (const tenant of [own!, other!]) {
    ids.push(await memory(tenant, 'decision', 1, { closedDays: 6 }));
    await tenant.client.documents.add({ title: 'Prices', text: 'Twenty.', source: 'prices.md' });
    await tenant.client.documents.add({ title: 'Prices', text: 'Thirty.', source: 'prices.md' });
    await fleet.rows(`UPDATE documents SET closed_at = now() - interval '6 days' WHERE tenant_id = $1 AND closed_at IS NOT NULL`, [tenant.name]);
  }
  await bringIndex();
  await keepRetention(pool, log);
  await dropRemoved({ pool, index });
  expect(await fleet.rows(`SELECT tenant_id AS tenant, id FROM memories WHERE id = ANY ($1)`, [ids])).toEqual([{ tenant: other!.name, id: ids[1] }]);
  expect(await fleet.rows(`SELECT tenant_id AS tenant, count(*)::int AS n FROM documents WHERE tenant_id = ANY ($1) GROUP BY 1 ORDER BY 1`, [[own!.name, other!.name]])).toEqual([{ tenant: own!.name, n: 1 }, { tenant: other!.name, n: 2 }]);
  expect(await reports(own!)).toEqual([expect.objectContaining({ deleted: 1, took: [{ rule: 'closedDays', days: 5, memories: 1 }] })]);
});

test('half-lives decide of strength in recall and of who goes over a cap', async () => {
  await own!.client.memories.setPolicy({ gate: { caps: { user: 2 } }, retention: { halfLifeDays: { decision: 1 } } });
  const strengths: number[] = [];
  const weakest: (string | undefined)[] = [];
  for (const tenant of [own!, other!]) {
    await other!.client.memories.setPolicy({ gate: { caps: { user: 2 } } });
    const [decision, fact] = [await memory(tenant, 'decision', 30), await memory(tenant, 'fact', 30)];
    await store.withTenant({ tenant: tenant.name, user: 'ada' }, async (tx) => {
      const [row] = await memoriesOf(tx, { user: 'ada', agent: 'a' }, [decision]);
      strengths.push(strengthOf({ ...row!, confidence: 1 }));
    });
    const { room } = await store.withTenant({ tenant: tenant.name }, (tx) => takeTurn(tx, 'ada', 'a'));
    weakest.push(room?.evictable[0]?.id === decision ? 'decision' : room?.evictable[0]?.id === fact ? 'fact' : undefined);
  }
  expect(strengths).toEqual([0.3, expect.closeTo(2 ** (-30 / (365 * (1 + Math.log(2)))), 3)]); // the floor, and hardly less than 1
  expect(weakest).toEqual(['decision', 'fact']);
});

test('bad settings are refused with what is wrong, and change nothing', async () => {
  const before = await own!.client.memories.setPolicy({ retention: { closedDays: 30 } });
  for (const retention of [{ closedDays: 0 }, { closedDays: 'never' }, { idleDays: { fact: -1 } }, { idleDays: { fact: 1.5 } }, { idleDays: { rumour: 3 } }, { halfLifeDays: { fact: 'never' } }, { halfLifeDays: { fact: 1e9 } }, { forEver: true }]) {
    await expect(own!.client.memories.setPolicy({ retention } as object)).rejects.toMatchObject({ code: 'bad_request', status: 400 });
  }
  expect(await own!.client.memories.policy()).toEqual(before);
});

test('what a change would take is shown before it is made; the brake holds for a tenant’s own rules too', async () => {
  for (let n = 0; n < 25; n++) await memory(own!, 'fact', 20);
  const file = join(folder, 'settings.json');
  writeFileSync(file, JSON.stringify({ retention: { idleDays: { fact: 15 } } }));
  const cli = (...words: string[]) => spawnCli(['memories', 'retention', ...words], { env: { DATABASE_URL: fleet.base.config.DATABASE_URL } });
  expect(await dueRetention(pool, own!.name)).toEqual([]);
  const shown = await cli('--tenant', own!.name, '--policy', file, '--json');
  expect(JSON.parse(shown.out)).toEqual({ data: [{ tenant: own!.name, memories: 25, closes: 25, rolls: 0, deletes: 0, settings: 1, takes: [{ rule: 'idleDays.fact', days: 15, memories: 25 }], braked: true }] });
  expect((await own!.client.memories.policy()).version).toBe(0);
  for (const words of [['--policy', file], ['--tenant', own!.name, '--policy', file, '--apply']]) expect(await cli(...words)).toMatchObject({ code: 1, err: expect.stringContaining('bad_request') });
  writeFileSync(file, JSON.stringify({ retention: { idleDays: { fact: 0 } } }));
  expect(await cli('--tenant', own!.name, '--policy', file)).toMatchObject({ code: 1, err: expect.stringContaining('retention.idleDays.fact') });
  await own!.client.memories.setPolicy({ retention: { idleDays: { fact: 15 } } });
  await keepRetention(pool, log);
  expect(await live(own!)).toHaveLength(25);
  expect((await cli('--tenant', own!.name, '--apply')).out).toMatch(/idleDays.fact 15: 25 .*braked[^]*25 closed, 0 deleted/);
  expect(await live(own!)).toEqual([]);
});
