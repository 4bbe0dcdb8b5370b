// `defineAgent`: a machine built from a model, tools and instructions: recall → think ⇄ act → answer. The system prompt is a
// stable prefix; memories and the date go after it. An answer names the memories it used as `[m:<id>]`.
import { z } from 'zod';
import { MainstayError, codeOf, ERRORS, messageOf } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import type { Machine, Move, Recall, SessionMessage, Step } from '../domain/machine.ts';
import { textOf, type ContentBlock, type ModelMessage, type ModelTool, type ToolResultBlock, type ToolUseBlock } from '../domain/model.ts';
import type { Tool } from '../domain/tool.ts';
import { defineMachine } from './define-machine.ts';
import { RECALL_MEMORY, recallForModel, recallTool } from './recall-for-model.ts';

export const agentInput = z.strictObject({
  /** What the user says to the agent. */
  message: z.string().trim().min(1).max(20_000),
});
export type AgentInput = z.infer<typeof agentInput>;

export interface AgentOptions {
  readonly name: string;
  readonly version: number;
  readonly description?: string;
  /** Unset: MODEL of the configuration, pinned at submission. */
  readonly model?: string;
  readonly instructions: string;
  readonly tools?: readonly Tool[];
  /** Whether runs recall and are remembered; true unless told. */
  readonly memory?: boolean;
  /** Also offers the model `recall_memory`, to look for more than was recalled for the first message; false unless told. */
  readonly recallTool?: boolean;
  readonly limits?: { readonly maxTurns?: number; readonly maxTokens?: number; readonly budgetMicroUsd?: bigint; readonly overBudget?: 'ask' | 'fail' };
  /** Resources only one run at a time may work on. */
  readonly locks?: (input: AgentInput) => readonly string[];
}

interface AgentData {
  readonly messages: readonly ModelMessage[];
  readonly turns: number;
  readonly memories: string;
  readonly trace: string | null;
}
interface AnswerData extends AgentData { readonly answer: string }

const MAX_TURNS = 12;
const MAX_TOKENS = 2_048;
/** After this many failures of a step a tool's error is told to the model instead of being tried again. */
const TOOL_TRIES = 2;

