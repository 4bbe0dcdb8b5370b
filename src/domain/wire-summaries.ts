// Summaries of runs, as they are found over HTTP.
import { z } from 'zod';

export const foundSummarySchema = z.object({
  run: z.string().describe('run_…: whose summary it is'), agent: z.string(), user: z.string().nullable(), session: z.string().nullable(), text: z.string().describe('goal, result, decisions and what is open, a line each'),
  createdAt: z.iso.datetime(), score: z.number().describe('0 to 1, within this answer'),
});
export const foundSummariesSchema = z.object({
  data: z.array(foundSummarySchema).describe('best first'), semantic: z.boolean().describe('false: searched by words, not by meaning'), degraded: z.boolean().describe('true: the index did not answer and Postgres did'),
});
export type FoundSummaries = z.infer<typeof foundSummariesSchema>;
