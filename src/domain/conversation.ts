// A conversation as the provider accepts it: turns alternate, beginning with the user; each tool use is answered in the message
// directly after its own; nothing is answered that was not asked. Pure, and the same answer for the same conversation.
import type { ContentBlock, ModelMessage, ToolResultBlock, ToolUseBlock } from './model.ts';

/** What a tool use is answered with whose call has no result and never will. */
const NOT_CARRIED_OUT = 'This call was not carried out; there is no result.';

interface Turn { readonly role: ModelMessage['role']; readonly content: ContentBlock[] }

/** The conversation with every orphan mended: a tool use without a result gets one that says so, directly after it; a result
 *  without its use is left out. The very same array where there is nothing to mend. */
export function repaired(messages: readonly ModelMessage[]): readonly ModelMessage[] {
  const mended: ModelMessage[] = [];
  let open: readonly ToolUseBlock[] = [];
  const answerOpen = (content: readonly ContentBlock[]): void => {
    const given = content.filter((block): block is ToolResultBlock => block.type === 'tool_result');
    const results = open.map((use): ToolResultBlock => given.find(({ tool_use_id: id }) => id === use.id) ?? { type: 'tool_result', tool_use_id: use.id, content: NOT_CARRIED_OUT, is_error: true });
    const answer = [...results, ...content.filter((block) => block.type !== 'tool_result')];
    if (answer.length > 0) mended.push({ role: 'user', content: answer });
    open = [];
  };
  for (const message of messages) {
    if (message.role === 'user') { answerOpen(message.content); continue; }
    answerOpen([]);
    mended.push(message);
    open = message.content.filter((block) => block.type === 'tool_use');
  }
  answerOpen([]);
  const whole = alternating(mended);
  return JSON.stringify(whole) === JSON.stringify(messages) ? messages : whole;
}

/** Neighbours of one role are joined, and what stands before the first message of the user is left out. */
export function alternating(messages: readonly ModelMessage[]): ModelMessage[] {
  const joined: Turn[] = [];
  for (const message of messages) {
    const last = joined.at(-1);
    if (last?.role === message.role) last.content.push(...message.content);
    else if (joined.length > 0 || message.role === 'user') joined.push({ role: message.role, content: [...message.content] });
  }
  return joined;
}

/** The conversation with these texts of the user at its end: in its last message, behind any results, where that is the user's. */
export function withUserTexts(messages: readonly ModelMessage[], texts: readonly string[]): readonly ModelMessage[] {
  if (texts.length === 0) return messages;
  return alternating([...messages, { role: 'user', content: texts.map((text) => ({ type: 'text', text })) }]);
}

/** The calls of the last turn with their results, as one reads them. */
export function lastExchange(messages: readonly ModelMessage[], maxCharacters: number): string {
  const at = messages.findLastIndex(({ role }) => role === 'assistant');
  const answers = messages.slice(at + 1).flatMap(({ content }) => content);
  const lines = (messages[at]?.content ?? []).flatMap((block) => {
    if (block.type !== 'tool_use') return [];
    const answer = answers.find((candidate): candidate is ToolResultBlock => candidate.type === 'tool_result' && candidate.tool_use_id === block.id);
    return [`${block.name}(${JSON.stringify(block.input)}) answered: ${answer?.content ?? NOT_CARRIED_OUT}`];
  });
  return lines.join('\n').slice(0, maxCharacters);
}

/** The end of a conversation in few words, made without a model: who said what, each cut short. */
export function digestOf(messages: readonly ModelMessage[], maxCharacters: number): string {
  const lines = messages.flatMap(({ role, content }) => content.flatMap((block) => {
    switch (block.type) {
      case 'text': return [`${role}: ${block.text.slice(0, 400)}`];
      case 'tool_use': return [`called ${block.name} with ${JSON.stringify(block.input).slice(0, 200)}`];
      case 'tool_result': return [`which answered: ${block.content.slice(0, 300)}`];
      case 'opaque': return [];
    }
  }));
  return lines.join('\n').slice(-maxCharacters);
}

/** Tokens of messages, guessed by their length: English and JSON have about three bytes a token. */
export const roughTokens = (messages: readonly ModelMessage[]): number => Math.ceil(Buffer.byteLength(JSON.stringify(messages)) / 3);
