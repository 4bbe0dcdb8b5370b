// Confidence is computed from what can be checked, not asked of the model: its own word is one seventh of it. The weights stand in
// the policy.
import { datesIn, namesIn, numbersIn } from './gate-words.ts';
import type { Decided } from './gate-input.ts';
import { bounds, type GatePolicy } from './gate-policy.ts';
import type { Provenance } from './gate-provenance.ts';
import { mayBecome } from './gate-screening.ts';
import type { Candidate } from './memory.ts';

export interface Confidence { readonly confidence: number; readonly parts: Readonly<Record<keyof GatePolicy['weights'], number>> }

export function confidenceOf(candidate: Candidate, found: Provenance, policy: GatePolicy): Confidence {
  const { weights } = policy;
  const stated = found.source === 'user' && candidate.stated_or_inferred === 'stated' && found.support >= policy.statedFrom;
  const names = namesIn(candidate.statement);
  const isSpecific = names.sure.size + names.maybe.size + numbersIn(candidate.statement).size + datesIn(candidate.statement).size > 0;
  const parts = {
    evidence: stated ? 1 : found.quoted >= 2 ? 0.8 : 0.6,
    source: policy.sources[found.source === 'document' ? 'tool' : found.source],
    model: policy.model[candidate.confidence],
    type: policy.types[candidate.type],
    specificity: 0.5 + (isSpecific ? 0.5 : 0), // a value is there: the schema asked for it
  };
  const sum = (Object.keys(weights) as (keyof typeof weights)[]).reduce((total, part) => total + weights[part] * parts[part], 0);
  return { confidence: Math.round(sum * 1_000) / 1_000, parts };
}

export function confidenceStage(candidate: Candidate, found: Provenance, confidence: number, policy: GatePolicy): Decided | undefined {
  const { admitFrom, quarantineFrom } = bounds(policy, candidate.type);
  if (confidence < quarantineFrom) return { decision: 'REJECT', reason: 'LOW_CONFIDENCE' };
  // Not one word of it in the quotes: a good paraphrase, another language, or words put into somebody's mouth.
  if (found.support === 0) return { decision: 'QUARANTINE', reason: 'NOT_IN_ITS_WORDS' };
  if (!mayBecome(found.source, candidate.type)) return { decision: 'QUARANTINE', reason: 'INFERRED' };
  if (confidence < admitFrom) return { decision: 'QUARANTINE', reason: 'UNSURE' };
  return undefined;
}
