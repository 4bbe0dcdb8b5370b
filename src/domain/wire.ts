// The shapes that cross the HTTP edge, once for everybody: the API answers and documents them, the client's types are
// inferred from them. Ids carry their prefix, times are ISO 8601, money is in millionths of a US dollar. A field may be
// added; none is renamed or given another meaning.
import { z } from 'zod';
import { BUDGET_WINDOWS, MAX_BUDGET_MICRO_USD } from './budget.ts';
import { policySchema } from './gate-policy.ts';
import { MAX_STATEMENT } from './memory.ts';
import { memorySettingsSchema } from './memory-settings.ts';
import { retentionSchema } from './retention.ts';
import { MAX_QUOTA, QUOTA_KINDS, QUOTA_PERS, QUOTA_SUBJECTS } from './quota.ts';
import { MEMORY_FEEDBACK } from './feedback.ts';
import { CAUSES } from './explain.ts';
import { LANES } from './lane.ts';
import { MISFIRES, OVERLAPS } from './schedule.ts';
import { APPROVAL_STATUSES, BULK_ACTIONS, MEMORY_SCOPES, MEMORY_STATES, MEMORY_TYPES, MODEL_CALL_STATUSES, MULTITASK_STRATEGIES, RUN_STATUSES, SCOPES, SOURCE_ROLES, TOOL_CALL_STATUSES, TOOL_EFFECTS, VERDICTS, WAIT_REASONS } from './status.ts';
import { BULK_MAX, MAX_NAME, MAX_PRIORITY, MAX_RUNNING_LIMIT, PAGE_SIZE, SUBMIT_MANY_MAX } from './tunables.ts';

const time = z.string().describe('ISO 8601, UTC');
/** What a caller may call a user, a session or a key; also as it stands in a path or a query. */
export const name = z.string().min(1).max(MAX_NAME).regex(/^[^\p{Cc}\p{Cs}]+$/u, 'has characters that cannot be printed');
const microUsd = z.number().int().describe('millionths of a US dollar');

/** One page of a list; `nextCursor` null = the last one. */
export const pageOf = <Item extends z.ZodType>(item: Item) => z.object({ data: z.array(item), nextCursor: z.string().nullable() });

// ---- runs

export const concurrencySchema = z.strictObject({ key: name, limit: z.int().min(1).max(MAX_RUNNING_LIMIT) });

export const newRunSchema = z.strictObject({
  agent: name.describe('Name of a registered agent'),
  input: z.unknown().refine((input) => input !== undefined, 'is required').describe("What the agent's schema asks for"),
  user: name.optional().describe('On whose behalf the run acts; implied by a key that is bound to a user'),
  session: name.optional().describe('A lasting conversation of that user; its runs go one at a time'),
  priority: z.int().min(-MAX_PRIORITY).max(MAX_PRIORITY).optional().describe("Higher goes first among the tenant's own runs"),
  metadata: z.record(z.string(), z.unknown()).optional(),
  startAt: z.iso.datetime({ offset: true }).optional().describe('Not before this time'),
  lane: z.enum(LANES).optional().describe('Of its calls of the model: `batch` is half the price and may take a day, `auto` is a batch where `deadlineAt` leaves room; unset: as its agent says'),
  deadlineAt: z.iso.datetime({ offset: true }).optional().describe('By when the result is wanted: nearer than two hours no call goes into a batch'),
  delayMs: z.int().min(0).optional().describe('Not before so many milliseconds from now'),
  expiresInMs: z.int().min(1).optional().describe('Ends as `expired` when it has not started so many milliseconds after it may'),
  concurrency: concurrencySchema.optional().describe('Of runs of the tenant with this key at most `limit` are running at once'),
  multitask_strategy: z.enum(MULTITASK_STRATEGIES).optional().describe('What to do while the session has an unfinished run; default `enqueue`'),
  debounce: z.strictObject({
    key: name.describe('Within its agent, user and session'), windowMs: z.int().min(1).describe('Starts when no further submit has come for so long'),
    maxMs: z.int().min(1).optional().describe('And so long after the first at the latest'),
  }).optional().describe('Until the run starts, the last submit of the key is what it runs; not with an idempotency key'),
});

