// What earlier runs came to, as an agent may be told. A summary is a model's text about a conversation that tools took part in, and no gate
// has looked at it: a line that reads like an order, hides something or holds a link is left out, by the rule that keeps such words out of
// memory. Whoever asks for summaries asks by themselves: none enters a prompt unasked.
import { wantsToSteer } from '../domain/gate-screening.ts';
import type { RecalledSummary } from '../domain/machine.ts';
import type { FindSummaries } from './find-summaries.ts';

/** Summaries of one recall at most, and characters told of each: three cost about what a block of memories does. */
const MOST = 10;
const CHARS = 1_200;

export interface AskSummaries {
  readonly tenant: string;
  readonly user: string | undefined;
  readonly agent: string;
  /** uuid: its own summary is none of an earlier run. */
  readonly run: string;
  readonly query: string;
}

export interface EarlierRuns { readonly summaries: readonly RecalledSummary[]; /** The index should have answered and did not. */ readonly degraded: boolean }

/** Best first. Throws only what Postgres throws. */
export async function recallSummaries(find: FindSummaries, { tenant, user, agent, run, query }: AskSummaries, most: number): Promise<EarlierRuns> {
  const scope = user === undefined ? { agent } : { user };
  const wanted = Math.min(MOST, most);
  const { summaries, degraded } = await find({ tenant, scope, query, limit: wanted + 1 });
  const told = summaries.filter(({ id }) => id !== run).map(({ id, agent: of, text, createdAt, score }) => ({ run: id, agent: of, text: tellable(text), at: createdAt.toISOString(), score }));
  return { summaries: told.filter(({ text }) => text !== '').slice(0, wanted), degraded };
}

/** Its lines that a memory might say too. */
const tellable = (text: string): string => text.split('\n').filter((line) => !wantsToSteer(line)).join('\n').slice(0, CHARS).toWellFormed();
