// The model port: what the engine and the memory gate ask of a language model. One adapter implements it (src/model/).
// A turn exists only with a stop reason; a stream that ended before is an error, never a shorter answer.
import type { ProviderLimits } from './provider-limits.ts';

export interface TextBlock { readonly type: 'text'; readonly text: string }
export interface ToolUseBlock { readonly type: 'tool_use'; readonly id: string; readonly name: string; readonly input: unknown }
export interface ToolResultBlock { readonly type: 'tool_result'; readonly tool_use_id: string; readonly content: string; readonly is_error?: boolean }
/** Blocks the provider wants back unchanged (thinking and the like). */
export interface OpaqueBlock { readonly type: 'opaque'; readonly value: unknown }
export type ContentBlock = TextBlock | ToolUseBlock | ToolResultBlock | OpaqueBlock;

export interface ModelMessage { readonly role: 'user' | 'assistant'; readonly content: readonly ContentBlock[] }

export interface ModelTool {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of the arguments, type `object`. */
  readonly inputSchema: Record<string, unknown>;
  /** The provider holds the arguments to the schema; keywords it does not know stand in descriptions. */
  readonly strict?: boolean;
}

export interface ModelRequest {
  readonly model: string;
  /** Stable prefix, cached by the provider: keep it byte-identical between calls. */
  readonly system: string;
  /** Volatile part of the instructions, placed after the cached prefix. */
  readonly context?: string;
  readonly messages: readonly ModelMessage[];
  readonly tools?: readonly ModelTool[];
  readonly maxTokens: number;
  /** JSON Schema the answer must follow; the text of the turn is then JSON. */
  readonly outputSchema?: Record<string, unknown>;
  readonly effort?: 'low' | 'medium' | 'high';
}

/** Token counts as the provider bills them; the prompt is the sum of the first four. */
export interface Usage {
  readonly inputTokens: number;
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  readonly cacheReadTokens: number;
  readonly outputTokens: number;
}

export const NO_USAGE: Usage = { inputTokens: 0, cacheWrite5mTokens: 0, cacheWrite1hTokens: 0, cacheReadTokens: 0, outputTokens: 0 };

export type StopReason = 'end_turn' | 'tool_use' | 'max_tokens' | 'stop_sequence' | 'refusal' | 'pause_turn' | 'model_context_window_exceeded';

export interface ModelTurn {
  readonly content: readonly ContentBlock[];
  readonly stopReason: StopReason;
  /** With the stop reason `refusal`: of what kind, where the provider says it. */
  readonly refusal?: string;
  readonly usage: Usage;
  /** The provider's id of the call, for support. */
  readonly requestId: string | undefined;
  readonly model: string;
}

export interface ModelOptions {
  readonly signal: AbortSignal;
  /** Called with what the provider says of its limits, with an answer or a refusal. */
  readonly onLimits?: (limits: ProviderLimits) => void;
  /** Called with each piece of text as it streams. */
  readonly onText?: (text: string) => void;
}

export interface Model {
  /** One turn. Throws MainstayError: model_unavailable, model_cut_off, model_stalled, rate_limited and spend_limit (with retryAfterMs),
   *  model_rejected, context_exceeded; model_refused is not thrown (it is a stop reason); `cancelled` when the signal aborts. */
  turn(request: ModelRequest, options: ModelOptions): Promise<ModelTurn>;
}

export const textOf = (content: readonly ContentBlock[]): string =>
  content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');
