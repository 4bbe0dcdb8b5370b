// Puts a turn together from the events of a stream. A turn exists only with `message_stop` and a stop reason: whatever
// else ends the stream is `model_cut_off`, and a tool's arguments are parsed only when their block is complete.
// The SDK's own helper is not used here, because it parses partial JSON and so turns half an argument into a whole one.
import type { Anthropic } from '@anthropic-ai/sdk';
import { MainstayError } from '../domain/errors.ts';
import type { ContentBlock, ModelTurn, StopReason, Usage } from '../domain/model.ts';
import { ModelFailure } from '../domain/model-failure.ts';

type StreamEvent = Anthropic.RawMessageStreamEvent;
type StartedBlock = Anthropic.RawContentBlockStartEvent['content_block'];

interface OpenBlock {
  readonly started: StartedBlock;
  text: string;
  json: string;
  signature: string;
  complete: boolean;
}

export class TurnReader {
  readonly #requestId: string | undefined;
  readonly #onText: ((text: string) => void) | undefined;
  readonly #blocks = new Map<number, OpenBlock>();
  #message: Anthropic.Message | undefined;
  #usage: Anthropic.Usage | undefined;
  #stopReason: StopReason | undefined;
  #refusal: string | undefined;
  #stopped = false;

  constructor(requestId: string | undefined, onText?: (text: string) => void) {
    this.#requestId = requestId;
    this.#onText = onText;
  }

  /** True while the block being streamed is one of thinking, in which long silence is ordinary. */
  get thinking(): boolean {
    return [...this.#blocks.values()].some((block) => !block.complete && block.started.type === 'thinking');
  }

  /** True once the turn is whole; the stream has nothing more to say. */
  get stopped(): boolean { return this.#stopped; }

  take(event: StreamEvent): void {
    switch (event.type) {
      case 'message_start':
        this.#message = event.message;
        this.#usage = { ...event.message.usage };
        return;
      case 'content_block_start':
        this.#blocks.set(event.index, { started: event.content_block, text: '', json: '', signature: '', complete: false });
        return;
      case 'content_block_delta': return this.#takeDelta(event);
      case 'content_block_stop': {
        const block = this.#blocks.get(event.index);
        if (block) block.complete = true;
        return;
      }
      case 'message_delta': return this.#takeMessageDelta(event);
      case 'message_stop':
        this.#stopped = true;
        return;
    }
  }

  /** The turn, once the stream has ended. Throws model_cut_off when it ended too early. */
  finish(): ModelTurn {
    const message = this.#message;
    if (!message || !this.#usage || !this.#stopped || !this.#stopReason) throw this.#cutOff('The stream ended before the model had finished its turn.');
    const stopReason = this.#stopReason;
    const content = [...this.#blocks.entries()].sort(([a], [b]) => a - b).flatMap(([, block]) => this.#contentOf(block, stopReason));
    if (stopReason === 'tool_use' && !content.some((block) => block.type === 'tool_use')) throw this.#cutOff('The turn stopped for a tool and names none.');
    return { content, stopReason, ...(this.#refusal === undefined ? {} : { refusal: this.#refusal }), usage: usageOf(this.#usage), requestId: this.#requestId, model: message.model };
  }

  #takeDelta(event: Anthropic.RawContentBlockDeltaEvent): void {
    const block = this.#blocks.get(event.index);
    if (!block) throw this.#cutOff('The stream continued a block it had not begun.');
    switch (event.delta.type) {
      case 'text_delta':
        block.text += event.delta.text;
        this.#onText?.(event.delta.text);
        return;
      case 'thinking_delta': block.text += event.delta.thinking; return;
      case 'signature_delta': block.signature += event.delta.signature; return;
      case 'input_json_delta': block.json += event.delta.partial_json; return;
      case 'citations_delta': return; // we send no documents; a citation would be of none
    }
  }

  #takeMessageDelta(event: Anthropic.RawMessageDeltaEvent): void {
    if (event.delta.stop_reason) this.#stopReason = event.delta.stop_reason;
    this.#refusal = event.delta.stop_details?.category ?? undefined;
    if (!this.#usage) return;
    // The counters are totals of the whole message, and those that do not apply are left out.
    this.#usage.output_tokens = event.usage.output_tokens;
    this.#usage.input_tokens = event.usage.input_tokens ?? this.#usage.input_tokens;
    this.#usage.cache_creation_input_tokens = event.usage.cache_creation_input_tokens ?? this.#usage.cache_creation_input_tokens;
    this.#usage.cache_read_input_tokens = event.usage.cache_read_input_tokens ?? this.#usage.cache_read_input_tokens;
  }

  #contentOf(block: OpenBlock, stopReason: StopReason): ContentBlock[] {
    const { started } = block;
    switch (started.type) {
      case 'text': return [{ type: 'text', text: started.text + block.text }];
      case 'tool_use': {
        const input = this.#inputOf(block, stopReason);
        return input === undefined ? [] : [{ type: 'tool_use', id: started.id, name: started.name, input }];
      }
      case 'thinking': return [{ type: 'opaque', value: { ...started, thinking: started.thinking + block.text, signature: started.signature + block.signature } }];
      case 'server_tool_use': return [{ type: 'opaque', value: block.json === '' ? started : { ...started, input: parsed(block.json) ?? started.input } }];
      default: return [{ type: 'opaque', value: started }];
    }
  }

  /** Arguments cut short by max_tokens are dropped with their block: nobody may run a tool on half of them. */
  #inputOf(block: OpenBlock, stopReason: StopReason): unknown {
    const whole = block.complete ? (block.json === '' ? (block.started as Anthropic.ToolUseBlock).input ?? {} : parsed(block.json)) : undefined;
    if (whole === undefined && stopReason === 'tool_use') throw this.#cutOff('The arguments of a tool call are not complete.');
    return whole;
  }

  #cutOff(detail: string): MainstayError {
    return new MainstayError('model_cut_off', detail, { cause: new ModelFailure(detail, { requestId: this.#requestId, billed: 'unknown' }) });
  }
}

/** The turn of a message that came whole. Throws model_cut_off when it is none. */
export function turnOfMessage(message: Anthropic.Message): ModelTurn {
  const reader = new TurnReader(message.id);
  reader.take({ type: 'message_start', message: { ...message, content: [] } });
  for (const [index, block] of message.content.entries()) {
    reader.take({ type: 'content_block_start', index, content_block: block });
    reader.take({ type: 'content_block_stop', index });
  }
  const { stop_reason, stop_sequence, stop_details, usage } = message;
  reader.take({ type: 'message_delta', delta: { stop_reason, stop_sequence, stop_details, container: null }, usage });
  reader.take({ type: 'message_stop' });
  return reader.finish();
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Where the provider does not split the writes by their life, they are the five-minute ones we ask for. */
function usageOf(usage: Anthropic.Usage): Usage {
  const written = usage.cache_creation_input_tokens ?? 0;
  const cacheWrite1hTokens = Math.min(usage.cache_creation?.ephemeral_1h_input_tokens ?? 0, written);
  return {
    inputTokens: usage.input_tokens,
    cacheWrite5mTokens: written - cacheWrite1hTokens,
    cacheWrite1hTokens,
    cacheReadTokens: usage.cache_read_input_tokens ?? 0,
    outputTokens: usage.output_tokens,
  };
}
