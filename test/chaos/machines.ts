// What the fleet under chaos runs (AGENTS_MODULE): the machine `fault`, whose input brings its plan, and a support agent with
// memory whose tools write to the sink, so that every effect of every run has a witness outside of the product.
import { z } from 'zod';
import type { Machine } from '../../src/domain/machine.ts';
import type { ToolContext } from '../../src/domain/tool.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { machines as faultMachines } from '../faults/machines.ts';
import type { SinkKind } from '../faults/sink.ts';

export const AGENT = 'chaos-agent';
/** An agent whose budget ends after a call or two. */
export const POOR_AGENT = 'chaos-poor-agent';
/** Enough for one reserve of a short conversation, not for many. */
const POOR_MICRO_USD = 30_000n;

const sink = process.env['CHAOS_SINK_URL'] ?? 'http://127.0.0.1:1';

const write = (kind: SinkKind, line: string, { run, key, signal }: ToolContext): Promise<unknown> =>
  fetch(`${sink}/${kind}`, { method: 'POST', headers: { 'idempotency-key': key, 'x-run': run, 'x-pid': String(process.pid) }, body: line, signal }).then((answer) => answer.json());

const tools = [
  defineTool({ name: 'find_tickets', description: "Finds the customer's tickets.", input: z.strictObject({ query: z.string().optional() }), effect: 'read', run: (_args, context) => write('read', 'tickets', context) }),
  defineTool({ name: 'open_ticket', description: 'Opens a ticket.', input: z.strictObject({ subject: z.string(), description: z.string() }), effect: 'keyed', run: ({ subject }, context) => write('keyed', `ticket: ${subject}`, context) }),
];
const agent = (name: string, budgetMicroUsd: bigint): Machine => defineAgent({
  name, version: 1, instructions: 'You are the support agent of a software company. Look for tickets first, open one where there is none.', tools, limits: { maxTurns: 6, budgetMicroUsd, overBudget: 'fail' },
});

export const machines: readonly Machine[] = [...faultMachines, agent(AGENT, 2_000_000n), agent(POOR_AGENT, POOR_MICRO_USD)];
