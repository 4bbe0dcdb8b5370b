// What a run may leave behind: a summary, which is required, and candidates for memory, each with its evidence. One call of
// a model proposes them; the memory gate (gate.ts) decides. The provider's grammar drops lengths and ranges, so whatever
// comes back is checked again with these schemas: a model's word that it obeyed counts for nothing.
import { z } from 'zod';
import { CLAIMED_ROLES, MEMORY_SCOPES, MEMORY_TYPES } from './status.ts';

/** Longest statement, in characters; the row's CHECK says the same. */
export const MAX_STATEMENT = 300;
const MAX_QUOTES = 8;

export const CONFIDENCES = ['low', 'medium', 'high'] as const;

/** One line on why: a statement without evidence is nobody's knowledge. */
export const evidenceSchema = z.object({
  /** `e12`: an event of the transcript the candidate was taken from. */
  event_id: z.string().min(1).max(20),
  /** Words of that event, as they stand there. */
  quote: z.string().min(1).max(1_000),
});
export type Evidence = z.infer<typeof evidenceSchema>;

const text = (max: number) => z.string().trim().min(1).max(max);

export const candidateSchema = z.object({
  type: z.enum(MEMORY_TYPES),
  /** What it is about: `user`, `order 4711`, `active customer`. */
  subject: text(120),
  /** Which property of it: `plan`, `contact channel`. */
  attribute: text(120),
  value: text(500),
  statement: text(MAX_STATEMENT),
  /** ISO date or time from which it holds, where the evidence says so. */
  valid_from: z.string().max(40).nullish(),
  evidence: z.array(evidenceSchema).min(1).max(MAX_QUOTES),
  /** Whose words these are, as the model claims; the gate looks at the events itself. */
  source_role: z.enum(CLAIMED_ROLES),
  stated_or_inferred: z.enum(['stated', 'inferred']),
  confidence: z.enum(CONFIDENCES),
  scope: z.enum(MEMORY_SCOPES),
  /** The model's word that this is a memory it was shown, by label (`m3`): a hint, never evidence. */
  same_as: z.string().max(20).nullish().catch(null),
});
export type Candidate = z.infer<typeof candidateSchema>;

export const summarySchema = z.object({
  goal: text(500),
  result: text(1_000),
  decisions: z.array(text(500)).max(20),
  open_items: z.array(text(500)).max(20),
});
export type RunSummary = z.infer<typeof summarySchema>;

/** The answer as a whole: candidates stay unread here, since each of them gets a verdict of its own. */
export const extractionSchema = z.object({ summary: summarySchema, candidates: z.array(z.unknown()) });
export type Extraction = z.infer<typeof extractionSchema>;

/** The summary as one text, for people and for the index. */
export function summaryText(summary: RunSummary): string {
  const list = (name: string, items: readonly string[]): string[] => (items.length === 0 ? [] : [`${name}: ${items.join('; ')}`]);
  return [`Goal: ${summary.goal}`, `Result: ${summary.result}`, ...list('Decisions', summary.decisions), ...list('Open', summary.open_items)].join('\n');
}

// ---- the schema of the call

const string = (description: string) => ({ type: 'string', description });
const oneOf = (values: readonly string[], description: string) => ({ type: 'string', enum: [...values], description });
const list = (items: Record<string, unknown>, description: string) => ({ type: 'array', items, description });
const object = (properties: Record<string, unknown>) => ({ type: 'object', properties, required: Object.keys(properties), additionalProperties: false });

/** JSON Schemas of the extraction call, in the part of JSON Schema that structured outputs accept: no lengths, no ranges. */
const jsonSchema = (more: Record<string, unknown>): Record<string, unknown> => object({
  summary: object({
    goal: string('What was wanted, in one sentence.'),
    result: string('What came of it, in one or two sentences.'),
    decisions: list(string('One decision.'), 'Decisions that were made; empty if none.'),
    open_items: list(string('One open item.'), 'What is still open; empty if nothing.'),
  }),
  candidates: list(object({
    type: oneOf(MEMORY_TYPES, 'What kind of memory this is.'),
    subject: string('What it is about: `user`, or the name of a thing.'),
    attribute: string('Which property of the subject, in one to three words; the same property always by the same name.'),
    value: string('The value of that property.'),
    statement: string(`One sentence that stands alone, at most ${MAX_STATEMENT} characters, with absolute dates.`),
    valid_from: { anyOf: [{ type: 'string' }, { type: 'null' }], description: 'ISO date from which it holds, only where the evidence says so; else null.' },
    evidence: list(object({
      event_id: string('Id of the event, such as e12.'),
      quote: string('Words of that event, copied exactly.'),
    }), 'At least one quote.'),
    source_role: oneOf(CLAIMED_ROLES, 'Whose words the evidence is.'),
    stated_or_inferred: oneOf(['stated', 'inferred'], 'Whether the source said it or you conclude it.'),
    confidence: oneOf(CONFIDENCES, 'How sure you are.'),
    scope: oneOf(MEMORY_SCOPES, 'Who it is for: this user, every user of this agent, or everyone of the workspace.'),
    ...more,
  }), 'Memories worth keeping; empty if there are none.'),
});
export const extractionJsonSchema = jsonSchema({});
/** The same where known memories are shown. */
export const hintingJsonSchema = jsonSchema({ same_as: { anyOf: [{ type: 'string' }, { type: 'null' }], description: 'Label of the known memory that says the same, such as m3; else null.' } });
