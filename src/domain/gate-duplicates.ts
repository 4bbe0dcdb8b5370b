// Do we know this already? Four questions in order: does it only repeat what recall put into this run's own prompt (an echo),
// is it word for word there, does its slot hold a value, and is there a near duplicate. Cosine opens the last question and
// never answers it: numbers, dates, denial, names, units and signs must agree, and pairs are judged, never chains.
import type { Considered, Decided, GateInput, LiveMemory, Neighbour } from './gate-input.ts';
import { isSingleValued, propertyOf, sameOwner, sameValue, signs } from './gate-identity.ts';
import { POLICY, thresholdsOf, type GatePolicy } from './gate-policy.ts';
import { measured } from './gate-quantities.ts';
import { endsNothing } from './gate-settled.ts';
import { codesIn, containment, contentWords, datesIn, fold, jaccard, namesIn, negations, numbersIn, sameDate, stem, tokensOf, unitsIn } from './gate-words.ts';
import type { SourceRole } from './status.ts';

/** Live memories as they stand now: those given, changed by the verdicts before this one. */
export interface Known {
  readonly live: readonly LiveMemory[];
  /** Those of them that a candidate's words or subject name, or the run had in its prompt. */
  readonly akin: readonly LiveMemory[];
  /** Near memories of this candidate, earlier ones of the same run included. */
  readonly neighbours: readonly Neighbour[];
  /** Id of the one the model takes it for. */
  readonly hint?: string | undefined;
}

const RANK: Readonly<Record<SourceRole, number>> = { user: 3, tool: 2, document: 2, agent: 1 };

/** What recall put into the prompt comes back out of the agent: that is no second sighting. The user's own words are one. */
export function echo(one: Considered, input: GateInput, known: Known, policy: GatePolicy): Decided | undefined {
  const injected = new Set(input.injected);
  const shown = known.akin.filter((memory) => injected.has(memory.id));
  const match = shown.find((memory) => restates(one, memory, policy));
  if (!match) return undefined;
  if (one.source !== 'user') return { decision: 'REJECT', reason: 'RECALL_ECHO', target: match.id };
  return sameOwner(scoped(one), match) ? { decision: 'REINFORCE', reason: 'SAID_AGAIN', target: match.id } : undefined;
}

function restates(one: Considered, memory: LiveMemory, policy: GatePolicy): boolean {
  if (one.hash === memory.hash || fold(one.raw.statement) === fold(memory.statement)) return true;
  if (one.subject === memory.subject && propertyOf(one.attribute, one.raw.value) === propertyOf(memory.attribute, memory.value) && sameValue(one.raw, memory)) return true;
  return guardsPass(one.raw, memory, policy) && jaccard(contentWords(one.raw.statement), contentWords(memory.statement)) >= policy.sameWords;
}

export function exactDuplicate(one: Considered, _input: GateInput, known: Known): Decided | undefined {
  const match = known.akin.find((memory) => memory.hash === one.hash);
  return match && { decision: 'REINFORCE', reason: 'EXACT', target: match.id };
}

/** What is known of this very property of this subject and owner. */
export function ofProperty(one: Considered, akin: readonly LiveMemory[]): LiveMemory[] {
  const [property, mine] = [propertyOf(one.attribute, one.raw.value), scoped(one)];
  return akin.filter((memory) => memory.subject === one.subject && propertyOf(memory.attribute, memory.value) === property && sameOwner(mine, memory));
}

export function slot(one: Considered, input: GateInput, known: Known, policy: GatePolicy): Decided | undefined {
  const there = ofProperty(one, known.akin);
  const same = there.find((memory) => sameValue(one.raw, memory)) ?? there.find((memory) => saysTheSame(one.raw, memory, cosineOf(known, memory.id), input, policy));
  if (same) return { decision: 'REINFORCE', reason: 'SAME_VALUE', target: same.id };
  if (one.slot === null) return undefined;
  const [held, another] = there.filter((memory) => isSingleValued(memory.type, propertyOf(memory.attribute, memory.value), memory.subject));
  // A second value came beside the first: from now on it holds several, and none of them is the one to end.
  if (!held || another) return undefined;
  const [mine, theirs] = [RANK[one.source], RANK[held.source]];
  // What a tool returned or the agent concluded does not push out what the user said; a person may look at it.
  if (mine < theirs) return { decision: 'QUARANTINE', reason: 'OUTRANKED', target: held.id };
  const order = compareTime(one, held);
  if (order >= 0 && !one.vouched && endsNothing(one.raw)) return { decision: 'QUARANTINE', reason: 'UNSETTLED', target: held.id };
  if (order > 0) return { decision: 'SUPERSEDE', reason: 'NEWER', target: held.id };
  if (order < 0) return { decision: 'ADMIT', reason: 'LATE', target: held.id, closed: { atMs: held.validFromMs, by: held.id } };
  if (one.vouched) return { decision: 'SUPERSEDE', reason: 'VOUCHED', target: held.id };
  return mine > theirs ? { decision: 'SUPERSEDE', reason: 'STRONGER_SOURCE', target: held.id } : { decision: 'QUARANTINE', reason: 'CONFLICT', target: held.id };
}

