// How scripts read a request: the instructions, what the user said last, which tools are offered, what was called since and
// what came back, and the memories in the prompt. Scripts decide from these alone, so that they answer any input.
import { blocksOf } from '../validate.ts';
import type { Json, WireBlock, WireRequest, WireTool } from '../wire.ts';

export interface CallSoFar {
  readonly name: string;
  readonly input: unknown;
  readonly output: string;
  readonly isError: boolean;
}

export interface PromptMemory { readonly id: string; readonly type: string; readonly statement: string }

/** All instructions: the stable prompt and what varies after it. */
export const instructionsOf = (request: WireRequest): string =>
  typeof request.system === 'string' ? request.system : (request.system ?? []).map((block) => block.text ?? '').join('\n');

/** What the user said last. Tool results are not words of the user. */
export const userWordsOf = (request: WireRequest): string => textOf(blocksOf(request.messages[lastUserIndex(request)] ?? { role: 'user', content: '' }));

export const toolOf = (request: WireRequest, name: string): WireTool | undefined => request.tools?.find((tool) => tool.name === name);

/** Tool calls since the user last spoke, with their results, in order. */
export function callsSoFar(request: WireRequest): CallSoFar[] {
  const blocks = request.messages.slice(lastUserIndex(request) + 1).flatMap((message) => blocksOf(message));
  return blocks.filter((block) => block.type === 'tool_use').map((use) => {
    const result = blocks.find((block) => block.type === 'tool_result' && block.tool_use_id === use.id);
    return { name: use.name ?? '', input: use.input, output: result ? contentText(result) : '', isError: result?.is_error === true };
  });
}

/** Memories in the instructions or the conversation, as `[m:<id>] (type, date, confidence) statement`. */
export function memoriesOf(request: WireRequest): PromptMemory[] {
  const text = [instructionsOf(request), ...request.messages.filter((message) => message.role === 'user').map((message) => textOf(blocksOf(message)))].join('\n');
  const found = [...text.matchAll(/\[m:([^\]\s]+)\]\s*\(([^,)]+)[^)]*\)\s*(.+)/g)];
  return found.map(([, id = '', type = '', statement = '']) => ({ id, type: type.trim(), statement: statement.trim() }));
}

/** Memories an answer to these words would use: every constraint and preference, and what shares a word with them. */
export function relevantMemories(request: WireRequest): PromptMemory[] {
  const said = new Set(wordsOf(userWordsOf(request)));
  return memoriesOf(request).filter((memory) => ['constraint', 'preference'].includes(memory.type) || wordsOf(memory.statement).some((word) => said.has(word)));
}

const COMMON = new Set('about after again also been before being could does doing from have into just like more most much only other over please same should some such than that their them then there these they this those user users very want were what when where which while will with would your yours'.split(' '));

/** Words that carry meaning, without the commonest endings. */
export const wordsOf = (text: string): string[] =>
  (text.toLowerCase().match(/[\p{L}\p{N}]{4,}/gu) ?? []).filter((word) => !COMMON.has(word)).map((word) => word.replace(/(ing|ed|es|s)$/, ''));

/** Arguments for a tool from what is known, by the names in its schema: `facts` maps several names to one value. What is
 *  required and not known becomes an empty value of its type. */
export function fillArguments(tool: WireTool, facts: readonly { readonly names: readonly string[]; readonly value: Json | undefined }[]): Record<string, Json> {
  const properties = (tool.input_schema['properties'] ?? {}) as Record<string, { type?: string; enum?: readonly Json[] }>;
  const required = (tool.input_schema['required'] ?? []) as readonly string[];
  const filled: Record<string, Json> = {};
  for (const [name, schema] of Object.entries(properties)) {
    const known = facts.find((fact) => fact.names.includes(name))?.value;
    if (known !== undefined) filled[name] = known;
    else if (required.includes(name)) filled[name] = schema.enum?.[0] ?? (schema.type === 'number' || schema.type === 'integer' ? 1 : schema.type === 'boolean' ? false : schema.type === 'array' ? [] : schema.type === 'object' ? {} : 'unknown');
  }
  return filled;
}

/** The JSON of a text, or undefined. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export const sentencesOf = (text: string): string[] => text.split(/(?<=[.!?])\s+|\n+/).map((sentence) => sentence.trim()).filter(Boolean);

/** First sentence, cut at a word. */
export function headline(text: string, letters: number): string {
  const first = (sentencesOf(text)[0] ?? text).replace(/[.!?]+$/, '');
  return first.length <= letters ? first : `${first.slice(0, letters).replace(/\s+\S*$/, '')}…`;
}

export const textOf = (blocks: readonly WireBlock[]): string => blocks.filter((block) => block.type === 'text').map((block) => block.text ?? '').join('\n').trim();

const contentText = (block: WireBlock): string => (typeof block.content === 'string' ? block.content : textOf(block.content ?? []));

const lastUserIndex = (request: WireRequest): number =>
  request.messages.findLastIndex((message) => message.role === 'user' && textOf(blocksOf(message)) !== '');
