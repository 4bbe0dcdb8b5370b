// Asks every question as a run would: the same search, fusion and ranking, under the same row-level security, without the trace.
// Beside it stands the list of words alone (BM25 of the index), which is what a model has to beat.
import { pause } from '../../src/clock.ts';
import { rankFound, searchIndex, type FindDeps, type FindRequest, type Searched } from '../../src/memory/find-memories.ts';
import { DEPTHS, metricsOf, perCategory, type Metrics, type Ranking } from './metrics.ts';
import type { RecallSet } from './format.ts';
import { AGENT, TENANT, userOf, type Turns } from './ingest.ts';

export interface Answers {
  /** Those with evidence. */
  readonly questions: number;
  /** Questions without evidence: nothing is right, so nothing is counted. */
  readonly skipped: number;
  /** Questions the index did not answer in time, also when asked again. */
  readonly degraded: number;
  readonly metrics: Metrics;
  readonly perCategory: Record<string, Metrics>;
  /** The same of the list of words alone. */
  readonly lexical: Metrics;
}

/** A busy machine may be slow once; what is measured is what is found. */
const TRIES = 3;

export async function ask(set: RecallSet, deps: FindDeps, turns: Turns, say: (line: string) => void): Promise<Answers> {
  const counted = set.questions.filter(({ evidence }) => evidence.length > 0);
  const [ours, words]: [Ranking[], Ranking[]] = [[], []];
  let degraded = 0;
  for (const [at, { conversation, category, question, evidence }] of counted.entries()) {
    const request: FindRequest = { tenant: TENANT, user: userOf({ id: conversation }), agent: AGENT, query: question };
    const searched = await search(deps, request);
    if (searched.degraded) degraded++;
    const { scored } = await deps.store.withStatements({ tenant: TENANT, user: request.user ?? null }, (tx) => rankFound(deps, tx, request, searched));
    ours.push({ category, evidence, ranked: turnsOf(scored.map(({ row }) => row.id), turns) });
    words.push({ category, evidence, ranked: turnsOf((searched.lists?.sparse ?? []).map(({ id }) => id), turns) });
    say(`asked ${at + 1} of ${counted.length}`);
  }
  return { questions: counted.length, skipped: set.questions.length - counted.length, degraded, metrics: metricsOf(ours), perCategory: perCategory(ours), lexical: metricsOf(words) };
}

async function search(deps: FindDeps, request: FindRequest): Promise<Searched> {
  for (let tries = 1; ; tries++) {
    const searched = await searchIndex(deps, request);
    if (!searched.degraded || tries === TRIES) return searched;
    await pause(500);
  }
}

/** Turns in the order their first piece was found; as many as are looked at. */
function turnsOf(ids: readonly string[], turns: Turns): string[] {
  return [...new Set(ids.flatMap((id) => turns.get(id) ?? []))].slice(0, DEPTHS.at(-1));
}
