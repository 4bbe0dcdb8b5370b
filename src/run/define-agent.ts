// `defineAgent`: a machine built from a model, tools and instructions: recall → think ⇄ act → answer, with a summary in between
// where the conversation grows too long. The system prompt is a stable prefix; memories and the date go after it. An answer
// names the memories it used as `[m:<id>]`.
import { z } from 'zod';
import type { Machine, Move, Recall, SessionMessage, Step } from '../domain/machine.ts';
import type { Lane } from '../domain/lane.ts';
import type { ModelMessage, ModelTool } from '../domain/model.ts';
import type { Tool } from '../domain/tool.ts';
import { alternating } from '../domain/conversation.ts';
import { actStep, readResultTool } from './agent-act.ts';
import { compactStep } from './agent-compact.ts';
import { agentInput, asked, interruptedMessages, type AgentData, type AgentInput, type AgentParts, type AnswerData } from './agent-data.ts';
import { thinkStep } from './agent-think.ts';
import { defineMachine } from './define-machine.ts';
import { recallTool } from './recall-for-model.ts';

export interface AgentOptions {
  readonly name: string;
  readonly version: number;
  readonly description?: string;
  /** Unset: MODEL of the configuration, pinned at submission. */
  readonly model?: string;
  /** Of its turns, where a submission asks for none; `realtime` unless told. */
  readonly lane?: Lane;
  readonly instructions: string;
  readonly tools?: readonly Tool[];
  /** Whether runs recall and are remembered; true unless told. */
  readonly memory?: boolean;
  /** Also offers the model `recall_memory`, to look for more than was recalled for the first message; false unless told. */
  readonly recallTool?: boolean;
  readonly limits?: {
    readonly maxTurns?: number;
    /** Of one turn's answer; a turn that does not fit is asked again with more, up to four times as much. */
    readonly maxTokens?: number;
    /** Of the conversation: beyond it, it is replaced by a summary. Well below the model's own limit. */
    readonly contextTokens?: number;
    readonly budgetMicroUsd?: bigint;
    readonly overBudget?: 'ask' | 'fail';
  };
  /** Resources only one run at a time may work on. */
  readonly locks?: (input: AgentInput) => readonly string[];
}

const MAX_TURNS = 12;
const MAX_TOKENS = 2_048;
/** Three quarters of the smallest context among the priced models (200,000), less room for an answer. */
const CONTEXT_TOKENS = 140_000;

export function defineAgent(options: AgentOptions): Machine {
  const tools = options.tools ?? [];
  const offered = [...tools.map((tool): ModelTool => ({ name: tool.name, description: tool.description, inputSchema: tool.inputSchema ?? schemaOf(tool), ...(tool.strict ? { strict: true } : {}) })), ...(tools.length > 0 ? [readResultTool] : []), ...(options.recallTool ? [recallTool] : [])].sort((a, b) => (a.name < b.name ? -1 : 1));
  const remembers = options.memory ?? true;
  const agent: AgentParts = {
    instructions: options.instructions, tools: offered, byName: new Map(tools.map((tool) => [tool.name, tool])),
    limits: { maxTurns: options.limits?.maxTurns ?? MAX_TURNS, maxTokens: options.limits?.maxTokens ?? MAX_TOKENS, contextTokens: options.limits?.contextTokens ?? CONTEXT_TOKENS },
  };
  return defineMachine({
    name: options.name,
    version: options.version,
    description: options.description ?? '',
    input: agentInput,
    start: 'recall',
    tools: options.tools ?? [],
    remembers,
    interrupted: interruptedMessages,
    ...(options.locks ? { locks: options.locks } : {}),
    ...(options.model === undefined ? {} : { model: options.model }),
    ...(options.lane === undefined ? {} : { lane: options.lane }),
    ...(options.limits?.budgetMicroUsd === undefined ? {} : { budgetMicroUsd: options.limits.budgetMicroUsd }),
    ...(options.limits?.overBudget === undefined ? {} : { overBudget: options.limits.overBudget }),
    steps: {
      recall: (step) => recallStep(step, remembers),
      think: (step: Step<AgentInput, AgentData>) => thinkStep(step, agent),
      compact: (step: Step<AgentInput, AgentData>) => compactStep(step, agent),
      act: (step: Step<AgentInput, AgentData>) => actStep(step, agent),
      answer: (step: Step<AgentInput, AnswerData>) => answerStep(step),
    },
  });
}

async function recallStep(step: Step<AgentInput>, remembers: boolean): Promise<Move> {
  const recall: Recall | undefined = remembers ? await step.recall(step.input.message) : undefined;
  const history = await step.history();
  const messages: ModelMessage[] = [...history.map(asMessage), { role: 'user', content: [{ type: 'text', text: step.input.message }] }];
  return step.next('think', { messages: alternating(messages), turns: 0, memories: recall?.text ?? '', trace: recall?.trace ?? null });
}

async function answerStep(step: Step<AgentInput, AnswerData>): Promise<Move> {
  const { answer, trace, partial } = step.data;
  const cited = citedIn(answer);
  if (trace !== null && cited.length > 0) await step.cite(trace, cited);
  return step.done({ answer, cited: cited.map((id) => `mem_${id.replaceAll('-', '')}`), ...(partial ? { partial } : {}) }, [...asked(step.input, step.data), { role: 'assistant', content: answer }]);
}

/** Ids of the memories an answer names, as uuids, each once. */
export function citedIn(text: string): string[] {
  const ids = [...text.matchAll(/\[m:([0-9a-f]{32})\]/g)].map((match) => match[1] as string);
  return [...new Set(ids)].map((digits) => digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'));
}

const asMessage = ({ role, content }: SessionMessage): ModelMessage => ({ role, content: [{ type: 'text', text: content }] });

function schemaOf(tool: Tool): Record<string, unknown> {
  const schema = z.toJSONSchema(tool.input, { io: 'input' }) as Record<string, unknown>;
  delete schema['$schema'];
  return schema;
}
