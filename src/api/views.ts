// Rows as the edge shows them: an allow-list, field by field, so that a column added to a table is not shown by accident.
// Ids get their prefix, times become ISO 8601, bigints numbers (token counts and micro-dollars stay far below 2^53).
import { gatePolicyOf, retentionOf, type MemoryPolicy } from '../domain/memory-settings.ts';
import { machineKey, type Machine } from '../domain/machine.ts';
import type { JobState } from '../limits/job-state.ts';
import { publicId, type IdKind } from '../ids.ts';
import type { MemoryState } from '../domain/status.ts';
import type * as wire from '../domain/wire.ts';
import type { Erasure } from '../store/erasures.ts';
import type { AuditEvent } from '../store/audit.ts';
import type { BudgetRow } from '../store/engine/budgets.ts';
import type { ListedKey } from '../store/engine/api-keys.ts';
import type { OpenCall } from '../store/engine/outcomes.ts';
import type { Permission } from '../store/permissions.ts';
import type { ApprovalRow } from '../store/read-control.ts';
import type { Memory, MemoryCandidate, RetrievalTrace, RunSummary } from '../store/read-memories.ts';
import type { AgentRun, FeedEvent, ModelCall, RunRow, RunStep, ToolCall } from '../store/read-runs.ts';
import type { Message, Session } from '../store/read-sessions.ts';
import type { UsageRow } from '../store/read-usage.ts';
import { timeOf, type Schedule, type ScheduleOccurrence } from '../store/schedules.ts';
import { occurrencesAfter } from '../domain/schedule.ts';
import { storedNote } from '../values.ts';
import { z } from 'zod';

const iso = (date: Date): string => date.toISOString();
const isoOrNull = (date: Date | null): string | null => date?.toISOString() ?? null;
const idOrNull = (kind: IdKind, id: string | null): string | null => (id === null ? null : publicId(kind, id));

/** `live`: what some living worker can claim (`liveMachines`); asked for where a row is queued. */
export function runItem(row: RunRow, live: ReadonlySet<string>): wire.RunItem {
  return {
    id: publicId('run', row.id), agent: row.agent, version: row.version, status: row.status, waitReason: row.waitReason, cancelRequested: row.cancelRequestedAt !== null,
    pauseRequested: row.pauseRequestedAt !== null, blocked: row.status === 'queued' && !live.has(`${row.pool} ${machineKey(row.agent, row.version)}`) ? 'version' : null,
    parent: idOrNull('run', row.parentId), forkedFrom: idOrNull('run', row.forkedFrom), debounced: row.debounced,
    user: row.userId, session: row.sessionId, priority: row.priority, metadata: row.metadata, errorCode: row.errorCode, errorMessage: row.errorMessage,
    steps: row.stepSeq, nextStep: row.nextStep, attempt: row.attempt, model: row.model, inputTokens: Number(row.inputTokens), outputTokens: Number(row.outputTokens),
    costMicroUsd: Number(row.costMicroUsd), memoryState: row.memoryState, memorySkipped: row.memorySkipped, dueAt: row.status === 'queued' || row.status === 'waiting' ? isoOrNull(row.wakeAt) : null,
    createdAt: iso(row.createdAt), startedAt: isoOrNull(row.startedAt), finishedAt: isoOrNull(row.finishedAt),
  };
}

export function run(row: AgentRun, output: unknown, machines: ReadonlySet<string>, live: JobState | undefined): wire.Run {
  const shown = live && row.status === 'running' ? { step: live.step, progress: live.progress, note: live.note, updatedAt: live.updatedAt } : null;
  return { ...runItem(row, machines), input: row.input, output, live: shown };
}

export const event = ({ seq, type, data, createdAt }: FeedEvent): wire.RunEvent => ({ seq, type, data, createdAt: iso(createdAt) });

const inRow = (value: unknown, blob: string | null): unknown => (blob === null ? value : storedNote(blob));

export const step = (row: RunStep): wire.RunStep => ({ seq: row.seq, name: row.name, next: row.nextStep, data: inRow(row.data, row.dataBlob), durationMs: row.durationMs, createdAt: iso(row.createdAt) });

export const toolCall = (row: ToolCall): wire.ToolCall => ({
  stepSeq: row.stepSeq, path: row.path, key: row.key, tool: row.tool, version: row.toolVersion, effect: row.effect, status: row.status, request: row.request, response: inRow(row.response, row.responseBlob),
  responseMeta: row.responseMeta, errorCode: row.errorCode, errorMessage: row.errorMessage, attempts: row.attempts, durationMs: row.durationMs, settledBy: row.settledBy, startedAt: iso(row.startedAt), finishedAt: isoOrNull(row.finishedAt),
});

export const unsettled = (row: OpenCall): wire.UnsettledCall => ({ stepSeq: row.stepSeq, path: row.path, tool: row.tool, effect: row.effect, status: row.status, startedAt: iso(row.startedAt) });

