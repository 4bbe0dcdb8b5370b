// Our request in the provider's words. The order is the cache's: tools (sorted by name, so that the order of registration
// changes no byte), the stable system prompt with a cache mark, then what varies. Nothing here reads a clock or an id.
// Empty texts and empty messages are left out: the provider refuses them, and a resumed conversation may hold some.
import type { Anthropic } from '@anthropic-ai/sdk';
import { transformJSONSchema } from '@anthropic-ai/sdk/lib/transform-json-schema';
import type { ContentBlock, ModelMessage, ModelRequest, ModelTool } from '../domain/model.ts';

type Params = Anthropic.MessageCreateParamsStreaming;

/** Five minutes: written at 1.25 times the input price, which the reserve counts on (src/domain/prices.ts). */
const CACHED = { type: 'ephemeral' } as const;

export function requestParams(request: ModelRequest): Params {
  const tools = [...(request.tools ?? [])].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)).map(toolParam);
  const lastTool = tools.at(-1);
  if (request.system === '' && lastTool) lastTool.cache_control = CACHED;
  const system = systemParam(request);
  const outputConfig = outputParam(request);
  return {
    model: request.model,
    max_tokens: request.maxTokens,
    stream: true,
    ...(tools.length > 0 && { tools }),
    ...(system.length > 0 && { system }),
    messages: messageParams(request.messages, tools.length > 0),
    ...(outputConfig && { output_config: outputConfig }),
  };
}

const toolParam = (tool: ModelTool): Anthropic.Tool => ({
  name: tool.name,
  description: tool.description,
  input_schema: { ...(tool.strict ? transformJSONSchema(tool.inputSchema) : tool.inputSchema), type: 'object' },
  ...(tool.strict && { strict: true }),
});

function systemParam(request: ModelRequest): Anthropic.TextBlockParam[] {
  const blocks: Anthropic.TextBlockParam[] = [];
  if (request.system !== '') blocks.push({ type: 'text', text: request.system, cache_control: CACHED });
  if (request.context) blocks.push({ type: 'text', text: request.context });
  return blocks;
}

function outputParam(request: ModelRequest): Anthropic.OutputConfig | undefined {
  if (!request.effort && !request.outputSchema) return undefined;
  return {
    ...(request.effort && { effort: request.effort }),
    ...(request.outputSchema && { format: { type: 'json_schema' as const, schema: request.outputSchema } }),
  };
}

/** A conversation with tools is sent again with every turn, so its end carries a second mark; a single question with its
 *  answer is not, and would pay the price of the write for nothing. */
function messageParams(messages: readonly ModelMessage[], comesAgain: boolean): Anthropic.MessageParam[] {
  const params = messages
    .map((message) => ({ role: message.role, content: message.content.flatMap(blockParam) }))
    .filter((message) => message.content.length > 0);
  const last = params.at(-1)?.content.at(-1);
  if (comesAgain && last && (last.type === 'text' || last.type === 'tool_result')) last.cache_control = CACHED;
  return params;
}

function blockParam(block: ContentBlock): Anthropic.ContentBlockParam[] {
  switch (block.type) {
    case 'text': return block.text.trim() === '' ? [] : [{ type: 'text', text: block.text }];
    case 'tool_use': return [{ type: 'tool_use', id: block.id, name: block.name, input: block.input }];
    case 'tool_result': return [{ type: 'tool_result', tool_use_id: block.tool_use_id, content: block.content, ...(block.is_error && { is_error: true }) }];
    case 'opaque': return [block.value as Anthropic.ContentBlockParam]; // came from the provider and goes back unchanged
  }
}
