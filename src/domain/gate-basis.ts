// What a run's verdicts were decided on, as it is kept beside them: enough to judge again, without a second copy of anybody's words.
// Memories stand here by id, events by their run; a digest of everything tells whether what is found later is what was judged.
import { createHash } from 'node:crypto';
import { storableCandidate } from './gate.ts';
import type { GateInput, LiveMemory, Neighbour } from './gate-input.ts';
import type { Room } from './gate-room.ts';
import { POLICY, type GatePolicy } from './gate-policy.ts';
import type { PiiRules } from './pii.ts';
import type { SourceRole } from './status.ts';

export interface KeptInputs {
  readonly ids: readonly string[];
  /** Live memories that were given, with the source each had then. */
  readonly live: readonly { readonly id: string; readonly source: SourceRole; readonly confidence: number }[];
  readonly waiting: readonly { readonly run: string; readonly index: number }[];
  readonly injected: readonly string[];
  readonly neighbours: readonly (readonly Neighbour[] | null)[];
  readonly embedder: string;
  readonly hints?: GateInput['hints'];
  readonly room?: Room | undefined;
  /** What personal data was taken out of events and candidates by; unset: by what was the rule for everybody. */
  readonly pii?: PiiRules | undefined;
}

export interface Basis { readonly policy: string; readonly inputsHash: string; readonly inputs: KeptInputs }

/** `name`: as verdicts name the policy. */
export const basisOf = (input: GateInput, policy: GatePolicy, name: string): Basis => ({
  policy: name, inputsHash: inputsHash(input, policy.pii),
  inputs: {
    ids: input.ids, live: input.live.map(({ id, source, confidence }) => ({ id, source, confidence })), waiting: input.waiting.map(({ run, index }) => ({ run, index })), injected: input.injected,
    neighbours: input.candidates.map((_, at) => input.neighbours[at] ?? null), embedder: input.embedder, hints: input.hints, room: input.room, pii: policy.pii,
  },
});

/** Hexadecimal sha256 over all the gate was given, candidates as they are stored. */
export function inputsHash({ run, events, candidates, ids, live, waiting, injected, neighbours, embedder, hints, room }: GateInput, pii: PiiRules = POLICY.pii): string {
  const memory = ({ id, scope, user, agent, type, subject, attribute, value, statement, source, confidence, validFromMs }: LiveMemory) => [id, scope, user, agent, type, subject, attribute, value, statement, source, confidence, validFromMs];
  const all = [run.tenant, run.id, run.user, run.agent, run.observedMs, events.map(({ id, role, tool, text, atMs }) => [id, role, tool ?? null, text, atMs]), candidates.map((candidate) => storableCandidate(candidate, pii)), ids, live.map(memory), waiting.map(({ run: of, index, source, user, agent, candidate }) => [of, index, source, user, agent, candidate]), injected,
    candidates.map((_, at) => (neighbours[at] ?? []).map(({ id, cosine }) => [id, cosine])), embedder, ...(room ? [room] : []), ...(hints ? [hints] : [])];
  return createHash('sha256').update(JSON.stringify(all)).digest('hex');
}
