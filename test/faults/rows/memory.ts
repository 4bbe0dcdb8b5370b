// A crash between the row of a memory and its vector: Milvus takes the bytes and never answers, the processes that index are
// killed, others come. The row is its own outbox: in the end the index holds what Postgres says, and nothing else.
import { openIndex } from '../../../src/memory/milvus.ts';
import { makeLog } from '../../../src/log.ts';
import { readConfig } from '../../../src/config.ts';
import { makeEmbedder } from '../../../src/memory/embedders/make-embedder.ts';
import { assembleBase } from '../../../workers/assemble.ts';
import { check } from '../check.ts';
import type { FleetProcess } from '../fleet-process.ts';
import type { Ground } from '../ground.ts';
import { Proxy } from '../proxy.ts';
import type { Look } from '../../chaos/invariants.ts';
import { indexHolds, memoriesHaveOrigin } from '../../support/check-memory.ts';
import { defineRow, holds } from '../row.ts';
import { startModelStub } from '../../../src/dev/model-stub/server.ts';
import { startTicketDesk } from '../../../examples/ticket-desk.ts';
import { supportAgent } from '../../../examples/support-agent.ts';

const TENANT = 'acme';

export const R45 = defineRow({
  id: 'R45', title: 'crash between the row of a memory and its vector', needs: { milvus: true },
  short: { talks: 2 }, full: { talks: 20 },
  async inject(ground, { talks }) {
    const [stub, desk] = [await startModelStub(), await startTicketDesk()];
    const [host, port] = (ground.env['MILVUS_ADDRESS'] ?? '').split(':');
    if (host !== '127.0.0.1' && host !== 'localhost') throw new Error('this row stands on the local Milvus Lite');
    const milvus = await Proxy.open(Number(port), ground.random);
    const env = { AGENTS_MODULE: 'examples/agents.ts', ANTHROPIC_BASE_URL: stub.url, ANTHROPIC_API_KEY: 'stub', TICKET_DESK_URL: desk.url, MILVUS_ADDRESS: `127.0.0.1:${milvus.port}` };
    const start = (name: string): Promise<FleetProcess> => ground.process({ role: name, root: { script: `workers/${name}.ts`, ready: name === 'maintenance' ? /model|ready|rebuilt|"level"/ : /worker registered/ }, env });
    const base = await assembleBase(readConfig({ ...ground.env, ...env, LOG_LEVEL: 'silent' }), 'harness', [supportAgent(desk.url)]);
    const talk = async (n: number): Promise<void> => {
      const { id } = await base.submit({ tenant: TENANT, door: 'test', agent: 'support-agent', user: 'ada', session: `s${n}`, idempotencyKey: `talk-${n}`, input: { message: `My name is Ada${n} Larsen${n}. Our billing system is Zuora${n}. I prefer to be contacted by e-mail.` } });
      ground.accepts.push({ tenant: TENANT, key: `talk-${n}`, id, atMs: 0 });
      await ground.until('the run has ended', () => ground.run({ id }), ({ status }) => status === 'completed');
    };
    try {
      await Promise.all([start('agent'), start('maintenance')]);
      const first = await start('memory');
      await talk(0);
      await ground.until('the first is indexed', () => owed(ground), (seen) => seen.memories > 0 && seen.owed === 0);
      milvus.blackhole('all');
      for (let n = 1; n <= talks; n++) await talk(n);
      const atKill = await ground.until('rows without a vector', () => owed(ground), (seen) => seen.owed > 0 && seen.due === 0);
      for (const one of ground.processes) await one.kill();
      milvus.pass();
      await Promise.all([start('agent'), start('maintenance'), start('memory')]);
      await ground.until('nothing is owed', () => owed(ground), (seen) => seen.owed === 0 && seen.due === 0);
      await ground.rest();
      const [index, origins] = [await compare(ground), await memoriesHaveOrigin((text, values) => ground.rows(text, values))];
      return {
        landed: { 'rows without a vector at the kill': atKill.owed, 'bytes Milvus never saw': milvus.counts.bytesSwallowed, 'processes killed': first.alive ? 0 : 3 },
        held: [holds('I14 the index holds the live rows of Postgres, and no other', index.wrong.length === 0, index.wrong.slice(0, 3).join('; ') || `${index.evidence} rows`),
          holds('I13 every memory has its run, its verdict and its evidence', origins.wrong.length === 0, origins.wrong.slice(0, 3)), ...(await check(ground))],
      };
    } finally {
      await base.close();
      await milvus.close();
      await stub.stop();
      await desk.stop();
    }
  },
});

interface Owed { readonly memories: number; readonly owed: number; readonly due: number }
async function owed(ground: Ground): Promise<Owed> {
  const [row] = await ground.rows<Owed>(`SELECT (SELECT count(*)::int FROM memories) AS memories, (SELECT count(*)::int FROM memories WHERE indexed_generation IS NULL) + (SELECT count(*)::int FROM run_summaries WHERE indexed_generation IS NULL) AS owed,
    (SELECT count(*)::int FROM agent_runs WHERE memory_state = 'due') AS due`);
  return row ?? { memories: 0, owed: 0, due: 0 };
}

async function compare(ground: Ground): Promise<Look> {
  const config = readConfig(ground.env);
  const log = makeLog('silent', 'harness');
  const embedder = await makeEmbedder(config, log);
  const index = await openIndex({ address: config.MILVUS_ADDRESS, token: undefined, tls: false, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log });
  try {
    return await indexHolds({ rows: (text, values) => ground.rows(text, values), index });
  } finally {
    await index.close();
    await embedder.close();
  }
}