export const newRunsSchema = z.strictObject({
  runs: z.array(newRunSchema.omit({ debounce: true }).extend({ idempotencyKey: name.optional().describe('As the header `Idempotency-Key` of a single one') })).min(1).max(SUBMIT_MANY_MAX),
});
/** In the order of the request. */
export const submittedRunsSchema = z.object({
  runs: z.array(z.object({ id: z.string().describe('run_…'), status: z.enum(RUN_STATUSES), created: z.boolean().describe('false: the same request under the same key made it before') })),
});

const skipped = z.string().nullable().describe('why it was passed over without a call of a model: `SKIP_INELIGIBLE:PAUSED`, `SKIP_INELIGIBLE:NOTHING_SAID`, `SKIP_TRIVIAL:SMALL_TALK`, `SKIP_TRIVIAL:REPLAY`; null: it was not');

/** A run without what it was given and what it made: an item of a list. */
export const runItemSchema = z.object({
  id: z.string().describe('run_…'),
  agent: z.string(),
  version: z.number().int(),
  status: z.enum(RUN_STATUSES),
  waitReason: z.enum(WAIT_REASONS).nullable(),
  cancelRequested: z.boolean(),
  pauseRequested: z.boolean().describe('paused, or about to be at its next checkpoint'),
  blocked: z.enum(['version']).nullable().describe('`version`: queued, and no living worker has this version of the agent'),
  parent: z.string().nullable().describe('run_…: the run that spawned it'),
  forkedFrom: z.string().nullable().describe('run_…: the run whose first steps it begins with'),
  debounced: z.number().int().describe('submits folded into it after the first'),
  user: z.string().nullable(),
  session: z.string().nullable(),
  priority: z.number().int(),
  metadata: z.unknown(),
  errorCode: z.string().nullable(),
  errorMessage: z.string().nullable(),
  steps: z.number().int().describe('recorded steps'),
  nextStep: z.string(),
  attempt: z.number().int().describe('failures of the current step'),
  model: z.string().nullable(),
  inputTokens: z.number().int(),
  outputTokens: z.number().int(),
  costMicroUsd: microUsd,
  memoryState: z.enum(MEMORY_STATES).describe('`due`: finished and not yet remembered; `done`: its verdicts are there'),
  memorySkipped: skipped,
  dueAt: time.nullable().describe('when a queued or waiting run may move'),
  createdAt: time,
  startedAt: time.nullable(),
  finishedAt: time.nullable(),
});

/** Where a value is too large for its row: what a list shows in its place. */
const stored = 'a large value is shown as `{ "$stored": { bytes, sha256 } }`';

export const runSchema = runItemSchema.extend({
  input: z.unknown(),
  output: z.unknown(),
  live: z.object({ step: z.string().nullable(), progress: z.number(), note: z.string(), updatedAt: time }).nullable().describe('what its worker last showed; never durable'),
});

/** The first cause, in a fixed order, of a run's standing where it stands. */
export const explainSchema = z.object({
  run: z.string().describe('run_…'), status: z.enum(RUN_STATUSES), because: z.enum(CAUSES), sentence: z.string().describe('for a person'), since: time.nullable(),
  details: z.record(z.string(), z.unknown()).describe('what the sentence is about; depends on `because`'), command: z.string().nullable().describe('what moves it; null: time, or what the sentence says'),
});

/** Of a stream with `text=true`: text of the model as it comes. `text.settled`: it is on record; `text.withdrawn`: forget it. */
export const liveTextSchema = z.object({ type: z.enum(['text.delta', 'text.settled', 'text.withdrawn']), turn: z.string().describe('which call of the model it is of'), text: z.string().optional(), provisional: z.boolean() });

export const eventSchema = z.object({ seq: z.number().int(), type: z.string(), data: z.unknown(), createdAt: time });

export const stepSchema = z.object({ seq: z.number().int(), name: z.string(), next: z.string().nullable(), data: z.unknown().describe(stored), durationMs: z.number().int(), createdAt: time });

export const toolCallSchema = z.object({
  stepSeq: z.number().int(), path: z.string(), key: z.string().describe('sent to the tool as its idempotency key'), tool: z.string(), version: z.number().int(),
  effect: z.enum(TOOL_EFFECTS), status: z.enum(TOOL_CALL_STATUSES), request: z.unknown(), response: z.unknown().describe(stored), responseMeta: z.unknown(),
  errorCode: z.string().nullable(), errorMessage: z.string().nullable(), attempts: z.number().int(), durationMs: z.number().int().nullable(), settledBy: z.string().nullable().describe('who said by hand what became of it'), startedAt: time, finishedAt: time.nullable(),
});

