// What must hold of memory whatever happened, looked at past the product: every memory has an origin that stands, the index holds
// the live rows of Postgres and nothing else, and nothing of one tenant is in a row, a vector or a key of another.
import { VECTOR_COLLECTIONS, type VectorCollection, type VectorIndex } from '../../src/domain/vector-index.ts';
import { vectorOf } from '../../src/store/vector-bytes.ts';
import type { Look } from '../chaos/invariants.ts';

/** Runs SQL as the owner of the schema. */
export type Rows = <Row extends object>(text: string, values?: readonly unknown[]) => Promise<Row[]>;
export interface MemoryWitness {
  readonly rows: Rows;
  readonly index: VectorIndex;
  /** Every Redis key of the fleet with its value as text. */
  readonly keys?: () => Promise<readonly { readonly key: string; readonly value: string }[]>;
}

/** What is wrong, a sentence each; a look that found nothing to look at is wrong too. */
export async function memoryFaults(witness: MemoryWitness): Promise<string[]> {
  const looks = { I13: await memoriesHaveOrigin(witness.rows), I14: await indexHolds(witness), I15: await tenantsApart(witness) };
  return Object.entries(looks).flatMap(([id, { evidence, wrong }]) => (evidence > 0 ? wrong : [...wrong, 'nothing was examined']).map((sentence) => `${id}: ${sentence}`));
}

/** I13: each memory comes from a run that ended and whose verdicts stand (one read from a document from the run that read it, with the chunk), by a verdict that a committed step wrote,
 *  with the words it rests on, whose they are, and how far they are trusted. */
export async function memoriesHaveOrigin(rows: Rows): Promise<Look> {
  const found = await rows<{ id: string; tenant: string; faults: string }>(`
    SELECT m.tenant_id AS tenant, m.id, concat_ws(', ',
      CASE WHEN r.id IS NULL THEN 'has no run' WHEN r.finished_at IS NULL THEN 'is of a run that goes on' WHEN m.document_id IS NULL AND r.memory_state <> 'done' THEN 'is of a run whose verdicts do not stand: ' || r.memory_state END,
      CASE WHEN NOT EXISTS (SELECT FROM memory_candidates c WHERE c.tenant_id = m.tenant_id AND c.run_id = m.run_id AND c.memory_id = m.id AND (c.decision IN ('ADMIT', 'SUPERSEDE') OR c.promoted_at IS NOT NULL)) THEN 'has no verdict that made it' END,
      CASE WHEN NOT EXISTS (SELECT FROM agent_runs k JOIN run_steps s ON s.tenant_id = k.tenant_id AND s.run_id = k.id WHERE k.tenant_id = m.tenant_id AND (k.idempotency_key = 'remember:' || m.run_id || ':' || m.gate_version OR (m.document_id IS NOT NULL AND k.id = m.run_id AND k.agent = 'mainstay.read_document' AND k.input ->> 'document' = m.document_id::text)) AND s.next_step = 'index') THEN 'has no committed step that judged it' END,
      CASE WHEN NOT m.confidence BETWEEN 0.01 AND 1 THEN 'has the confidence ' || m.confidence END,
      CASE WHEN EXISTS (SELECT FROM json_array_elements(m.evidence) e WHERE coalesce(e ->> 'quote', '') = '' OR coalesce(e ->> 'event_id', '') = '' OR coalesce(e ->> 'run_id', '') = '' OR (m.document_id IS NOT NULL AND e ->> 'run_id' = m.run_id::text AND NOT EXISTS (SELECT FROM document_chunks c WHERE c.tenant_id = m.tenant_id AND c.document_id = m.document_id AND c.id::text = e ->> 'chunk_id' AND position(e ->> 'quote' IN c.text) > 0))) THEN 'has evidence without words, event or run' END) AS faults
    FROM memories m LEFT JOIN agent_runs r ON r.tenant_id = m.tenant_id AND r.id = m.run_id WHERE m.erased_at IS NULL AND NOT EXISTS (SELECT FROM memory_lineage l WHERE l.tenant_id = m.tenant_id AND l.child_id = m.id)`);
  return { evidence: found.length, wrong: found.filter(({ faults }) => faults !== '').map(({ id, tenant, faults }) => `memory ${id} of ${tenant} ${faults}`) };
}

