// `recall_memory`: recall as a tool of the agent, for what it needs to know beyond what was recalled for the first message, and for what
// earlier runs came to. Not a tool of the ledger: it reads, it is recorded and traced like every recall, and sees what the run's user
// and agent may see.
import { z } from 'zod';
import type { Step } from '../domain/machine.ts';
import type { ModelTool, ToolResultBlock, ToolUseBlock } from '../domain/model.ts';

export const RECALL_MEMORY = 'recall_memory';
/** Earlier runs it is told of: about as much to read as the memories. */
const SUMMARIES = 3;

const input = z.strictObject({
  query: z.string().trim().min(1).max(2_000),
  as_of: z.union([z.iso.date(), z.iso.datetime({ offset: true })], 'is no ISO date').optional(), // Date.parse finds a day in almost any text
});

export const recallTool: ModelTool = {
  name: RECALL_MEMORY,
  description: 'Looks for what is remembered from earlier conversations, and what they came to. Use it when the answer may depend on something said before. Cite what you use as [m:<id>].',
  inputSchema: {
    type: 'object', additionalProperties: false, required: ['query'],
    properties: {
      query: { type: 'string', description: 'What you want to know, in words.' },
      as_of: { type: 'string', description: 'An ISO date: what held then, instead of what holds now.' },
    },
  },
};

/** Arguments the model got wrong are told to it, and change nothing. */
export async function recallForModel(step: Step, { id, input: given }: ToolUseBlock): Promise<ToolResultBlock> {
  const { data, error } = input.safeParse(given);
  if (!data) return { type: 'tool_result', tool_use_id: id, content: `invalid_arguments: ${error.issues.map(({ path, message }) => `${path.join('.')} ${message}`).join('; ')}`, is_error: true };
  const { text, degraded, summaries = [] } = await step.recall(data.query, data.as_of === undefined ? { summaries: SUMMARIES } : { asOf: data.as_of });
  const earlier = summaries.map((one) => `${one.at.slice(0, 10)}, ${one.agent}:\n${one.text}`);
  const nothing = text === '' && earlier.length === 0;
  const lines = [...(nothing ? ['Nothing is remembered about this.'] : text === '' ? [] : [text]), ...(earlier.length > 0 ? ['What earlier conversations came to:', ...earlier] : []), ...(degraded ? ['The memory index is not available: there may be more.'] : [])];
  return { type: 'tool_result', tool_use_id: id, content: lines.join('\n') };
}
