// A person takes a candidate out of quarantine: "this is right". The gate looks again at its form, its evidence and for secrets, and
// what is known now decides whether it becomes a row, strengthens one or takes one's place. The verdict of then stays as it was; the
// row says who promoted it. Scope may be widened, so that a pattern one user was given becomes the workspace's.
import { candidateSchema } from '../domain/memory.ts';
import { MainstayError } from '../domain/errors.ts';
import { GATE_VERSION, promote } from '../domain/gate.ts';
import { hashOf, subjectOf } from '../domain/gate-identity.ts';
import type { Verdict } from '../domain/gate-input.ts';
import type { MemoryScope } from '../domain/status.ts';
import { eventsOf, fitEvents } from '../domain/transcript.ts';
import { newId } from '../ids.ts';
import type { TenantTx } from '../store/app-store.ts';
import { takeTurn } from '../store/memory-room.ts';
import { applyConsequences, finishedRun, liveMemories, markPromoted, quarantinedCandidate } from '../store/remember-run.ts';
import { chunksOfEvents, rawEventsOf } from './run-transcript.ts';

export interface Promotion {
  /** uuid of the run that proposed it, and its place there. */
  readonly run: string;
  readonly index: number;
  /** `key:…`: for the row and the audit. */
  readonly by: string;
  /** Instead of the scope it was proposed for. */
  readonly scope: MemoryScope | undefined;
}

/** In a transaction of the caller's. Throws `not_found`, and `not_promotable` for what is no quarantined candidate or no longer has its evidence. */
export async function promoteCandidate(tx: TenantTx, { run: id, index, by, scope }: Promotion): Promise<Verdict> {
  const stored = await quarantinedCandidate(tx, id, index);
  const said = await finishedRun(tx, id);
  if (!stored || !said) throw new MainstayError('not_found', 'There is no such candidate.');
  if (stored.decision !== 'QUARANTINE' || stored.promoted) throw new MainstayError('not_promotable', stored.promoted ? 'It was promoted before.' : `Its verdict is ${stored.decision}: only what is in quarantine can be promoted.`);
  const { user, session, agent, finishedMs } = said.run;
  const { policy, room } = await takeTurn(tx, user, agent);
  const parsed = candidateSchema.safeParse(stored.candidate).data;
  const candidate = parsed && scope !== undefined ? { ...parsed, scope } : parsed;
  const live = candidate === undefined ? [] : await liveMemories(tx, {
    user, agent, generation: '', ids: [], subjects: [subjectOf(candidate.subject)], hashes: [hashOf(tx.scope.tenant, { scope: candidate.scope, user, agent }, candidate.type, candidate.statement)],
  });
  const verdict = promote({
    run: { tenant: tx.scope.tenant, id, user, agent, observedMs: finishedMs }, events: fitEvents(eventsOf(rawEventsOf(said), policy.pii)), candidates: [candidate ?? stored.candidate], ids: [newId()],
    live, waiting: [], injected: [], neighbours: [], embedder: '', room,
  }, policy);
  if (verdict.decision === 'REJECT' || verdict.decision === 'QUARANTINE') throw new MainstayError('not_promotable', `The gate refuses it again: ${verdict.stage} ${verdict.reason}.`);
  await applyConsequences(tx, { run: id, user, session, agent, gateVersion: GATE_VERSION, document: said.part && { id: said.part.document, chunks: chunksOfEvents(said.part) } }, [verdict]);
  if (!await markPromoted(tx, { run: id, index }, by, verdict.memory?.id ?? verdict.target)) throw new MainstayError('not_promotable', 'It was promoted before.');
  return verdict;
}
