// The shapes of documents that cross the HTTP edge; the rest are in wire.ts.
import { z } from 'zod';
import { DOCUMENT_BYTES, DOCUMENT_KINDS, DOCUMENT_SOURCE, DOCUMENT_TITLE } from './document.ts';
import { name } from './wire.ts';

const time = z.string().describe('ISO 8601, UTC');
const line = (most: number) => z.string().trim().min(1).max(most).regex(/^[^\p{Cc}\p{Cs}]+$/u, 'has characters that cannot be printed');
/** Read once: bytes are counted only of what may be short enough. */
const text = z.string().max(DOCUMENT_BYTES, `is longer than ${DOCUMENT_BYTES} bytes`)
  .refine((given) => given.length > DOCUMENT_BYTES || Buffer.byteLength(given) <= DOCUMENT_BYTES, `is longer than ${DOCUMENT_BYTES} bytes`)
  .refine((given) => given.trim() !== '', 'is empty')
  .refine((given) => given.isWellFormed() && !given.includes('\u0000'), 'is not text: it holds NUL or half of a character');

export const newDocumentSchema = z.strictObject({
  title: line(DOCUMENT_TITLE), text: text.describe(`Plain text or Markdown, up to ${DOCUMENT_BYTES} bytes of UTF-8`),
  source: line(DOCUMENT_SOURCE).optional().describe('A URL, a path or a name: another text of the same source is its next version and takes its place'),
  user: name.optional().describe('Whose it is; unset: the tenant’s. Implied by a key that is bound to a user'), agent: name.optional().describe('Found by this agent alone'),
  extract: z.boolean().optional().describe('Facts are read out of it for the memory of whoever it is for, through the gate; false unless told'),
});

export const documentSchema = z.object({
  id: z.string().describe('doc_…'), kind: z.enum(DOCUMENT_KINDS).describe('`tool_output`: what a tool answered in a run'), title: z.string(), source: z.string().nullable(), user: z.string().nullable(), agent: z.string().nullable(),
  version: z.number().int().describe('of its source'), bytes: z.number().int(), chunks: z.number().int(), indexed: z.number().int().describe('chunks that are in the vector index; the others are found by their words'),
  run: z.string().nullable().describe('run_…: of a tool output'), stepSeq: z.number().int().nullable(), path: z.string().nullable().describe('of the call within its step'), tool: z.string().nullable(), addedBy: z.string(), createdAt: time,
  replacedAt: time.nullable(), replacedBy: z.string().nullable().describe('doc_…: the next version of its source'),
});
export const addedDocumentSchema = documentSchema.extend({ created: z.boolean().describe('false: the same document was there') });
export const chunkSchema = z.object({
  id: z.string().describe('chk_…'), ordinal: z.number().int().describe('place in its document, from 0'), start: z.number().int().describe('first character of the document, in UTF-16 units'), end: z.number().int(), text: z.string(),
});
export const passageSchema = chunkSchema.extend({
  document: z.string().describe('doc_…'), kind: z.enum(DOCUMENT_KINDS), title: z.string(), source: z.string().nullable(), version: z.number().int(), user: z.string().nullable(), agent: z.string().nullable(),
  run: z.string().nullable(), stepSeq: z.number().int().nullable(), path: z.string().nullable(), tool: z.string().nullable(), createdAt: time, score: z.number().describe('0 to 1, within this answer'),
});
export const foundPassagesSchema = z.object({
  data: z.array(passageSchema).describe('best first'), semantic: z.boolean().describe('false: searched by words, not by meaning'), degraded: z.boolean().describe('true: the index did not answer and Postgres did'),
});

export type NewDocumentBody = z.input<typeof newDocumentSchema>;
export type Document = z.infer<typeof documentSchema>;
export type AddedDocument = z.infer<typeof addedDocumentSchema>;
export type DocumentChunk = z.infer<typeof chunkSchema>;
export type Passage = z.infer<typeof passageSchema>;
export type FoundPassages = z.infer<typeof foundPassagesSchema>;
