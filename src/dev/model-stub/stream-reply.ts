// Writes an answer as the Messages API streams it: message_start, blocks in pieces, message_delta, message_stop, with a
// ping in between. The faults that happen inside a stream are here too.
import type { ServerResponse } from 'node:http';
import { pause } from '../../clock.ts';
import type { FaultKind, StubReply, WireUsage } from './wire.ts';

export interface Streamed {
  readonly id: string;
  readonly model: string;
  readonly reply: StubReply;
  readonly usage: WireUsage;
}

export type BlockOfReply = { type: 'thinking'; text: string } | { type: 'text'; text: string } | { type: 'tool_use'; id: string; name: string; json: string };

/** Letters of one delta. Small enough that even a short answer comes in several. */
const PIECE = 24;

/** The blocks of an answer; ids of tool calls are minted from the message's. */
export function blocksOfReply(id: string, reply: StubReply): BlockOfReply[] {
  const text = reply.json === undefined ? reply.text ?? '' : JSON.stringify(reply.json);
  return [
    ...(reply.thinking ? [{ type: 'thinking' as const, text: reply.thinking }] : []),
    ...(text === '' ? [] : [{ type: 'text' as const, text }]),
    ...(reply.toolUses ?? []).map((use, index) => ({ type: 'tool_use' as const, id: `toolu_${id.slice(4)}_${index}`, name: use.name, json: JSON.stringify(use.input) })),
  ];
}

export const stopReasonOf = (reply: StubReply): string => reply.stopReason ?? (reply.toolUses?.length ? 'tool_use' : 'end_turn');

export async function streamReply(response: ServerResponse, streamed: Streamed): Promise<void> {
  const send = sender(response);
  start(send, streamed);
  send('ping', { type: 'ping' });
  for (const [index, block] of blocksOfReply(streamed.id, streamed.reply).entries()) sendBlock(send, index, block);
  send('message_delta', {
    type: 'message_delta',
    delta: { stop_reason: stopReasonOf(streamed.reply), stop_sequence: null, stop_details: null, container: null },
    usage: { ...streamed.usage, output_tokens_details: null, server_tool_use: null },
  });
  send('message_stop', { type: 'message_stop' });
  response.end();
}

/** Begins an answer and breaks it in the way of the fault. Resolves when the connection is done. */
export async function streamBroken(response: ServerResponse, streamed: Streamed, kind: FaultKind, pingMs: number): Promise<void> {
  const send = sender(response);
  start(send, streamed);
  if (kind === 'cut_after_partial_tool') {
    sendBlockStart(send, 0, { type: 'tool_use', id: 'toolu_partial', name: 'open_ticket', json: '' });
    send('content_block_delta', { type: 'content_block_delta', index: 0, delta: { type: 'input_json_delta', partial_json: '{"subject":"half a sent' } });
    response.end();
    return;
  }
  sendBlockStart(send, 0, { type: 'text', text: '' });
  send('content_block_delta', { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'It began well and ' } });
  if (kind === 'overloaded_in_stream') {
    send('error', { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } });
    response.end();
  } else if (kind === 'disconnect') {
    await pause(20); // lets what was written arrive
    response.socket?.destroy();
  } else {
    while (!response.destroyed && !response.writableEnded) {
      await pause(pingMs);
      if (!response.destroyed) send('ping', { type: 'ping' });
    }
  }
}

type Send = (event: string, data: unknown) => void;

function sender(response: ServerResponse): Send {
  return (event, data) => { response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`); };
}

function start(send: Send, { id, model, usage }: Streamed): void {
  const message = { id, type: 'message', role: 'assistant', model, content: [], stop_reason: null, stop_sequence: null, stop_details: null, container: null, diagnostics: null };
  send('message_start', { type: 'message_start', message: { ...message, usage: { ...usage, output_tokens: 1, service_tier: 'standard' } } });
}

function sendBlock(send: Send, index: number, block: BlockOfReply): void {
  sendBlockStart(send, index, block);
  const [text, delta] = block.type === 'tool_use' ? [block.json, (piece: string) => ({ type: 'input_json_delta', partial_json: piece })]
    : block.type === 'thinking' ? [block.text, (piece: string) => ({ type: 'thinking_delta', thinking: piece })]
      : [block.text, (piece: string) => ({ type: 'text_delta', text: piece })];
  for (const piece of pieces(text)) send('content_block_delta', { type: 'content_block_delta', index, delta: delta(piece) });
  if (block.type === 'thinking') send('content_block_delta', { type: 'content_block_delta', index, delta: { type: 'signature_delta', signature: 'c3R1Yg==' } });
  send('content_block_stop', { type: 'content_block_stop', index });
}

function sendBlockStart(send: Send, index: number, block: BlockOfReply): void {
  const started = block.type === 'tool_use' ? { type: 'tool_use', id: block.id, name: block.name, input: {}, caller: { type: 'direct' } }
    : block.type === 'thinking' ? { type: 'thinking', thinking: '', signature: '' }
      : { type: 'text', text: '', citations: null };
  send('content_block_start', { type: 'content_block_start', index, content_block: started });
}

/** Whole characters only: half a surrogate pair is no UTF-8. */
function pieces(text: string): string[] {
  const letters = [...text];
  return Array.from({ length: Math.ceil(letters.length / PIECE) }, (_, index) => letters.slice(index * PIECE, (index + 1) * PIECE).join(''));
}
