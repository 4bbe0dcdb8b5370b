// node bench/costs.ts [--runs 20] [--json FILE]
// What a run of each example costs at list prices, with what was learnt from it: live without a cache (every token of the prompt at the
// input price), live with the cache as it was booked, and through the batch lane with the cache. Usage is the model stub's, which
// counts and caches as the API describes it; the same conversations go through both lanes, on servers of their own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { dataAssistant } from '../examples/data-assistant.ts';
import { startDataSource } from '../examples/data-source.ts';
import { reportJob } from '../examples/report-job.ts';
import { supportAgent } from '../examples/support-agent.ts';
import { startTicketDesk } from '../examples/ticket-desk.ts';
import { pause, wallMs } from '../src/clock.ts';
import { readConfig } from '../src/config.ts';
import { startModelStub } from '../src/dev/model-stub/server.ts';
import { withClient } from '../src/dev/servers/migrate.ts';
import { startStack } from '../src/dev/servers/stack.ts';
import { ratesOf } from '../src/domain/prices.ts';
import { openRedis } from '../src/redis.ts';
import { RunWorker } from '../src/run/run-worker.ts';
import { assembleBatchLane, assembleExecution, assembleLimits, assembleOn, openGround } from '../workers/assemble.ts';
import { assembleMemory, remember } from '../workers/assemble-memory.ts';

const { values: args } = parseArgs({ options: { runs: { type: 'string', default: '20' }, json: { type: 'string' } } });
const runs = Number(args.runs);
const INPUTS: Readonly<Record<string, object>> = {
  'support-agent': { message: 'I prefer to be contacted by e-mail. Our billing system is Zuora. Since this morning the invoice export fails with error 504.' },
  'data-assistant': { message: "An active customer means customer_status = 'active'. How many sales come from an active customer? Use dataset sales." },
  'report-job': { title: 'Sales' },
};
interface Call { readonly agent: string; readonly model: string; readonly lane: string; readonly prompt: number; readonly read: number; readonly output: number; readonly cost: number; readonly at: number }

const dir = mkdtempSync(join(tmpdir(), 'mainstay-costs-'));
const stack = await startStack({ stateDir: dir, ephemeral: true, say: (line) => { process.stderr.write(`${line}\n`); } });
const [stub, desk, source] = await Promise.all([startModelStub(), startTicketDesk(), startDataSource()]);
const config = readConfig({
  DATABASE_URL: stack.databaseUrl, REDIS_URL: stack.redisUrl, MILVUS_ADDRESS: stack.milvusAddress, MILVUS_DENSE_INDEX: 'FLAT', EMBEDDER: 'lexical', CONCURRENCY: '10', ARTIFACTS_DIR: join(dir, 'artifacts'),
  ANTHROPIC_API_KEY: 'stub', ANTHROPIC_BASE_URL: stub.url, LOG_LEVEL: 'warn',
});
const ground = await openGround(config, 'costs');
const memory = await assembleMemory(ground);
const base = assembleOn(ground, [supportAgent(desk.url), dataAssistant(source.url), reportJob(source.url, config.ARTIFACTS_DIR), ...memory.machines]);
const limits = assembleLimits(base);
const lane = assembleBatchLane(base, { createMs: 0, waitMs: 200, lookMs: 50, lookMaxMs: 100 });
stub.batches.plan({ endsAfterMs: 100 });
const workers = (['agent', 'memory'] as const).map((pool) => new RunWorker({
  ...assembleExecution(base, limits, memory.recaller, `${pool}-costs`), pool, queue: base.queues.get(pool)!, dispatcher: base.dispatcher, redisUrl: config.REDIS_URL, subscriber: openRedis(config.REDIS_URL, 'blocking', base.log),
  concurrency: 10, leaseMs: config.LEASE_MS, drainMs: 1_000, onEnded: async (run, status) => { if (status === 'completed' && base.registry.get(run.agent, run.version)?.remembers) await remember(base, run); },
}));

