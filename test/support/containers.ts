// Redis and PostgreSQL (and on request Milvus) by testcontainers, where a container engine answers. One that answers but
// cannot bring the images is said, and the local servers are used: the suite is the same on both.
//   MAINSTAY_TEST_SERVERS=local|containers   never / insist; default: containers where an engine answers
//   MAINSTAY_TEST_MILVUS=container           Milvus' own image instead of Milvus Lite
//   MAINSTAY_TEST_{REDIS,POSTGRES,MILVUS}_IMAGE
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { homedir } from 'node:os';
import { messageOf } from '../../src/domain/errors.ts';

export interface Containers {
  /** What the servers of the run are, in words. */
  words: string;
  given: { DATABASE_URL?: string; REDIS_URL?: string; MILVUS_ADDRESS?: string };
  end: () => Promise<void>;
}

const none: Containers = { words: 'local Redis, local PostgreSQL, local Milvus Lite', given: {}, end: () => Promise.resolve() };
const image = (name: string, standard: string): string => process.env[`MAINSTAY_TEST_${name}_IMAGE`] ?? standard;

export async function startContainers(say: (line: string) => void): Promise<Containers> {
  const wish = process.env['MAINSTAY_TEST_SERVERS'];
  if (wish === 'local') return none;
  if (!(await engineAnswers())) {
    if (wish === 'containers') throw new Error('MAINSTAY_TEST_SERVERS=containers, but no container engine answers');
    return none;
  }
  try {
    return await bringUp(process.env['MAINSTAY_TEST_MILVUS'] === 'container');
  } catch (error) {
    if (wish === 'containers') throw error;
    say(`a container engine answers, but: ${messageOf(error).split('\n')[0]}; using local servers`);
    return none;
  }
}

async function bringUp(withMilvus: boolean): Promise<Containers> {
  const { GenericContainer, Wait } = await import('testcontainers');
  const { RedisContainer } = await import('@testcontainers/redis');
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
  const starting = [
    new RedisContainer(image('REDIS', 'docker.io/library/redis:7-bookworm'))
      .withCommand(['redis-server', '--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction']).start(),
    // its default wait needs the engine's periodic health checks, which podman without systemd does not run
    new PostgreSqlContainer(image('POSTGRES', 'docker.io/library/postgres:18-bookworm'))
      .withCommand(['postgres', '-c', 'fsync=off', '-c', 'synchronous_commit=off', '-c', 'full_page_writes=off', '-c', 'max_connections=200'])
      .withWaitStrategy(Wait.forAll([Wait.forLogMessage(/database system is ready to accept connections/, 2), Wait.forListeningPorts()])).start(),
    ...(withMilvus ? [new GenericContainer(image('MILVUS', 'docker.io/milvusdb/milvus:v2.6.16'))
      .withCommand(['milvus', 'run', 'standalone'])
      .withEnvironment({ ETCD_USE_EMBED: 'true', ETCD_DATA_DIR: '/var/lib/milvus/etcd', COMMON_STORAGETYPE: 'local', DEPLOY_MODE: 'STANDALONE' })
      .withExposedPorts(19530, 9091).withWaitStrategy(Wait.forHttp('/healthz', 9091)).withStartupTimeout(180_000).start()] : []),
  ] as const;
  const settled = await Promise.allSettled(starting);
  const up = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const end = async (): Promise<void> => { await Promise.all(up.map((one) => one.stop())); };
  const failed = settled.find((one) => one.status === 'rejected');
  if (failed) { await end(); throw failed.reason; }
  const [redis, postgres] = [await starting[0], await starting[1]];
  const milvus = starting[2] ? await starting[2] : undefined;
  return {
    words: `testcontainers Redis (${image('REDIS', 'redis:7-bookworm')}) and PostgreSQL (${image('POSTGRES', 'postgres:18-bookworm')}), ${milvus ? 'testcontainers Milvus' : 'local Milvus Lite'}`,
    given: {
      REDIS_URL: redis.getConnectionUrl(),
      DATABASE_URL: postgres.getConnectionUri().replace(/^postgres:/, 'postgresql:'),
      ...(milvus ? { MILVUS_ADDRESS: `${milvus.getHost()}:${milvus.getMappedPort(19530)}` } : {}),
    },
    end,
  };
}

/** Asks the places testcontainers looks at, so that its 1 s of loading is spent only where there is an engine. */
async function engineAnswers(): Promise<boolean> {
  const host = process.env['DOCKER_HOST'];
  if (host?.startsWith('tcp://')) return ping({ host: new URL(host).hostname, port: new URL(host).port || '2375' });
  const sockets = host?.startsWith('unix://')
    ? [host.slice('unix://'.length)]
    : ['/var/run/docker.sock', `${process.env['XDG_RUNTIME_DIR'] ?? '/run/user/0'}/docker.sock`, `${homedir()}/.docker/run/docker.sock`];
  for (const socketPath of sockets) if (existsSync(socketPath) && await ping({ socketPath })) return true;
  return false;
}

const ping = (where: { socketPath: string } | { host: string; port: string }): Promise<boolean> =>
  new Promise((resolve) => {
    const asked = request({ ...where, path: '/_ping', timeout: 1_500 }, (answer) => { answer.resume(); resolve(answer.statusCode === 200); });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(false));
    asked.end();
  });
