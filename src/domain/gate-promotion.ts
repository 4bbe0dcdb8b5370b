// Out of quarantine: a candidate that was only unsure is admitted when another run brings it again. What was kept out for another
// reason (orders, origin, conflicts) waits for a person. An agent that guesses the same twice has said it once: of the two
// sightings one must be somebody else's words.
import { attributeOf, hashOf, propertyOf, sameOwner, sameValue, subjectOf } from './gate-identity.ts';
import type { Considered, GateInput, Waiting } from './gate-input.ts';

export const PROMOTABLE = 'UNSURE';

export function seenBefore(one: Considered, input: GateInput): Waiting | undefined {
  return input.waiting.find((other) => other.run !== input.run.id && other.candidate.type === one.raw.type && (one.source !== 'agent' || other.source !== 'agent') && isSame(one, other, input.run.tenant));
}

function isSame(one: Considered, { candidate, user, agent }: Waiting, tenant: string): boolean {
  const owner = { scope: candidate.scope, user, agent };
  if (!sameOwner({ scope: one.raw.scope, ...one.owner }, owner)) return false;
  if (hashOf(tenant, owner, candidate.type, candidate.statement) === one.hash) return true;
  return subjectOf(candidate.subject) === one.subject && propertyOf(attributeOf(candidate.attribute), candidate.value) === propertyOf(one.attribute, one.raw.value) && sameValue(one.raw, candidate);
}
