// Cursors: opaque to the caller, made of the place of the last item, checked when they come back. A cursor carries no right:
// whatever it says, the reader's scope decides what is seen.
import { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import { PAGE_MAX, PAGE_SIZE } from '../domain/tunables.ts';

/** The query of every list. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(PAGE_MAX).default(PAGE_SIZE),
  cursor: z.string().max(1_000).optional().describe('`nextCursor` of the page before'),
};

type Place = readonly (string | number)[];

export const cursorOf = (kind: string, place: Place): string => Buffer.from(JSON.stringify([kind, ...place])).toString('base64url');

/** The place of a cursor of this kind. Throws `bad_cursor`. */
export function placeOf<T extends z.ZodType>(kind: string, shape: T, cursor: string | undefined): z.infer<T> | undefined {
  if (cursor === undefined) return undefined;
  try {
    const [found, ...place] = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')) as unknown[];
    const parsed = shape.safeParse(place);
    if (found === kind && parsed.success) return parsed.data;
  } catch {
    // not JSON: answered below
  }
  throw new MainstayError('bad_cursor', 'The cursor was not made by this list.');
}

/** Asks for one more than the page holds, so that the last page is known to be the last. */
export function asPage<Row, Item>(rows: readonly Row[], limit: number, item: (row: Row) => Item, place: (row: Row) => string): { data: Item[]; nextCursor: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return { data: shown.map(item), nextCursor: rows.length > limit && last !== undefined ? place(last) : null };
}
