// What remembering reads and writes in Postgres, under the app's row-level security: the finished run with all that was said in
// it, the live memories a verdict may depend on, and, in one transaction with the proof that this worker still holds the
// remembering run, every verdict with what follows from it. Statements name tenant and user themselves.
import type { Basis } from '../domain/gate-basis.ts';
import type { LiveMemory, NewMemory, Verdict, Waiting } from '../domain/gate-input.ts';
import type { Skip } from '../domain/gate-intake.ts';
import { PROMOTABLE } from '../domain/gate-promotion.ts';
import { READ_DOCUMENT } from '../domain/read-document.ts';
import type { VerdictDecision } from '../domain/status.ts';
import type { TenantTx } from './app-store.ts';
import { partOfDocument, type DocumentPart } from './document-notes.ts';
import { CLOSED } from './memory-sql.ts';
import { VISIBLE } from './recall-memories.ts';

export interface FinishedRun {
  readonly id: string;
  readonly user: string | null;
  readonly session: string | null;
  readonly agent: string;
  readonly status: string;
  readonly input: unknown;
  readonly output: unknown;
  readonly createdMs: number;
  readonly finishedMs: number;
  /** uuid of the run it was forked from, where that has been remembered. */
  readonly rememberedOrigin?: string | null;
}
export interface SaidMessage { readonly role: 'user' | 'assistant'; readonly content: string; readonly atMs: number }
/** A call of a tool, or a turn of the model that went on to call one (`tool` null: `response` holds its content blocks). */
export interface SaidCall { readonly tool: string | null; readonly request: unknown; readonly response: unknown; readonly error: string | null; readonly atMs: number }

const ms = (column: string): string => `(extract(epoch FROM ${column}) * 1000)::float8`;

/** All that was said in a run. `part`: what it read of a document; nothing else was said then. */
export interface Said { readonly run: FinishedRun; readonly messages: readonly SaidMessage[]; readonly calls: readonly SaidCall[]; readonly part?: DocumentPart }

/** Undefined: no such run, or it has not ended, or what it read is gone. */
export async function finishedRun(tx: TenantTx, id: string): Promise<Said | undefined> {
  const [run] = await tx.db.$queryRawUnsafe<FinishedRun[]>(
    `SELECT id::text AS id, user_id AS "user", session_id AS session, agent, status::text AS status, input, output, ${ms('created_at')} AS "createdMs", ${ms('finished_at')} AS "finishedMs",
       (SELECT o.id::text FROM agent_runs o WHERE o.tenant_id = r.tenant_id AND o.id = r.forked_from AND o.memory_state = 'done' AND o.erased_at IS NULL) AS "rememberedOrigin"
     FROM agent_runs r WHERE tenant_id = $1 AND id = $2::uuid AND finished_at IS NOT NULL`, tx.scope.tenant, id);
  if (!run) return undefined;
  if (run.agent === READ_DOCUMENT) return readingRun(tx, run);
  const messages = await tx.db.$queryRawUnsafe<SaidMessage[]>(
    `SELECT role, content, ${ms('created_at')} AS "atMs" FROM messages WHERE tenant_id = $1 AND run_id = $2::uuid AND user_id IS NOT DISTINCT FROM $3 ORDER BY seq`, tx.scope.tenant, id, run.user);
  const calls = await tx.db.$queryRawUnsafe<SaidCall[]>(
    `SELECT tool, request, response, error, "atMs" FROM (
       SELECT step_seq, path, tool, request, response, error_code AS error, ${ms('coalesce(finished_at, started_at)')} AS "atMs" FROM tool_calls WHERE tenant_id = $1 AND run_id = $2::uuid
       UNION ALL SELECT step_seq, path, NULL, NULL, response -> 'content', NULL, ${ms('coalesce(finished_at, started_at)')} FROM model_calls
         WHERE tenant_id = $1 AND run_id = $2::uuid AND status = 'settled' AND stop_reason = 'tool_use'
     ) said ORDER BY step_seq, path COLLATE "C" LIMIT 500`, tx.scope.tenant, id);
  return { run, messages, calls };
}

