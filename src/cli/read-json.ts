// JSON that a person hands to a command: unreadable or of another form, it is refused with its file and its place.
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { MainstayError, messageOf } from '../domain/errors.ts';

export function readJson(file: string): unknown {
  try { return JSON.parse(readFileSync(file, 'utf8')); } catch (error) { throw new MainstayError('bad_request', `${file}: ${messageOf(error)}`); }
}

export const issuesOf = (error: z.ZodError): string => error.issues.slice(0, 5).map((issue) => `${issue.path.join('.') || 'the file'}: ${issue.message}`).join('; ');
