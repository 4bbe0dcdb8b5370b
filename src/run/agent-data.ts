// What an agent's machine hands from step to step, and what it needs of its definition.
import { z } from 'zod';
import type { SessionMessage, Step } from '../domain/machine.ts';
import type { Tool } from '../domain/tool.ts';
import { textOf, type ModelMessage, type ModelRequest, type ModelTool } from '../domain/model.ts';

export const agentInput = z.strictObject({
  /** What the user says to the agent. */
  message: z.string().trim().min(1).max(20_000),
});
export type AgentInput = z.infer<typeof agentInput>;

export interface AgentData {
  /** Only ever added to, until a summary replaces them. */
  readonly messages: readonly ModelMessage[];
  readonly turns: number;
  readonly memories: string;
  /** uuid of the recall's trace */
  readonly trace: string | null;
  /** What the user said while the run was at work. */
  readonly said?: readonly string[];
  /** Tokens of the conversation as the provider counted them with its last turn; absent before the first and after a summary. */
  readonly contextTokens?: number;
  /** How often each call was made, by a digest of name and arguments. */
  readonly called?: Readonly<Record<string, number>>;
  /** How often the turn under way was given more room, because its answer did not fit. */
  readonly raises?: number;
}
export interface AnswerData extends AgentData {
  readonly answer: string;
  /** The answer was cut where the model had no more room. */
  readonly partial?: boolean;
}

/** An agent's definition, as its steps need it. */
export interface AgentParts {
  readonly instructions: string;
  readonly tools: readonly ModelTool[];
  readonly byName: ReadonlyMap<string, Tool>;
  readonly limits: {
    readonly maxTurns: number;
    /** Of one answer; doubled for a turn that does not fit, MAX_RAISES times. */
    readonly maxTokens: number;
    /** Beyond it the conversation is replaced by a summary. */
    readonly contextTokens: number;
  };
}

export type AgentStep = Step<AgentInput, AgentData>;

/** A call of the model in this run. The stable part comes first, the same bytes in every call of the agent's. */
export const requestOf = (step: AgentStep, agent: AgentParts, messages: readonly ModelMessage[], maxTokens: number): ModelRequest => ({
  model: step.run.model, system: agent.instructions, context: contextOf(step), messages, ...(agent.tools.length > 0 ? { tools: agent.tools } : {}), maxTokens,
});

/** What changes from run to run, after the cached prefix; within a run it does not. */
function contextOf({ run, data: { memories } }: AgentStep): string {
  const lines = [`user: ${run.user ?? 'unknown'}`];
  if (memories !== '') lines.push('What is known from earlier conversations. Where you use one of these, cite it literally as [m:<id>]:', memories);
  return lines.join('\n');
}

/** The user's words in this run, as its session keeps them. */
export const asked = (input: AgentInput, data: AgentData | null): SessionMessage[] => [input.message, ...(data?.said ?? [])].map((content) => ({ role: 'user', content }));

/** Characters of what an interrupted run leaves in its session for each call it made. */
const CALL_CHARACTERS = 300;
const MAX_CALLS = 20;

/** What an interrupted run leaves in its session: what it was asked, what it had said, and what it had done, so that the next
 *  run neither forgets the question nor does things twice. */
export function interruptedMessages(input: AgentInput, data: AgentData | null): SessionMessage[] {
  const own = (data?.messages ?? []).slice(ownStart(data?.messages ?? []));
  const said = own.flatMap(({ role, content }) => (role === 'assistant' ? [textOf(content).trim()] : [])).filter((text) => text !== '');
  const results = new Map(own.flatMap(({ content }) => content).flatMap((block) => (block.type === 'tool_result' ? [[block.tool_use_id, block.content] as const] : [])));
  const done = own.flatMap(({ content }) => content).flatMap((block) => (block.type === 'tool_use' ? [`${block.name}(${JSON.stringify(block.input)}): ${results.get(block.id) ?? 'no result is known'}`.slice(0, CALL_CHARACTERS)] : []));
  const note = ['(Interrupted by the next message.', ...(done.length > 0 ? [`Called before that:\n${done.slice(-MAX_CALLS).join('\n')}`] : [])].join(' ');
  return [...asked(input, data), { role: 'assistant', content: [...said, `${note})`].join('\n') }];
}

/** Where this run's own part of the conversation begins: sessions keep texts only, so with its first call. */
function ownStart(messages: readonly ModelMessage[]): number {
  const first = messages.findIndex(({ content }) => content.some((block) => block.type === 'tool_use'));
  return first < 0 ? messages.length : first;
}