/** A run that has read a document: what was said in it are the document's chunks, as long as they are there. */
async function readingRun(tx: TenantTx, run: FinishedRun): Promise<Said | undefined> {
  const { document, part: at } = run.input as { document: string; part: number };
  const part = await partOfDocument(tx, document, at);
  return part && { run: { ...run, agent: part.agent ?? READ_DOCUMENT, finishedMs: part.createdMs }, messages: [], calls: [], part };
}

/** Ids of the memories recall put into the run's prompts. */
export async function injectedInto(tx: TenantTx, run: string): Promise<string[]> {
  const rows = await tx.db.$queryRawUnsafe<{ id: string }[]>(`SELECT DISTINCT i.id::text AS id FROM retrieval_traces t, unnest(t.injected) AS i(id) WHERE t.tenant_id = $1 AND t.run_id = $2::uuid ORDER BY 1`, tx.scope.tenant, run);
  return rows.map((row) => row.id);
}

/** The memories recall put into the run's prompts, as they are now. */
export async function shownTo(tx: TenantTx, run: string): Promise<{ id: string; value: string; statement: string }[]> {
  return tx.db.$queryRawUnsafe<{ id: string; value: string; statement: string }[]>(`
    SELECT id::text AS id, value, statement FROM memories WHERE tenant_id = $1 AND erased_at IS NULL AND id IN (SELECT unnest(injected) FROM retrieval_traces WHERE tenant_id = $1 AND run_id = $2::uuid) ORDER BY id`, tx.scope.tenant, run);
}

/** Those of them that the run's answer bears out. */
export async function markSupported(tx: TenantTx, run: string, ids: readonly string[]): Promise<void> {
  await tx.db.$executeRawUnsafe(`UPDATE retrieval_traces SET supported = ARRAY(SELECT i FROM unnest(injected) AS i WHERE i = ANY ($3::uuid[]) ORDER BY i) WHERE tenant_id = $1 AND run_id = $2::uuid`, tx.scope.tenant, run, [...ids]);
}

// ---- inside the deciding transaction

/** Who owns what is written: writers of one owner take turns, always in the same order. */
export async function lockOwners(tx: TenantTx, user: string | null, agent: string): Promise<void> {
  const owners = [['agent', agent], ['workspace', ''], ...(user === null ? [] : [['user', user]])].map((owner) => JSON.stringify([tx.scope.tenant, ...owner])).sort();
  for (const owner of owners) await tx.db.$executeRawUnsafe(`SELECT pg_advisory_xact_lock(hashtextextended('memory:' || $1, 0))`, owner);
}

/** From here on the transaction sees this user's rows only; what belongs to nobody where there is none (chr(31)). */
export async function narrowTo(tx: TenantTx, user: string | null): Promise<void> {
  await tx.db.$executeRawUnsafe(`SELECT set_config('app.user_id', coalesce($1, chr(31)), true)`, user);
}

export async function isJudged(tx: TenantTx, run: string, gateVersion: number): Promise<boolean> {
  const rows = await tx.db.$queryRawUnsafe<unknown[]>(`SELECT 1 FROM memory_candidates WHERE tenant_id = $1 AND run_id = $2::uuid AND gate_version = $3::int LIMIT 1`, tx.scope.tenant, run, gateVersion);
  return rows.length > 0;
}

export interface LiveQuery {
  readonly user: string | null;
  readonly agent: string;
  /** hexadecimal */
  readonly hashes: readonly string[];
  readonly subjects: readonly string[];
  readonly ids: readonly string[];
  /** Rows the index does not hold yet are compared by their words. */
  readonly generation: string;
}

/** Live memories a verdict may depend on, read under the lock. */
export async function liveMemories(tx: TenantTx, { user, agent, hashes, subjects, ids, generation }: LiveQuery): Promise<LiveMemory[]> {
  return tx.db.$queryRawUnsafe<LiveMemory[]>(`
    WITH fresh AS (SELECT id FROM memories WHERE ${VISIBLE} AND indexed_generation IS DISTINCT FROM $7 ORDER BY created_at DESC, id LIMIT 200)
    SELECT id::text AS id, scope::text AS scope, user_id AS "user", agent, type::text AS type, subject, attribute, value, statement, encode(hash, 'hex') AS hash,
      source_role::text AS source, confidence, ${ms('valid_from')} AS "validFromMs"
    FROM memories WHERE ${VISIBLE} AND (encode(hash, 'hex') = ANY ($4::text[]) OR subject = ANY ($5::text[]) OR id = ANY ($6::uuid[]) OR id IN (SELECT id FROM fresh)) ORDER BY id`,
  tx.scope.tenant, user, agent, [...hashes], [...subjects], [...ids], generation);
}

