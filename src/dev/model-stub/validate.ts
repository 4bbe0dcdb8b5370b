// Refuses what the Messages API refuses, so that a request our tests accept would also be accepted by the real one: the
// orphaned tool call that poisons a conversation, the changed thinking, the empty text, the prefilled answer, the knobs that are gone.
import { signatureOf } from './signature.ts';
import type { WireBlock, WireMessage, WireRequest } from './wire.ts';

const GONE = ['temperature', 'top_p', 'top_k'];
const MAX_CACHE_MARKS = 4;

/** A sentence about the first thing wrong, or undefined. */
export function fault(body: unknown): string | undefined {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) return 'the body must be a JSON object';
  const request = body as Partial<WireRequest> & Record<string, unknown>;
  if (typeof request.model !== 'string' || request.model === '') return 'model: field required';
  if (!Number.isInteger(request.max_tokens) || Number(request.max_tokens) < 1) return 'max_tokens: must be a positive integer';
  const gone = GONE.find((knob) => knob in request);
  if (gone) return `${gone}: not supported by this model`;
  if (!Array.isArray(request.messages) || request.messages.length === 0) return 'messages: at least one message is required';
  return faultOfTools(request as WireRequest) ?? faultOfMessages(request.messages) ?? faultOfFormat(request as WireRequest) ?? faultOfCacheMarks(request as WireRequest);
}

function faultOfTools(request: WireRequest): string | undefined {
  const names = (request.tools ?? []).map((tool) => tool.name);
  const bad = names.find((name) => !/^[a-zA-Z0-9_-]{1,128}$/.test(name));
  if (bad !== undefined) return `tools: "${bad}" is not a valid name`;
  if (new Set(names).size < names.length) return 'tools: names must be unique';
  if ((request.tools ?? []).some((tool) => tool.input_schema?.['type'] !== 'object')) return 'tools: input_schema.type must be "object"';
  for (const { name, strict, input_schema: schema } of request.tools ?? []) {
    const wrong = strict === true ? faultOfStrict(schema) : undefined;
    if (wrong !== undefined) return `tools.${name}.input_schema: ${wrong}`;
  }
  return undefined;
}

/** What a strict schema may say of a value; `properties`, `items` and `anyOf` are looked into. */
const STRICT = new Set(['type', 'properties', 'required', 'additionalProperties', 'items', 'anyOf', 'allOf', 'enum', 'const', 'format', 'minItems', 'description', 'title', '$ref', '$defs', 'default']);

function faultOfStrict(schema: Record<string, unknown>): string | undefined {
  const unknown = Object.keys(schema).find((keyword) => !STRICT.has(keyword));
  if (unknown !== undefined) return `"${unknown}" is not supported in strict mode`;
  if (schema['type'] === 'object' && schema['additionalProperties'] !== false) return 'additionalProperties must be false in strict mode';
  const inner = [...Object.values((schema['properties'] ?? {}) as Record<string, unknown>), schema['items'], ...((schema['anyOf'] ?? []) as unknown[])];
  for (const one of inner) {
    const wrong = typeof one === 'object' && one !== null ? faultOfStrict(one as Record<string, unknown>) : undefined;
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

function faultOfMessages(messages: readonly WireMessage[]): string | undefined {
  if (messages[0]?.role !== 'user') return 'messages: the first message must be of role "user"';
  const last = messages.at(-1);
  if (last?.role === 'assistant' && !blocksOf(last).some(({ type }) => type === 'server_tool_use')) return 'messages: this model does not support assistant message prefill';
  let open = new Set<string>();
  for (const [index, message] of messages.entries()) {
    const content = blocksOf(message);
    if (content.length === 0) return `messages.${index}: content must not be empty`;
    if (content.some((block) => block.type === 'text' && !block.text)) return `messages.${index}: text content blocks must be non-empty`;
    if (content.some((block) => block.type === 'thinking' && block.signature !== signatureOf(block.thinking ?? ''))) return `messages.${index}: thinking blocks cannot be modified; they must remain as they were in the original response`;
    const answered = content.filter((block) => block.type === 'tool_result').map((block) => block.tool_use_id ?? '');
    const unknown = answered.find((id) => !open.has(id));
    if (unknown !== undefined) return `messages.${index}: unexpected tool_use_id in tool_result blocks: ${unknown}`;
    const orphan = [...open].find((id) => !answered.includes(id));
    if (orphan !== undefined) return `messages.${index}: tool_use ids were found without tool_result blocks immediately after: ${orphan}`;
    open = new Set(content.filter((block) => block.type === 'tool_use').map((block) => block.id ?? ''));
  }
  return undefined;
}

function faultOfFormat(request: WireRequest): string | undefined {
  const format = request.output_config?.format;
  if (!format) return undefined;
  if (format.type !== 'json_schema' || format.schema?.['type'] === undefined) return 'output_config.format: a json_schema with a schema is required';
  return undefined;
}

function faultOfCacheMarks(request: WireRequest): string | undefined {
  const system = typeof request.system === 'object' ? request.system : [];
  if (system.some((block) => !block.text)) return 'system: text content blocks must be non-empty';
  const marked = [...(request.tools ?? []), ...system, ...request.messages.flatMap(blocksOf)].filter((part) => part.cache_control);
  return marked.length > MAX_CACHE_MARKS ? `a maximum of ${MAX_CACHE_MARKS} blocks with cache_control may be provided` : undefined;
}

export const blocksOf = (message: WireMessage): readonly WireBlock[] =>
  typeof message.content === 'string' ? (message.content === '' ? [] : [{ type: 'text', text: message.content }]) : message.content;
