// What a user may do is asked at every call: a scope that is taken away between two calls of a run denies the second. The tool is
// not called, the denial is on record and audited; a machine's run ends by it, an agent's model is told.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { askedOf, blocksOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const called: string[] = [];
const read = defineTool({ name: 'read_ledger', description: 'Reads.', input: z.strictObject({ page: z.number() }), effect: 'read', scopes: ['ledger:read'], run: ({ page }, { user }) => { called.push(`${user} ${page}`); return Promise.resolve(page); } });
let mayGoOn: () => void = () => undefined;
const wentOn = new Promise<void>((resolve) => { mayGoOn = resolve; });
const reader = defineMachine({
  name: 'reader', version: 1, input: z.strictObject({ holds: z.boolean() }), start: 'first', remembers: false, tools: [read],
  steps: {
    first: async (step: Step<{ holds: boolean }>) => step.next('second', await step.tool('read_ledger', { page: 1 })),
    second: async (step: Step<{ holds: boolean }>) => { if (step.input.holds) await wentOn; return step.done(await step.tool('read_ledger', { page: 1 })); },
  },
});
const stack = await useStack();
let revoke: (() => Promise<unknown>) | undefined;
const note = defineTool({ name: 'note', description: 'Notes.', input: z.strictObject({}), effect: 'read', run: async () => { await revoke?.(); return null; } });
const clerk = defineAgent({ name: 'clerk', version: 1, model: 'claude-haiku-4-5', instructions: 'Answer.', tools: [read, note], memory: false });
const fleet = await startFleet(stack, [reader, clerk]);
await fleet.worker();
await fleet.rows(`INSERT INTO permissions (tenant_id, user_id, scopes) VALUES ('acme', 'ada', '{ledger:read}'), ('acme', 'bob', '{ledger:read}')`);
const audited = (run: string) => fleet.rows(`SELECT user_id AS user, action, object_type AS type, object_id AS id, allowed FROM audit_events WHERE actor = $1 ORDER BY 1`, [`run:${run}`]);

test('revoked between two equal calls: the second is denied, audited, and the run ends', async () => {
  const { id } = await fleet.base.submit({ tenant: 'acme', user: 'ada', door: 'test', agent: 'reader', input: { holds: true } });
  await fleet.until('acme', id, ({ step_seq }) => step_seq === 1);
  await fleet.rows(`UPDATE permissions SET scopes = '{}', epoch = epoch + 1 WHERE tenant_id = 'acme' AND user_id = 'ada'`);
  mayGoOn();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'failed', error_code: 'tool_denied', attempt: 0, output: null });
  expect(called).toEqual(['ada 1']);
  expect(await fleet.rows(`SELECT step_seq, status::text, error_code FROM tool_calls WHERE run_id = $1 ORDER BY 1`, [id])).toEqual([{ step_seq: 1, status: 'succeeded', error_code: null }, { step_seq: 2, status: 'denied', error_code: 'tool_denied' }]);
  expect(await audited(id)).toEqual([{ user: 'ada', action: 'tool.read_ledger', type: 'scope', id: 'ledger:read', allowed: false }]);
});

test('an agent is told of the denial as that call’s result: it is not made, it is audited, and the run goes on without it', async () => {
  await fleet.rows(`INSERT INTO permissions (tenant_id, user_id, scopes) VALUES ('acme', 'cleo', '{ledger:read}')`);
  revoke = () => fleet.rows(`UPDATE permissions SET scopes = '{}', epoch = epoch + 1 WHERE user_id = 'cleo'`);
  fleet.stub.tell({ when: 'both pages', turns: [{ toolUses: [{ name: 'read_ledger', input: { page: 3 } }] }, { toolUses: [{ name: 'note', input: {} }] }, { toolUses: [{ name: 'read_ledger', input: { page: 4 } }] }, { text: 'Only the first.' }] });
  const before = called.length;
  const { id } = await fleet.base.submit({ tenant: 'acme', user: 'cleo', door: 'test', agent: 'clerk', input: { message: 'both pages' } });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'Only the first.' } });
  expect(called.slice(before)).toEqual(['cleo 3']);
  expect(blocksOf(askedOf(fleet, 'both pages').at(-1))).toMatchObject([{ type: 'tool_result', is_error: true, content: expect.stringContaining('tool_denied') }]);
  expect(await audited(id)).toEqual([{ user: 'cleo', action: 'tool.read_ledger', type: 'scope', id: 'ledger:read', allowed: false }]);
});

test('whose scope stands goes on, and a run of no user is never permitted', async () => {
  const bob = await fleet.base.submit({ tenant: 'acme', user: 'bob', door: 'test', agent: 'reader', input: { holds: false } });
  expect(await fleet.ended('acme', bob.id)).toMatchObject({ status: 'completed', output: 1 });
  const nobody = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'reader', input: { holds: false } });
  expect(await fleet.ended('acme', nobody.id)).toMatchObject({ status: 'failed', error_code: 'tool_denied' });
  expect(called.filter((one) => !one.startsWith('cleo'))).toEqual(['ada 1', 'bob 1', 'bob 1']);
});