export const modelCallSchema = z.object({
  stepSeq: z.number().int(), path: z.string(), attempt: z.number().int(), model: z.string(), status: z.enum(MODEL_CALL_STATUSES), stopReason: z.string().nullable(),
  requestId: z.string().nullable(), errorCode: z.string().nullable(), inputTokens: z.number().int(), cacheWrite5mTokens: z.number().int(), cacheWrite1hTokens: z.number().int(),
  cacheReadTokens: z.number().int(), outputTokens: z.number().int(), reservedMicroUsd: microUsd, costMicroUsd: microUsd, response: z.unknown(),
  durationMs: z.number().int().nullable(), startedAt: time, finishedAt: time.nullable(),
});

// ---- control

/** An effect whose end nobody knows. */
export const unsettledSchema = z.object({
  stepSeq: z.number().int(), path: z.string(), tool: z.string(), effect: z.enum(TOOL_EFFECTS), status: z.enum(['intent', 'unknown']).describe('`intent`: begun, and maybe still under way'), startedAt: time,
});
export const cancelledRunSchema = runSchema.extend({ unsettled: z.array(unsettledSchema).describe('effects whose end nobody knows: a cancel does not undo them') });

export const newSignalSchema = z.strictObject({ name: name.describe('What the run waits for'), payload: z.unknown().optional() });
export const sentSignalSchema = z.object({ id: z.string().describe('sig_…') });

export const forkSchema = z.strictObject({ fromStep: z.int().min(0).max(2_147_483_647).describe('The last step to take over; 0 = none') });

export const outcomeSchema = z.strictObject({
  stepSeq: z.int().min(1).max(2_147_483_647), path: z.string().min(1).max(MAX_NAME), outcome: z.enum(['succeeded', 'not_applied']),
  response: z.unknown().optional().describe('The result, for `succeeded`'),
});

const filter = z.strictObject({
  agent: name.optional(), status: z.enum(RUN_STATUSES).optional(), user: name.optional(), session: name.optional(),
  createdBefore: z.iso.datetime({ offset: true }).optional(), createdAfter: z.iso.datetime({ offset: true }).optional(),
});
export const bulkSchema = z.strictObject({
  action: z.enum(BULK_ACTIONS), filter, all: z.boolean().default(false).describe('Needed where the filter is empty'),
  dryRun: z.boolean().default(true).describe('Only says what would be done'), limit: z.int().min(1).max(BULK_MAX).default(PAGE_SIZE).describe('Runs at most, the oldest first'),
});
export const bulkAnswerSchema = z.object({
  matched: z.number().int().describe('runs of the filter that the action applies to; may be more than `ids`'), done: z.number().int(),
  failed: z.array(z.object({ id: z.string(), code: z.string() })), ids: z.array(z.string()).describe('run_…: those chosen'),
});

export const approvalSchema = z.object({
  id: z.string().describe('apr_…'), run: z.string().describe('run_…'), user: z.string().nullable(), stepSeq: z.number().int(), path: z.string(),
  subject: z.string().describe('the tool, or the title of what is asked'), request: z.unknown().describe('the arguments, or the details'), status: z.enum(APPROVAL_STATUSES),
  onExpiry: z.enum(['approve', 'deny']).describe('what no answer counts as'), expiresAt: time.nullable(),
  decidedBy: z.string().nullable(), decidedAt: time.nullable(), reason: z.string().nullable(), edited: z.unknown().describe('the arguments as they were changed; null = as asked'), createdAt: time,
});
export const decisionSchema = z.strictObject({
  approved: z.boolean(), reason: z.string().min(1).max(1_000).regex(/^[^\p{Cc}\p{Cs}]+$/u, 'has characters that cannot be printed').optional(),
  edited: z.unknown().optional().describe('Other arguments, where approved'),
});

// ---- limits

const maxRunning = z.int().min(1).max(MAX_RUNNING_LIMIT).nullable().describe('Runs that may be running at once; null = no limit');
export const limitsSchema = z.object({
  tenant: z.string(), weight: z.number().describe("share of the fleet's time against other tenants"), maxRunning, running: z.number().int().describe('runs that hold a permit of the tenant'),
  agents: z.array(z.object({ agent: z.string(), maxRunning: z.number().int(), running: z.number().int() })),
});
export const agentLimitSchema = z.strictObject({ maxRunning });

