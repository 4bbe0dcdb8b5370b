// Asks every question as a run would: the same search, fusion and ranking, under the same row-level security, without the trace and
// without the limits of time a run has: what is measured is what is found, and a busy machine must find the same. Several questions
// are under way at once; none knows of another. Beside it stands the list of words alone (BM25 of the index), which is what a model has to beat.
import { pause } from '../../src/clock.ts';
import { rankFound, searchIndex, type FindDeps, type FindRequest, type Searched } from '../../src/memory/find-memories.ts';
import { searchable } from '../../src/memory/search-lists.ts';
import { embedAhead } from './embed-ahead.ts';
import { DEPTHS, metricsOf, perCategory, type Metrics, type Ranking } from './metrics.ts';
import type { Question, RecallSet } from './format.ts';
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

/** An index that fails once may answer the next time. */
const TRIES = 3;
/** For an answer of the index. */
const SEARCH_MS = 60_000;
/** Questions under way: what embeds, searches, reads and ranks takes turns. */
export const LANES = 4;

export async function ask(set: RecallSet, deps: FindDeps, turns: Turns, say: (line: string) => void): Promise<Answers> {
  const counted = set.questions.filter(({ evidence }) => evidence.length > 0);
  const answers = await answersTo(counted, deps, turns, say);
  const [ours, words] = [answers.map((one) => one.ours), answers.map((one) => one.words)];
  return {
    questions: counted.length, skipped: set.questions.length - counted.length, degraded: answers.filter((one) => one.degraded).length,
    metrics: metricsOf(ours), perCategory: perCategory(ours), lexical: metricsOf(words),
  };
}

export interface Answer { readonly ours: Ranking; readonly words: Ranking; readonly degraded: boolean }

/** In the order of the questions; the same however many are under way. */
export async function answersTo(questions: readonly Question[], deps: FindDeps, turns: Turns, say: (line: string) => void, lanes = LANES): Promise<Answer[]> {
  const vectorOf = embedAhead(deps.embedder, questions.map(({ question }) => searchable(question)), 'query');
  const answers: Answer[] = [];
  let asked = 0;
  await inLanes(lanes, questions, async (question, at) => {
    answers[at] = await answer(deps, question, await vectorOf(searchable(question.question)), turns);
    say(`asked ${++asked} of ${questions.length}`);
  });
  return answers;
}

async function inLanes<T>(lanes: number, items: readonly T[], work: (item: T, at: number) => Promise<void>): Promise<void> {
  const left = items.entries(); // one iterator for all: each takes the next
  await Promise.all(Array.from({ length: lanes }, async () => { for (const [at, item] of left) await work(item, at); }));
}

async function answer(deps: FindDeps, { conversation, category, question, evidence }: Question, vector: number[], turns: Turns): Promise<Answer> {
  const request: FindRequest = { tenant: TENANT, user: userOf({ id: conversation }), agent: AGENT, query: question };
  const patient: FindDeps = {
    ...deps, embedder: { ...deps.embedder, embed: () => Promise.resolve([vector]) },
    index: { ...deps.index, search: (collection, search) => deps.index.search(collection, { ...search, timeoutMs: SEARCH_MS }) },
  };
  const searched = await search(patient, request);
  const { scored } = await deps.store.withStatements({ tenant: TENANT, user: request.user ?? null }, (tx) => rankFound(patient, tx, request, searched));
  return {
    ours: { category, evidence, ranked: turnsOf(scored.map(({ row }) => row.id), turns) },
    words: { category, evidence, ranked: turnsOf((searched.lists?.sparse ?? []).map(({ id }) => id), turns) },
    degraded: searched.degraded,
  };
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
