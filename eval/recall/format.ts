// The format of a set of questions, docs/eval-recall.md, as a schema; and what a schema cannot say: ids that lead somewhere. A set
// that is wrong is refused as a whole, with the place and what to do; odd texts (empty, very long, half a character) are not wrong.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { messageOf } from '../../src/domain/errors.ts';

const id = z.union([z.string().min(1).max(200), z.number()]).transform(String);
const clean = z.string().transform((text) => text.toWellFormed().replaceAll('\u0000', ' '));
/** Left out or null. */
const missing = <T>(schema: z.ZodType<T>, instead: T) => schema.nullish().transform((given) => given ?? instead);
const turn = z.object({ id, speaker: missing(clean, ''), text: clean });
const session = z.object({ id, date: z.string().refine((text) => !Number.isNaN(Date.parse(text)), 'is no date: write it as 2026-03-01 or 2026-03-01T10:00:00Z'), turns: z.array(turn) });
const conversation = z.object({ id, sessions: z.array(session) });
const question = z.object({ id, conversation: id, category: missing(id, 'all'), question: clean, evidence: z.array(id) });
const setSchema = z.object({ format: z.literal('mainstay-recall/1'), name: z.string().min(1).max(200), conversations: z.array(conversation).min(1), questions: z.array(question).min(1) });

export type RecallSet = z.infer<typeof setSchema>;
export type Conversation = RecallSet['conversations'][number];
export type Turn = Conversation['sessions'][number]['turns'][number];
export type Question = RecallSet['questions'][number];

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
