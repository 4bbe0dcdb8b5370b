// A read that may be given again is, to the same user with the same permissions for the same arguments, and to nobody else. The
// permission is asked before the cache; an erasure forgets it; without Redis the call is made.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { usersOf } from '../../src/store/engine/erase.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const called: string[] = [];
const rates = defineTool({ name: 'rates', description: 'Exchange rates.', effect: 'read', cacheMs: 60_000, scopes: ['rates:read'], input: z.strictObject({ day: z.string() }), run: ({ day }, { user }) => { called.push(`${user} ${day}`); return Promise.resolve({ day, eur: called.length }); } });
const leaky = defineTool({ name: 'leaky', description: 'Gives a key.', effect: 'read', cacheMs: 60_000, input: z.strictObject({}), run: () => { called.push('leaky'); return Promise.resolve('the key is sk-ant-api03-abcdefghijklmnop'); } });
const asker = defineMachine({
  name: 'asker', version: 1, input: z.strictObject({ tool: z.enum(['rates', 'leaky']).default('rates'), day: z.string() }), start: 'ask', remembers: false, tools: [rates, leaky],
  steps: { ask: async (step: Step<{ tool: string; day: string }>) => step.done(await step.tool(step.input.tool, step.input.tool === 'rates' ? { day: step.input.day } : {})) },
});
const stack = await useStack();
const fleet = await startFleet(stack, [asker]);
await fleet.worker();
await fleet.rows(`INSERT INTO permissions (tenant_id, user_id, scopes) VALUES ('acme', 'ada', '{rates:read}'), ('acme', 'bob', '{rates:read}'), ('globex', 'ada', '{rates:read}')`);
let day = '';
let days = 0;
beforeEach(() => { day = `day ${++days}`; called.length = 0; });
const ask = async (more: { tenant?: string; user?: string; tool?: 'leaky'; day?: string } = {}) => {
  const { tenant = 'acme', user = 'ada', ...input } = more;
  const { id } = await fleet.base.submit({ tenant, user, door: 'test', agent: 'asker', input: { day, ...input } });
  return { id, ...(await fleet.ended(tenant, id)) };
};

test('the same read is made once, and on record as given again', async () => {
  const first = await ask();
  const second = await ask();
  expect(called).toEqual([`ada ${day}`]);
  expect(second.output).toEqual(first.output);
  expect(await fleet.rows(`SELECT response_meta FROM tool_calls WHERE run_id = $1`, [second.id])).toEqual([{ response_meta: { cached: true } }]);
});

test('other arguments, another user and another tenant are other reads', async () => {
  for (const more of [{}, { day: `${day}, later` }, { user: 'bob' }, { tenant: 'globex' }]) await ask(more);
  expect(called).toHaveLength(4);
});

test('a permission that changed is asked anew, one that is gone denies what is cached', async () => {
  await ask();
  await fleet.rows(`UPDATE permissions SET roles = '{clerk}', epoch = epoch + 1 WHERE tenant_id = 'acme' AND user_id = 'ada'`);
  await ask();
  expect(called).toHaveLength(2);
  await fleet.rows(`UPDATE permissions SET scopes = '{}' WHERE tenant_id = 'acme' AND user_id = 'ada'`); // the same epoch: what is cached would fit
  expect(await ask()).toMatchObject({ status: 'failed', error_code: 'tool_denied' });
  await fleet.rows(`UPDATE permissions SET scopes = '{rates:read}', epoch = epoch + 1 WHERE tenant_id = 'acme' AND user_id = 'ada'`);
});

test('what looks like a secret is not kept', async () => {
  await ask({ tool: 'leaky' });
  await ask({ tool: 'leaky' });
  expect(called).toEqual(['leaky', 'leaky']);
});

test('all of a user’s lies under one key, which an erasure finds', async () => {
  const { id } = await ask();
  const { redis, keys, engine } = fleet.base;
  expect(await redis.exists(keys.toolCache('acme', 'ada'))).toBe(1);
  expect(await usersOf(engine.pool, { tenant: 'acme', kind: 'run', subject: id } as never)).toEqual(['ada']);
  await redis.del(keys.toolCache('acme', 'ada'));
  await ask();
  expect(called).toHaveLength(2);
});

test('only reads may be cached, for a day at most', () => {
  const make = (change: object) => () => defineTool({ name: 'x', description: '', effect: 'read', cacheMs: 1_000, input: z.strictObject({}), run: () => Promise.resolve(null), ...change });
  expect(make({ effect: 'keyed' })).toThrow(expect.objectContaining({ code: 'bad_request' }));
  expect(make({ cacheMs: 0 })).toThrow(expect.objectContaining({ code: 'bad_request' }));
  expect(make({})).not.toThrow();
});