try {
  await withClient(stack.databaseUrl, (client) => client.query(`INSERT INTO permissions (tenant_id, user_id, datasets) SELECT t, 'u' || n, '{sales}' FROM unnest(ARRAY['live', 'batch']) t, generate_series(0, $1::int) n`, [runs]));
  await Promise.all([lane.start(), ...workers.map((worker) => worker.start())]);
  for (const tenant of ['live', 'batch'] as const) { // tenants of their own, so that neither recalls what the other learnt
    for (const [agent, input] of Object.entries(INPUTS)) await Promise.all(Array.from({ length: runs }, (_, n) => base.submit({ tenant, user: `u${n}`, door: 'bench', agent, input, lane: tenant === 'batch' ? 'batch' : 'realtime' })));
    await rest(tenant);
  }
  const table = Object.keys(INPUTS).map((agent) => ({ agent, runs }));
  const calls = await withClient(stack.databaseUrl, async (client) => (await client.query<Call>(`
    SELECT coalesce(p.agent, r.agent) AS agent, m.model, m.lane, (m.input_tokens + m.cache_read_tokens + m.cache_write_5m_tokens + m.cache_write_1h_tokens)::float8 AS prompt, m.cache_read_tokens::float8 AS read, m.output_tokens::float8 AS output, m.cost_micro_usd::float8 AS cost,
      (extract(epoch FROM m.started_at) * 1000)::float8 AS at
    FROM model_calls m JOIN agent_runs r ON r.tenant_id = m.tenant_id AND r.id = m.run_id LEFT JOIN agent_runs p ON p.tenant_id = r.tenant_id AND p.id = r.parent_id WHERE m.status = 'settled'`)).rows);
  const rows = table.map(({ agent }) => {
    const of = (booked: string): Call[] => calls.filter((call) => call.agent === agent && call.lane === booked);
    const sum = (some: readonly Call[], what: (call: Call) => number): number => some.reduce((all, call) => all + what(call), 0);
    const bare = sum(of('live'), ({ model, prompt, output, at }) => { const rates = ratesOf(model, prompt, at); return prompt * rates.in + output * rates.out; });
    return { agent, runs, callsPerRun: of('live').length / runs, promptTokensPerRun: sum(of('live'), ({ prompt }) => prompt) / runs, readFromCache: sum(of('live'), ({ read }) => read) / Math.max(1, sum(of('live'), ({ prompt }) => prompt)), outputTokensPerRun: sum(of('live'), ({ output }) => output) / runs,
      liveMicroUsd: bare / runs, liveCachedMicroUsd: sum(of('live'), ({ cost }) => cost) / runs, batchCachedMicroUsd: sum(of('batch'), ({ cost }) => cost) / runs, batchCalls: of('batch').length / runs };
  });
  const whole = (n: number): string => String(Math.round(n));
  console.log(['example', 'calls', 'prompt tokens', 'from cache', 'output', 'live µ$', 'live + cache µ$', 'batch + cache µ$', 'batch ÷ live'].join(' | '));
  for (const row of rows) console.log([row.agent, row.callsPerRun.toFixed(1), whole(row.promptTokensPerRun), `${whole(row.readFromCache * 100)} %`, whole(row.outputTokensPerRun), whole(row.liveMicroUsd), whole(row.liveCachedMicroUsd), whole(row.batchCachedMicroUsd), row.liveMicroUsd === 0 ? '-' : (row.batchCachedMicroUsd / row.liveMicroUsd).toFixed(2)].join(' | '));
  if (args.json) writeFileSync(args.json, `${JSON.stringify({ runs, rows }, null, 1)}\n`);
} finally {
  await Promise.allSettled([lane.stop(), ...workers.map((worker) => worker.stop())]);
  limits.close();
  await memory.close();
  await base.close();
  await Promise.allSettled([stub.stop(), desk.stop(), source.stop()]);
  await stack.stop();
  rmSync(dir, { recursive: true, force: true });
}

/** Waits until the tenant's runs have ended and what they taught is judged; five minutes at most. */
async function rest(tenant: string): Promise<void> {
  for (const endMs = wallMs() + 300_000; ; await pause(100)) {
    const [left] = await withClient(stack.databaseUrl, async (client) => (await client.query<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE tenant_id = $1 AND (finished_at IS NULL OR memory_state = 'due')`, [tenant])).rows);
    if (left?.n === 0) return;
    if (wallMs() > endMs) throw new Error(`${left?.n} runs have not come to rest`);
  }
}