export function defineAgent(options: AgentOptions): Machine {
  const tools = options.tools ?? [];
  const offered = tools.map((tool): ModelTool => ({ name: tool.name, description: tool.description, inputSchema: schemaOf(tool) })).concat(options.recallTool ? [recallTool] : []).sort((a, b) => (a.name < b.name ? -1 : 1));
  const remembers = options.memory ?? true;
  const limits = { maxTurns: options.limits?.maxTurns ?? MAX_TURNS, maxTokens: options.limits?.maxTokens ?? MAX_TOKENS };
  return defineMachine({
    name: options.name,
    version: options.version,
    description: options.description ?? '',
    input: agentInput,
    start: 'recall',
    tools: options.tools ?? [],
    remembers,
    ...(options.locks ? { locks: options.locks } : {}),
    ...(options.model === undefined ? {} : { model: options.model }),
    ...(options.limits?.budgetMicroUsd === undefined ? {} : { budgetMicroUsd: options.limits.budgetMicroUsd }),
    ...(options.limits?.overBudget === undefined ? {} : { overBudget: options.limits.overBudget }),
    steps: {
      recall: (step) => recallStep(step, remembers),
      think: (step: Step<AgentInput, AgentData>) => thinkStep(step, options, offered, limits),
      act: (step: Step<AgentInput, AgentData>) => actStep(step),
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

async function thinkStep(step: Step<AgentInput, AgentData>, options: AgentOptions, tools: readonly ModelTool[], limits: { maxTurns: number; maxTokens: number }): Promise<Move> {
  const { messages, turns, memories } = step.data;
  if (turns >= limits.maxTurns) throw new MainstayError('turns_exhausted', `The agent took ${turns} turns without an answer.`);
  step.progress(Math.min(0.9, (turns + 1) / limits.maxTurns), `turn ${turns + 1}`);
  const turn = await step.model({ model: step.run.model, system: options.instructions, context: contextOf(step, memories), messages, ...(tools.length > 0 ? { tools } : {}), maxTokens: limits.maxTokens });
  if (turn.stopReason === 'refusal') throw new MainstayError('model_refused', 'The model declined to answer.');
  const grown: AgentData = { ...step.data, messages: [...messages, { role: 'assistant', content: turn.content }], turns: turns + 1 };
  if (turn.stopReason === 'tool_use') return step.next('act', grown);
  if (turn.stopReason === 'pause_turn') return step.next('think', grown);
  return step.next('answer', { ...grown, answer: textOf(turn.content) });
}

/** All tools of a turn at once; each result, or error, goes back to the model. */
async function actStep(step: Step<AgentInput, AgentData>): Promise<Move> {
  const uses = (step.data.messages.at(-1)?.content ?? []).filter((block): block is ToolUseBlock => block.type === 'tool_use');
  const results = await step.all(uses.map((use) => (branch: Step<AgentInput, AgentData>) => callForModel(branch, use)));
  return step.next('think', { ...step.data, messages: [...step.data.messages, { role: 'user', content: results }] });
}

async function callForModel(step: Step<AgentInput, AgentData>, use: ToolUseBlock): Promise<ToolResultBlock> {
  if (use.name === RECALL_MEMORY) return recallForModel(step, use);
  try {
    const result: Json = await step.tool(use.name, use.input);
    return { type: 'tool_result', tool_use_id: use.id, content: typeof result === 'string' ? result : JSON.stringify(result) };
  } catch (error) {
    const code = codeOf(error, 'tool_failed');
    if (ERRORS[code].on === 'retry' && step.run.attempt < TOOL_TRIES) throw error;
    return { type: 'tool_result', tool_use_id: use.id, content: `${code}: ${messageOf(error)}`, is_error: true };
  }
}

async function answerStep(step: Step<AgentInput, AnswerData>): Promise<Move> {
  const { answer, trace } = step.data;
  const cited = citedIn(answer);
  if (trace !== null && cited.length > 0) await step.cite(trace, cited);
  return step.done({ answer, cited: cited.map((id) => `mem_${id.replaceAll('-', '')}`) }, [{ role: 'user', content: step.input.message }, { role: 'assistant', content: answer }]);
}

/** Ids of the memories an answer names, as uuids, each once. */
export function citedIn(text: string): string[] {
  const ids = [...text.matchAll(/\[m:([0-9a-f]{32})\]/g)].map((match) => match[1] as string);
  return [...new Set(ids)].map((digits) => digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'));
}

/** What changes from run to run, after the cached prefix. */
function contextOf(step: Step<AgentInput, AgentData>, memories: string): string {
  const lines = [`user: ${step.run.user ?? 'unknown'}`];
  if (memories !== '') lines.push('What is known from earlier conversations. Where you use one of these, cite it literally as [m:<id>]:', memories);
  return lines.join('\n');
}

const asMessage = ({ role, content }: SessionMessage): ModelMessage => ({ role, content: [{ type: 'text', text: content }] });

/** The API wants turns to alternate, beginning with the user: neighbours of one role are joined. */
function alternating(messages: readonly ModelMessage[]): ModelMessage[] {
  const joined: { role: 'user' | 'assistant'; content: ContentBlock[] }[] = [];
  for (const message of messages) {
    const last = joined.at(-1);
    if (last?.role === message.role) last.content.push(...message.content);
    else if (joined.length > 0 || message.role === 'user') joined.push({ role: message.role, content: [...message.content] });
  }
  return joined;
}

function schemaOf(tool: Tool): Record<string, unknown> {
  const schema = z.toJSONSchema(tool.input, { io: 'input' }) as Record<string, unknown>;
  delete schema['$schema'];
  return schema;
}
