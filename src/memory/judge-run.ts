// Lets the gate judge what a run proposed. Neighbours are embedded and searched first, for that may be slow; then one
// transaction proves that this worker still holds the remembering run, takes its turn among the writers of these owners, reads
// what is live now, and writes every verdict with what follows from it. Judged before: nothing is written twice.
import { candidateSchema, summaryText, type Candidate, type Extraction } from '../domain/memory.ts';
import type { Embedder } from '../domain/embedder.ts';
import { codeOf } from '../domain/errors.ts';
import { cosine, GATE_VERSION, judge } from '../domain/gate.ts';
import { basisOf } from '../domain/gate-basis.ts';
import { hashOf, subjectOf } from '../domain/gate-identity.ts';
import type { Skip } from '../domain/gate-intake.ts';
import type { GateInput, Neighbour, Verdict, Waiting } from '../domain/gate-input.ts';
import { isSupported } from '../domain/support.ts';
import type { TranscriptEvent } from '../domain/transcript.ts';
import type { VectorIndex } from '../domain/vector-index.ts';
import { newId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { AppStore, TenantTx } from '../store/app-store.ts';
import { holdDocument } from '../store/document-notes.ts';
import { holdRun, type HeldRun } from '../store/hold-run.ts';
import { takeTurn } from '../store/memory-room.ts';
import { applyVerdicts, injectedInto, insertSummary, isJudged, liveMemories, markRemembered, markSupported, shownTo, unindexedStatements, waitingCandidates, type FinishedRun, type Judged, type ReadFrom, type StoredCandidate } from '../store/remember-run.ts';

export interface JudgeDeps {
  readonly store: AppStore;
  readonly index: VectorIndex;
  readonly embedder: Embedder;
  readonly log: Log;
}

export interface ToJudge {
  readonly tenant: string;
  /** The finished run. */
  readonly run: Pick<FinishedRun, 'id' | 'user' | 'session' | 'agent' | 'finishedMs'>;
  readonly events: readonly TranscriptEvent[];
  readonly extraction: Partial<Pick<Extraction, 'summary'>> & Pick<Extraction, 'candidates'>;
  /** Where the run has read a document: its uuid, and the chunk of each event. Nothing is judged of one that is gone, and the run has no summary. */
  readonly document?: ReadFrom | undefined;
  /** Version of the tenant's settings that the events were read under; unset: the newest. */
  readonly settings?: number | undefined;
  /** Ids of the memories the model was shown as m0, m1, … */
  readonly known?: readonly string[] | undefined;
  /** Why no model was asked. */
  readonly skipped?: Skip | undefined;
}

/** What the deciding transaction did; `owed`: memories whose vectors are to be brought now. */
export interface Judgement { readonly verdicts: readonly Verdict[]; readonly owed: readonly string[]; readonly support: Support }
/** Of the memories that were shown to the run, those its answer bears out. */
export interface Support { readonly shown: number; readonly supported: number }

/** Near memories asked of the index for one candidate. */
const NEAR = 10;
/** Live rows that the index does not hold yet, compared here. */
const FRESH = 200;
const SEARCH_MS = 5_000;
/** Near ones the gate is given, and kept with its verdicts, for one candidate. */
const NEAREST = 20;

/** Throws `fenced` when another worker holds the remembering run, and whatever the stores throw. */
export async function judgeRun(deps: JudgeDeps, held: HeldRun, { tenant, run, events, extraction, settings, document, known, skipped }: ToJudge): Promise<Judgement> {
  const candidates = extraction.candidates.map((given) => candidateSchema.safeParse(given).data);
  const ids = candidates.map(() => newId());
  const hints = known && candidates.map((one) => known[Number(/^m(\d{1,2})$/.exec(one?.same_as ?? '')?.[1])] ?? null);
  const neighbours = await nearMemories(deps, tenant, run, candidates, ids);
  const judged: Judged = { run: run.id, user: run.user, session: run.session, agent: run.agent, gateVersion: GATE_VERSION, document };
  return deps.store.withTenant({ tenant }, async (tx) => {
    await holdRun(tx, held);
    const { policy, policyName, room } = await takeTurn(tx, run.user, run.agent, settings);
    if (await isJudged(tx, run.id, GATE_VERSION) || (document && !await holdDocument(tx, document.id))) return { verdicts: [], owed: [], support: { shown: 0, supported: 0 } };
    const injected = await injectedInto(tx, run.id);
    const live = await liveMemories(tx, {
      user: run.user, agent: run.agent, generation: deps.index.generation, hashes: candidates.flatMap((one) => (one ? [ownHash(tenant, run, one)] : [])),
      subjects: candidates.flatMap((one) => (one ? [subjectOf(one.subject)] : [])), ids: [...injected, ...(hints ?? []).filter((id) => id !== null), ...neighbours.flatMap((list) => (list ?? []).map(({ id }) => id))],
    });
    const waiting = document ? [] : readWaiting(await waitingCandidates(tx, run.user, run.agent, run.id));
    const input: GateInput = {
      run: { tenant, id: run.id, user: run.user, agent: run.agent, observedMs: run.finishedMs }, events, candidates: extraction.candidates, ids,
      live, waiting, injected, neighbours, hints, embedder: deps.embedder.fingerprint, room,
    };
    const verdicts = judge(input, policy);
    const owed = await applyVerdicts(tx, judged, verdicts, basisOf(input, policy, policyName));
    if (extraction.summary) await insertSummary(tx, judged, extraction.summary, summaryText(extraction.summary));
    await markRemembered(tx, run.id, 'done', skipped);
    return { verdicts, owed, support: await noteSupport(tx, run.id, events) };
  });
}

/** Stored candidates that still read as candidates. */
export const readWaiting = (stored: readonly StoredCandidate[]): Waiting[] =>
  stored.flatMap((one) => { const { data } = candidateSchema.safeParse(one.candidate); return data ? [{ ...one, candidate: data }] : []; });

/** No valid summary, or no run that may teach: the run says so, and nothing of it enters memory. */
export async function endUnjudged({ store }: Pick<JudgeDeps, 'store'>, held: HeldRun, tenant: string, run: string, events: readonly TranscriptEvent[], state: 'done' | 'summary_missing', skipped?: Skip): Promise<Support> {
  return store.withTenant({ tenant }, async (tx) => {
    await holdRun(tx, held);
    await markRemembered(tx, run, state, skipped);
    return noteSupport(tx, run, events);
  });
}

/** The answer is what the agent said last. */
async function noteSupport(tx: TenantTx, run: string, events: readonly TranscriptEvent[]): Promise<Support> {
  const shown = await shownTo(tx, run);
  if (shown.length === 0) return { shown: 0, supported: 0 };
  const answer = events.findLast((event) => event.role === 'agent')?.text ?? '';
  const question = events.filter((event) => event.role === 'user').map((event) => event.text).join('\n');
  const supported = shown.filter((memory) => isSupported(memory, answer, question)).map(({ id }) => id);
  await markSupported(tx, run, supported);
  return { shown: shown.length, supported: supported.length };
}

const ownHash = (tenant: string, run: ToJudge['run'], { scope, type, statement }: Candidate): string => hashOf(tenant, { scope, user: run.user, agent: run.agent }, type, statement);

const nearest = (all: readonly Neighbour[]): Neighbour[] => [...all].sort((a, b) => b.cosine - a.cosine).slice(0, NEAREST).map(({ id, cosine: of }) => ({ id, cosine: Math.round(of * 10_000) / 10_000 }));

/** By candidate: what the index, the rows it does not hold yet and the candidates before it hold near it. Without an embedder or an
 *  index the gate goes on by words, hashes and slots. */
async function nearMemories(deps: JudgeDeps, tenant: string, run: ToJudge['run'], candidates: readonly (Candidate | undefined)[], ids: readonly string[]): Promise<GateInput['neighbours']> {
  const said = candidates.flatMap((one, at) => (one ? [{ at, one }] : []));
  if (said.length === 0) return [];
  try {
    const fresh = await deps.store.withTenant({ tenant, user: run.user }, (tx) => unindexedStatements(tx, run.user, run.agent, deps.index.generation, FRESH));
    const embedded = await deps.embedder.embed([...said.map(({ one }) => one.statement), ...fresh.map((row) => row.statement)], 'document');
    const own = said.map(({ at, one }, place) => ({ at, one, id: ids[at] ?? '', vector: embedded[place] ?? [] }));
    const freshVectors = fresh.map(({ id }, place) => ({ id, vector: embedded[said.length + place] ?? [] }));
    const lists = await deps.index.nearest('memories', { tenant, user: run.user ?? undefined, agent: run.agent, queries: own.map(({ one: { scope, type }, vector }) => ({ vector, scope, type })), limit: NEAR, timeoutMs: SEARCH_MS });
    const found = own.map(({ at, vector }, place): Neighbour[] => {
      const compared = [...freshVectors, ...own.filter((other) => other.at < at)];
      return nearest([...(lists[place] ?? []).map(({ id, score }) => ({ id, cosine: score })), ...compared.map((other) => ({ id: other.id, cosine: cosine(vector, other.vector) }))]);
    });
    const byCandidate = new Map(own.map(({ at }, place) => [at, found[place]]));
    return candidates.map((_, at) => byCandidate.get(at));
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'index_unavailable' && code !== 'embedder_failed') throw error;
    deps.log.warn({ code }, 'the gate judges without neighbours by meaning');
    return [];
  }
}
