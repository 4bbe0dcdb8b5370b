// What was said in a finished run, in order, as events the gate may trust by where they came from: the caller's input, tool
// results, what the agent said. Instructions, recalled memories and schemas were never stored as messages, so they cannot
// come back as something learnt.
import type { RawEvent } from '../domain/transcript.ts';
import type { DocumentPart } from '../store/document-notes.ts';
import type { Said, SaidCall } from '../store/remember-run.ts';

export function rawEventsOf({ run, messages, calls, part }: Said): RawEvent[] {
  if (part) return eventsOfPart(part);
  const asked = messages.filter((message) => message.role === 'user').map((message) => message.content);
  const answered = messages.filter((message) => message.role === 'assistant').map((message) => message.content);
  // Without a user the input is a service's word, and a service's word teaches no preferences.
  const asker: Pick<RawEvent, 'role' | 'tool'> = run.user === null ? { role: 'tool', tool: 'caller' } : { role: 'user' };
  return [
    ...(asked.length > 0 ? asked : wordsOf(run.input, 'message')).map((text): RawEvent => ({ ...asker, text, atMs: run.createdMs })),
    ...calls.flatMap(callEvents),
    ...(answered.length > 0 ? answered : wordsOf(run.output, 'answer')).map((text): RawEvent => ({ role: 'agent', text, atMs: run.finishedMs })),
  ];
}

/** Chunks of a document, in order. */
export const eventsOfPart = ({ chunks, createdMs }: DocumentPart): RawEvent[] => chunks.map(({ text }) => ({ role: 'document', text, atMs: createdMs }));

/** The chunk behind each event the gate may read. */
export const chunksOfEvents = ({ chunks }: DocumentPart): Record<string, string> => Object.fromEntries(chunks.filter(({ text }) => text.trim() !== '').map(({ id }, at) => [`e${at + 1}`, id]));

/** What a turn said before it called its tools, or what a tool gave back. */
function callEvents({ tool, response, error, atMs }: SaidCall): RawEvent[] {
  if (tool !== null) return [{ role: 'tool', tool, text: error === null ? textOf(response) : `failed: ${error}`, atMs }];
  const blocks = Array.isArray(response) ? response as { type?: unknown; text?: unknown }[] : [];
  return blocks.flatMap((block): RawEvent[] => (block.type === 'text' && typeof block.text === 'string' ? [{ role: 'agent', text: block.text, atMs }] : []));
}

/** The words of a value: its field of that name where it is an agent's, else the whole as JSON. */
function wordsOf(value: unknown, field: string): string[] {
  if (value === null || value === undefined) return [];
  const words = typeof value === 'object' ? (value as Record<string, unknown>)[field] : undefined;
  return [typeof words === 'string' ? words : textOf(value)];
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value ?? null));