/** A bare day against a moment of that day says nothing: then the moment it was said decides. */
function compareTime(one: Considered, held: LiveMemory): number {
  const sameDay = one.dayOnly && dayOf(one.validFromMs) === dayOf(held.validFromMs);
  return sameDay ? Math.max(0, Math.sign(one.saidMs - held.validFromMs)) : Math.sign(one.validFromMs - held.validFromMs);
}
const dayOf = (ms: number): number => Math.floor(ms / 86_400_000);

export function nearDuplicate(one: Considered, input: GateInput, known: Known, policy: GatePolicy): Decided | undefined {
  const cosines = new Map(known.neighbours.map((near) => [near.id, near.cosine]));
  const { high, low } = thresholdsOf(policy, input.embedder) ?? { high: Infinity, low: Infinity };
  const words = contentWords(one.raw.statement);
  const [mayShare, mine] = [sharing(words, policy.sameWords), scoped(one)];
  const near = known.live.filter((memory) => memory.type === one.raw.type && sameOwner(mine, memory) && (cosines.has(memory.id) || memory.id === known.hint || mayShare(memory.statement))).map((memory) => ({
    memory, cosine: cosines.get(memory.id) ?? 0, overlap: jaccard(words, contentWords(memory.statement)),
  })).sort((a, b) => b.cosine - a.cosine || b.overlap - a.overlap || (a.memory.id < b.memory.id ? -1 : 1));
  const match = near.find(({ memory, cosine, overlap }) => (cosine >= high || overlap >= policy.sameWords) && guardsPass(one.raw, memory, policy));
  const related = near.filter(({ cosine, memory }) => cosine >= low && memory !== match?.memory).slice(0, 3).map(({ memory }) => memory.id);
  const scores = { ...(near[0] && { cosine: round(near[0].cosine), overlap: round(near[0].overlap) }), ...(related.length > 0 && { related }) };
  const hinted = near.find(({ memory, cosine, overlap }) => memory.id === known.hint && (cosine >= low || overlap >= HALF) && guardsPass(one.raw, memory, policy));
  if (!match && hinted) return { decision: 'REINFORCE', reason: 'SAME_AS', target: hinted.memory.id, scores: { ...scores, cosine: round(hinted.cosine), overlap: round(hinted.overlap) } };
  if (!match) return related.length > 0 ? { decision: 'ADMIT', reason: 'NEW', scores } : undefined;
  const says = { ...scores, cosine: round(match.cosine), overlap: round(match.overlap) };
  const isLonger = one.raw.statement.length > match.memory.statement.length && RANK[one.source] >= RANK[match.memory.source];
  return { decision: isLonger ? 'MERGE' : 'REINFORCE', reason: 'PARAPHRASE', target: match.memory.id, scores: says };
}
/** Share of words that a model's word needs beside it where no cosine speaks for it. */
const HALF = 0.5;
/** A cheap look before words are counted, for scopes of many thousand memories: of the rarest (longest) stems, one more than a
 *  statement may lack and still share enough words, at least one must stand in its text. */
function sharing(words: ReadonlySet<string>, share: number): (statement: string) => boolean {
  const longest = [...words].sort((a, b) => b.length - a.length).slice(0, Math.floor(words.size * (1 - share)) + 1);
  return (statement) => { const text = statement.toLowerCase(); return longest.some((word) => text.includes(word)); };
}

/** Of two statements of one slot: near by meaning or by words, and no guard speaks against it. The slot has told already that both are
 *  about the same property, so that the lower threshold is enough. */
function saysTheSame(one: Considered['raw'], memory: LiveMemory, cosine: number, input: GateInput, policy: GatePolicy): boolean {
  const low = thresholdsOf(policy, input.embedder)?.low ?? Infinity;
  return !saysMore(one, memory) && !saysLessNow(one, memory) && !areRivals(contentWords(one.value), contentWords(memory.value)) && (cosine >= low || jaccard(contentWords(one.statement), contentWords(memory.statement)) >= policy.sameWords) && guardsPass(one, memory, policy);
}
/** All of the value that is known and more: `gross minus refunds minus vouchers` is no other word for `gross minus refunds`. */
function saysMore(one: Said, memory: LiveMemory): boolean {
  const known = contentWords(measured([memory.value, memory.statement, memory.attribute, memory.subject].join(' ')));
  const value = contentWords(measured(one.value));
  return [...value].some((word) => !known.has(word)) && [...contentWords(measured(memory.value))].every((word) => value.has(word));
}
/** A part of the value that is known, and words of change beside it. */
function saysLessNow(one: Considered['raw'], memory: LiveMemory): boolean {
  const [value, known] = [contentWords(measured(one.value)), contentWords(measured(memory.value))];
  return value.size < known.size && [...value].every((word) => known.has(word)) && one.evidence.some(({ quote }) => CHANGES.test(quote));
}
const CHANGES = /\b(?:now|no longer|instead|any ?more|only|changed?|dropped?|removed?|without|from now on|switched)\b/i;
/** Two values that take turns: each has words of its own, and they share no more than half (`bar charts`, `line charts`), or all but the
 *  first or the last word (`orders divided by sessions`, `… by visitors`). */