export const approval = (row: ApprovalRow): wire.Approval => ({
  id: publicId('approval', row.id), run: publicId('run', row.runId), user: row.userId, stepSeq: row.stepSeq, path: row.path, subject: row.subject, request: row.request, status: row.status,
  onExpiry: row.onExpiry === 'approved' ? 'approve' : 'deny', expiresAt: isoOrNull(row.expiresAt), decidedBy: row.decidedBy, decidedAt: isoOrNull(row.decidedAt), reason: row.reason, edited: row.edited, createdAt: iso(row.createdAt),
});

export const modelCall = (row: ModelCall): wire.ModelCall => ({
  stepSeq: row.stepSeq, path: row.path, attempt: row.attempt, model: row.model, status: row.status, stopReason: row.stopReason, requestId: row.requestId, errorCode: row.errorCode,
  inputTokens: row.inputTokens, cacheWrite5mTokens: row.cacheWrite5mTokens, cacheWrite1hTokens: row.cacheWrite1hTokens, cacheReadTokens: row.cacheReadTokens, outputTokens: row.outputTokens,
  reservedMicroUsd: Number(row.reservedMicroUsd), costMicroUsd: Number(row.costMicroUsd), response: row.response, durationMs: row.durationMs, startedAt: iso(row.startedAt), finishedAt: isoOrNull(row.finishedAt),
});

export function verdict(row: MemoryCandidate): wire.Verdict {
  const { statement } = (row.candidate ?? {}) as { statement?: unknown };
  return {
    index: row.index, gateVersion: row.gateVersion, decision: row.decision, stage: row.stage, reason: row.reason, confidence: row.confidence, statement: typeof statement === 'string' ? statement : '',
    candidate: row.candidate, scores: row.scores, policy: row.policy, inputsHash: row.inputsHash, promotedAt: row.promotedAt === null ? null : iso(row.promotedAt), promotedBy: row.promotedBy, memory: idOrNull('memory', row.memoryId), target: idOrNull('memory', row.targetId), createdAt: iso(row.createdAt),
  };
}

export const summary = (row: RunSummary): NonNullable<wire.RunMemories['summary']> => ({ text: row.text, summary: row.summary, createdAt: iso(row.createdAt) });

export const memory = (row: Memory): wire.Memory => ({
  id: publicId('memory', row.id), scope: row.scope, user: row.userId, agent: row.agent, type: row.type, subject: row.subject, attribute: row.attribute, value: row.value, statement: row.statement,
  confidence: row.confidence, sourceRole: row.sourceRole, evidence: row.evidence, run: publicId('run', row.runId), session: row.sessionId, gateVersion: row.gateVersion, seenCount: row.seenCount,
  citedCount: row.citedCount, validFrom: iso(row.validFrom), validTo: isoOrNull(row.validTo), supersededBy: idOrNull('memory', row.supersededBy), lastSeenAt: iso(row.lastSeenAt),
  createdAt: iso(row.createdAt), version: row.version, indexed: row.indexedGeneration !== null, pinned: row.pinned, rollsUp: row.rollsUp, unused: row.unused && row.citedCount === 0,
});

export const memoryPolicy = (policy: MemoryPolicy): wire.MemoryPolicy => ({ version: policy.version, settings: policy.settings, gate: gatePolicyOf(policy), retention: retentionOf(policy), setBy: policy.setBy, setAt: isoOrNull(policy.setAt) });

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** `statements`: of the memories the reader may see, by uuid. What was found is shown as it was stored, under public ids. */
export function trace(row: RetrievalTrace, memoryState: MemoryState, statements: ReadonlyMap<string, { statement: string; type: string }>): wire.RetrievalTrace {
  const found = (Array.isArray(row.candidates) ? row.candidates : []).filter((one): one is Record<string, never> => typeof one === 'object' && one !== null);
  const isJudged = memoryState === 'done' || memoryState === 'summary_missing';
  const scores = new Map(found.map((one) => [one['id'] as unknown, one['score'] as unknown]));
  return {
    id: publicId('trace', row.id), run: publicId('run', row.runId), stepSeq: row.stepSeq, query: row.query, embedder: row.embedder, semantic: row.semantic, degraded: row.degraded, heldOut: row.heldOut,
    filters: row.filters as wire.RetrievalTrace['filters'], epoch: row.epoch, decidedBy: row.decidedBy as wire.RetrievalTrace['decidedBy'], policyVersion: row.policyVersion,
    summaries: row.summaries.map((run) => publicId('run', run)), leftOut: row.leftOut === null ? null : publicId('memory', row.leftOut),
    injected: row.injected.map((id) => {
      const score = scores.get(id);
      return { id: publicId('memory', id), type: statements.get(id)?.type ?? null, statement: statements.get(id)?.statement ?? null, score: typeof score === 'number' ? score : null, cited: row.cited.includes(id), supported: isJudged ? row.supported.includes(id) : null };
    }),
    candidates: found.map((one) => { const id: unknown = one['id']; return typeof id === 'string' && UUID.test(id) ? { ...one, id: publicId('memory', id) } : one; }),
    tokens: row.tokens, durationMs: row.durationMs, createdAt: iso(row.createdAt),
  };
}

