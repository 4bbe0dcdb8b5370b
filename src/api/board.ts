// The Bull Board behind a login: runs as Postgres has them (board-runs.ts), and the raw queues. A wake-up names no run, but while
// it serves a long one its job shows which: here under the run's public id, with its status and a link. What can be pressed is
// an allow-list: a run may be retried and cancelled, a wake-up retried, added, cleaned or removed freely, an intake job only
// retried and promoted; nobody can pause the fleet or drop a job that no run stands for.
import { createHash, timingSafeEqual } from 'node:crypto';
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import basicAuth from '@fastify/basic-auth';
import type { FastifyRequest } from 'fastify';
import { publicId } from '../ids.ts';
import type { ApiApp, ApiDeps, BoardOptions } from './api-deps.ts';
import { linkTo, RunsAdapter, type BoardRunsDeps } from './board-runs.ts';

export const BOARD_PATH = '/board';

/** The page names a font of another host, which is not fetched; its one inline style is its own. */
const CSP = "default-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'";

const OF_ANY_QUEUE = ['retry/:queueStatus', 'promote', ':jobId/retry', ':jobId/promote', 'resume'];
const OF_WAKE_UPS = ['add', 'clean/:queueStatus', 'empty', ':jobId/clean'];
const OF_RUNS = [':jobId/retry', ':jobId/clean'];

export async function registerBoard(app: ApiApp, { queues, user, password }: BoardOptions, deps: BoardRunsDeps & Pick<ApiDeps, 'pools'>): Promise<void> {
  const runs = deps.pools.map((pool) => new RunsAdapter(deps, pool, `board:${user}`));
  const board = new FastifyAdapter();
  board.setBasePath(BOARD_PATH);
  // the adapter brings types of a patch version of its own; at run time the two are the same
  const serverAdapter = board as unknown as Parameters<typeof createBullBoard>[0]['serverAdapter'];
  createBullBoard({ queues: [...runs, ...queues.map(shownQueue)], serverAdapter, options: { uiConfig: { boardTitle: 'Mainstay', hideDocsLink: true, hideRedisDetails: true } } });
  await app.register(async (inner) => {
    await inner.register(basicAuth, {
      authenticate: { realm: 'mainstay board' },
      validate: (givenUser, givenPassword, _request, _reply, done) => {
        const matches = [same(givenUser, user), same(givenPassword, password)]; // both, always
        done(matches.every(Boolean) ? undefined : new Error('The login is not valid.'));
      },
    });
    inner.addHook('onRequest', (_request, reply, done) => { void reply.header('content-security-policy', CSP); done(); });
    inner.addHook('onRequest', inner.basicAuth);
    inner.addHook('onRequest', (request, _reply, done) => done(refusal(request)));
    await inner.register(board.registerPlugin(), { prefix: BOARD_PATH });
  });
}

const same = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));
const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Why a press is refused; undefined: it is harmless. A browser sends its login along from any page, hence the second look. */
function refusal(request: FastifyRequest): Error | undefined {
  if (request.method === 'GET' || request.method === 'HEAD') return undefined;
  const said = (message: string): Error => Object.assign(new Error(message), { statusCode: 403 });
  if (request.headers['sec-fetch-site'] === 'cross-site') return said('Only the board itself may ask for this.');
  const { queueName } = request.params as { queueName?: string };
  const action = (request.routeOptions.url ?? '').split('/:queueName/')[1] ?? '';
  if (queueName?.startsWith('runs-')) return OF_RUNS.includes(action) ? undefined : said('The board retries and cancels runs one at a time; for many there is POST /v1/runs/bulk, with a dry run.');
  const allowed = queueName?.startsWith('wake-') ? [...OF_ANY_QUEUE, ...OF_WAKE_UPS] : OF_ANY_QUEUE;
  return queueName !== undefined && allowed.includes(action) ? undefined : said('The board does not do this: it could stop the fleet or lose a job that no run stands for yet.');
}

function shownQueue(queue: BoardOptions['queues'][number]): BullMQAdapter {
  const adapter = new BullMQAdapter(queue, {
    externalJobUrl: (job) => {
      const run = runIn(job.data) ?? submittedIn(job.returnvalue);
      return run === undefined ? { displayText: 'runs', href: '/v1/runs' } : { displayText: run, href: linkTo(run) };
    },
  });
  adapter.setFormatter('data', (data: unknown) => shownData(data));
  adapter.setFormatter('name', (job: unknown) => {
    const { name, data } = job as { name: string; data: unknown };
    const run = runIn(data);
    const { status } = (data ?? {}) as { status?: unknown };
    return run === undefined ? name : `${run} ${typeof status === 'string' ? status : name}`;
  });
  return adapter;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The public id of the run that a wake-up's data name. */
function runIn(data: unknown): string | undefined {
  const run: unknown = typeof data === 'object' && data !== null ? (data as { run?: unknown }).run : undefined;
  return typeof run === 'string' && UUID.test(run) ? publicId('run', run) : undefined;
}

/** The public id of the run that an intake job became. */
function submittedIn(returned: unknown): string | undefined {
  const id: unknown = typeof returned === 'object' && returned !== null ? (returned as { runId?: unknown }).runId : undefined;
  return typeof id === 'string' && /^run_[0-9a-f]{32}$/.test(id) ? id : undefined;
}

/** Without `run`: data that are sent back by the page name no run, and make a plain wake-up. */
function shownData(data: unknown): unknown {
  const runId = runIn(data);
  if (runId === undefined) return data;
  const { run: _run, ...rest } = data as Record<string, unknown>;
  return { runId, link: linkTo(runId), ...rest };
}
