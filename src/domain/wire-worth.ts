// What memory is worth, over HTTP.
import { z } from 'zod';
import { MEMORY_TYPES } from './status.ts';

const time = z.iso.datetime();
const rateSchema = z.object({ n: z.number().int(), yes: z.number() });
const outcomesSchema = z.object({ runs: z.number().int(), satisfied: rateSchema, resolved: rateSchema, handlingMs: z.object({ n: z.number().int(), mean: z.number().nullable() }) });
const differenceSchema = z.object({ difference: z.number(), from: z.number(), to: z.number() }).nullable().describe('with memory less without, and its 95 % interval; null: too few have said');
const shareSchema = z.number().nullable().describe('0 to 1; null: of nothing');

const useSchema = z.object({
  shown: z.number().int().describe('memories in prompts, each once a run'), cited: z.number().int(),
  judged: z.number().int().describe('of `shown`, those of runs that are remembered: of the others it is not known what answers bear out'), supported: z.number().int().describe('of `judged`, those the answer says, cited or not'),
  citedSupported: z.number().int().describe('of `cited`, those the answer says'), stale: z.number().int().describe('of `shown`, those that held no more by then, as is known now, or that somebody has called wrong or outdated of that very run'),
  useRate: shareSchema.describe('cited of shown'), supportRate: shareSchema.describe('supported of cited'), staleRate: shareSchema.describe('stale of shown'),
});

export const worthSchema = z.object({
  from: time, to: time, treated: outcomesSchema, heldOut: outcomesSchema, satisfied: differenceSchema, resolved: differenceSchema, handlingMs: differenceSchema,
  use: useSchema.extend({ tokens: z.number().int().describe('of memories in prompts of runs that are remembered'), tokensPerSupported: z.number().nullable() }),
  byType: z.array(useSchema.extend({
    type: z.enum(MEMORY_TYPES), withRuns: z.number().int().describe('runs that were shown one'), withoutRuns: z.number().int().describe('runs that MEMORY_LEAVE_ONE_OUT left without just one'),
    satisfied: differenceSchema.describe('with less without, shrunk by a Beta(2, 2) prior, and its 95 % interval; null: too few have said'), resolved: differenceSchema, handlingMs: differenceSchema,
  })),
  unused: z.object({ count: z.number().int(), memories: z.array(z.string()).describe('mem_…: the newest of them, 20 at most') }).describe('memories that 20 runs and more were shown and no answer has used: they rank lower'),
});
export type MemoryWorth = z.infer<typeof worthSchema>;