const LIVE: Readonly<Record<VectorCollection, string>> = {
  memories: `SELECT r.tenant_id AS tenant, r.id, r.version, r.user_id AS "user", r.agent, v.vector FROM memories r LEFT JOIN memory_vectors v ON v.tenant_id = r.tenant_id AND v.id = r.id AND v.version = r.version WHERE r.valid_to IS NULL AND r.erased_at IS NULL`,
  conversation_summaries: `SELECT r.tenant_id AS tenant, r.run_id AS id, r.version, r.user_id AS "user", r.agent, v.vector FROM run_summaries r LEFT JOIN summary_vectors v ON v.tenant_id = r.tenant_id AND v.id = r.run_id AND v.version = r.version WHERE r.erased_at IS NULL`,
  run_artifacts: `SELECT r.tenant_id AS tenant, r.id, r.version, r.user_id AS "user", r.agent, v.vector FROM document_chunks r LEFT JOIN chunk_vectors v ON v.tenant_id = r.tenant_id AND v.id = r.id AND v.version = r.version WHERE r.closed_at IS NULL`,
};
interface LiveRow { readonly tenant: string; readonly id: string; readonly version: number; readonly user: string | null; readonly agent: string | null; readonly vector: Buffer | null }

/** I14: of each tenant the index holds the live rows, each once, in their version and with the vector of that version, and no other. */
export async function indexHolds({ rows, index }: Pick<MemoryWitness, 'rows' | 'index'>): Promise<Look> {
  let evidence = 0;
  const wrong: string[] = [];
  for (const collection of VECTOR_COLLECTIONS) {
    const live = await rows<LiveRow>(LIVE[collection]);
    evidence += live.length;
    for (const tenant of await tenantsOf(rows)) {
      const held = await index.ids(collection, tenant);
      const there = new Map(held.map(({ id, version }) => [id, version]));
      const mine = new Map(live.filter((row) => row.tenant === tenant).map((row) => [row.id, row]));
      if (held.length !== there.size) wrong.push(`${collection} of ${tenant} holds ${held.length - there.size} rows twice`);
      wrong.push(...[...there.keys()].filter((id) => !mine.has(id)).map((id) => `${collection} of ${tenant} holds ${id}, which is not live`));
      for (const row of mine.values()) {
        if (there.get(row.id) !== row.version) wrong.push(`${collection} of ${tenant}: ${row.id} is at version ${row.version}, in the index ${there.get(row.id) ?? 'it is not'}`);
        else if (!(await isFoundByItsVector(index, collection, row))) wrong.push(`${collection} of ${tenant} holds ${row.id} with another vector than its version has`);
      }
    }
  }
  return { evidence, wrong };
}

/** A row is what is nearest to its own vector. */
async function isFoundByItsVector(index: VectorIndex, collection: VectorCollection, { tenant, id, user, agent, vector }: LiveRow): Promise<boolean> {
  if (vector === null) return false;
  const { dense } = await index.search(collection, { tenant, user: user ?? undefined, agent: agent ?? undefined, vector: vectorOf(vector), limit: 50, timeoutMs: 10_000 });
  return dense.some((hit) => hit.id === id && hit.score > 0.999);
}