/** Live rows of these owners that the index does not hold yet, newest first, to be compared by meaning too. */
export async function unindexedStatements(tx: TenantTx, user: string | null, agent: string, generation: string, limit: number): Promise<{ id: string; statement: string }[]> {
  return tx.db.$queryRawUnsafe<{ id: string; statement: string }[]>(
    `SELECT id::text AS id, statement FROM memories WHERE ${VISIBLE} AND indexed_generation IS DISTINCT FROM $4 ORDER BY created_at DESC, id LIMIT $5::int`, tx.scope.tenant, user, agent, generation, limit);
}

/** Live memories whose subject stands in this text (folded, in spaces), said last first; those of the user come after the ones it names. */
export async function memoriesSpokenOf(tx: TenantTx, user: string | null, agent: string, text: string, limit: number): Promise<KnownMemory[]> {
  return tx.db.$queryRawUnsafe<KnownMemory[]>(
    `SELECT id::text AS id, type::text AS type, subject, attribute, statement FROM memories WHERE ${VISIBLE} AND (subject = 'user' OR strpos($4, ' ' || subject || ' ') > 0) ORDER BY subject = 'user', last_seen_at DESC, id LIMIT $5::int`,
    tx.scope.tenant, user, agent, text, limit);
}
export type KnownMemory = Pick<LiveMemory, 'id' | 'type' | 'subject' | 'attribute' | 'statement'>;

/** Unsure candidates of earlier runs that this user and agent may see, newest first, as they are stored. */
export async function waitingCandidates(tx: TenantTx, user: string | null, agent: string, run: string): Promise<StoredCandidate[]> {
  return tx.db.$queryRawUnsafe<StoredCandidate[]>(`
    SELECT c.run_id::text AS run, c.index, c.scores ->> 'source_found' AS source, r.user_id AS "user", r.agent, c.candidate
    FROM memory_candidates c JOIN agent_runs r ON r.tenant_id = c.tenant_id AND r.id = c.run_id
    WHERE c.tenant_id = $1 AND c.user_id IS NOT DISTINCT FROM $2 AND r.agent = $3 AND c.run_id <> $4::uuid AND c.decision = 'QUARANTINE' AND c.promoted_at IS NULL AND c.reason = $5
    ORDER BY c.created_at DESC, c.run_id, c.index LIMIT 200`, tx.scope.tenant, user, agent, run, PROMOTABLE);
}
export interface StoredCandidate extends Omit<Waiting, 'candidate'> { readonly candidate: unknown }

/** Of the newest gate version, held until the transaction ends; undefined: there is none. */
export async function quarantinedCandidate(tx: TenantTx, run: string, index: number): Promise<{ decision: VerdictDecision; promoted: boolean; candidate: unknown } | undefined> {
  const rows = await tx.db.$queryRawUnsafe<{ decision: VerdictDecision; promoted: boolean; candidate: unknown }[]>(
    `SELECT decision::text AS decision, promoted_at IS NOT NULL AS promoted, candidate FROM memory_candidates WHERE tenant_id = $1 AND run_id = $2::uuid AND index = $3::int ORDER BY gate_version DESC LIMIT 1 FOR UPDATE`,
    tx.scope.tenant, run, index);
  return rows[0];
}

/** Marks a quarantined candidate as promoted; false: it is none, or was promoted before. */
export async function markPromoted(tx: TenantTx, { run, index }: { readonly run: string; readonly index: number }, by: string, memory: string | null): Promise<boolean> {
  return await tx.db.$executeRawUnsafe(
    `UPDATE memory_candidates SET promoted_at = now(), promoted_by = $4, memory_id = $5::uuid WHERE tenant_id = $1 AND run_id = $2::uuid AND index = $3::int AND decision = 'QUARANTINE' AND promoted_at IS NULL`,
    tx.scope.tenant, run, index, by, memory) > 0;
}

