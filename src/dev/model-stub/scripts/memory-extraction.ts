// Summarises a run and proposes memories, as the memory module asks of a model: a schema with `summary` and `candidates`, a
// transcript with lines `[e12 user] text`, `[e13 tool:find_tickets] text`, `[e14 agent] text`. Rules of thumb stand in for
// understanding. Like every model it also proposes what nobody should keep, so that the gate has something to reject.
import type { Json, StubScript, WireRequest } from '../wire.ts';
import { blocksOf } from '../validate.ts';
import { candidatesOf, poorCandidates, type Candidate, type TranscriptEvent } from './extraction-patterns.ts';
import { headline, sentencesOf, textOf } from './read-request.ts';

const propertiesOf = (schema: unknown): Record<string, unknown> => ((schema as { properties?: Record<string, unknown> } | undefined)?.properties ?? {});

export const memoryExtraction: StubScript = {
  name: 'memory-extraction',
  matches(request) {
    const properties = propertiesOf(request.output_config?.format?.schema);
    return 'summary' in properties && 'candidates' in properties;
  },
  reply(request) {
    const events = transcriptOf(request);
    const candidates = [...events.filter((event) => event.role === 'user').flatMap(candidatesOf), ...poorCandidates(events)];
    const properties = propertiesOf(request.output_config?.format?.schema);
    const wanted = Object.keys(propertiesOf((properties['candidates'] as { items?: unknown } | undefined)?.items));
    return { json: { summary: summaryOf(events), candidates: withoutRepeats(candidates).map((candidate) => only(candidate, wanted)) } };
  },
};

/** Events of the transcript in the user's message; a text goes on until the next event begins. */
export function transcriptOf(request: WireRequest): TranscriptEvent[] {
  const text = request.messages.filter((message) => message.role === 'user').map((message) => textOf(blocksOf(message))).join('\n');
  const parts = [...text.matchAll(/^\[(\S+) (user|agent|assistant|tool(?::[\w.-]+)?)\] ?/gm)];
  return parts.map((part, index) => ({
    id: part[1] ?? '',
    role: part[2] === 'user' ? 'user' : part[2]?.startsWith('tool') ? 'tool' : 'agent',
    text: text.slice(part.index + part[0].length, parts[index + 1]?.index ?? text.length).trim(),
  }));
}

function summaryOf(events: readonly TranscriptEvent[]): Json {
  const asked = events.find((event) => event.role === 'user')?.text ?? '';
  const answered = events.findLast((event) => event.role === 'agent')?.text ?? '';
  return {
    goal: headline(asked, 200) || 'No goal was stated',
    result: headline(answered, 300) || 'No answer was given',
    decisions: events.filter((event) => event.role === 'agent').flatMap((event) => sentencesOf(event.text)).filter((sentence) => /\b(opened|decided|agreed|will|created|escalated)\b/i.test(sentence)).slice(0, 3),
    open_items: events.filter((event) => event.role === 'user').flatMap((event) => sentencesOf(event.text)).filter((sentence) => sentence.endsWith('?')).slice(0, 3),
  };
}

const withoutRepeats = (candidates: readonly Candidate[]): Candidate[] =>
  candidates.filter((candidate, index) => candidates.findIndex((other) => other.statement === candidate.statement) === index);

/** The schema allows no other properties; one that names none gets them all. */
const only = (candidate: Candidate, wanted: readonly string[]): Json =>
  wanted.length === 0 ? { ...candidate } : Object.fromEntries(Object.entries(candidate).filter(([name]) => wanted.includes(name)));