/** Where one row names another by id: who names it, and in which table it is. */
const REFERENCES: readonly (readonly [what: string, pairs: string, table: string])[] = [
  ['the run of a memory', `SELECT tenant_id, run_id FROM memories`, 'agent_runs'],
  ['the run of a line of evidence', `SELECT m.tenant_id, (e ->> 'run_id')::uuid FROM memories m, json_array_elements(m.evidence) e WHERE e ->> 'run_id' IS NOT NULL`, 'agent_runs'],
  ['what a memory gave way to', `SELECT tenant_id, superseded_by FROM memories WHERE superseded_by IS NOT NULL`, 'memories'],
  ['what a verdict made or met', `SELECT tenant_id, i.id FROM memory_candidates, unnest(ARRAY[memory_id, target_id]) AS i(id) WHERE i.id IS NOT NULL`, 'memories'],
  ['what a recall showed', `SELECT tenant_id, i.id FROM retrieval_traces, unnest(injected || cited) AS i(id)`, 'memories'],
  ['what a recall looked at', `SELECT tenant_id, (c ->> 'id')::uuid FROM retrieval_traces, json_array_elements(candidates) c`, 'memories'],
  ['the run of a recall', `SELECT tenant_id, run_id FROM retrieval_traces`, 'agent_runs'],
  ['what was said of a memory', `SELECT tenant_id, memory_id FROM memory_feedback`, 'memories'],
];

/** I15: rows name rows of their own tenant, a tenant's vectors are of its own rows, and a key holds no statement of anybody but its owner. */
export async function tenantsApart({ rows, index, keys }: MemoryWitness): Promise<Look> {
  const wrong: string[] = [];
  let evidence = 0;
  for (const [what, pairs, table] of REFERENCES) {
    const named = await rows<{ tenant: string; id: string; owners: string[] }>(`SELECT p.tenant_id AS tenant, p.id, ARRAY(SELECT tenant_id FROM ${table} t WHERE t.id = p.id) AS owners FROM (${pairs}) AS p(tenant_id, id)`);
    evidence += named.length;
    wrong.push(...named.filter(({ tenant, owners }) => owners.length > 0 && !owners.includes(tenant)).map(({ tenant, id, owners }) => `${what}: ${tenant} names ${id} of ${owners.join(', ')}`));
  }
  const owned = [...await rows<{ tenant: string; id: string }>(`SELECT tenant_id AS tenant, id FROM memories UNION ALL SELECT tenant_id, run_id FROM run_summaries UNION ALL SELECT tenant_id, id FROM document_chunks`)];
  for (const tenant of await tenantsOf(rows)) {
    const strange = new Set(owned.filter((row) => row.tenant !== tenant && !owned.some((own) => own.tenant === tenant && own.id === row.id)).map(({ id }) => id));
    for (const collection of VECTOR_COLLECTIONS) wrong.push(...(await index.ids(collection, tenant)).filter(({ id }) => strange.has(id)).map(({ id }) => `${collection} of ${tenant} holds ${id}, which is another tenant's`));
  }
  return { evidence, wrong: [...wrong, ...await strangeKeys(rows, await keys?.() ?? [])] };
}

/** The owner of a key is the tenant it names, or that of the run it names; one without an owner holds nobody's statement. */
async function strangeKeys(rows: Rows, dump: readonly { readonly key: string; readonly value: string }[]): Promise<string[]> {
  const tenants = await tenantsOf(rows);
  const runs = new Map((await rows<{ id: string; tenant: string }>(`SELECT id, tenant_id AS tenant FROM agent_runs`)).map(({ id, tenant }) => [id, tenant]));
  const said = await rows<{ tenants: string[]; statement: string }>(`SELECT array_agg(DISTINCT tenant_id) AS tenants, statement FROM memories WHERE statement <> '' GROUP BY statement`);
  return dump.flatMap(({ key, value }) => {
    const owner = tenants.find((tenant) => key.includes(`:${tenant}:`)) ?? [...runs].find(([id]) => key.includes(id))?.[1];
    return said.filter((one) => value.includes(one.statement) && (owner === undefined || !one.tenants.includes(owner))).map((one) => `the key ${key} holds a statement of ${one.tenants.join(', ')}`);
  });
}

const tenantsOf = async (rows: Rows): Promise<string[]> => (await rows<{ tenant: string }>(`SELECT DISTINCT tenant_id AS tenant FROM agent_runs UNION SELECT tenant_id FROM memories UNION SELECT tenant_id FROM documents ORDER BY 1`)).map(({ tenant }) => tenant);
