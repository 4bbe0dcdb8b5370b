// Two parties who must never meet (two tenants, or two users of one): each leaves a canary wherever it can, then everything is
// asked through every door with the other's key and searched for the stranger's canary. Endpoints come from the OpenAPI
// document itself, so that one added later is asked too.
import { Redis } from 'ioredis';
import { monoMs, pause } from '../../src/clock.ts';
import { newId, publicId } from '../../src/ids.ts';
import type { RealFleet } from './real-fleet.ts';

export interface Party {
  readonly tenant: string;
  readonly user: string;
  readonly session: string;
  readonly key: string;
  /** A word nobody else says. */
  readonly canary: string;
}

/** What a party made: ids of its own, by the name of the path's parameter. */
export type Ids = Readonly<Record<string, string>>;

/** A conversation that leaves the canary in run, steps, tools, messages, memories, summary and trace, and a question that one of
 *  its runs would have asked; their ids. */
export async function converse(fleet: RealFleet, party: Party): Promise<Ids> {
  const client = fleet.client(party.key);
  const say = async (message: string) => {
    const run = await client.runs.create({ agent: 'support-agent', input: { message }, user: party.user, session: party.session, metadata: { note: party.canary } });
    await client.runs.wait(run.id, { timeoutMs: 30_000 });
    await until(`memory of ${run.id}`, async () => (await client.runs.memories(run.id)).memoryState !== 'due');
    return run.id;
  };
  await say(`My name is ${party.canary}. Our billing system is ${party.canary}. The export fails with an error.`);
  await until('the index', async () => (await client.memories.list({ user: party.user })).data.every(({ indexed }) => indexed));
  const run = await say('Which billing system do we have?');
  const [memory] = (await client.memories.list({ user: party.user })).data;
  const document = await client.documents.add({ title: `About ${party.canary}`, text: `What ${party.canary} wrote down.`, user: party.user });
  await until('its passage', async () => (await client.documents.search({ q: party.canary, user: party.user })).data.length > 0); // the first search of an API loads the model
  const asked = newId();
  await fleet.rows(`INSERT INTO approvals (tenant_id, id, run_id, user_id, step_seq, path, args_hash, subject, request) VALUES ($1, $2, $3, $4, 9, '0', '', 'tell', to_json($5::text))`, [party.tenant, asked, run.slice(4), party.user, party.canary]);
  return { run, memory: memory?.id ?? '', approval: publicId('approval', asked), session: party.session, user: party.user, document: document.id };
}

export interface Asked { readonly what: string; readonly status: number; readonly text: string }

/** Every GET of the API with this key: paths filled from `ids`; each list also narrowed to the named user and session. */
export async function askEverything(fleet: RealFleet, key: string, ids: Ids): Promise<Asked[]> {
  const document = await (await fetch(`${fleet.url}/openapi.json`)).json() as { paths: Record<string, Record<string, { parameters?: { name: string; in: string }[] }>> };
  const asked: Asked[] = [];
  for (const [path, methods] of Object.entries(document.paths)) {
    const operation = methods['get'];
    if (!operation) continue;
    const filled = path.replace(/\{(\w+)\}/g, (_whole, name: string) => encodeURIComponent(ids[name] ?? `unfilled-${name}`));
    const names = (operation.parameters ?? []).filter((one) => one.in === 'query').map(({ name }) => name);
    const wanted = new URLSearchParams([...(names.includes('q') ? [['q', 'wrote down']] : []), ...['user', 'session', 'run'].filter((name) => names.includes(name) && ids[name] !== undefined).map((name) => [name, ids[name] ?? ''])] as [string, string][]);
    for (const query of new Set(['', wanted.size > 0 ? `?${wanted.toString()}` : ''])) {
      const answer = await fetch(`${fleet.url}${filled}${query}`, { headers: { authorization: `Bearer ${key}` }, signal: AbortSignal.timeout(10_000) });
      asked.push({ what: `GET ${path}${query === '' ? '' : `?${[...wanted.keys()].join('&')}`}`, status: answer.status, text: await answer.text() });
    }
  }
  return asked;
}

/** Every way to act on a run or a question, with what it takes. */
export const ACTS_ON_A_RUN: readonly [path: string, body?: unknown][] = [
  ['/cancel'], ['/pause'], ['/resume'], ['/retry'], ['/fork', { fromStep: 0 }], ['/signals', { name: 'go' }], ['/memories/0/promote', {}], ['/feedback', { resolved: true }], ['/outcomes', { stepSeq: 1, path: '0', outcome: 'succeeded' }],
];

/** Every key of this prefix with its whole value as text. */
export async function redisDump(url: string, prefix: string): Promise<{ key: string; value: string }[]> {
  const redis = new Redis(url);
  try {
    const keys: string[] = [];
    for (let cursor = '0'; ;) {
      const [next, found] = await redis.scan(cursor, 'MATCH', `*${prefix}*`, 'COUNT', '1000');
      keys.push(...found);
      if ((cursor = next) === '0') break;
    }
    return await Promise.all([...new Set(keys)].map(async (key) => ({ key, value: JSON.stringify(await valueOf(redis, key)) })));
  } finally {
    redis.disconnect();
  }
}

async function valueOf(redis: Redis, key: string): Promise<unknown> {
  switch (await redis.type(key)) {
    case 'string': return redis.get(key);
    case 'hash': return redis.hgetall(key);
    case 'list': return redis.lrange(key, 0, -1);
    case 'set': return redis.smembers(key);
    case 'zset': return redis.zrange(key, '0', '-1', 'WITHSCORES');
    case 'stream': return redis.xrange(key, '-', '+');
    default: return null;
  }
}

export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const endMs = monoMs() + 30_000; !(await holds()); await pause(50)) if (monoMs() > endMs) throw new Error(`${what}: still not so after 30 s`);
}
