// What Prometheus sees of a process: one registry per process, made by a function and handed down. Labels are closed sets or
// names that code registers (agents, steps, tools, models, pools, routes), never a user, run or job: label values are never
// freed. Names that could come from outside go through `bound`, which folds the surplus into `other`. Tenants are named in few
// places only: gauges of the backlog, written whole with the largest few, those an operator gave a limit, and bound in the slot
// time they were served.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Seconds. From a warm step (a few ms) to a long model turn; a step's limit is 300 s. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
/** Distinct values of one label at most; beyond it `other`. A thousand series per metric is what scrapers take lightly. */
const LABEL_VALUES_MAX = 100;

/** `breaker_state`: closed lets calls pass, half lets one probe pass, open none. */
export const BREAKER_STATES = { closed: 0, half: 1, open: 2 } as const;

export interface Metrics {
  readonly registry: Registry;
  /** The label's value, or `other` once `label` has had LABEL_VALUES_MAX different ones. */
  bound(label: string, value: string): string;

  // queue
  readonly readyHeld: Gauge<'pool'>;
  readonly readyTenants: Gauge<'pool'>;
  readonly oldestReadySeconds: Gauge<'pool'>;
  readonly wakeUps: Gauge<'pool' | 'state'>;
  readonly runs: Gauge<'status'>;
  readonly runnable: Gauge<'pool'>;
  readonly permitsHeld: Gauge<'tenant'>;
  readonly permitsLimit: Gauge<'tenant'>;
  readonly blocked: Gauge<'pool'>;
  readonly tenantDue: Gauge<'pool' | 'tenant'>;
  readonly tenantOldestSeconds: Gauge<'pool' | 'tenant'>;
  readonly redisPolicyOk: Gauge;
  // the life of a run
  readonly runsSubmitted: Counter<'agent' | 'door'>;
  readonly runsFinished: Counter<'agent' | 'status'>;
  readonly runSeconds: Histogram<'agent' | 'status'>;
  readonly queueWaitSeconds: Histogram<'pool'>;
  readonly slotSeconds: Counter<'pool' | 'tenant'>;
  readonly claims: Counter<'outcome'>;
  readonly fencedCommits: Counter<'operation'>;
  readonly reclaims: Counter<'reason'>;
  readonly stepSeconds: Histogram<'agent' | 'step' | 'outcome'>;
  // tools and model
  readonly toolSeconds: Histogram<'tool' | 'outcome'>;
  readonly modelSeconds: Histogram<'model' | 'outcome'>;
  readonly modelTokens: Counter<'model' | 'kind'>;
  readonly modelCostMicroUsd: Counter<'model'>;
  readonly breakerState: Gauge<'breaker'>;
  readonly batchItems: Gauge<'state'>;
  readonly batchesOpen: Gauge<never>;
  readonly batchOldestSeconds: Gauge<never>;
  // memory
  readonly gateVerdicts: Counter<'decision' | 'stage' | 'reason'>;
  readonly quarantined: Gauge<never>;
  readonly indexOwed: Gauge<'table'>;
  readonly indexOwedSeconds: Gauge<'table'>;
  readonly recalls: Counter<'outcome' | 'arm'>;
  readonly recallSeconds: Histogram<'outcome'>;
  readonly recallOwnSeconds: Histogram<never>;
  readonly recallDegraded: Counter<'reason'>;
  readonly recallCache: Counter<'outcome'>;
  readonly memoriesShown: Counter<'type'>;
  readonly citations: Counter<'outcome'>;
  readonly memorySupport: Counter<'outcome'>;
  // the edge
  readonly httpSeconds: Histogram<'method' | 'route' | 'status'>;
}

/** All metrics of a process, with Node's own; each carries `process` (`api`, `agent-worker`, …) as a label. */
export function makeMetrics(processName: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ process: processName });
  collectDefaultMetrics({ register: registry });
  return { registry, bound: makeBound(), ...queueMetrics(registry), ...runMetrics(registry), ...callMetrics(registry), ...memoryMetrics(registry) };
}

function queueMetrics(registry: Registry) {
  const gauge = gaugesOf(registry);
  return {
    readyHeld: gauge('ready_held_runs', 'Runs held by the ready queue.', ['pool']),
    readyTenants: gauge('ready_tenants', 'Tenants that have a run in the ready queue.', ['pool']),
    oldestReadySeconds: gauge('oldest_ready_run_seconds', 'Age of the oldest run that could start, from Postgres. Alert on it: it sees every kind of stuck queue.', ['pool']),
    wakeUps: gauge('wake_ups', 'BullMQ wake-ups by state: waiting, delayed, active.', ['pool', 'state']),
    runs: gauge('runs', 'Unfinished runs by status, from Postgres.', ['status']),
    permitsHeld: gauge('permits_held', 'Running runs that hold a permit of their tenant, for tenants with a limit; the surplus of tenants is summed as `other`.', ['tenant']),
    permitsLimit: gauge('permits_limit', 'Runs of the tenant that may be running at once.', ['tenant']),
    redisPolicyOk: gauge('redis_policy_ok', '1: Redis evicts nothing. 0: it may, alert on it. -1: it does not tell, or has been away from the start.', []),
    runnable: gauge('runnable_runs', 'Runs that could start, run, or are due within a minute: what the fleet is scaled by.', ['pool']),
    blocked: gauge('blocked_runs', 'Runs due now or within a minute whose version no living worker of the pool has; not among the runnable. Alert on it: only a worker of that version helps.', ['pool']),
    tenantDue: gauge('tenant_due_runs', 'Due runs of the tenants that have most; all others together as `_other`.', ['pool', 'tenant']),
    tenantOldestSeconds: gauge('tenant_oldest_due_run_seconds', 'Age of the oldest due run of those tenants.', ['pool', 'tenant']),
  };
}

