// Runs as the Bull Board lists them: of one pool and all tenants, in the six lists an operator thinks in. Only reads. Each list is
// one partial index read in its order, and counts and pages end at BOARD_RUNS_MAX, so that a page costs the same whatever the
// history holds. What a run was given and what it made are never read, only their sizes.
import type { RunStatus, WaitReason } from '../../domain/status.ts';
import { BOARD_LOG_LINES, BOARD_RUNS_MAX } from '../../domain/tunables.ts';
import type { EnginePool } from './pool.ts';

const DUE = `r.status IN ('queued', 'waiting') AND r.wake_at IS NOT NULL AND r.wake_at`;
/** The condition of each list as its index has it, and its order. */
const LISTS = {
  active: { where: `r.status = 'running'`, order: 'r.started_at, r.id' },
  waiting: { where: `${DUE} <= now()`, order: 'r.wake_at, r.id' },
  delayed: { where: `${DUE} > now()`, order: 'r.wake_at, r.id' },
  paused: { where: `r.status = 'waiting' AND r.wake_at IS NULL`, order: 'r.id DESC' },
  completed: { where: `r.status IN ('completed', 'cancelled')`, order: 'r.finished_at DESC' },
  failed: { where: `r.status IN ('failed', 'expired')`, order: 'r.finished_at DESC' },
} as const;

/** `waiting`: could start now. `delayed`: waits for its time. `paused`: waits for somebody, without a time. */
export type BoardList = keyof typeof LISTS;
export const BOARD_LISTS = Object.keys(LISTS) as BoardList[];

export interface BoardRun {
  readonly list: BoardList;
  readonly tenant: string;
  /** uuid */
  readonly id: string;
  readonly agent: string;
  readonly version: number;
  readonly status: RunStatus;
  readonly waitReason: WaitReason | null;
  readonly user: string | null;
  readonly session: string | null;
  readonly steps: number;
  readonly attempt: number;
  readonly priority: number;
  readonly costMicroUsd: number;
  readonly metadata: unknown;
  /** As they are stored, which may be compressed. */
  readonly inputBytes: number;
  readonly outputBytes: number | null;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly cancelRequested: boolean;
  /** uuid of the run that a retry by the board or a bulk has made of it */
  readonly retriedAs: string | null;
  readonly createdMs: number;
  readonly wakeMs: number | null;
  readonly startedMs: number | null;
  readonly finishedMs: number | null;
}

const ms = (time: string): string => `(extract(epoch FROM ${time}) * 1000)::float8`;
const ROW = `CASE ${BOARD_LISTS.map((list) => `WHEN ${LISTS[list].where} THEN '${list}'`).join(' ')} END AS list,
  r.tenant_id AS tenant, r.id, r.agent, r.version, r.status::text AS status, r.wait_reason::text AS "waitReason", r.user_id AS "user", r.session_id AS session, r.step_seq AS steps, r.attempt, r.priority,
  coalesce(r.cost_micro_usd, 0)::float8 AS "costMicroUsd", r.metadata, pg_column_size(r.input) AS "inputBytes", pg_column_size(r.output) AS "outputBytes", r.error_code AS "errorCode", r.error_message AS "errorMessage",
  r.cancel_requested_at IS NOT NULL AS "cancelRequested", (SELECT f.id FROM agent_runs f WHERE f.tenant_id = r.tenant_id AND f.idempotency_key = 'retry:' || r.id) AS "retriedAs",
  ${ms('r.created_at')} AS "createdMs", CASE WHEN r.finished_at IS NULL THEN ${ms('r.wake_at')} END AS "wakeMs", ${ms('r.started_at')} AS "startedMs", ${ms('r.finished_at')} AS "finishedMs"`;

const COUNTS = `SELECT ${BOARD_LISTS.map((list) => `(SELECT count(*)::int FROM (SELECT FROM agent_runs r WHERE r.pool = $1 AND ${LISTS[list].where} LIMIT ${BOARD_RUNS_MAX}) c) AS ${list}`).join(',\n  ')}`;

/** How many runs each list holds, up to BOARD_RUNS_MAX. */
export async function countBoard(pool: EnginePool, runPool: string): Promise<Record<BoardList, number>> {
  const { rows } = await pool.query<Record<BoardList, number>>({ name: 'board-counts', text: COUNTS, values: [runPool] });
  return rows[0] as Record<BoardList, number>;
}

/** Runs of a list, `start` to `end` inclusive; beyond BOARD_RUNS_MAX there are none. */
export async function listBoard(pool: EnginePool, runPool: string, list: BoardList, start: number, end: number): Promise<BoardRun[]> {
  const limit = Math.min(end, BOARD_RUNS_MAX - 1) - start + 1;
  if (!Number.isSafeInteger(start) || start < 0 || !(limit > 0)) return [];
  const { where, order } = LISTS[list];
  // The numbers stand in the text: for a parameter the planner assumes a tenth of the table, and sorts it. Keys first, so that
  // what is skipped costs an entry of the index each and no more.
  const { rows } = await pool.query<BoardRun>(`SELECT ${ROW} FROM (SELECT r.tenant_id, r.id FROM agent_runs r WHERE r.pool = $1 AND ${where} ORDER BY ${order} LIMIT ${limit} OFFSET ${start}) k
    JOIN agent_runs r ON r.tenant_id = k.tenant_id AND r.id = k.id ORDER BY ${order}`, [runPool]);
  return rows;
}

// A run's id alone is no key: it is looked for under each tenant that has any, and those are found one after another by the key.
const BY_ID = `
WITH RECURSIVE t AS (
  (SELECT tenant_id FROM agent_runs ORDER BY tenant_id LIMIT 1)
  UNION ALL SELECT (SELECT n.tenant_id FROM agent_runs n WHERE n.tenant_id > t.tenant_id ORDER BY n.tenant_id LIMIT 1) FROM t WHERE t.tenant_id IS NOT NULL
)
SELECT ${ROW} FROM t JOIN agent_runs r ON r.tenant_id = t.tenant_id AND r.id = $2 WHERE r.pool = $1`;

/** id: uuid. Undefined = no such run of the pool. */
export async function boardRun(pool: EnginePool, runPool: string, id: string): Promise<BoardRun | undefined> {
  const { rows } = await pool.query<BoardRun>({ name: 'board-run', text: BY_ID, values: [runPool, id] });
  return rows[0];
}

/** What happened to a run, the last BOARD_LOG_LINES of it, oldest first: times, types and names, never content. */
export async function boardLog(pool: EnginePool, { tenant, id }: Pick<BoardRun, 'tenant' | 'id'>): Promise<{ atMs: number; type: string; step: string | null }[]> {
  const { rows } = await pool.query<{ atMs: number; type: string; step: string | null }>({ name: 'board-log', text: `
    SELECT ${ms('h.created_at')} AS "atMs", h.type, CASE h.type WHEN 'step.completed' THEN h.data ->> 'step' END AS step
    FROM agent_runs r JOIN run_history h ON h.tenant_id = r.tenant_id AND h.run_id = r.id AND h.seq > r.event_seq - ${BOARD_LOG_LINES}
    WHERE r.tenant_id = $1 AND r.id = $2 ORDER BY h.seq`, values: [tenant, id] });
  return rows;
}
