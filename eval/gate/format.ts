// The labelled stream as objects: the runs of eval/gate/stream/*.txt, each with what the gate is given and what it should decide.
// The form of a file and the meaning of its words: eval/gate/README.md. A line that is wrong is refused with its file and number.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { attributeOf, hashOf, subjectOf } from '../../src/domain/gate-identity.ts';
import type { LiveMemory } from '../../src/domain/gate-input.ts';
import type { Candidate } from '../../src/domain/memory.ts';
import { CLAIMED_ROLES, MEMORY_SCOPES, MEMORY_TYPES, SOURCE_ROLES, type MemoryScope, type SourceRole } from '../../src/domain/status.ts';
import type { TranscriptEvent } from '../../src/domain/transcript.ts';

export const CLASSES = ['clean', 'unsupported', 'unsure', 'chatter', 'secret', 'injected', 'echo', 'exact', 'paraphrase', 'nearmiss', 'supersede', 'late', 'conflict', 'twin', 'cap'] as const;
export type CandidateClass = (typeof CLASSES)[number];
export const RIGHT = ['add', 'join', 'super', 'late', 'held', 'rej', 'out'] as const;
export type Right = (typeof RIGHT)[number];

export interface Labelled {
  readonly candidate: Candidate;
  readonly class: CandidateClass;
  readonly right: Right;
  /** Id of the live memory it is about; `c2`: what the second candidate of this run became. */
  readonly target: string | undefined;
}

export interface LabelledRun {
  readonly id: string;
  readonly split: 'dev' | 'test';
  readonly agent: string;
  readonly user: string;
  readonly events: readonly TranscriptEvent[];
  readonly live: readonly LiveMemory[];
  readonly injected: readonly string[];
  readonly candidates: readonly Labelled[];
  /** When it ended, ms. */
  readonly endedMs: number;
}

export const TENANT = 'eval';
const MINUTE = 60_000;

/** Whole runs, so that no memory stands in both parts. */
export const splitOf = (run: string): 'dev' | 'test' => ((createHash('sha256').update(run).digest()[0] ?? 0) < 103 ? 'test' : 'dev');

export function readStream(dir = join(import.meta.dirname, 'stream')): LabelledRun[] {
  return readdirSync(dir).filter((name) => name.endsWith('.txt')).sort().flatMap((name) => parseStream(readFileSync(join(dir, name), 'utf8'), name));
}

interface Draft { id: string; agent: string; user: string; startMs: number; events: TranscriptEvent[]; live: LiveMemory[]; injected: string[]; candidates: Labelled[] }