function runMetrics(registry: Registry) {
  const counter = countersOf(registry);
  const seconds = histogramsOf(registry);
  return {
    runsSubmitted: counter('runs_submitted_total', 'Runs accepted, by door: http, intake, schedule, internal.', ['agent', 'door']),
    runsFinished: counter('runs_finished_total', 'Runs that ended, by terminal status.', ['agent', 'status']),
    runSeconds: seconds('run_seconds', 'From submission to the end of a run.', ['agent', 'status']),
    queueWaitSeconds: seconds('queue_wait_seconds', 'From due to claimed.', ['pool']),
    slotSeconds: counter('slot_seconds_total', 'Slot time served by tenant: its rate is a share. The first hundred tenants of a process by name, then `other`.', ['pool', 'tenant']),
    claims: counter('claims_total', 'Claims by outcome: claimed, or why they were refused.', ['outcome']),
    fencedCommits: counter('fenced_commits_total', 'Writes refused because another worker holds the run.', ['operation']),
    reclaims: counter('reclaims_total', 'Runs taken back from a worker, by reason: lease, crash, deadline.', ['reason']),
    stepSeconds: seconds('step_seconds', 'Time of one step, by outcome: next, done, wait, retry, failed, fenced.', ['agent', 'step', 'outcome']),
    httpSeconds: seconds('http_request_seconds', 'HTTP requests by route pattern and status.', ['method', 'route', 'status']),
  };
}

function callMetrics(registry: Registry) {
  const counter = countersOf(registry);
  const seconds = histogramsOf(registry);
  return {
    toolSeconds: seconds('tool_seconds', 'Time of one tool call, by the status of its ledger row.', ['tool', 'outcome']),
    modelSeconds: seconds('model_seconds', 'Time of one model call; outcome: ok, or the error code.', ['model', 'outcome']),
    modelTokens: counter('model_tokens_total', 'Tokens by kind: input, output, cache_read, cache_write.', ['model', 'kind']),
    modelCostMicroUsd: counter('model_cost_micro_usd_total', 'Cost of model calls in millionths of a US dollar.', ['model']),
    batchItems: gaugesOf(registry)('batch_items', 'Model calls of the batch lane: not sent yet, and sent without a result.', ['state']),
    batchesOpen: gaugesOf(registry)('batches_open', 'Message batches under way at the provider.', []),
    batchOldestSeconds: gaugesOf(registry)('batch_oldest_seconds', 'How long the oldest of these calls has waited.', []),
    breakerState: gaugesOf(registry)('breaker_state', '0 closed, 1 half open, 2 open.', ['breaker']),
  };
}

function memoryMetrics(registry: Registry) {
  const counter = countersOf(registry);
  const gauge = gaugesOf(registry);
  return {
    gateVerdicts: counter('gate_verdicts_total', 'Verdicts of the memory gate, with the stage that decided and why.', ['decision', 'stage', 'reason']),
    quarantined: gauge('quarantined_candidates', 'Candidates that wait for a second sighting or a person.', []),
    indexOwed: gauge('index_owed_rows', 'Memories, summaries and chunks of documents that the vector index does not hold as they are, from Postgres.', ['table']),
    indexOwedSeconds: gauge('index_owed_seconds', 'Age of the oldest of those that could be found. Alert on it: recall misses them by meaning.', ['table']),
    recalls: counter('recalls_total', 'Recalls by outcome (found, empty, degraded) and arm: told what was found, or held_out.', ['outcome', 'arm']),
    recallSeconds: histogramsOf(registry)('recall_seconds', 'Time of one recall; outcome: full, degraded, failed.', ['outcome']),
    recallOwnSeconds: histogramsOf(registry)('recall_own_seconds', 'Time of one recall but for what it waited for the embedder and the index.', []),
    recallDegraded: counter('recall_degraded_total', 'Recalls that went on without a part, by reason.', ['reason']),
    recallCache: counter('recall_cache_total', 'Recalls by whether what they find was known from before: hit, miss.', ['outcome']),
    memoriesShown: counter('memories_shown_total', 'Memories that recalls put into prompts, by type.', ['type']),
    citations: counter('citations_total', 'Memories that answers named: cited, or fabricated where none such was shown.', ['outcome']),
    memorySupport: counter('memory_support_total', 'Memories that were shown to remembered runs: supported by what the answer says, or unsupported.', ['outcome']),
  };
}

const PREFIX = 'mainstay_';
const countersOf = (registry: Registry) => <const L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> =>
  new Counter({ name: PREFIX + name, help, labelNames: [...labelNames], registers: [registry] });
const gaugesOf = (registry: Registry) => <const L extends string>(name: string, help: string, labelNames: readonly L[]): Gauge<L> =>
  new Gauge({ name: PREFIX + name, help, labelNames: [...labelNames], registers: [registry] });
const histogramsOf = (registry: Registry) => <const L extends string>(name: string, help: string, labelNames: readonly L[]): Histogram<L> =>
  new Histogram({ name: PREFIX + name, help, labelNames: [...labelNames], buckets: SECONDS, registers: [registry] });

function makeBound(): (label: string, value: string) => string {
  const seen = new Map<string, Set<string>>();
  return (label, value) => {
    const values = seen.get(label) ?? new Set();
    seen.set(label, values);
    if (values.has(value)) return value;
    if (values.size >= LABEL_VALUES_MAX) return 'other';
    values.add(value);
    return value;
  };
}