export const session = (row: Session): wire.Session => ({ user: row.userId, id: row.id, version: row.version, state: row.state, createdAt: iso(row.createdAt), updatedAt: iso(row.updatedAt) });
export const message = (row: Message): wire.Message => ({ seq: Number(row.seq), run: publicId('run', row.runId), role: row.role, content: row.content, createdAt: iso(row.createdAt) });

export const agent = (machine: Machine): wire.Agent => ({
  name: machine.name, version: machine.version, description: machine.description, model: machine.model ?? null, tools: machine.tools.map(({ name }) => name), remembers: machine.remembers,
  inputSchema: z.toJSONSchema(machine.input, { io: 'input', unrepresentable: 'any' }),
});

export const usageRow = ({ day, agent: name, model, lane, runs, calls, bookedCalls, inputTokens, cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens, costMicroUsd }: UsageRow): wire.Usage['data'][number] =>
  ({ day, agent: name, model, lane, runs, calls, bookedCalls, inputTokens, cacheReadTokens, cacheWriteTokens: cacheWrite5mTokens + cacheWrite1hTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens, costMicroUsd });

/** The sum of the rows. */
export function usageTotal(rows: readonly wire.Usage['data'][number][]): wire.Usage['total'] {
  const sum = (of: keyof wire.Usage['total']): number => rows.reduce((total, row) => total + row[of], 0);
  return {
    calls: sum('calls'), bookedCalls: sum('bookedCalls'), inputTokens: sum('inputTokens'), cacheReadTokens: sum('cacheReadTokens'), cacheWriteTokens: sum('cacheWriteTokens'), cacheWrite5mTokens: sum('cacheWrite5mTokens'),
    cacheWrite1hTokens: sum('cacheWrite1hTokens'), outputTokens: sum('outputTokens'), costMicroUsd: sum('costMicroUsd'),
  };
}

export function budget({ subject, window, limitMicroUsd, spentMicroUsd, reservedMicroUsd, waiting, since, endsAt, warnedAt }: BudgetRow): wire.Budget {
  const [of = '', ...rest] = subject.split(':');
  const named = rest.length === 0 ? null : rest.join(':');
  return {
    of: of as wire.Budget['of'], name: of === 'run' && named !== null ? publicId('run', named) : named, window, limitMicroUsd, spentMicroUsd, reservedMicroUsd, leftMicroUsd: limitMicroUsd - spentMicroUsd - reservedMicroUsd,
    waiting, since: iso(since), endsAt: isoOrNull(endsAt), warnedAt: isoOrNull(warnedAt),
  };
}

export const erasure = ({ id, kind, subject, requestedBy, requestedAt, finishedAt, counts, receipt }: Erasure): wire.Erasure => ({
  id: publicId('erasure', id), kind, subject: kind === 'memory' || kind === 'run' ? publicId(kind, subject) : subject, requestedBy, requestedAt: iso(requestedAt), finishedAt: isoOrNull(finishedAt), erased: counts as Record<string, number>, receipt,
});

export const auditLine = (row: AuditEvent): wire.AuditLine => ({
  id: String(row.id), actor: row.actor, user: row.userId, action: row.action, objectType: row.objectType, objectId: row.objectId, allowed: row.allowed, details: row.details, createdAt: iso(row.createdAt),
});

export const key = (row: ListedKey): wire.ApiKey => ({
  id: row.id, name: row.name, user: row.user, scopes: [...row.scopes], createdAt: iso(row.createdAt), expiresAt: isoOrNull(row.expiresAt), revokedAt: isoOrNull(row.revokedAt), lastUsedAt: isoOrNull(row.lastUsedAt),
});

export const permission = (user: string, row: Permission | undefined): wire.Permission =>
  (row ? { user, roles: row.roles, datasets: row.datasets, scopes: row.scopes, epoch: row.epoch, updatedAt: iso(row.updatedAt) } : { user, roles: [], datasets: [], scopes: [], epoch: 0, updatedAt: null });

/** The next occurrences shown of a schedule. */
const NEXT_SHOWN = 3;

export function schedule(row: Schedule): wire.Schedule {
  const endsMs = row.endsAt?.getTime() ?? Infinity;
  const next = row.pausedAt !== null || row.nextAt === null ? [] : [row.nextAt.getTime(), ...occurrencesAfter(timeOf(row), row.nextAt.getTime(), NEXT_SHOWN - 1)].filter((ms) => ms <= endsMs);
  return {
    id: publicId('schedule', row.id), name: row.name, agent: row.agent, input: row.input, user: row.userId, session: row.sessionId, metadata: row.metadata, priority: row.priority,
    cron: row.cron, zone: row.zone, everyMs: row.everyMs === null ? null : Number(row.everyMs), overlap: row.overlap, misfire: row.misfire, graceMs: Number(row.graceMs), endsAt: isoOrNull(row.endsAt),
    paused: row.pausedAt !== null, next: next.map((ms) => new Date(ms).toISOString()), lastRun: idOrNull('run', row.lastRunId), createdBy: row.createdBy, createdAt: iso(row.createdAt),
  };
}

export const occurrence = (row: ScheduleOccurrence): wire.Occurrence => ({ at: iso(row.occurrence), outcome: row.outcome, reason: row.reason, run: idOrNull('run', row.runId) });
