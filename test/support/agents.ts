// Agents for stories of the agent loop, with the transcripts and ledgers one looks at afterwards.
import { expect } from '@jest/globals';
import { z } from 'zod';
import type { StubCall, StubReply, StubScript, WireBlock } from '../../src/dev/model-stub/wire.ts';
import type { Machine } from '../../src/domain/machine.ts';
import type { Tool } from '../../src/domain/tool.ts';
import { defineAgent, type AgentOptions } from '../../src/run/define-agent.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import type { Fleet } from './fleet.ts';

/** What was done, by the journal's own account: kept in the test's process. */
export const done: string[] = [];

export const look: Tool = defineTool({ name: 'look', description: 'Looks something up.', effect: 'read', input: z.strictObject({ what: z.string() }), run: async ({ what }) => { done.push(`look ${what}`); return `${what} is there`; } });
export const post: Tool = defineTool({ name: 'post', description: 'Posts a line.', effect: 'keyed', keyTtlMs: 86_400_000, input: z.strictObject({ line: z.string() }), run: async ({ line }) => { done.push(`post ${line}`); return { posted: line }; } });

export const agent = (change: Partial<AgentOptions> = {}): Machine =>
  defineAgent({ name: 'talker', version: 1, model: 'claude-haiku-4-5', instructions: 'You are a patient assistant.', tools: [look, post], memory: false, ...change });

/** What the model was asked in a conversation that contains these words, oldest first. */
export const askedOf = (fleet: Fleet, words: string): StubCall[] => fleet.stub.calls().filter(({ request }) => JSON.stringify(request?.messages ?? '').includes(words));

export const blocksOf = (call: StubCall | undefined, at = -1): readonly WireBlock[] => {
  const content = call?.request?.messages.at(at)?.content;
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content ?? [];
};

export interface LedgerRow { readonly status: string; readonly attempt: number; readonly stop_reason: string | null; readonly error_code: string | null; readonly cost: number; readonly reserved: number; readonly request_id: string | null; readonly step_seq: number }
export const ledgerOf = (fleet: Fleet, run: string): Promise<LedgerRow[]> => fleet.rows<LedgerRow>(
  `SELECT status::text AS status, attempt, stop_reason, error_code, cost_micro_usd::float8 AS cost, reserved_micro_usd::float8 AS reserved, request_id, step_seq FROM model_calls WHERE run_id = $1 ORDER BY step_seq, path, attempt`, [run]);

/** Every tool use in the last stored transcript of the run is answered directly after it, and the model was never sent another. */
export async function expectSound(fleet: Fleet, run: string): Promise<void> {
  expect(fleet.stub.calls().filter(({ status, fault }) => status === 400 && fault === undefined)).toEqual([]);
  const rows = await fleet.rows<{ data: { messages?: readonly { role: string; content: readonly WireBlock[] }[] } | null; next: string }>(`SELECT data, next_step AS next FROM run_steps WHERE run_id = $1 ORDER BY seq`, [run]);
  for (const { data, next } of rows) {
    const messages = data?.messages ?? [];
    for (const [at, { content }] of messages.entries()) {
      const uses = content.filter(({ type }) => type === 'tool_use').map(({ id }) => id);
      if (uses.length === 0 || (next === 'act' && at === messages.length - 1)) continue;
      expect(messages[at + 1]?.content.filter(({ type }) => type === 'tool_result').map(({ tool_use_id: id }) => id)).toEqual(uses);
    }
  }
}

/** The turns of a conversation with these words, of an agent with tools: what is asked about its transcript afterwards is not in it. */
export function conversation(words: string, turns: readonly StubReply[]): StubScript {
  return {
    name: `conversation ${words}`,
    matches: (request) => request.tools !== undefined && JSON.stringify(request.messages).includes(words),
    reply: (request) => turns[request.messages.filter(({ role }) => role === 'assistant').length] ?? { text: 'Nothing more.' },
  };
}
