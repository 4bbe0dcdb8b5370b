// The format of a set of questions, docs/eval-recall.md, as a schema; and what a schema cannot say: ids that lead somewhere. A set
// that is wrong is refused as a whole, with the place and what to do; odd texts (empty, very long, half a character) are not wrong.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { messageOf } from '../../src/domain/errors.ts';

const id = z.union([z.string().min(1), z.number()]).transform(String);
const clean = z.string().transform((text) => text.toWellFormed().replaceAll('\u0000', ' '));
/** Left out or null. */
const missing = <T>(schema: z.ZodType<T>, instead: T) => schema.nullish().transform((given) => given ?? instead);
const turn = z.object({ id, speaker: missing(clean, ''), text: clean });
const date = z.string().refine((text) => !Number.isNaN(timeOf(text)), 'is no date: write it as 2026-03-01, 2026-03-01T10:00:00Z or 2026-03-01T10:00:00+02:00, or leave it out');
const session = z.object({ id, date: date.nullish(), turns: z.array(turn) });
const conversation = z.object({ id, sessions: z.array(session).transform(dated) });
const category = z.union([z.string(), z.number()]).transform((given) => String(given).trim() || 'all');
const question = z.object({ id, conversation: id, category: missing(category, 'all'), question: clean, evidence: z.array(id) });
const setSchema = z.object({ format: z.literal('mainstay-recall/1'), name: z.string().min(1).max(200), conversations: z.array(conversation).min(1), questions: z.array(question).min(1) });

export type RecallSet = z.infer<typeof setSchema>;
export type Conversation = RecallSet['conversations'][number];
export type Turn = Conversation['sessions'][number]['turns'][number];
export type Question = RecallSet['questions'][number];

/** Sessions of no date at all. */
const NO_DATE = '2000-01-01';
const ZONE = /(Z|UTC|GMT|[+-]\d\d:?\d\d)$/i;

/** Milliseconds; NaN: no date, or of a year that is none. The same on every machine: a time without a zone is UTC's. `10:00 am on 1 March, 2026` is one too. */
function timeOf(text: string): number {
  const given = text.trim().replace(/ on /i, ' ');
  const zone = ZONE.test(given) || /^\d{4}-\d\d-\d\d$/.test(given) ? '' : /\dT\d/.test(given) ? 'Z' : ' UTC';
  const ms = /\d{4}/.test(given) ? Date.parse(given + zone) : NaN;
  return ms >= Date.UTC(1000) && ms < Date.UTC(10_000) ? ms : NaN;
}

/** Each with a time: its own, that of the session before it, or none at all. */
function dated<T extends { date?: string | null | undefined }>(sessions: readonly T[]): (Omit<T, 'date'> & { readonly date: string })[] {
  let last = NO_DATE;
  return sessions.map((one) => { last = new Date(timeOf(one.date ?? last)).toISOString(); return { ...one, date: last }; });
}

/** Turns of one conversation may have the ids of another's. */
export const turnsIn = (set: Pick<RecallSet, 'conversations'>): number => set.conversations.flatMap((one) => one.sessions).reduce((sum, { turns }) => sum + turns.length, 0);

/** What is wrong with a set, for the person who made it. */
export class BadSet extends Error {}

export function readSet(file: string): RecallSet {
  let text: string;
  try { text = readFileSync(file, 'utf8'); } catch (error) { throw new BadSet(`${file} cannot be read: ${messageOf(error)}`); }
  let given: unknown;
  try { given = JSON.parse(text.replace(/^\ufeff/, '')); } catch (error) { throw new BadSet(`${file} is not JSON: ${messageOf(error)}`); }
  return parseSet(given);
}

export function parseSet(given: unknown): RecallSet {
  const { data, error } = setSchema.safeParse(given);
  if (!data) throw new BadSet(`the set is not of the format mainstay-recall/1:\n${error.issues.slice(0, 10).map((issue) => `  ${issue.path.join('.') || 'the file'}: ${issue.message}`).join('\n')}`);
  const turns = new Map<string, Set<string>>();
  for (const { id: conversationId, sessions } of data.conversations) {
    if (turns.has(conversationId)) throw new BadSet(`two conversations have the id ${conversationId}: give each its own`);
    turns.set(conversationId, distinct(`turns of conversation ${conversationId}`, sessions.flatMap((one) => one.turns)));
    distinct(`sessions of conversation ${conversationId}`, sessions);
  }
  distinct('questions', data.questions);
  for (const { id: questionId, conversation: of, evidence } of data.questions) {
    const there = turns.get(of);
    if (!there) throw new BadSet(`question ${questionId} is about conversation ${of}, which is not in the set`);
    const missing = evidence.filter((one) => !there.has(one));
    if (missing.length > 0) throw new BadSet(`question ${questionId} names evidence that is no turn of conversation ${of}: ${missing.slice(0, 5).join(', ')}. Leave the question out, or give it the ids of turns`);
  }
  return data;
}

function distinct(what: string, items: readonly { readonly id: string }[]): Set<string> {
  const seen = new Set<string>();
  for (const item of items) {
    if (seen.has(item.id)) throw new BadSet(`two ${what} have the id ${item.id}: give each its own`);
    seen.add(item.id);
  }
  return seen;
}