// ---- schedules

export const newScheduleSchema = z.strictObject({
  name: name.describe('Unique within the tenant'), agent: name, input: z.unknown().refine((input) => input !== undefined, 'is required'), user: name.optional(), session: name.optional(),
  metadata: z.record(z.string(), z.unknown()).optional(), priority: z.int().min(-MAX_PRIORITY).max(MAX_PRIORITY).optional(),
  cron: z.string().min(1).max(200).optional().describe('Five fields; with `zone`'), zone: z.string().min(1).max(100).optional().describe('IANA, such as Europe/Berlin'),
  everyMs: z.int().optional().describe('Instead of cron: an interval from now on'),
  overlap: z.enum(OVERLAPS).optional().describe('While its last run is unfinished; default `skip`'), misfire: z.enum(MISFIRES).optional().describe('What of occurrences nobody was there for; default `fire_once`'),
  graceMs: z.int().optional().describe('Later than this is a misfire; default a minute'), endsAt: z.iso.datetime({ offset: true }).optional(),
});
export const scheduleSchema = z.object({
  id: z.string().describe('sch_…'), name: z.string(), agent: z.string(), input: z.unknown(), user: z.string().nullable(), session: z.string().nullable(), metadata: z.unknown(), priority: z.number().int(),
  cron: z.string().nullable(), zone: z.string().nullable(), everyMs: z.number().int().nullable(), overlap: z.enum(OVERLAPS), misfire: z.enum(MISFIRES), graceMs: z.number().int(), endsAt: time.nullable(),
  paused: z.boolean(), next: z.array(time).describe('its next occurrences; none while it is paused'), lastRun: z.string().nullable(), createdBy: z.string(), createdAt: time,
});
export const occurrenceSchema = z.object({ at: time.describe('the moment the schedule names'), outcome: z.enum(['fired', 'skipped']), reason: z.string().nullable().describe('why it was skipped; `run_now`'), run: z.string().nullable() });

// ---- memory

export const verdictSchema = z.object({
  index: z.number().int(), gateVersion: z.number().int(), decision: z.enum(VERDICTS), stage: z.string(), reason: z.string(), confidence: z.number(),
  statement: z.string().describe('of the candidate, where it has one'), candidate: z.unknown(), scores: z.unknown(),
  policy: z.string().nullable().describe('version of the policy it was decided under; behind a dot that of the tenant’s settings'), inputsHash: z.string().nullable().describe('sha256 of all it was decided on'),
  promotedAt: time.nullable(), promotedBy: z.string().nullable().describe('who took it out of quarantine: `key:…`, or `run:…` that brought it again'),
  memory: z.string().nullable().describe('mem_…: the memory it became or changed'), target: z.string().nullable().describe('mem_…: the memory it met'), createdAt: time,
});

export const promotionSchema = z.strictObject({ scope: z.enum(MEMORY_SCOPES).optional().describe('Instead of the scope it was proposed for: `workspace` makes it everybody’s') });
export const promotedSchema = z.object({ decision: z.enum(VERDICTS), reason: z.string(), memory: z.string().nullable().describe('mem_…: the memory it became or strengthened') });

export const runMemoriesSchema = z.object({
  memoryState: z.enum(MEMORY_STATES),
  skipped,
  summary: z.object({ text: z.string(), summary: z.unknown(), createdAt: time }).nullable(),
  verdicts: z.array(verdictSchema),
});

