// `mainstay breakers …`: what the fleet does not call for now, and letting it call again at once: after a spend limit was raised
// nobody else can know. It works on Redis and Postgres themselves.
import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { makeLog } from '../log.ts';
import type { OpenBreaker } from '../limits/read-breakers.ts';
import { withDatabase } from './connection.ts';
import { printJson, printLine, printTable } from './output.ts';

interface Words { readonly json?: boolean }

export function addBreakerCommands(program: Command): void {
  const breakers = program.command('breakers').description('models and tools that the fleet does not call for now');
  breakers.command('list').description('open breakers, why, and when one call will try again').option('--json', 'print JSON')
    .action(async ({ json }: Words) => {
      const open = await withBreakers(({ list }) => list());
      if (json) printJson({ data: open }); else printTable(['breaker', 'why', 'tried again in'], open.map(({ name, why, waitMs }) => [name, why, `${Math.ceil(waitMs / 1_000)} s`]));
    });
  breakers.command('close').description('call it again at once, and wake the runs that wait for it').argument('<breaker>', 'such as model:claude-sonnet-5-5').option('--json', 'print JSON')
    .action(async (name: string, { json }: Words) => {
      if (!(await withBreakers(({ close }) => close(name)))) throw new MainstayError('not_found', `No breaker "${name}" is open: \`mainstay breakers list\` shows those that are.`);
      const woken = name.startsWith('model:') ? await withDatabase(async (pool) => (await import('../store/engine/refused-calls.ts')).wakeRefused(pool, name.slice(6))) : 0;
      if (json) printJson({ breaker: name, woken }); else printLine(`${name} is closed, ${woken} runs go on`);
    });
}

async function withBreakers<T>(work: (breakers: { list(): Promise<OpenBreaker[]>; close(name: string): Promise<boolean> }) => Promise<T>): Promise<T> {
  const [{ closeBreaker, openBreakers }, { openLimitsRedis }, { redisKeys, redisReady }] = await Promise.all([import('../limits/read-breakers.ts'), import('../limits/redis-script.ts'), import('../redis.ts')]);
  const config = configuration();
  const redis = openLimitsRedis(config.REDIS_URL, makeLog('silent', 'cli'));
  const keys = redisKeys(config.REDIS_PREFIX);
  try {
    await redisReady(redis, 2_000);
    return await work({ list: () => openBreakers(redis, keys), close: (name) => closeBreaker(redis, keys, name) });
  } catch (error) {
    throw error instanceof MainstayError ? error : new MainstayError('unavailable', `Redis does not answer: ${messageOf(error)}`, { cause: error });
  } finally {
    redis.disconnect();
  }
}

function configuration(): ReturnType<typeof readConfig> {
  try { return readConfig(); } catch (error) { throw new MainstayError('bad_request', messageOf(error)); }
}
