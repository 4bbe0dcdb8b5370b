// The memory gate: decides of every candidate a run proposes whether it enters long-term memory. Pure: the same input gives
// the same verdicts, so a verdict can be replayed, also under another policy. It promises one verdict per candidate, with the
// stage that decided and why; that candidates are judged in order, a later one seeing what earlier ones became; and that
// nothing is admitted without evidence from this very run. It never reads a clock, a store or a model.
import { confidenceOf, confidenceStage } from './gate-confidence.ts';
import { echo, exactDuplicate, nearDuplicate, ofProperty, slot, type Known } from './gate-duplicates.ts';
import { attributeOf, hashOf, propertyOf, slotOf, subjectOf } from './gate-identity.ts';
import type { Considered, Decided, GateInput, LiveMemory, NewMemory, Verdict } from './gate-input.ts';
import { PROMOTABLE, seenBefore } from './gate-promotion.ts';
import { provenance, validity, type Provenance } from './gate-provenance.ts';
import { RoomLeft } from './gate-room.ts';
import { screening } from './gate-screening.ts';
import { addsTo, settled } from './gate-settled.ts';
import { worth } from './gate-worth.ts';
import { bounds, POLICY, type GatePolicy } from './gate-policy.ts';
import { candidateSchema, type Candidate } from './memory.ts';
import { piiIn, redact, takenFrom, type PiiRules } from './pii.ts';
import { scrubSecrets } from './secrets.ts';

/** Verdicts are unique by (run, gate version): it rises when finished runs are to be remembered anew. */
export const GATE_VERSION = 1;
/** Candidates looked at; a model that floods the gate gets its verdicts without any work. */
export const MAX_CANDIDATES = 64;
/** Characters of a stored candidate of any shape. */
const MAX_STORED = 8_000;

/** One quarantined candidate that a person vouches for: its form, evidence, secrets and hidden text are looked at again, and what is known
 *  decides where it goes. Nothing is asked any more of its origin or its confidence. */
export function promote(input: GateInput, policy: GatePolicy = POLICY): Verdict {
  return new Gate(input, policy).promote(input.candidates[0]);
}

export function judge(input: GateInput, policy: GatePolicy = POLICY): Verdict[] {
  return new Gate(input, policy).judge(input.candidates);
}

/** A candidate of which nothing more can be told without what is known. */
interface Looked { readonly given: unknown; readonly one: Considered; readonly found: Provenance; readonly scores: Verdict['scores'] }

class Gate {
  readonly #input: GateInput;
  readonly #policy: GatePolicy;
  #live: readonly LiveMemory[];
  #akin: readonly LiveMemory[] = [];
  readonly #room: RoomLeft;
  #admits = 0;

  constructor(input: GateInput, policy: GatePolicy) {
    this.#input = input;
    this.#policy = policy;
    this.#live = input.live;
    this.#room = new RoomLeft(input.room, policy.caps);
  }