export function parseStream(text: string, file: string): LabelledRun[] {
  const runs: Draft[] = [];
  for (const [at, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    try { readLine(line, runs); } catch (error) { throw new Error(`${file}:${at + 1}: ${(error as Error).message}\n  ${line}`, { cause: error }); }
  }
  return runs.map(({ startMs, ...run }) => ({ ...run, split: splitOf(run.id), endedMs: startMs + run.events.length * MINUTE }));
}

function readLine(line: string, runs: Draft[]): void {
  const [word = ''] = line.split(' ');
  const rest = line.slice(word.length + 1).trim();
  const run = runs.at(-1);
  if (word === 'run') {
    const [id = '', date = '', agent = '', user = ''] = rest.split(' ');
    runs.push({ id, agent, user: need(user, 'a user'), startMs: day(`${date}T09:00`), events: [], live: [], injected: [], candidates: [] });
  } else if (!run) throw new Error('a run comes first');
  else if (word === 'U' || word === 'A') said(run, word === 'U' ? 'user' : 'agent', rest);
  else if (word === 'T') said(run, 'tool', rest.slice(rest.indexOf(' ') + 1), rest.split(' ')[0]);
  else if (/^M\d+!?$/.test(word)) remember(run, word, rest);
  else if (word === 'C') run.candidates.push(labelled(run, rest));
  else throw new Error(`${word} begins no line`);
}

const said = (run: Draft, role: SourceRole, text: string, tool?: string): void => {
  run.events.push({ id: `e${run.events.length + 1}`, role, tool, text: need(text, 'words'), atMs: run.startMs + run.events.length * MINUTE });
};

function remember(run: Draft, word: string, rest: string): void {
  const [what = '', subject = '', attribute = '', value = '', statement = ''] = bars(rest, 5, 5);
  const [owner = '', since = ''] = what.split(' ');
  const [scopeAndName = '', type, source] = owner.split('/');
  const [scope, name] = scopeAndName.split(':');
  const owned = ownerOf(run, oneOf(MEMORY_SCOPES, scope), name);
  const id = word.replace('!', '');
  if (word.endsWith('!')) run.injected.push(id);
  const made = { ...owned, type: oneOf(MEMORY_TYPES, type), subject: subjectOf(subject), attribute: attributeOf(attribute), value, statement };
  run.live.push({ id, ...made, hash: hashOf(TENANT, made, made.type, statement), source: oneOf(SOURCE_ROLES, source), confidence: 0.9, validFromMs: day(since) });
}

const ownerOf = (run: Draft, scope: MemoryScope, name?: string) => ({ scope, user: scope === 'user' ? name ?? run.user : null, agent: scope === 'agent' ? name ?? run.agent : null });

function labelled(run: Draft, rest: string): Labelled {
  const [label = '', kind = '', subject = '', attribute = '', value = '', statement = '', quotes = '', flags = ''] = bars(rest, 7, 8);
  const [name, right, target] = label.split(' ');
  const [type, scope = 'user'] = kind.split('/');
  const flag = flags.split(' ').filter(Boolean);
  const evidence = quotes.split(' ; ').map((part) => quoteOf(run, part));
  const inferred = flag.includes('inferred');
  const saidBy = run.events.find((event) => event.id === evidence[0]?.event_id)?.role;
  const claimed = CLAIMED_ROLES.find((one) => flag.includes(one)) ?? CLAIMED_ROLES.find((one) => one === saidBy) ?? 'user';
  return {
    class: oneOf(CLASSES, name), right: oneOf(RIGHT, right), target: targetOf(run, target),
    candidate: {
      type: oneOf(MEMORY_TYPES, type), scope: oneOf(MEMORY_SCOPES, scope), subject, attribute, value, statement, evidence,
      valid_from: flag.find((one) => one.startsWith('from='))?.slice(5) ?? null, source_role: claimed, stated_or_inferred: inferred ? 'inferred' : 'stated',
      confidence: (flag.find((one) => one === 'low' || one === 'medium' || one === 'high') ?? (inferred ? 'medium' : 'high')),
    },
  };
}

function quoteOf(run: Draft, part: string): { event_id: string; quote: string } {
  const [, id = '', quote] = /^(e\d+)(?: "(.+)")?$/.exec(part.trim()) ?? [];
  return { event_id: need(id, 'evidence such as e1 or e1 "words"'), quote: quote ?? run.events.find((event) => event.id === id)?.text ?? 'an event that is not there' };
}

/** What an earlier candidate joined is what a later one that repeats it joins. */
function targetOf(run: Draft, target: string | undefined): string | undefined {
  if (target === undefined || /^M\d+$/.test(target)) {
    if (target !== undefined && !run.live.some((memory) => memory.id === target)) throw new Error(`${target} is no memory of this run`);
    return target;
  }
  const earlier = run.candidates[Number(/^c(\d+)$/.exec(target)?.[1]) - 1];
  if (!earlier) throw new Error(`${target} is no earlier candidate`);
  return earlier.right === 'join' ? earlier.target : target;
}

const bars = (text: string, least: number, most: number): string[] => {
  const parts = text.split(' | ').map((part) => part.trim());
  if (parts.length < least || parts.length > most) throw new Error(`${parts.length} parts between bars instead of ${least} to ${most}`);
  return parts;
};
function oneOf<const Word extends string>(words: readonly Word[], word: string | undefined): Word {
  const found = words.find((one) => one === word);
  if (found === undefined) throw new Error(`${word ?? 'nothing'} is none of ${words.join(', ')}`);
  return found;
}
const need = (text: string, what: string): string => { if (text === '') throw new Error(`${what} is missing`); return text; };
function day(text: string): number {
  const ms = Date.parse(text.includes('T') ? `${text}Z` : text);
  if (Number.isNaN(ms)) throw new Error(`${text} is no date`);
  return ms;
}
