// The calls of a turn, and what the model is told of each. A long result is shown by its beginning and its end, and can be read on;
// the same call is made twice at most; an agent offered as a tool runs as a child, and nobody waits for it in a worker.
import { createHash } from 'node:crypto';
import { codeOf, ERRORS, messageOf } from '../domain/errors.ts';
import { canonicalJson, type Json } from '../domain/json.ts';
import type { Move } from '../domain/machine.ts';
import type { ModelTool, ToolResultBlock, ToolUseBlock } from '../domain/model.ts';
import { INLINE_BYTES } from '../domain/tunables.ts';
import { referenceOf } from '../values.ts';
import { RECALL_MEMORY, recallForModel } from './recall-for-model.ts';
import type { AgentData, AgentParts, AgentStep } from './agent-data.ts';

/** After this many failures of a step a tool's error is told to the model instead of being tried again. */
const TOOL_TRIES = 2;
/** Times a run may make the same call: a third answer would be no news. */
const SAME_CALLS = 2;
/** Of a long result the model sees so many characters of its beginning and its end. */
const HEAD_CHARACTERS = 12_000;
const TAIL_CHARACTERS = 4_000;
/** Longest part that one `read_result` gives. */
const PART_CHARACTERS = 16_000;

export const READ_RESULT = 'read_result';
/** Offered beside an agent's tools. */
export const readResultTool: ModelTool = {
  name: READ_RESULT, description: 'Reads on in a tool result that was too long to be shown whole.',
  inputSchema: { type: 'object', properties: { result: { type: 'string', description: 'As the shortened result names it.' }, from: { type: 'integer', description: 'Character to begin with; 0 is the first.' } }, required: ['result', 'from'], additionalProperties: false },
};

/** All tools of a turn at once; each result, or error, goes back to the model. */
export async function actStep(step: AgentStep, agent: AgentParts): Promise<Move> {
  const uses = (step.data.messages.at(-1)?.content ?? []).filter((block): block is ToolUseBlock => block.type === 'tool_use');
  const { called, refused } = counted(step.data.called ?? {}, uses, agent);
  const results = await step.all(uses.map((use) => (branch: AgentStep) => (refused.has(use.id) ? Promise.resolve(refusedResult(use)) : callForModel(branch, use, agent))));
  const data: AgentData = { ...step.data, called, messages: [...step.data.messages, { role: 'user', content: results }] };
  return step.next('think', data);
}

/** How often each call was made by now, and those of this turn that were made often enough. */
function counted(before: Readonly<Record<string, number>>, uses: readonly ToolUseBlock[], { byName }: AgentParts): { called: Record<string, number>; refused: ReadonlySet<string> } {
  const called = { ...before };
  const refused = new Set<string>();
  for (const { id, name, input } of uses) {
    if (name === READ_RESULT || byName.get(name)?.mayRepeat === true) continue;
    const call = createHash('sha256').update(canonicalJson({ name, input })).digest('hex').slice(0, 16);
    called[call] = (called[call] ?? 0) + 1;
    if (called[call] > SAME_CALLS) refused.add(id);
  }
  return { called, refused };
}

const answered = ({ id }: ToolUseBlock, content: string): ToolResultBlock => ({ type: 'tool_result', tool_use_id: id, content });
const failed = ({ id }: ToolUseBlock, content: string): ToolResultBlock => ({ type: 'tool_result', tool_use_id: id, content, is_error: true });
const refusedResult = (use: ToolUseBlock): ToolResultBlock => failed(use, `call_repeated: You have made this very call of ${use.name} ${SAME_CALLS} times in this run, and its results are above. It is not made again: go on with what you know, try something else, or answer.`);

async function callForModel(step: AgentStep, use: ToolUseBlock, agent: AgentParts): Promise<ToolResultBlock> {
  try {
    if (use.name === READ_RESULT) return await readOn(step, use);
    if (use.name === RECALL_MEMORY) return await recallForModel(step, use);
    const worker = agent.byName.get(use.name)?.agent;
    return worker === undefined ? answered(use, shown(await step.tool(use.name, use.input))) : await askAgent(step, use, worker);
  } catch (error) {
    const code = codeOf(error, 'tool_failed');
    if (ERRORS[code].on === 'retry' && step.run.attempt < TOOL_TRIES) throw error;
    return failed(use, `${code}: ${messageOf(error)}`);
  }
}

/** A result as the model sees it. What is cut lies in the object store under the reference it is told. */
export function shown(result: Json): string {
  const json = JSON.stringify(result);
  const text = typeof result === 'string' ? result : json;
  if (Buffer.byteLength(json) <= INLINE_BYTES) return text;
  const tail = text.length - TAIL_CHARACTERS;
  return `${text.slice(0, HEAD_CHARACTERS).toWellFormed()}\n[… characters ${HEAD_CHARACTERS} to ${tail} of ${text.length} are left out; ${READ_RESULT}({"result":"${referenceOf(json)}","from":${HEAD_CHARACTERS}}) shows more …]\n${text.slice(tail).toWellFormed()}`;
}

async function readOn(step: AgentStep, use: ToolUseBlock): Promise<ToolResultBlock> {
  const { result, from } = (use.input ?? {}) as { result?: unknown; from?: unknown };
  const start = typeof from === 'number' && Number.isInteger(from) && from >= 0 ? from : 0;
  const value = typeof result === 'string' ? await step.resultOf(result) : undefined;
  if (value === undefined) return failed(use, 'not_found: This run has no result of that name.');
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const end = Math.min(text.length, start + PART_CHARACTERS);
  return answered(use, `[characters ${start} to ${end} of ${text.length}]\n${text.slice(start, end).toWellFormed()}`);
}

async function askAgent(step: AgentStep, use: ToolUseBlock, agent: string): Promise<ToolResultBlock> {
  const child = await step.spawn(agent, use.input);
  const [ended] = await step.waitForChildren([child]) ?? [];
  if (ended?.status !== 'completed') return failed(use, `${ended?.errorCode ?? 'tool_failed'}: ${ended?.errorMessage ?? `The agent ${agent} did not complete.`}`);
  const answer = (ended.output as { answer?: unknown } | null)?.answer;
  return answered(use, shown(typeof answer === 'string' ? answer : ended.output ?? null));
}
