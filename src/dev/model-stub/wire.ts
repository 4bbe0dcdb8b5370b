// The part of the Messages API that the stub speaks, in its own words: production's adapter is the only file that sees the
// SDK's types, and a stub that shared them could not find a disagreement. Also what a script may answer.

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface WireBlock {
  readonly type: string;
  readonly text?: string;
  readonly thinking?: string;
  readonly signature?: string;
  readonly id?: string;
  readonly name?: string;
  readonly input?: unknown;
  readonly tool_use_id?: string;
  readonly content?: string | readonly WireBlock[];
  readonly is_error?: boolean;
  readonly cache_control?: { readonly type: string; readonly ttl?: string };
}

export interface WireMessage { readonly role: string; readonly content: string | readonly WireBlock[] }

export interface WireTool { readonly name: string; readonly description?: string; readonly input_schema: Record<string, unknown>; readonly strict?: boolean; readonly cache_control?: unknown }

export interface WireRequest {
  readonly model: string;
  readonly max_tokens: number;
  readonly stream?: boolean;
  readonly system?: string | readonly WireBlock[];
  readonly messages: readonly WireMessage[];
  readonly tools?: readonly WireTool[];
  readonly output_config?: { readonly effort?: string; readonly format?: { readonly type: string; readonly schema: Record<string, unknown> } };
}

export interface WireUsage {
  readonly input_tokens: number;
  readonly cache_creation_input_tokens: number;
  readonly cache_read_input_tokens: number;
  readonly cache_creation: { readonly ephemeral_5m_input_tokens: number; readonly ephemeral_1h_input_tokens: number };
  readonly output_tokens: number;
  readonly output_tokens_details: { readonly thinking_tokens: number } | null;
  readonly server_tool_use: null;
  readonly service_tier: 'standard' | 'batch';
  readonly inference_geo: string | null;
}

export const FAULT_KINDS = [
  // refused, nothing generated
  'rejected', // 400
  'context_exceeded', // 400: prompt is too long
  'unauthorized', // 401
  'unpaid', // 402
  'forbidden', // 403
  'not_found', // 404
  'timed_out', // 408
  'conflict', // 409
  'too_large', // 413
  'unprocessable', // 422
  'rate_limit', // 429 with retry-after
  'ramp_limit', // 429 with retry-after and error code ramp_limit_exceeded
  'spend_limit', // 429 with error code enforced_spend_limit_reached and no retry-after
  'server_error', // 500
  'unavailable', // 503
  'gateway_timeout', // 504
  'overloaded', // 529
  // begun, and broken in the stream
  'overloaded_in_stream', // 200, half a text, then an `error` event
  'server_error_in_stream', // the same with an api_error
  'cut_after_partial_tool', // a tool call's arguments end in the middle and the stream ends cleanly
  'cut_before_stop', // all of the answer and its stop reason, and the stream ends cleanly without message_stop
  'disconnect', // the connection is destroyed in the middle of the text
  'stall_with_pings', // half a text, then pings for ever
  'stall_in_silence', // half a text, then nothing
  'trickle', // half a text, then a letter now and then, for ever
  // whole
  'slow', // the answer begins after delayMs
  'answer_lost', // all was done as asked, and the connection is destroyed instead of an answer
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Which requests a fault meets. */
export const ROUTES = ['messages', 'count_tokens', 'batch_create', 'batch_retrieve', 'batch_list', 'batch_cancel', 'batch_delete', 'batch_results'] as const;
export type Route = (typeof ROUTES)[number];

export interface StubFault {
  readonly kind: FaultKind;
  /** For `slow` and refusals: before the first byte. For `stall_with_pings` and `trickle`: between two of them. */
  readonly delayMs?: number;
  /** For `rate_limit` and `ramp_limit`. */
  readonly retryAfterS?: number;
  /** `messages` unless told. */
  readonly on?: Route;
  /** Only a request whose body contains this text meets it. */
  readonly when?: string;
}

/** What a script answers. `json` is the text of an answer under output_config.format. */
export interface StubReply {
  readonly text?: string;
  readonly thinking?: string;
  readonly toolUses?: readonly { readonly name: string; readonly input: unknown }[];
  readonly json?: unknown;
  readonly stopReason?: string;
  /** Between two pieces of a streamed answer; none unless told. */
  readonly paceMs?: number;
  /** With `refusal`: why. */
  readonly stopCategory?: string;
  /** A tool of the provider's own that is under way: with `pause_turn`. */
  readonly serverTool?: { readonly name: string; readonly input: unknown };
  /** A tool call whose arguments end in the middle, as one that max_tokens cut off. */
  readonly cutTool?: { readonly name: string; readonly json: string };
  readonly usage?: Partial<WireUsage>;
}

/** In a batch a reply may also be an item that expired. */
export type StubAnswer = StubReply | { readonly fault: StubFault } | { readonly expired: true };

export interface StubScript {
  readonly name: string;
  matches(request: WireRequest): boolean;
  reply(request: WireRequest): StubAnswer;
}

/** A conversation told beforehand: the request whose messages contain `when` is in it, and its n-th turn answers the n-th one. */
export interface StubConversation {
  readonly when: string;
  /** A turn's faults are met first, each once; after the last turn the last one is repeated. */
  readonly turns: readonly (StubReply & { readonly faults?: readonly StubFault[] })[];
}

export interface StubCall {
  /** Wall clock. */
  readonly atMs: number;
  readonly route: Route;
  readonly script: string | undefined;
  readonly fault: FaultKind | undefined;
  readonly status: number;
  /** As the answer's header said it; undefined where it was refused. */
  readonly requestId: string | undefined;
  /** Of messages and token counts. */
  readonly request: WireRequest | undefined;
  readonly usage: WireUsage | undefined;
  readonly headers: Readonly<Record<string, string>>;
}
