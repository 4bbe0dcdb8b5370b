// What a document is: its limits, what makes two of them the same, and how its text is cut into chunks. Pure. A chunk is a run of
// whole sentences, ends where a paragraph does if one ends near, and begins with the end of the one before it, so that what
// is said across a boundary is found too. It says which characters of the document it holds.
import { createHash } from 'node:crypto';

export const DOCUMENT_KINDS = ['document', 'tool_output'] as const;
export type DocumentKind = (typeof DOCUMENT_KINDS)[number];

/** Of a text, in bytes of UTF-8: about a thousand chunks, which the built-in model embeds in minutes. */
export const DOCUMENT_BYTES = 1024 * 1024;
/** Longest title and source, in characters. */
export const DOCUMENT_TITLE = 300;
export const DOCUMENT_SOURCE = 1_000;
/** Body of a request that carries one: JSON may write a character in six bytes, which prose does not. */
export const DOCUMENT_BODY_BYTES = 3 * DOCUMENT_BYTES;

/** Characters of a chunk; four are about a token. It ends with a sentence beyond TARGET, with a paragraph beyond NEAR, and at MOST anywhere. */
const TARGET = 1_000;
const NEAR = 700;
const MOST = 1_600;
/** Of the chunk before it, whole sentences up to so many characters begin it. */
const OVERLAP = 200;

export interface Chunk {
  /** Place among the document's chunks, from 0. */
  readonly ordinal: number;
  /** Characters of the document as JavaScript counts them; the end is not included. */
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

interface Piece { readonly start: number; readonly end: number; /** A paragraph ends here. */ readonly last: boolean }

/** All of the text but runs of blanks lies in at least one chunk; none is blank, and none is longer than 1,600 characters. */
export function chunksOf(text: string): Chunk[] {
  const chunks: Omit<Chunk, 'ordinal'>[] = [];
  const pieces = piecesOf(text);
  for (let from = 0; from < pieces.length;) {
    const to = endOfChunk(pieces, from, chunks.at(-1)?.end ?? 0);
    const [start, end] = [pieces[from]?.start ?? 0, pieces[to - 1]?.end ?? 0];
    const body = text.slice(start, end);
    if (body.trim() !== '') chunks.push({ start, end, text: body });
    from = to === pieces.length ? to : withOverlap(pieces, from, to);
  }
  return chunks.map((chunk, ordinal) => ({ ordinal, ...chunk }));
}

/** The piece after the last one of the chunk that begins at `from`. At least one piece is new, whatever the overlap took. */
function endOfChunk(pieces: readonly Piece[], from: number, covered: number): number {
  const start = pieces[from]?.start ?? 0;
  let to = from;
  for (; to < pieces.length; to++) {
    const piece = pieces[to];
    if (!piece) break;
    const isNew = (pieces[to - 1]?.end ?? 0) > covered;
    if (to > from && isNew && piece.end - start > MOST) break;
    const length = piece.end - start;
    if (piece.end > covered && (length >= TARGET || (length >= NEAR && piece.last))) return to + 1;
  }
  return to;
}

/** Where the next chunk begins: whole pieces before `to`, as far as they are short enough, and never where this one began. */
function withOverlap(pieces: readonly Piece[], from: number, to: number): number {
  const end = pieces[to - 1]?.end ?? 0;
  let next = to;
  while (next - 1 > from && end - (pieces[next - 1]?.start ?? 0) <= OVERLAP) next--;
  return next;
}

/** The text as sentences, each within one paragraph; one that is longer than a chunk may be is cut between words, or anywhere. */
function piecesOf(text: string): Piece[] {
  const pieces: Piece[] = [];
  for (const paragraph of text.matchAll(/[\s\S]+?(?:\n[^\S\n]*\n\s*|$)/g)) {
    const sentences = [...sentencesOf.segment(paragraph[0])];
    for (const [at, { segment, index }] of sentences.entries()) {
      const start = paragraph.index + index;
      cut(segment).forEach(([from, to], part, all) => pieces.push({ start: start + from, end: start + to, last: at === sentences.length - 1 && part === all.length - 1 }));
    }
  }
  return pieces;
}

const sentencesOf = new Intl.Segmenter('en', { granularity: 'sentence' });

/** Ranges of at most TARGET characters. */
function cut(sentence: string): [start: number, end: number][] {
  const parts: [number, number][] = [];
  let start = 0;
  while (sentence.length - start > TARGET) {
    const space = sentence.slice(start, start + TARGET).search(/\s\S*$/);
    let end = space > TARGET / 2 ? start + space + 1 : start + TARGET;
    if (/[\uD800-\uDBFF]/.test(sentence.charAt(end - 1))) end--; // never inside a character
    parts.push([start, end]);
    start = end;
  }
  parts.push([start, sentence.length]);
  return parts;
}

export interface Owned { readonly user: string | undefined; readonly agent: string | undefined; readonly source: string | undefined }

/** SHA-256 of whose it is and where it comes from. */
export const sourceHash = ({ user, agent, source }: Owned): Buffer => digest([user ?? null, agent ?? null, source ?? null]);
/** The same again, title and text included, is the same document. */
export const documentHash = ({ user, agent, source }: Owned, title: string, text: string): Buffer => digest([user ?? null, agent ?? null, source ?? null, title, text]);
export const textHash = (text: string): Buffer => createHash('sha256').update(text).digest();

const digest = (parts: readonly (string | null)[]): Buffer => createHash('sha256').update(JSON.stringify(parts)).digest();