export const memorySchema = z.object({
  id: z.string().describe('mem_…'), scope: z.enum(MEMORY_SCOPES), user: z.string().nullable(), agent: z.string().nullable(), type: z.enum(MEMORY_TYPES),
  subject: z.string(), attribute: z.string(), value: z.string(), statement: z.string(), confidence: z.number(), sourceRole: z.enum(SOURCE_ROLES), evidence: z.unknown(),
  run: z.string(), session: z.string().nullable(), gateVersion: z.number().int(), seenCount: z.number().int(), citedCount: z.number().int(),
  validFrom: time, validTo: time.nullable(), supersededBy: z.string().nullable(), lastSeenAt: time, createdAt: time, version: z.number().int(),
  indexed: z.boolean().describe('whether this version is in the vector index'), pinned: z.boolean().describe('closed by no cap and by no rule of retention'), rollsUp: z.boolean().describe('made of older outcomes, which its evidence names'),
  unused: z.boolean().describe('shown to many runs and used by none of their answers; it ranks lower'),
});
export const correctMemorySchema = z.strictObject({
  version: z.number().int().min(1).optional().describe('as the caller has seen it; required here or as If-Match'), statement: z.string().trim().min(1).max(MAX_STATEMENT).optional(),
  value: z.string().trim().min(1).max(500).optional().describe('required where the statement no longer says the old one'), pinned: z.boolean().optional(),
}).refine(({ statement, value, pinned }) => statement !== undefined || value !== undefined || pinned !== undefined, 'changes nothing: give statement, value or pinned');
export const foundMemoriesSchema = z.object({
  data: z.array(memorySchema.extend({ score: z.number() })).describe('best first'), semantic: z.boolean().describe('false: searched by words, not by meaning'), degraded: z.boolean().describe('true: the index did not answer and Postgres did'),
});
export const pinSchema = z.strictObject({ pinned: z.boolean() });

export const newMemoryPolicySchema = memorySettingsSchema;
export const memoryPolicySchema = z.object({
  version: z.number().int().describe('verdicts name it; 0: nothing was ever set'), settings: memorySettingsSchema.describe('what the tenant has set'), gate: policySchema.describe('what holds by it'), retention: retentionSchema.describe('how long its memories stay by it; days'), setBy: z.string().nullable(), setAt: time.nullable(),
});

const supported = z.boolean().nullable().describe('whether the answer says what the memory says, cited or not; null: the run is not remembered yet, or never is');

export const traceSchema = z.object({
  id: z.string().describe('trc_…'), run: z.string(), stepSeq: z.number().int(), query: z.string(), embedder: z.string(),
  semantic: z.boolean().describe('false: the embedder matches words, not meaning'), degraded: z.boolean().describe('true: Milvus did not answer and Postgres did'),
  heldOut: z.boolean().describe('true: its run was left without memory, so that what memory is worth can be told; constraints were told all the same'),
  filters: z.object({ user: z.string().nullable(), agent: z.string(), asOf: time.nullable().describe('null: what held then and there') }).nullable().describe('whom it was looked for; tenant and user stand in every search'),
  epoch: z.string().nullable().describe('as of which memories; another one as soon as one of its scope has changed'),
  decidedBy: z.record(z.string(), z.unknown()).nullable().describe('by which rules: `ranking`, `fuser`, `generation` of the index, `gate`, `model`, `budgetTokens`, `maxMemories`, `cached`'),
  policyVersion: z.number().int().nullable().describe('of the tenant’s settings for memory; null: none were set'),
  summaries: z.array(z.string()).describe('run_…: whose summaries were shown'), leftOut: z.string().nullable().describe('mem_…: left out on purpose, so that its worth can be told'),
  injected: z.array(z.object({ id: z.string(), type: z.string().nullable(), statement: z.string().nullable(), score: z.number().nullable(), cited: z.boolean(), supported })).describe('put into the prompt, best first'),
  candidates: z.unknown().describe('everything that was found, with its scores'), tokens: z.number().int(), durationMs: z.number().int(), createdAt: time,
});

// ---- feedback

export const memoryFeedbackSchema = z.strictObject({ verdict: z.enum(MEMORY_FEEDBACK).describe('`wrong`: it never held; `outdated`: it holds no more. Both take it out of recall'), run: z.string().optional().describe('run_…: the run whose answer it is about') });
export const memoryFeedbackAnswerSchema = z.object({ changed: z.boolean().describe('false: the same was said before'), memory: memorySchema });
export const memoryUsesSchema = z.object({ run: z.string(), agent: z.string(), cited: z.boolean(), supported, at: time, feedback: z.enum(MEMORY_FEEDBACK).nullable() });
export const runFeedbackSchema = z.strictObject({
  satisfied: z.boolean().optional(), resolved: z.boolean().optional(), handlingMs: z.number().int().min(0).max(366 * 86_400_000).optional().describe('how long the matter took the person'),
}).refine((said) => Object.values(said).some((one) => one !== undefined), 'says nothing: give satisfied, resolved or handlingMs');

// ---- sessions

export const sessionSchema = z.object({ user: z.string(), id: z.string(), version: z.number().int().describe('finished runs'), state: z.unknown(), createdAt: time, updatedAt: time });
export const messageSchema = z.object({ seq: z.number().int(), run: z.string(), role: z.string(), content: z.string(), createdAt: time });

