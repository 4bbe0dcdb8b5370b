// What the fleet under chaos runs (AGENTS_MODULE): the machine `fault`, whose input brings its plan, and agents with memory whose
// tools write to the sink, so that every effect of every run has a witness outside of the product.
import { z } from 'zod';
import { pause } from '../../src/clock.ts';
import type { Machine } from '../../src/domain/machine.ts';
import type { ToolContext } from '../../src/domain/tool.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { machines as faultMachines } from '../faults/machines.ts';
import type { SinkKind } from '../faults/sink.ts';

export const AGENT = 'chaos-agent';
/** The same by the batch lane. */
export const BATCHED_AGENT = 'chaos-batched-agent';
/** An agent whose budget ends after a call or two: its run ends with it. */
export const POOR_AGENT = 'chaos-poor-agent';
/** One whose run waits then, until a person gives it more. */
export const FRUGAL_AGENT = 'chaos-frugal-agent';
/** An agent that is told much by its tool, and has a while for its user to say more. */
export const READER_AGENT = 'chaos-reader-agent';
/** What a user says to it. */
export const READ_THE_LOG = 'Read the log.';
const READ_MS = 1_500;
const LOG = Array.from({ length: 600 }, (_, n) => `Line ${n} of the log of the turbine says nothing of interest.`).join('\n');
/** Enough for one reserve of a short conversation, not for many. */
const POOR_MICRO_USD = 30_000n;

const sink = process.env['CHAOS_SINK_URL'] ?? 'http://127.0.0.1:1';

const write = (kind: SinkKind, line: string, { run, key, signal }: ToolContext): Promise<unknown> =>
  fetch(`${sink}/${kind}`, { method: 'POST', headers: { 'idempotency-key': key, 'x-run': run, 'x-pid': String(process.pid) }, body: line, signal }).then((answer) => answer.json());

const tools = [
  defineTool({ name: 'find_tickets', description: "Finds the customer's tickets.", input: z.strictObject({ query: z.string().optional() }), effect: 'read', run: (_args, context) => write('read', 'tickets', context) }),
  defineTool({ name: 'open_ticket', description: 'Opens a ticket.', input: z.strictObject({ subject: z.string(), description: z.string() }), effect: 'keyed', run: ({ subject }, context) => write('keyed', `ticket: ${subject}`, context) }),
];
const readLog = defineTool({
  name: 'read_log', description: 'Reads the log.', input: z.strictObject({}), effect: 'read', mayRepeat: true,
  run: async (_args, context) => { await write('read', 'the log', context); await pause(READ_MS, context.signal); return LOG; },
});
type AgentOptions = Parameters<typeof defineAgent>[0];
const agent = (name: string, limits: AgentOptions['limits'], more: Partial<AgentOptions> = {}): Machine => defineAgent({
  name, version: 1, instructions: 'You are the support agent of a software company. Look for tickets first, open one where there is none.', tools, limits: { maxTurns: 6, ...limits }, ...more,
});

export const machines: readonly Machine[] = [
  ...faultMachines,
  agent(AGENT, { budgetMicroUsd: 2_000_000n, overBudget: 'fail' }),
  agent(BATCHED_AGENT, { budgetMicroUsd: 2_000_000n, overBudget: 'fail' }, { lane: 'batch' }),
  agent(POOR_AGENT, { budgetMicroUsd: POOR_MICRO_USD, overBudget: 'fail' }),
  agent(FRUGAL_AGENT, { budgetMicroUsd: POOR_MICRO_USD, overBudget: 'ask' }),
  agent(READER_AGENT, {}, { instructions: 'Answer.', tools: [readLog] }),
];
