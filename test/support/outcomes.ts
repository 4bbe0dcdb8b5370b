// A memory fleet with old outcomes in it, each of a run that ended, and what one asks of memory afterwards.
import { rankFound, searchIndex, type FindDeps } from '../../src/memory/find-memories.ts';
import { openIndex } from '../../src/memory/milvus.ts';
import { newId } from '../../src/ids.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { submitRuns } from '../../src/store/engine/submit.ts';
import { startMemoryFleet, type MemoryFleet } from './fleet.ts';
import { newRun } from './run-bench.ts';
import { atFileEnd, type TestStack } from './stack.ts';

export interface Outcome { readonly value: string; readonly idleDays?: number; readonly user?: string | null; readonly subject?: string; readonly pinned?: boolean; /** Runs that bear it out, the first its own. */ readonly runs?: readonly string[] }
export interface Row { readonly id: string; readonly statement: string; readonly live: boolean; readonly rolls: boolean; readonly by: string | null; readonly generation: string | null }

export async function startOutcomes(stack: TestStack) {
  const fleet: MemoryFleet = await startMemoryFleet(stack, []);
  const { base: { config, log }, memory: { embedder } } = fleet;
  const index = await openIndex({ address: config.MILVUS_ADDRESS, tls: false, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log });
  const store = openAppStore({ url: stack.databaseUrl, asRole: true, log, max: 2 });
  atFileEnd(async () => { await Promise.all([index.close(), store.close()]); });
  const deps: FindDeps = { store, index, embedder, log };
  return {
    fleet, index, store,
    /** The run of an agent that ended for the user. */
    async run(tenant: string, user: string | null): Promise<string> {
      const id = newId();
      await submitRuns(fleet.base.pool, [newRun({ tenant, id, user, startAt: '2099-01-01' })]);
      await fleet.rows(`UPDATE agent_runs SET status = 'completed', finished_at = now(), memory_state = 'done' WHERE id = $1`, [id]);
      return id;
    },
    /** A memory of type `outcome` that was last said so many days ago: 100 unless told. Answers its id. */
    async outcome(tenant: string, { value, idleDays = 100, user = 'ada', subject = 'invoice export', pinned = false, runs = [newId()] }: Outcome): Promise<string> {
      const id = newId();
      await fleet.rows(`INSERT INTO memories (tenant_id, id, scope, user_id, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, last_seen_at, pinned)
        VALUES ($1, $2::uuid, CASE WHEN $3::text IS NULL THEN 'workspace' ELSE 'user' END::memory_scope, $3, 'outcome', $4, 'result', $5, 'The ' || $4 || ' came to this: ' || $5 || '.', sha256($2::text::bytea), 'tool', 0.8, $6::json, $7::uuid, 1, now() - $8::int * interval '1 day', now() - $8::int * interval '1 day', $9)`,
      [tenant, id, user, subject, value, JSON.stringify(runs.map((run) => ({ run_id: run, event_id: 'e1', quote: value }))), runs[0], idleDays, pinned]);
      return id;
    },
    memories: (tenant: string): Promise<Row[]> => fleet.rows<Row>(`SELECT id, statement, valid_to IS NULL AS live, rolls_up AS rolls, superseded_by AS by, indexed_generation AS generation FROM memories WHERE tenant_id = $1 ORDER BY id`, [tenant]),
    async indexed(): Promise<void> { while (await fleet.memory.indexPending(200) > 0); },
    /** Statements of what is found, best first. */
    async find(tenant: string, query: string, { asOfMs, user = 'ada' }: { asOfMs?: number; user?: string } = {}): Promise<string[]> {
      const request = { tenant, user, agent: 'helper', query, asOfMs };
      const searched = await searchIndex(deps, request);
      const { scored } = await store.withTenant({ tenant, user }, (tx) => rankFound(deps, tx, request, searched));
      return scored.map(({ row }) => row.statement);
    },
  };
}