// ---- the rest

export const agentSchema = z.object({ name: z.string(), version: z.number().int(), description: z.string(), model: z.string().nullable(), tools: z.array(z.string()), remembers: z.boolean(), inputSchema: z.unknown() });

const sums = {
  calls: z.number().int(), bookedCalls: z.number().int().describe('whose usage nobody learnt: they count as their reserve'), inputTokens: z.number().int().describe('neither written to a cache nor read from one'), cacheReadTokens: z.number().int(),
  cacheWriteTokens: z.number().int().describe('the two below'), cacheWrite5mTokens: z.number().int(), cacheWrite1hTokens: z.number().int(), outputTokens: z.number().int(), costMicroUsd: microUsd,
};
export const usageSchema = z.object({
  from: time, to: time, total: z.object(sums),
  data: z.array(z.object({ day: z.string(), agent: z.string(), model: z.string(), lane: z.string().describe('`live`, or `batch` at half price'), runs: z.number().int(), ...sums })),
});

export const budgetSchema = z.object({
  of: z.enum(['tenant', 'agent', 'user', 'run']), name: z.string().nullable().describe('of the agent, user or run'), window: z.enum(BUDGET_WINDOWS), limitMicroUsd: microUsd, spentMicroUsd: microUsd, reservedMicroUsd: microUsd.describe('by calls under way'),
  leftMicroUsd: z.number().int().describe('below zero after a limit was lowered'), waiting: z.number().int().describe('runs that wait for room in it'), since: time, endsAt: time.nullable().describe('when it begins anew'), warnedAt: time.nullable().describe('when four fifths of it were spent'),
});
const quotaOf = { subject: z.enum(QUOTA_SUBJECTS).describe('`user`: each user by himself'), kind: z.enum(QUOTA_KINDS), per: z.enum(QUOTA_PERS).describe('A window begins with the first use') };
export const quotaSchema = z.object({ ...quotaOf, most: z.number().int() });
export const newQuotaSchema = z.strictObject({ ...quotaOf, most: z.int().min(1).max(MAX_QUOTA).nullable().describe('null: no quota any more') });

export const newBudgetSchema = z.strictObject({
  agent: name.optional(), user: name.optional(), run: z.string().optional().describe('run_…; none of the three: the tenant'), window: z.enum(BUDGET_WINDOWS).default('total').describe('`day` and `month` begin anew by UTC'),
  limitMicroUsd: z.int().min(0).max(MAX_BUDGET_MICRO_USD).nullable().describe('null: no limit any more'),
});

export const auditSchema = z.object({
  id: z.string(), actor: z.string(), user: z.string().nullable(), action: z.string(), objectType: z.string(), objectId: z.string(), allowed: z.boolean(), details: z.unknown(), createdAt: time,
});

export const newKeySchema = z.strictObject({
  name: name.describe('For people'), scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length), user: name.optional().describe('The key acts for this user only'),
  expiresAt: z.iso.datetime({ offset: true }).optional(),
});
export const keySchema = z.object({
  id: z.string(), name: z.string(), user: z.string().nullable(), scopes: z.array(z.string()), createdAt: time, expiresAt: time.nullable(), revokedAt: time.nullable(), lastUsedAt: time.nullable(),
});
export const createdKeySchema = z.object({ id: z.string(), key: z.string().describe('Shown this once') });

const names = z.array(name).max(1_000);
export const newPermissionSchema = z.strictObject({ roles: names.default([]), datasets: names.default([]), scopes: names.default([]) });
export const permissionSchema = z.object({ user: z.string(), roles: z.array(z.string()), datasets: z.array(z.string()), scopes: z.array(z.string()), epoch: z.number().int().describe('0: nothing was ever granted'), updatedAt: time.nullable() });

// ---- erasures
export const newErasureSchema = z.strictObject({
  memory: z.string().optional().describe('mem_…'), run: z.string().optional().describe('run_…, with all that came of it'), user: name.optional(), tenant: name.optional().describe('The tenant of the key, named so that nobody erases it by a slip'),
}).refine((body) => Object.values(body).filter((one) => one !== undefined).length === 1, 'Name one of memory, run, user and tenant.');
export const erasureSchema = z.object({
  id: z.string().describe('era_…'), kind: z.enum(['memory', 'run', 'user', 'tenant']), subject: z.string(), requestedBy: z.string(), requestedAt: time, finishedAt: time.nullable(),
  erased: z.record(z.string(), z.number()).describe('Rows emptied or deleted so far'),
  receipt: z.unknown().describe('What was erased, what a second look found (nothing), what remains and until when, the SHA-256 of all that as canonical JSON, and its signature; null until it is done'),
});

