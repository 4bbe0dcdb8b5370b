// Confidence is computed from what can be checked, not asked of the model: its own word is one seventh of it. The weights are
// starting points to be fitted on labelled verdicts; they stand here as data, and GATE_VERSION rises when they change.
import { datesIn, namesIn, numbersIn } from './gate-words.ts';
import type { Decided } from './gate-input.ts';
import type { Provenance } from './gate-provenance.ts';
import { mayBecome } from './gate-screening.ts';
import type { Candidate } from './memory.ts';
import type { MemoryType, SourceRole } from './status.ts';

export const ADMIT_FROM = 0.70;
export const QUARANTINE_FROM = 0.55;

const WEIGHTS = { evidence: 0.35, source: 0.25, model: 0.15, type: 0.15, specificity: 0.10 } as const;
const SOURCES: Readonly<Record<SourceRole, number>> = { user: 1, tool: 0.7, agent: 0.4 };
const MODEL = { high: 1, medium: 0.6, low: 0.2 } as const;
/** How often memories of a type turn out worth keeping, after A-MAC's priors. */
const TYPES: Readonly<Record<MemoryType, number>> = { preference: 0.9, constraint: 0.9, decision: 0.8, fact: 0.8, procedure: 0.6, outcome: 0.5 };
/** Below this share of its own words in the quotes nobody *stated* a statement. */
const STATED_FROM = 0.34;

export interface Confidence { readonly confidence: number; readonly parts: Readonly<Record<keyof typeof WEIGHTS, number>> }

export function confidenceOf(candidate: Candidate, found: Provenance): Confidence {
  const stated = found.source === 'user' && candidate.stated_or_inferred === 'stated' && found.support >= STATED_FROM;
  const names = namesIn(candidate.statement);
  const isSpecific = names.sure.size + names.maybe.size + numbersIn(candidate.statement).size + datesIn(candidate.statement).size > 0;
  const parts = {
    evidence: stated ? 1 : found.quoted >= 2 ? 0.8 : 0.6,
    source: SOURCES[found.source],
    model: MODEL[candidate.confidence],
    type: TYPES[candidate.type],
    specificity: 0.5 + (isSpecific ? 0.5 : 0), // a value is there: the schema asked for it
  };
  const sum = (Object.keys(WEIGHTS) as (keyof typeof WEIGHTS)[]).reduce((total, part) => total + WEIGHTS[part] * parts[part], 0);
  return { confidence: Math.round(sum * 1_000) / 1_000, parts };
}

export function confidenceStage(candidate: Candidate, found: Provenance, confidence: number): Decided | undefined {
  if (confidence < QUARANTINE_FROM) return { decision: 'REJECT', reason: 'LOW_CONFIDENCE' };
  // Not one word of it in the quotes: a good paraphrase, another language, or words put into somebody's mouth.
  if (found.support === 0) return { decision: 'QUARANTINE', reason: 'NOT_IN_ITS_WORDS' };
  if (!mayBecome(found.source, candidate.type)) return { decision: 'QUARANTINE', reason: 'INFERRED' };
  if (confidence < ADMIT_FROM) return { decision: 'QUARANTINE', reason: 'UNSURE' };
  return undefined;
}