  promote(given: unknown): Verdict {
    const parsed = schema(given, this.#input);
    if ('decision' in parsed) return this.#verdict(0, given, 'schema', parsed);
    const { candidate, held, refused } = personal(parsed, this.#policy.pii);
    if (refused) return this.#verdict(0, given, 'pii', refused, 0, held);
    const found = provenance(candidate, this.#input.events, this.#policy, this.#input.live);
    if ('decision' in found) return this.#verdict(0, given, 'provenance', found);
    if (secrets(candidate)) return this.#verdict(0, given, 'secrets', { decision: 'REJECT', reason: 'SECRET' });
    // What nobody can see, or says of himself, is not vouched for either.
    const early = screening(found.candidate, 'user', this.#input.events);
    if (early) return this.#verdict(0, given, 'screening', early);
    const confidence = Math.max(bounds(this.#policy, candidate.type).admitFrom, confidenceOf(candidate, found, this.#policy).confidence);
    const one = consider(found.candidate, 0, this.#input, { source: 'user', saidMs: found.saidMs, vouched: true, ...validity(candidate, found) }, confidence);
    this.#akin = akinTo([one], this.#input);
    return this.#against(one, { ...held, source_found: 'user' });
  }

  judge(candidates: readonly unknown[]): Verdict[] {
    const looked = candidates.map((given, index) => this.#look(given, index));
    this.#akin = akinTo(looked.flatMap((at) => ('one' in at ? [at.one] : [])), this.#input);
    return looked.map((at) => ('one' in at ? this.#decide(at) : at));
  }

  #look(given: unknown, index: number): Verdict | Looked {
    if (index >= MAX_CANDIDATES) return this.#verdict(index, given, 'caps', { decision: 'REJECT', reason: 'CAP' });
    const parsed = schema(given, this.#input);
    if ('decision' in parsed) return this.#verdict(index, given, 'schema', parsed);
    const { candidate, held, refused } = personal(parsed, this.#policy.pii);
    if (refused) return this.#verdict(index, given, 'pii', refused, 0, held);
    const found = provenance(candidate, this.#input.events, this.#policy, this.#input.live);
    if ('decision' in found) return this.#verdict(index, given, 'provenance', found, 0, held);
    if (secrets(candidate)) return this.#verdict(index, given, 'secrets', { decision: 'REJECT', reason: 'SECRET' }, 0, held);
    const { confidence, parts } = confidenceOf(candidate, found, this.#policy);
    const scores = { ...held, ...parts, source_found: found.source, support: round(found.support), ...(found.overlap < 1 && { quote_overlap: round(found.overlap) }) };
    return { given, found, scores, one: consider(found.candidate, index, this.#input, { source: found.source, saidMs: found.saidMs, vouched: false, ...validity(candidate, found) }, confidence) };
  }

  #decide({ given, one, found, scores }: Looked): Verdict {
    const { raw: candidate, index, confidence } = one;
    const unsure = confidenceStage(candidate, found, confidence, this.#policy);
    const before = unsure?.reason === PROMOTABLE ? seenBefore(one, this.#input) : undefined;
    // An echo comes before what may quarantine: kept for a second sighting, it would be seen again by its own doing.
    const stages = {
      echo: () => (found.source === 'user' ? undefined : echo(one, this.#input, this.#known(index), this.#policy)),
      screening: () => screening(candidate, found.source, this.#input.events), worth: () => worth(candidate), settled: () => settled(candidate, this.#input.events), confidence: () => (before ? undefined : unsure),
    };
    for (const [stage, decide] of Object.entries(stages)) {
      const decided = decide();
      if (decided) return this.#verdict(index, given, stage, decided, confidence, scores);
    }
    const made = this.#against(one, scores);
    return before && made.decision !== 'REJECT' && made.decision !== 'QUARANTINE' ? { ...made, reason: made.evicts === null ? 'SEEN_AGAIN' : made.reason, promotes: { run: before.run, index: before.index, evidence: before.candidate.evidence } } : made;
  }

  #verdict(index: number, given: unknown, stage: string, decided: Decided, confidence = 0, scores: Verdict['scores'] = {}): Verdict {
    return {
      index, decision: decided.decision, stage, reason: decided.reason, confidence, scores: { ...scores, ...decided.scores }, candidate: storableCandidate(given, this.#policy.pii),
      target: decided.target ?? null, memory: null, evicts: null, promotes: null, evidence: [], statement: null,
    };
  }

  #known(index: number): Known { return { live: this.#live, akin: this.#akin, neighbours: this.#input.neighbours[index] ?? [], hint: this.#input.hints?.[index] ?? undefined }; }

  /** The stages that compare with what is known, and the cap. */
  #against(one: Considered, scores: Verdict['scores']): Verdict {
    const known = this.#known(one.index);
    const stages = { echo, exact_duplicate: exactDuplicate, slot, near_duplicate: nearDuplicate };
    for (const [stage, decide] of Object.entries(stages)) {
      const decided = decide(one, this.#input, known, this.#policy);
      if (decided) return this.#settle(one, stage, decided, scores);
    }
    return this.#settle(one, 'caps', { decision: 'ADMIT', reason: 'NEW' }, scores);
  }

  #settle(one: Considered, stage: string, decided: Decided, scores: Verdict['scores']): Verdict {
    const all = { ...scores, ...decided.scores };
    const adds = decided.decision === 'ADMIT' || decided.decision === 'SUPERSEDE';
    const refuse = (cap: string): Verdict => this.#verdict(one.index, one.raw, 'caps', { decision: 'REJECT', reason: 'CAP' }, one.confidence, { ...all, cap });
    if (adds && this.#admits >= this.#policy.maxAdmits) return refuse('run');
    if (decided.decision === 'ADMIT' && !decided.closed) return this.#place(one, stage, decided, all, refuse);
    const made = this.#verdict(one.index, one.raw, stage, decided, one.confidence, all);
    if (decided.target !== undefined) this.#room.spare(decided.target);
    switch (decided.decision) {
      case 'ADMIT': case 'SUPERSEDE': return { ...made, memory: this.#add(one, decided) };
      case 'REINFORCE': return { ...made, evidence: one.raw.evidence };
      case 'MERGE': return { ...made, evidence: one.raw.evidence, statement: this.#reword(one, decided.target ?? '') };
      default: return made;
    }
  }

  /** A row more: where a cap is reached, in the place of a weaker one. */
  #place(one: Considered, stage: string, decided: Decided, scores: Verdict['scores'], refuse: (cap: string) => Verdict): Verdict {
    const { cap, evicts } = this.#room.look(one.raw.scope, one.raw.type, one.confidence);
    if (cap !== undefined && !evicts) return refuse(cap);
    this.#room.add(one.raw.scope, one.raw.type, evicts);
    if (!evicts || cap === undefined) return { ...this.#verdict(one.index, one.raw, stage, decided, one.confidence, scores), memory: this.#add(one, decided) };
    this.#change((list) => list.filter((memory) => memory.id !== evicts.id));
    const made = this.#verdict(one.index, one.raw, 'caps', { ...decided, reason: 'EVICT', target: evicts.id }, one.confidence, { ...scores, cap, evicted_strength: evicts.strength });
    return { ...made, memory: this.#add(one, decided), evicts: evicts.id };
  }

  #add(one: Considered, decided: Decided): NewMemory {
    const { raw, owner } = one;
    const old = decided.decision === 'SUPERSEDE' ? this.#akin.find((memory) => memory.id === decided.target) : undefined;
    const memory: NewMemory = {
      id: this.#input.ids[one.index] ?? '', scope: raw.scope, ...owner, type: raw.type, subject: one.subject, attribute: one.attribute, value: raw.value, statement: raw.statement,
      // The key of a property lets one live row through; a value beside another goes without.
      hash: one.hash, slot: !decided.closed && ofProperty(one, this.#akin).some((other) => other !== old) ? null : one.slot, source: one.source, confidence: one.confidence, evidence: raw.evidence,
      // A bare day may lie before the moment its predecessor was said: an interval never ends before it began.
      validFromMs: Math.max(one.validFromMs, old?.validFromMs ?? -Infinity),
      validToMs: decided.closed?.atMs ?? null, supersededBy: decided.closed?.by ?? null,
    };
    this.#admits++;
    if (memory.validToMs === null) this.#change((list) => [...list.filter((other) => other !== old), memory]);
    return memory;
  }

  #change(change: (list: readonly LiveMemory[]) => readonly LiveMemory[]): void { [this.#live, this.#akin] = [change(this.#live), change(this.#akin)]; }

  #reword(one: Considered, target: string): Verdict['statement'] {
    this.#live = this.#live.map((memory) => (memory.id === target ? { ...memory, statement: one.raw.statement, hash: one.hash } : memory));
    // Whoever says the same next has its hash.
    this.#akin = [...this.#akin.filter((memory) => memory.id !== target), ...this.#live.filter((memory) => memory.id === target)];
    return { text: one.raw.statement, hash: one.hash };
  }
}

/** Scopes hold many thousand memories: they are gone through once for all candidates. */
function akinTo(candidates: readonly Considered[], { live, injected }: GateInput): LiveMemory[] {
  const [hashes, subjects, ids] = [new Set(candidates.map(({ hash }) => hash)), new Set(candidates.map(({ subject }) => subject)), new Set(injected)];
  return live.filter((memory) => hashes.has(memory.hash) || subjects.has(memory.subject) || ids.has(memory.id));
}

/** The form, read again: the provider's grammar keeps no lengths. A line break in a statement could forge a line of the prompt. */
function schema(given: unknown, input: GateInput): Candidate | Decided {
  const parsed = candidateSchema.safeParse(given);
  if (!parsed.success) return { decision: 'REJECT', reason: 'SCHEMA', scores: { paths: parsed.error.issues.slice(0, 5).map((issue) => issue.path.join('.') || '(whole)') } };
  const whole = JSON.stringify(given);
  if (/\\u0000/.test(whole) || !JSON.stringify(parsed.data).isWellFormed() || /\\ud[89a-f][0-9a-f]{2}/i.test(whole)) return { decision: 'REJECT', reason: 'SCHEMA', scores: { paths: ['characters no row can hold'] } };
  if (parsed.data.scope === 'user' && input.run.user === null) return { decision: 'REJECT', reason: 'NO_USER' };
  const line = (text: string): string => text.replace(/[\s\u0085\u2028\u2029]+/g, ' ').trim();
  const { subject, attribute, value, statement } = parsed.data;
  return { ...parsed.data, subject: line(subject), attribute: line(attribute), value: line(value), statement: line(statement) };
}

const kept = ({ statement, value, subject, attribute }: Candidate): string[] => [statement, value, subject, attribute];
const quotes = ({ evidence }: Candidate): string[] => evidence.map((line) => line.quote);

const secrets = (candidate: Candidate): boolean => [...kept(candidate), ...quotes(candidate)].some((text) => scrubSecrets(text) !== text);

interface Personal { readonly candidate: Candidate; readonly held: Verdict['scores']; readonly refused: Decided | undefined }

/** Personal data by the tenant's rules: the candidate without what may not be held, and the classes it holds or held. A quote out of which
 *  something was taken before anybody read it is as good as any; a statement that is about what was taken goes with it. */
function personal(given: Candidate, rules: PiiRules): Personal {
  const [texts, said] = [kept(given), quotes(given)];
  const holds = [...texts.flatMap(piiIn), ...said.flatMap(piiIn), ...texts.flatMap(takenFrom)];
  const classes = [...new Set([...holds, ...said.flatMap(takenFrom)])].sort();
  const held = classes.length > 0 ? { pii: classes } : {};
  const out = (text: string): string => redact(text, rules);
  const { data, error } = candidateSchema.safeParse({
    ...given, statement: out(given.statement), value: out(given.value), subject: out(given.subject), attribute: out(given.attribute), evidence: given.evidence.map((line) => ({ ...line, quote: out(line.quote) })),
  });
  if (holds.some((of) => rules[of] === 'reject')) return { candidate: given, held, refused: { decision: 'REJECT', reason: 'PII' } };
  // The mark of what was taken may be longer than that was.
  return { candidate: data ?? given, held, refused: error && { decision: 'REJECT', reason: 'SCHEMA', scores: { paths: error.issues.map((issue) => issue.path.join('.')) } } };
}

function consider(candidate: Candidate, index: number, input: GateInput, found: Pick<Considered, 'source' | 'saidMs' | 'validFromMs' | 'dayOnly' | 'vouched'>, confidence: number): Considered {
  const owner = { user: candidate.scope === 'user' ? input.run.user : null, agent: candidate.scope === 'agent' ? input.run.agent : null };
  const subject = subjectOf(candidate.subject);
  const attribute = attributeOf(candidate.attribute);
  const owned = { scope: candidate.scope, ...owner };
  return {
    index, raw: candidate, subject, attribute, owner, confidence, ...found,
    hash: hashOf(input.run.tenant, owned, candidate.type, candidate.statement), slot: addsTo(candidate) ? null : slotOf(owned, candidate.type, subject, propertyOf(attribute, candidate.value)),
  };
}

/** The candidate for its row: secrets out, and personal data the rules do not allow; nothing a row cannot hold, and no more than a page. */
export function storableCandidate(given: unknown, pii: PiiRules): unknown {
  const scrub = (text: string): string => redact(scrubSecrets(text), pii);
  const clean = (value: unknown, depth: number): unknown => {
    if (typeof value === 'string') return scrub(value.toWellFormed().replaceAll('\u0000', '')).slice(0, 1_000).toWellFormed();
    if (value === null || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return value;
    if (typeof value !== 'object' || depth > 5) return null;
    if (Array.isArray(value)) return value.slice(0, 20).map((item) => clean(item, depth + 1));
    return Object.fromEntries(Object.entries(value).slice(0, 20).map(([key, item]) => [scrub(key.toWellFormed().replaceAll('\u0000', '').slice(0, 100)).toWellFormed(), clean(item, depth + 1)]));
  };
  const stored = clean(given, 0);
  return JSON.stringify(stored).length <= MAX_STORED ? stored : { cut: JSON.stringify(stored).slice(0, MAX_STORED).toWellFormed() };
}

const round = (score: number): number => Math.round(score * 1_000) / 1_000;

export function cosine(a: readonly number[], b: readonly number[]): number {
  let [dot, squaresA, squaresB] = [0, 0, 0];
  for (let at = 0; at < a.length; at++) {
    const [x, y] = [a[at] ?? 0, b[at] ?? 0];
    dot += x * y; squaresA += x * x; squaresB += y * y;
  }
  return squaresA > 0 && squaresB > 0 ? dot / Math.sqrt(squaresA * squaresB) : 0;
}