function areRivals(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  const [one, other] = [[...a], [...b]];
  const isOwn = one.some((word) => !b.has(word)) && other.some((word) => !a.has(word));
  return isOwn && (containment(a, b) <= 0.5 || (one.length === other.length && one.every((word, at) => word === other[at] || at === 0 || at === one.length - 1)));
}
const cosineOf = (known: Known, id: string): number => known.neighbours.find((near) => near.id === id)?.cosine ?? 0;
const round = (score: number): number => Math.round(score * 1_000) / 1_000;

type Said = Pick<LiveMemory, 'statement' | 'value'>;

/** Names of the guards that two statements do not pass together; empty = nothing speaks against their being the same. */
export function guardFaults(a: Said, b: Said, policy: GatePolicy = POLICY): string[] {
  const faults: string[] = [];
  if (!equal(numbersIn(a.statement, true), numbersIn(b.statement, true))) faults.push('numbers');
  if (!datesAgree(datesIn(a.statement), datesIn(b.statement))) faults.push('dates');
  if (negations(a.statement) % 2 !== negations(b.statement) % 2) faults.push('negation');
  if (!namesAgree(a.statement, b.statement)) faults.push('names');
  if (!equal(unitsIn(a.statement), unitsIn(b.statement))) faults.push('units');
  if (!codesAgree(a.statement, b.statement)) faults.push('codes');
  if (signs(a.statement) !== signs(b.statement)) faults.push('signs');
  if (OPPOSITES.some((pair) => opposed(pair, a.statement, b.statement))) faults.push('opposites');
  if (containment(contentWords(a.value), contentWords(b.value)) < policy.valueWords) faults.push('value');
  return faults;
}
const guardsPass = (a: Said, b: Said, policy: GatePolicy): boolean => guardFaults(a, b, policy).length === 0;

/** Words of one row exclude each other: a statement with one is not a paraphrase of a statement with another. */
const OPPOSITES: readonly (readonly string[])[] = [
  'always never sometimes rarely', 'before after', 'morning afternoon evening night', 'more less fewer', 'minimum maximum', 'min max', 'first second third fourth fifth sixth seventh eighth ninth tenth last', 'short long', 'brief detailed', 'enable disable', 'enabled disabled', 'on off', 'open closed',
  'accept reject', 'approve deny', 'allow block', 'import export', 'buy sell', 'increase decrease', 'up down', 'hot cold', 'early late', 'dark light', 'formal informal', 'public private', 'internal external', 'optional required mandatory',
  'email phone chat sms slack post letter', 'monday tuesday wednesday thursday friday saturday sunday', 'weekday weekend', 'daily weekly monthly quarterly yearly', 'north south east west', 'left right', 'buyer seller', 'inbound outbound', 'inside outside',
  'likes dislikes', 'like dislike', 'love hate', 'success failure', 'succeeded failed', 'active inactive', 'cheapest fastest', 'upstream downstream', 'staging production', 'test live', 'free paid', 'husband wife', 'brother sister', 'mother father', 'son daughter', 'male female',
].map((row) => row.split(' '));

function opposed(row: readonly string[], a: string, b: string): boolean {
  const [one, other] = [a, b].map((text) => { const words = new Set(fold(text).split(' ')); return row.filter((word) => words.has(word) || words.has(`${word}s`)); });
  return one !== undefined && other !== undefined && one.length + other.length > 0 && one.join(' ') !== other.join(' ') && one.length > 0 && other.length > 0;
}

const equal = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => a.size === b.size && [...a].every((item) => b.has(item));

const datesAgree = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
  (a.size === 0) === (b.size === 0) && [...a].every((date) => [...b].some((other) => sameDate(date, other))) && [...b].every((date) => [...a].some((other) => sameDate(date, other)));

/** Every name of one occurs in the other; a capital at a beginning counts too, since keeping both costs little. */
function namesAgree(a: string, b: string): boolean {
  const isSaid = (from: string, by: string): boolean => {
    const said = new Set(tokensOf(by).map(stem));
    const { sure, maybe } = namesIn(from);
    return [...sure, ...maybe].every((name) => said.has(stem(name)));
  };
  return isSaid(a, b) && isSaid(b, a);
}

/** Every code of one is in the words of the other; `on-call` and `on call` agree. */
function codesAgree(a: string, b: string): boolean {
  const isSaid = (from: string, by: string): boolean => { const said = new Set(tokensOf(by.replace(/[-_./]/g, ' '))); return codesIn(from).every((code) => code.every((token) => said.has(token))); };
  return isSaid(a, b) && isSaid(b, a);
}

const scoped = (one: Considered) => ({ scope: one.raw.scope, user: one.owner.user, agent: one.owner.agent });
