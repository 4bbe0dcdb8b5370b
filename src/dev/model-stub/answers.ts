// Asks the scripts for an answer and makes of it what the Messages API would: blocks, stop reason, usage. Shared by single
// messages and the items of a batch, so that a conversation goes on the same way in either.
import { wallMs } from '../../clock.ts';
import { scriptOf } from './conversations.ts';
import { PromptCache, promptTokens, tokensOf } from './count-tokens.ts';
import { signatureOf } from './signature.ts';
import type { StubAnswer, StubConversation, StubReply, StubScript, WireRequest, WireUsage } from './wire.ts';

export type BlockOfReply =
  | { readonly type: 'thinking'; readonly text: string }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'tool_use'; readonly id: string; readonly name: string; readonly json: string };

/** One whole answer, not yet written to anybody. */
export interface Answer {
  readonly id: string;
  readonly model: string;
  readonly blocks: readonly BlockOfReply[];
  readonly stopReason: string;
  readonly stopCategory: string | undefined;
  readonly usage: WireUsage;
}

/** Tokens around the text of an answer. */
const FRAME_TOKENS = 4;

export class Answers {
  readonly #scripts: readonly StubScript[];
  readonly #cache = new PromptCache();
  readonly #contextTokens: number;
  #told: StubScript[] = [];
  #lastId = 0;

  constructor(scripts: readonly StubScript[], contextTokens: number) {
    this.#scripts = scripts;
    this.#contextTokens = contextTokens;
  }

  /** From now on this conversation goes as told, whatever the scripts know of it. */
  tell(conversation: StubConversation): void { this.#told.unshift(scriptOf(conversation)); }

  /** Forgets what was told, and the cached prompts. */
  reset(): void {
    this.#told = [];
    this.#cache.clear();
  }

  /** What the first script that knows this conversation says of it. */
  scripted(request: WireRequest): { script: string | undefined; answer: StubAnswer } {
    const script = [...this.#told, ...this.#scripts].find((candidate) => candidate.matches(request));
    return { script: script?.name, answer: script?.reply(request) ?? { text: '' } };
  }

  /** The sentence of the provider when a prompt does not fit into the model's context; undefined when it does. */
  tooLong(request: WireRequest): string | undefined {
    const tokens = promptTokens(request);
    return tokens > this.#contextTokens ? `prompt is too long: ${tokens} tokens > ${this.#contextTokens} maximum` : undefined;
  }

  make(request: WireRequest, reply: StubReply, tier: WireUsage['service_tier']): Answer {
    const id = `msg_stub${String(++this.#lastId).padStart(8, '0')}`;
    const blocks = blocksOf(id, reply);
    const outputTokens = blocks.reduce((sum, block) => sum + tokensOf(block.type === 'tool_use' ? block.name + block.json : block.text), FRAME_TOKENS);
    const thinking = blocks.find((block) => block.type === 'thinking');
    return {
      id, model: request.model, blocks, stopReason: stopReasonOf(reply), stopCategory: reply.stopCategory,
      usage: {
        ...this.#cache.use(request, wallMs()),
        output_tokens: outputTokens,
        output_tokens_details: thinking ? { thinking_tokens: tokensOf(thinking.text) } : null,
        server_tool_use: null, service_tier: tier, inference_geo: 'stub',
        ...reply.usage,
      },
    };
  }
}

/** Ids of tool calls are minted from the message's. */
function blocksOf(id: string, reply: StubReply): BlockOfReply[] {
  const text = reply.json === undefined ? reply.text ?? '' : JSON.stringify(reply.json);
  const uses = [...(reply.toolUses ?? []).map((use) => ({ name: use.name, json: JSON.stringify(use.input) })), ...(reply.cutTool ? [reply.cutTool] : [])];
  return [
    ...(reply.thinking ? [{ type: 'thinking' as const, text: reply.thinking }] : []),
    ...(text === '' ? [] : [{ type: 'text' as const, text }]),
    ...uses.map(({ name, json }, index) => ({ type: 'tool_use' as const, id: `toolu_${id.slice(4)}_${index}`, name, json })),
  ];
}

const stopReasonOf = (reply: StubReply): string => reply.stopReason ?? (reply.cutTool ? 'max_tokens' : reply.toolUses?.length ? 'tool_use' : 'end_turn');

export const requestIdOf = ({ id }: { readonly id: string }): string => `req_${id.slice(4)}`;

/** The `stop_details` of an answer. */
export const stopDetailsOf = ({ stopReason, stopCategory }: Answer): unknown =>
  (stopReason === 'refusal' ? { type: 'refusal', category: stopCategory ?? null, explanation: null } : null);

/** The message as an unstreamed answer or a batch's result carries it. */
export function wholeMessage(answer: Answer): unknown {
  const content = answer.blocks.map((block) =>
    block.type === 'tool_use' ? { type: 'tool_use', id: block.id, name: block.name, input: parsed(block.json), caller: { type: 'direct' } }
      : block.type === 'thinking' ? { type: 'thinking', thinking: block.text, signature: signatureOf(block.text) }
        : { type: 'text', text: block.text, citations: null });
  return {
    id: answer.id, type: 'message', role: 'assistant', model: answer.model, content, stop_reason: answer.stopReason, stop_sequence: null, stop_details: stopDetailsOf(answer),
    container: null, diagnostics: null, usage: answer.usage,
  };
}

/** Without a stream there is no half of an argument: what was cut is given as far as it is JSON, else as nothing. */
function parsed(json: string): unknown {
  try { return JSON.parse(json) as unknown; } catch { return {}; }
}
