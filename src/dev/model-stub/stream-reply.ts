// Writes an answer as the Messages API streams it: message_start, blocks in pieces, message_delta, message_stop, with a
// ping in between. The faults that happen inside a stream are here too.
import type { ServerResponse } from 'node:http';
import { pause } from '../../clock.ts';
import { stopDetailsOf, type Answer, type BlockOfReply } from './answers.ts';
import { signatureOf } from './signature.ts';
import type { FaultKind } from './wire.ts';

/** Letters of one delta. Small enough that even a short answer comes in several. */
const PIECE = 24;

export async function streamReply(response: ServerResponse, answer: Answer): Promise<void> {
  const send = sender(response);
  start(send, answer);
  send('ping', { type: 'ping' });
  for (const [index, block] of answer.blocks.entries()) sendBlock(send, index, block);
  sendStopReason(send, answer);
  send('message_stop', { type: 'message_stop' });
  response.end();
}

/** Begins an answer and breaks it in the way of the fault. Resolves when the connection is done. */
export async function streamBroken(response: ServerResponse, answer: Answer, kind: FaultKind, pingMs: number): Promise<void> {
  const send = sender(response);
  start(send, answer);
  if (kind === 'cut_after_partial_tool') {
    sendBlockStart(send, 0, { type: 'tool_use', id: 'toolu_partial', name: 'open_ticket', json: '' });
    send('content_block_delta', { type: 'content_block_delta', index: 0, delta: { type: 'input_json_delta', partial_json: '{"subject":"half a sent' } });
    response.end();
    return;
  }
  if (kind === 'cut_before_stop') {
    for (const [index, block] of answer.blocks.entries()) sendBlock(send, index, block);
    sendStopReason(send, answer);
    response.end();
    return;
  }
  sendBlockStart(send, 0, { type: 'text', text: '' });
  send('content_block_delta', { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'It began well and ' } });
  if (kind === 'overloaded_in_stream' || kind === 'server_error_in_stream') {
    send('error', { type: 'error', error: kind === 'overloaded_in_stream' ? { type: 'overloaded_error', message: 'Overloaded' } : { type: 'api_error', message: 'Internal server error' } });
    response.end();
  } else if (kind === 'disconnect') {
    await pause(20); // lets what was written arrive
    response.socket?.destroy();
  } else if (kind === 'stall_in_silence') {
    await new Promise((resolve) => response.once('close', resolve));
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

function start(send: Send, { id, model, usage }: Answer): void {
  const message = { id, type: 'message', role: 'assistant', model, content: [], stop_reason: null, stop_sequence: null, stop_details: null, container: null, diagnostics: null };
  send('message_start', { type: 'message_start', message: { ...message, usage: { ...usage, output_tokens: 1, output_tokens_details: null } } });
}

function sendStopReason(send: Send, answer: Answer): void {
  const { input_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens, output_tokens_details, server_tool_use } = answer.usage;
  send('message_delta', {
    type: 'message_delta',
    delta: { stop_reason: answer.stopReason, stop_sequence: null, stop_details: stopDetailsOf(answer), container: null },
    usage: { input_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens, output_tokens_details, server_tool_use },
  });
}

function sendBlock(send: Send, index: number, block: BlockOfReply): void {
  sendBlockStart(send, index, block);
  const [text, delta] = block.type === 'tool_use' ? [block.json, (piece: string) => ({ type: 'input_json_delta', partial_json: piece })]
    : block.type === 'thinking' ? [block.text, (piece: string) => ({ type: 'thinking_delta', thinking: piece })]
      : [block.text, (piece: string) => ({ type: 'text_delta', text: piece })];
  for (const piece of pieces(text)) send('content_block_delta', { type: 'content_block_delta', index, delta: delta(piece) });
  if (block.type === 'thinking') send('content_block_delta', { type: 'content_block_delta', index, delta: { type: 'signature_delta', signature: signatureOf(block.text) } });
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