/** uuid of a document, and that of the chunk behind each event. */
export interface ReadFrom { readonly id: string; readonly chunks: Readonly<Record<string, string>> }
export interface Judged { readonly run: string; readonly user: string | null; readonly session: string | null; readonly agent: string; readonly gateVersion: number; readonly document?: ReadFrom | undefined }

/** Every verdict with its consequences, in order. Answers the ids of memories whose vectors are owed now. */
export async function applyVerdicts(tx: TenantTx, judged: Judged, verdicts: readonly Verdict[], basis: Basis): Promise<string[]> {
  const owed = await applyConsequences(tx, judged, verdicts);
  await insertVerdicts(tx, judged, verdicts, basis);
  return owed;
}

/** Rows that follow from verdicts, without the verdicts themselves. */
export async function applyConsequences(tx: TenantTx, judged: Judged, verdicts: readonly Verdict[]): Promise<string[]> {
  const owed: string[] = [];
  const seen = new Set<string>();
  for (const verdict of verdicts) {
    // The old row closes first: the slot's unique index lets one live row through.
    if (verdict.decision === 'SUPERSEDE' && verdict.target && verdict.memory) { await close(tx, verdict.target, verdict.memory); owed.push(verdict.target); }
    if (verdict.evicts) { await evict(tx, verdict.evicts); owed.push(verdict.evicts); }
    if (verdict.memory) { await insertMemory(tx, judged, verdict.memory, verdict.promotes); owed.push(verdict.memory.id); }
    if (verdict.promotes) await markPromoted(tx, verdict.promotes, `run:${judged.run}`, verdict.memory?.id ?? verdict.target);
    if ((verdict.decision === 'REINFORCE' || verdict.decision === 'MERGE') && verdict.target) {
      await reinforce(tx, judged, verdict, !seen.has(verdict.target));
      seen.add(verdict.target); // one run is one sighting, however often it says it
      if (verdict.statement) owed.push(verdict.target);
    }
  }
  return [...new Set(owed)];
}

const close = (tx: TenantTx, id: string, by: NewMemory): Promise<number> => tx.db.$executeRawUnsafe(
  `UPDATE memories SET valid_to = to_timestamp($3::float8 / 1000), superseded_by = $4::uuid, version = version + 1, indexed_generation = NULL WHERE tenant_id = $1 AND id = $2::uuid AND valid_to IS NULL`,
  tx.scope.tenant, id, by.validFromMs, by.id);

/** Closed, not deleted: a look into the past finds it, and retention deletes it when its time has come. */
const evict = (tx: TenantTx, id: string): Promise<number> => tx.db.$executeRawUnsafe(
  `UPDATE memories SET ${CLOSED} WHERE tenant_id = $1 AND id = $2::uuid AND valid_to IS NULL`, tx.scope.tenant, id);

const insertMemory = (tx: TenantTx, judged: Judged, memory: NewMemory, promotes: Verdict['promotes']): Promise<number> => tx.db.$executeRawUnsafe(
  `INSERT INTO memories (tenant_id, id, scope, user_id, agent, type, subject, attribute, value, statement, hash, slot, source_role, confidence, evidence, run_id, session_id, gate_version, valid_from, valid_to, superseded_by, document_id)
   VALUES ($1, $2::uuid, $3::memory_scope, $4, $5, $6::memory_type, $7, $8, $9, $10, decode($11, 'hex'), $12, $13::source_role, $14::float8, $15::json, $16::uuid, $17, $18::int,
     to_timestamp($19::float8 / 1000), to_timestamp($20::float8 / 1000), $21::uuid, $22::uuid)`,
  tx.scope.tenant, memory.id, memory.scope, memory.user, memory.agent, memory.type, memory.subject, memory.attribute, memory.value, memory.statement, memory.hash, memory.slot, memory.source, memory.confidence,
  evidenceOf(judged, memory.evidence, promotes), judged.run, judged.session, judged.gateVersion, memory.validFromMs, memory.validToMs, memory.supersededBy, judged.document?.id ?? null);

/** Evidence kept of one memory: what was said most often is not proven better by the hundredth quote. */
const MAX_EVIDENCE = 20;