/** RFC 9457. */
export const problemSchema = z.object({
  type: z.string(), title: z.string(), status: z.number().int(), detail: z.string(), code: z.string(), advice: z.string(),
  fields: z.array(z.object({ path: z.string(), message: z.string() })), requestId: z.string(),
});

export type NewRunBody = z.input<typeof newRunSchema>;
export type NewRunsBody = z.input<typeof newRunsSchema>;
export type SubmittedRun = z.infer<typeof submittedRunsSchema>['runs'][number];
export type RunItem = z.infer<typeof runItemSchema>;
export type Run = z.infer<typeof runSchema>;
export type CancelledRun = z.infer<typeof cancelledRunSchema>;
export type UnsettledCall = z.infer<typeof unsettledSchema>;
export type NewSignalBody = z.input<typeof newSignalSchema>;
export type SentSignal = z.infer<typeof sentSignalSchema>;
export type OutcomeBody = z.input<typeof outcomeSchema>;
export type BulkBody = z.input<typeof bulkSchema>;
export type BulkAnswer = z.infer<typeof bulkAnswerSchema>;
export type Approval = z.infer<typeof approvalSchema>;
export type DecisionBody = z.input<typeof decisionSchema>;
export type RunEvent = z.infer<typeof eventSchema>;
export type LiveText = z.infer<typeof liveTextSchema>;
export type RunExplanation = z.infer<typeof explainSchema>;
export type RunStep = z.infer<typeof stepSchema>;
export type NewScheduleBody = z.input<typeof newScheduleSchema>;
export type Schedule = z.infer<typeof scheduleSchema>;
export type Occurrence = z.infer<typeof occurrenceSchema>;
export type ToolCall = z.infer<typeof toolCallSchema>;
export type ModelCall = z.infer<typeof modelCallSchema>;
export type Verdict = z.infer<typeof verdictSchema>;
export type Promoted = z.infer<typeof promotedSchema>;
export type RunMemories = z.infer<typeof runMemoriesSchema>;
export type Memory = z.infer<typeof memorySchema>;
export type CorrectMemoryBody = z.input<typeof correctMemorySchema>;
export type FoundMemories = z.infer<typeof foundMemoriesSchema>;
export type MemoryFeedbackBody = z.input<typeof memoryFeedbackSchema>;
export type MemoryFeedbackAnswer = z.infer<typeof memoryFeedbackAnswerSchema>;
export type MemoryPolicy = z.infer<typeof memoryPolicySchema>;
export type NewMemoryPolicyBody = z.input<typeof newMemoryPolicySchema>;
export type MemoryUse = z.infer<typeof memoryUsesSchema>;
export type RunFeedbackBody = z.input<typeof runFeedbackSchema>;
export type RetrievalTrace = z.infer<typeof traceSchema>;
export type Session = z.infer<typeof sessionSchema>;
export type Message = z.infer<typeof messageSchema>;
export type Agent = z.infer<typeof agentSchema>;
export type Usage = z.infer<typeof usageSchema>;
export type Quota = z.infer<typeof quotaSchema>;
export type NewQuotaBody = z.input<typeof newQuotaSchema>;
export type Budget = z.infer<typeof budgetSchema>;
export type NewBudgetBody = z.input<typeof newBudgetSchema>;
export type AuditLine = z.infer<typeof auditSchema>;
export type ApiKey = z.infer<typeof keySchema>;
export type NewKeyBody = z.input<typeof newKeySchema>;
export type CreatedKey = z.infer<typeof createdKeySchema>;
export type NewErasureBody = z.input<typeof newErasureSchema>;
export type Erasure = z.infer<typeof erasureSchema>;
export type NewPermissionBody = z.input<typeof newPermissionSchema>;
export type Permission = z.infer<typeof permissionSchema>;
export type Limits = z.infer<typeof limitsSchema>;
export type Problem = z.infer<typeof problemSchema>;
export interface Page<Item> { readonly data: Item[]; readonly nextCursor: string | null }
