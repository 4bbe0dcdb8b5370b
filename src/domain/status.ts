// The closed sets of words: the same in Postgres enums (prisma/schema.prisma), logs, API and docs. DESIGN of a run's life:
//   queued → running → completed | failed | cancelled | expired;  running → waiting → queued;  running → queued.

export const RUN_STATUSES = ['queued', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'expired'] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

export const TERMINAL_STATUSES = ['completed', 'failed', 'cancelled', 'expired'] as const;
export type TerminalStatus = (typeof TERMINAL_STATUSES)[number];
export const isTerminal = (status: RunStatus): status is TerminalStatus => (TERMINAL_STATUSES as readonly string[]).includes(status);

export const WAIT_REASONS = ['timer', 'approval', 'signal', 'child', 'batch', 'budget', 'rate', 'outcome', 'paused', 'restored'] as const;
export type WaitReason = (typeof WAIT_REASONS)[number];

/** What a second call with the same arguments would do: nothing, nothing while our key is honoured, or the same again. */
export const TOOL_EFFECTS = ['read', 'keyed', 'unkeyed'] as const;
export type ToolEffect = (typeof TOOL_EFFECTS)[number];

/** `intent`: begun, result not recorded. `unknown`: ended without a definite answer. `not_applied`: known to have done nothing. */
export const TOOL_CALL_STATUSES = ['intent', 'succeeded', 'failed', 'unknown', 'not_applied', 'denied'] as const;
export type ToolCallStatus = (typeof TOOL_CALL_STATUSES)[number];

/** `used`: approved, and the call it was asked for was made. `withdrawn`: its run ended before anybody decided. */
export const APPROVAL_STATUSES = ['pending', 'approved', 'denied', 'expired', 'used', 'withdrawn'] as const;
export type ApprovalStatus = (typeof APPROVAL_STATUSES)[number];

/** What can be done to many runs at once. */
export const BULK_ACTIONS = ['cancel', 'pause', 'resume', 'retry'] as const;
export type BulkAction = (typeof BULK_ACTIONS)[number];

/** `open`: the worst case is reserved. `settled`: true usage. `booked`: usage never learnt, the reserve counts as spent. */
export const MODEL_CALL_STATUSES = ['open', 'settled', 'failed', 'booked'] as const;
export type ModelCallStatus = (typeof MODEL_CALL_STATUSES)[number];

export const MEMORY_TYPES = ['preference', 'fact', 'decision', 'constraint', 'outcome', 'procedure'] as const;
export type MemoryType = (typeof MEMORY_TYPES)[number];

export const MEMORY_SCOPES = ['user', 'agent', 'workspace'] as const;
export type MemoryScope = (typeof MEMORY_SCOPES)[number];

/** Whose words a model may say a candidate rests on. */
export const CLAIMED_ROLES = ['user', 'tool', 'agent'] as const;
/** Whose they are, as the gate finds it. */
export const SOURCE_ROLES = [...CLAIMED_ROLES, 'document'] as const;
export type SourceRole = (typeof SOURCE_ROLES)[number];

export const VERDICTS = ['ADMIT', 'REINFORCE', 'SUPERSEDE', 'MERGE', 'REJECT', 'QUARANTINE'] as const;
export type VerdictDecision = (typeof VERDICTS)[number];

/** Where a finished run stands with memory: `none` remembers nothing, `due` is owed, `done` has its verdicts,
 *  `summary_missing` got no valid summary and so admits nothing. */
export const MEMORY_STATES = ['none', 'due', 'done', 'summary_missing'] as const;
export type MemoryState = (typeof MEMORY_STATES)[number];

/** What a second root run of a busy session does: wait its turn; be refused; take the place of the run under way, which ends; be
 *  heard by it at the next turn of its model, or wait its turn where it is not. */
export const MULTITASK_STRATEGIES = ['enqueue', 'reject', 'interrupt', 'steer'] as const;
export type MultitaskStrategy = (typeof MULTITASK_STRATEGIES)[number];

export const SCOPES = ['runs:write', 'runs:read', 'sessions:read', 'memories:read', 'memories:write', 'erasures:write', 'usage:read', 'audit:read', 'keys:write', 'users:any', 'board:read'] as const;
export type Scope = (typeof SCOPES)[number];
