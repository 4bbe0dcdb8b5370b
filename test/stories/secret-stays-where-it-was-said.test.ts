// A secret in an input or in what a tool returned stays in the run that holds it: it is in no memory, summary or trace, in nothing that
// Redis keeps, and in no line of a log. (The stored input, the transcript and the tool's recorded result are the run itself.)
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineAgent } from '../../src/run/define-agent.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { conversation } from '../support/agents.ts';
import { looper } from '../support/loop-agent.ts';
import { startJournal } from '../support/journal.ts';
import { startAgent } from '../support/agent-process.ts';
import { redisDump } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

const SAID = 'sk-ant-api03-c4n4ryS41dByTheUserAAAA';
const RETURNED = 'ghp_c4n4ryReturnedByATool0123456789ABCDEF';
const vault = defineTool({ name: 'vault', description: 'Looks a login up.', effect: 'read', cacheMs: 60_000, input: z.strictObject({ name: z.string() }), run: () => Promise.resolve({ login: 'deploy', token: RETURNED }) });
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'keeper', version: 1, model: 'claude-haiku-4-5', instructions: 'Answer.', tools: [vault] }), looper], { scripts: [conversation('our deploy login', [{ toolUses: [{ name: 'vault', input: { name: 'deploy' } }] }, { text: 'I have found the login.' }])] });

test('R41: said by the user and returned by a tool: nowhere else', async () => {
  const run = await fleet.talk('keeper', `Remember that our API key is ${SAID}. Which is our deploy login? Our warehouse is in Rotterdam.`, { tenant: 'acme', user: 'ada', session: 's' });
  expect(run).toMatchObject({ status: 'completed' });
  await fleet.indexed('acme');
  const next = await fleet.talk('keeper', 'Where is our warehouse, and what is our API key?', { tenant: 'acme', user: 'ada', session: 't' });
  const tables = ['memories', 'memory_candidates', 'run_summaries', 'retrieval_traces', 'audit_events', 'run_events'];
  const dumps = await Promise.all(tables.map(async (table) => [table, JSON.stringify(await fleet.rows(`SELECT * FROM ${table}`))] as const));
  dumps.push(['redis', JSON.stringify(await redisDump(fleet.base.config.REDIS_URL, stack.redisPrefix))], ['metrics', await fleet.base.metrics.registry.metrics()]);
  dumps.push(['the next run', JSON.stringify(await fleet.rows(`SELECT data FROM run_steps WHERE run_id = $1`, [next.id]))]);
  expect(dumps.filter(([, text]) => text.includes(SAID) || text.includes(RETURNED)).map(([where]) => where)).toEqual([]);
  expect(dumps.find(([where]) => where === 'memories')?.[1]).toContain('Rotterdam'); // memory was at work
  expect(JSON.stringify(await fleet.rows(`SELECT input FROM agent_runs`))).toContain(SAID); // and the run holds what it was told
});

test('R41: a worker that logs all it can says neither', async () => {
  await Promise.all(fleet.workers.map((worker) => worker.stop()));
  const journal = await startJournal();
  fleet.stub.tell({ when: 'log nothing of', turns: [{ toolUses: [{ name: 'write_keyed', input: { journal: journal.url, line: RETURNED } }] }, { toolUses: [{ name: 'write_keyed', input: { journal: `${journal.url}/nowhere`, line: RETURNED } }] }, { text: `Written ${RETURNED}.` }] });
  const agent = await startAgent(stack, { LOG_LEVEL: 'trace', AGENTS_MODULE: 'test/support/loop-agent.ts', ANTHROPIC_BASE_URL: fleet.stub.url });
  const { id } = await fleet.base.submit({ tenant: 'acme', user: 'ada', door: 'test', agent: 'looper', input: { message: `log nothing of ${SAID}` } });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  await agent.said('run ended');
  expect(agent.lines.filter((line) => line.includes(SAID) || line.includes(RETURNED))).toEqual([]);
  await journal.close();
});
