// The part of the Messages API that the stub speaks, in its own words: production's adapter is the only file that sees the
// SDK's types, and a stub that shared them could not find a disagreement. Also what a script may answer.

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface WireBlock {
  readonly type: string;
  readonly text?: string;
  readonly id?: string;
  readonly name?: string;
  readonly input?: unknown;
  readonly tool_use_id?: string;
  readonly content?: string | readonly WireBlock[];
  readonly is_error?: boolean;
  readonly cache_control?: { readonly type: string; readonly ttl?: string };
}

export interface WireMessage { readonly role: string; readonly content: string | readonly WireBlock[] }

export interface WireTool { readonly name: string; readonly description?: string; readonly input_schema: Record<string, unknown>; readonly cache_control?: unknown }

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
}

export const FAULT_KINDS = [
  'overloaded', // 529 before the stream
  'overloaded_in_stream', // 200, half a text, then an `error` event
  'server_error', // 500
  'rate_limit', // 429 with retry-after
  'spend_limit', // 429 with error code enforced_spend_limit_reached and no retry-after
  'rejected', // 400
  'cut_after_partial_tool', // a tool call's arguments end in the middle and the stream ends cleanly
  'disconnect', // the connection is destroyed in the middle of the text
  'stall_with_pings', // half a text, then pings for ever
  'slow', // the answer begins after delayMs
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface StubFault {
  readonly kind: FaultKind;
  /** For `slow`: before the first byte. For `stall_with_pings`: between pings. */
  readonly delayMs?: number;
  /** For `rate_limit`. */
  readonly retryAfterS?: number;
}

/** What a script answers. `json` is the text of an answer under output_config.format. */
export interface StubReply {
  readonly text?: string;
  readonly thinking?: string;
  readonly toolUses?: readonly { readonly name: string; readonly input: unknown }[];
  readonly json?: unknown;
  readonly stopReason?: string;
  readonly usage?: Partial<WireUsage>;
}

export interface StubScript {
  readonly name: string;
  matches(request: WireRequest): boolean;
  reply(request: WireRequest): StubReply | { readonly fault: StubFault };
}

export interface StubCall {
  /** Wall clock. */
  readonly atMs: number;
  readonly path: string;
  readonly script: string | undefined;
  readonly fault: FaultKind | undefined;
  readonly status: number;
  /** As the answer's header said it; undefined where it was refused. */
  readonly requestId: string | undefined;
  readonly request: WireRequest | undefined;
  readonly usage: WireUsage | undefined;
  readonly headers: Readonly<Record<string, string>>;
}
