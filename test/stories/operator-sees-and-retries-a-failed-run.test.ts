// An operator who knows nothing but the board finds a run that failed, of whatever tenant, reads why, and has it go on from its
// last checkpoint. Pressed twice it goes on once; the board shows what became of it and the audit log of its tenant who pressed.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import type { Run } from '../../src/domain/wire.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { startApi } from '../support/api.ts';
import { useStack } from '../support/stack.ts';

interface Job { id: string; name: string; failedReason: string; data: Record<string, unknown> }
interface Queue { name: string; counts: Record<string, number>; jobs: Job[] }

let isMended = false;
const ran: string[] = [];
const order = defineMachine({
  name: 'order', version: 1, input: z.strictObject({}), start: 'reserve', remembers: false, attempts: 1,
  steps: {
    reserve: (step: Step<object>) => { ran.push('reserve'); return Promise.resolve(step.next('charge', { reserved: 7 })); },
    charge: (step: Step<object, { reserved: number }>) => { ran.push('charge'); return isMended ? Promise.resolve(step.done(step.data)) : Promise.reject(new Error('the bank is closed')); },
  },
});

const stack = await useStack();
const api = await startApi(stack, [order], { config: { BOARD_USER: 'olga', BOARD_PASSWORD: 'a-board-password' } });
await api.fleet.worker();
const authorization = `Basic ${Buffer.from('olga:a-board-password').toString('base64')}`;
const board = <Body>(method: string, path: string) => api.call<Body>(method, `/board/api/queues${path}`, { headers: { authorization }, ...(method === 'PUT' ? { body: {} } : {}) });
const failures = async (): Promise<Queue | undefined> => (await board<{ queues: Queue[] }>('GET', '?activeQueue=runs-agent&status=failed&page=1&jobsPerPage=10')).body.queues.find(({ name }) => name === 'runs-agent');
const ended = async (id: string, key: string): Promise<Run> => (await api.call<Run>('GET', `/v1/runs/${id}?wait=15`, { key })).body;

test('a failed run is found, read, and retried once', async () => {
  const keys = [await api.makeKey({ tenant: 'acme' }), await api.makeKey({ tenant: 'globex' })] as const;
  const [ofAcme, ofGlobex] = await Promise.all(keys.map(async (key) => (await api.call<Run>('POST', '/v1/runs', { key, body: { agent: 'order', input: {} } })).body.id)) as [string, string];
  expect([(await ended(ofAcme, keys[0])).status, (await ended(ofGlobex, keys[1])).status]).toEqual(['failed', 'failed']);

  const seen = await failures();
  expect(seen?.counts).toMatchObject({ failed: 2, active: 0, waiting: 0 });
  expect(seen?.jobs.map(({ id, data }) => [id, data['tenant']]).sort()).toEqual([[ofAcme, 'acme'], [ofGlobex, 'globex']].sort());
  expect(seen?.jobs[0]?.failedReason).toMatch(/^attempts_exhausted: .*the bank is closed/);

  isMended = true;
  for (let i = 0; i < 2; i++) expect((await board('PUT', `/runs-agent/${ofGlobex}/retry`)).status).toBe(204);
  const job = (await failures())?.jobs.find(({ id }) => id === ofGlobex);
  const retry = await ended(String(job?.data['retriedAs']), keys[1]);
  expect(retry).toMatchObject({ status: 'completed', forkedFrom: ofGlobex, output: { reserved: 7 }, steps: 2 });
  expect(ran.filter((step) => step === 'reserve')).toHaveLength(2); // once for each tenant: the retry went on after it
  expect((await failures())?.jobs.find(({ id }) => id === ofAcme)?.data).not.toHaveProperty('retriedAs');

  const lines = async (key: string): Promise<string[]> => (await api.call<{ data: { actor: string; action: string; objectId: string }[] }>('GET', '/v1/audit?action=run.retried', { key })).body.data.map(({ actor, objectId }) => `${actor} ${objectId}`);
  expect([await lines(keys[0]), await lines(keys[1])]).toEqual([[], [`board:olga ${ofGlobex}`]]);
});