/** Said again: counted once a run, and not for the run it comes from. The user's own words lift a source that was weaker. */
const reinforce = (tx: TenantTx, judged: Judged, verdict: Verdict, first: boolean): Promise<number> => tx.db.$executeRawUnsafe(
  `UPDATE memories SET last_seen_at = now(), seen_count = seen_count + CASE WHEN $5::boolean AND run_id <> $3::uuid THEN 1 ELSE 0 END,
     evidence = CASE WHEN json_array_length(evidence) < ${MAX_EVIDENCE} THEN (evidence::jsonb || $4::jsonb)::json ELSE evidence END,
     source_role = CASE WHEN $6 = 'user' THEN 'user'::source_role ELSE source_role END, confidence = CASE WHEN $6 = 'user' THEN greatest(confidence, $7::float8) ELSE confidence END,
     statement = coalesce($8, statement), hash = coalesce(decode($9, 'hex'), hash),
     version = version + CASE WHEN $8::text IS NULL THEN 0 ELSE 1 END, indexed_generation = CASE WHEN $8::text IS NULL THEN indexed_generation END
   WHERE tenant_id = $1 AND id = $2::uuid AND valid_to IS NULL`,
  tx.scope.tenant, verdict.target, judged.run, evidenceOf(judged, verdict.evidence, verdict.promotes), first, verdict.scores['source_found'], verdict.confidence, verdict.statement?.text ?? null, verdict.statement?.hash ?? null);

/** Each line names the run it is of: erasure takes away those of its runs. */
const evidenceOf = (judged: Judged, evidence: Verdict['evidence'], promotes: Verdict['promotes'] = null): string =>
  JSON.stringify([...evidence.map((line) => ({ run_id: judged.run, ...(judged.document ? { document_id: judged.document.id, chunk_id: judged.document.chunks[line.event_id] } : {}), ...line })), ...(promotes?.evidence ?? []).map((line) => ({ run_id: promotes?.run, ...line }))]);

async function insertVerdicts(tx: TenantTx, judged: Judged, verdicts: readonly Verdict[], basis: Basis): Promise<void> {
  const rows = verdicts.map(({ index, decision, stage, reason, confidence, scores, candidate, target, memory }) => ({ index, decision, stage, reason, confidence, scores, candidate, target_id: target, memory_id: memory?.id ?? null }));
  await tx.db.$executeRawUnsafe(
    `INSERT INTO memory_candidates (tenant_id, run_id, gate_version, index, user_id, candidate, decision, stage, reason, confidence, scores, target_id, memory_id, policy, inputs_hash, inputs)
     SELECT $1, $2::uuid, $3::int, c.index, $4, c.candidate, c.decision, c.stage, c.reason, c.confidence, c.scores, c.target_id, c.memory_id, $6, $7, CASE WHEN c.index = 0 THEN $8::json END
     FROM json_to_recordset($5::json) AS c(index int, decision verdict_decision, stage text, reason text, confidence float8, scores json, candidate json, target_id uuid, memory_id uuid)`,
    tx.scope.tenant, judged.run, judged.gateVersion, judged.user, JSON.stringify(rows), basis.policy, basis.inputsHash, JSON.stringify(basis.inputs));
}

export async function insertSummary(tx: TenantTx, judged: Judged, summary: unknown, text: string): Promise<void> {
  await tx.db.$executeRawUnsafe(`INSERT INTO run_summaries (tenant_id, run_id, user_id, session_id, agent, summary, text) VALUES ($1, $2::uuid, $3, $4, $5, $6::json, $7) ON CONFLICT (tenant_id, run_id) DO NOTHING`,
    tx.scope.tenant, judged.run, judged.user, judged.session, judged.agent, JSON.stringify(summary), text);
}

/** The end of remembering: `done` with its verdicts or, where it was `skipped`, with the reason, or `summary_missing` with none. */
export async function markRemembered(tx: TenantTx, run: string, state: 'done' | 'summary_missing', skipped?: Skip): Promise<void> {
  await tx.db.$executeRawUnsafe(`UPDATE agent_runs SET memory_state = $3::memory_state, memory_skipped = $4 WHERE tenant_id = $1 AND id = $2::uuid AND memory_state = 'due'`, tx.scope.tenant, run, state, skipped ?? null);
}
