// A1: what a turn of a model that answers at once costs beyond the bare call. A run takes turn after turn, each one reserved in two
// budgets of its tenant and one of its own, governed, behind the breaker, settled and checkpointed; before each turn the same
// process makes the same call through the SDK alone, so that both meet the same machine. A turn is timed from the bare call's
// end to the next step's first line. The stub is a process of its own.
import Anthropic from '@anthropic-ai/sdk';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { z } from 'zod';
import { pause } from '../src/clock.ts';
import { readConfig } from '../src/config.ts';
import { withClient } from '../src/dev/servers/migrate.ts';
import type { ModelRequest } from '../src/domain/model.ts';
import type { Step } from '../src/domain/machine.ts';
import { openRedis } from '../src/redis.ts';
import { defineMachine } from '../src/run/define-machine.ts';
import { RunWorker } from '../src/run/run-worker.ts';
import { assembleBase, assembleExecution, assembleLimits } from '../workers/assemble.ts';
import type { OwnServers } from './servers.ts';
import { nowMs, percentile } from './tasks.ts';
import type { Metrics } from './work.ts';

const MODEL = 'claude-haiku-5-5';
const WARM_UP = 100;
const REQUEST: ModelRequest = { model: MODEL, system: 'Answer briefly.', messages: [{ role: 'user', content: [{ type: 'text', text: 'Say hello.' }] }], maxTokens: 200 };

interface Turn { readonly bareMs: number; readonly turnMs: number }

export async function measureTurns(servers: OwnServers, turns: number): Promise<Metrics> {
  await servers.freshRedis();
  const databaseUrl = await servers.freshDatabase({ migrated: true });
  const stub = await startStub();
  const client = new Anthropic({ apiKey: 'stub', baseURL: stub.url, maxRetries: 0, logLevel: 'off' });
  const seen: Turn[] = [];
  const machine = turnMachine(client, seen);
  const base = await assembleBase(readConfig({ DATABASE_URL: databaseUrl, REDIS_URL: servers.redisUrl, MILVUS_ADDRESS: '127.0.0.1:1', CONCURRENCY: '50', ARTIFACTS_DIR: servers.dir, ANTHROPIC_API_KEY: 'stub', ANTHROPIC_BASE_URL: stub.url, LOG_LEVEL: 'warn' }), 'agent-worker', [machine]);
  const limits = assembleLimits(base);
  const queue = base.queues.get('agent');
  if (!queue) throw new Error('no pool agent');
  let ends = 0;
  const worker = new RunWorker({
    ...assembleExecution(base, limits, { recall: () => Promise.reject(new Error('no memory here')), cite: () => Promise.resolve(), searchDocuments: () => Promise.reject(new Error('no documents')) }, `agent-${process.pid}`), pool: 'agent', queue, dispatcher: base.dispatcher, redisUrl: servers.redisUrl,
    subscriber: openRedis(servers.redisUrl, 'blocking', base.log), concurrency: 50, leaseMs: base.config.LEASE_MS, drainMs: 1_000, onEnded: () => { ends++; return Promise.resolve(); },
  });
  const run = async (runs: number, each: number): Promise<Turn[]> => {
    seen.length = 0;
    const until = ends + runs;
    await Promise.all(Array.from({ length: runs }, () => base.submit({ tenant: 'bench', door: 'http', agent: machine.name, input: { turns: each } })));
    while (ends < until) await pause(20);
    return [...seen];
  };
  try {
    for (const window of ['total', 'day'] as const) await base.budgets.set({ tenant: 'bench', subject: 'tenant', window, limitMicroUsd: 1_000_000_000, actor: 'bench' });
    await worker.start();
    await run(10, WARM_UP / 10);
    const before = await written(databaseUrl);
    const alone = await run(1, turns);
    const after = await written(databaseUrl);
    const together = await run(50, Math.ceil(turns / 50));
    const last = await written(databaseUrl);
    return {
      ...added('alone', alone), syncsPerTurn: (after.syncs - before.syncs) / alone.length, walBytesPerTurn: (after.bytes - before.bytes) / alone.length,
      ...added('at50', together), at50SyncsPerTurn: (last.syncs - after.syncs) / together.length, at50WalBytesPerTurn: (last.bytes - after.bytes) / together.length,
    };
  } finally {
    await worker.stop();
    limits.close();
    await base.close();
    stub.stop();
  }
}

function turnMachine(client: Anthropic, seen: Turn[]) {
  const open = new Map<string, { readonly bareMs: number; readonly fromMs: number }>();
  return defineMachine({
    name: 'bench-turn', version: 1, input: z.strictObject({ turns: z.number() }), start: 'turn', remembers: false, model: MODEL, budgetMicroUsd: 1_000_000_000n,
    steps: {
      turn: async (step: Step<{ turns: number }, { at: number } | null>) => {
        const enteredMs = nowMs();
        const begun = open.get(step.run.id);
        if (begun) seen.push({ bareMs: begun.bareMs, turnMs: enteredMs - begun.fromMs });
        const at = step.data?.at ?? 0;
        if (at === step.input.turns) { open.delete(step.run.id); return step.done(null); }
        const startMs = nowMs();
        await bareCall(client);
        const fromMs = nowMs();
        open.set(step.run.id, { bareMs: fromMs - startMs, fromMs });
        await step.model(REQUEST);
        return step.next('turn', { at: at + 1 });
      },
    },
  });
}

async function bareCall(client: Anthropic): Promise<void> {
  const stream = await client.messages.create({ model: MODEL, max_tokens: 200, stream: true, system: 'Answer briefly.', messages: [{ role: 'user', content: 'Say hello.' }] });
  for await (const event of stream) void event;
}

function added(name: string, turns: readonly Turn[]): Metrics {
  const [bare, turn] = [turns.map(({ bareMs }) => bareMs), turns.map(({ turnMs }) => turnMs)];
  const of = (share: number): [number, number] => [percentile(bare, share), percentile(turn, share)];
  const [[bare50, turn50], [bare99, turn99]] = [of(0.5), of(0.99)];
  return { [`${name}AddedP50Ms`]: turn50 - bare50, [`${name}AddedP99Ms`]: turn99 - bare99, [`${name}BareP50Ms`]: bare50, [`${name}BareP99Ms`]: bare99, [`${name}Turns`]: turns.length };
}

/** Bytes of log and how often it was made durable; the server tells its counters with a delay. */
async function written(url: string): Promise<{ syncs: number; bytes: number }> {
  await pause(1_500);
  return withClient(url, async (client) => {
    const { rows: [wal] } = await client.query<{ bytes: number }>(`SELECT wal_bytes::float8 AS bytes FROM pg_stat_wal`);
    const { rows: [io] } = await client.query<{ syncs: number }>(Number((await client.query<{ v: string }>(`SELECT current_setting('server_version_num') AS v`)).rows[0]?.v) >= 180_000
      ? `SELECT sum(fsyncs)::float8 AS syncs FROM pg_stat_io WHERE object = 'wal'` : `SELECT wal_sync::float8 AS syncs FROM pg_stat_wal`);
    return { bytes: wal?.bytes ?? NaN, syncs: io?.syncs ?? NaN };
  });
}

/** It says its address in its first line. */
async function startStub(): Promise<{ url: string; stop(): void }> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, '../src/dev/model-stub/main.ts')], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { url: line.toString().trim(), stop: () => { child.kill(); } };
}
