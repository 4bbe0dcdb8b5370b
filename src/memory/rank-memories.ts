// From what was found to what enters the prompt: a score for each memory, the best that fit the budget, and the block of
// lines. Pure. The block's order is by class and id, not by score, so that it stays the same text as long as the same
// memories are in it and the provider's prompt cache can hold it.
import type { RecalledMemory } from '../domain/machine.ts';
import { RETENTION } from '../domain/retention.ts';
import type { MemoryType } from '../domain/status.ts';
import { fold } from '../domain/gate-words.ts';
import type { RecalledRow } from '../store/recall-memories.ts';
import type { Fused } from './fuse-hits.ts';

export interface Scored {
  readonly row: RecalledRow;
  readonly dense: number;
  readonly sparse: number;
  readonly fused: number;
  readonly strength: number;
  readonly score: number;
}

/** Raised when the same rows are ranked or packed otherwise: a trace names it. */
export const RANKING = 1;
/** How much an answer needs memories of a type; also the order of the block. */
const NEED: Readonly<Record<MemoryType, number>> = { constraint: 1, decision: 0.8, preference: 0.8, procedure: 0.6, fact: 0.5, outcome: 0.3 };
const CLASSES = ['constraint', 'decision', 'preference', 'procedure', 'fact', 'outcome'] as const satisfies readonly MemoryType[];
/** Age reorders and never hides. */
const STRENGTH_FLOOR = 0.3;
/** What a memory found by its key alone counts for: it is about the right thing, whether it answers the question or not. */
const SLOT_FUSED = 0.45;
const WORDS_FUSED = 0.5;
const WEIGHTS = { fused: 0.70, strength: 0.10, confidence: 0.10, type: 0.10 } as const;
/** Lines of a block at most, however short: a model that is told everything heeds nothing. */
export const MAX_MEMORIES = 20;

export function scoreRows(rows: readonly RecalledRow[], hits: readonly Fused[]): Scored[] {
  const byId = new Map(hits.map((hit) => [hit.id, hit]));
  const bestWords = Math.max(0, ...rows.map((row) => row.words));
  return bestFirst(rows.flatMap((row) => {
    const hit = byId.get(row.id);
    const words = bestWords > 0 ? WORDS_FUSED + (1 - WORDS_FUSED) * (row.words / bestWords) : 0;
    const fused = Math.max(hit?.fused ?? 0, row.slot ? SLOT_FUSED : 0, row.words > 0 ? words : 0);
    if (fused === 0) return []; // found by nothing but noise
    return [scoreOf(row, { dense: hit?.dense ?? 0, sparse: hit?.sparse ?? 0, fused })];
  }));
}

/** How well it was found, and what it is now. */
export function scoreOf(row: RecalledRow, { dense, sparse, fused }: Pick<Scored, 'dense' | 'sparse' | 'fused'>): Scored {
  const strength = strengthOf(row);
  return { row, dense, sparse, fused, strength, score: WEIGHTS.fused * fused + WEIGHTS.strength * strength + WEIGHTS.confidence * row.confidence + WEIGHTS.type * NEED[row.type] };
}

export const bestFirst = (scored: readonly Scored[]): Scored[] => [...scored].sort((a, b) => b.score - a.score || (a.row.id < b.row.id ? -1 : 1));

/** confidence · 2^(−idle / h), h growing with how often it was said and cited; the least for what is shown and never used. */
export function strengthOf({ type, confidence, seenCount, citedCount, unused, idleMs, halfLifeDays }: Pick<RecalledRow, 'type' | 'confidence' | 'seenCount' | 'citedCount' | 'unused' | 'idleMs' | 'halfLifeDays'>): number {
  if (unused) return STRENGTH_FLOOR;
  const halfLifeMs = (halfLifeDays ?? RETENTION.halfLifeDays[type]) * 86_400_000 * (1 + Math.log(1 + seenCount) + 0.5 * Math.log(1 + citedCount));
  return Math.max(STRENGTH_FLOOR, confidence * 2 ** (-idleMs / halfLifeMs));
}

export interface Packed { readonly memories: readonly RecalledMemory[]; readonly text: string; readonly tokens: number }

/** The best that fit into `budgetTokens`, one line each. A fact that stands in two scopes appears once, and so does one that stands there beside what took its place. */
export function packBlock(scored: readonly Scored[], budgetTokens: number): Packed {
  const chosen: { one: Scored; line: string }[] = [];
  const said = new Set<string>();
  const found = new Set(scored.map(({ row }) => row.id));
  let tokens = 0;
  for (const one of scored) {
    if (chosen.length >= MAX_MEMORIES) break;
    const words = fold(one.row.statement);
    const line = lineOf(one.row);
    const cost = tokensOf(line);
    if (said.has(words) || (one.row.supersededBy !== null && found.has(one.row.supersededBy)) || tokens + cost > budgetTokens) continue;
    said.add(words);
    tokens += cost;
    chosen.push({ one, line });
  }
  const place = (type: MemoryType): number => CLASSES.indexOf(type);
  chosen.sort((a, b) => place(a.one.row.type) - place(b.one.row.type) || (a.one.row.id < b.one.row.id ? -1 : 1));
  return { memories: chosen.map(({ one }) => memoryOf(one)), text: chosen.map(({ line }) => line).join('\n'), tokens };
}

const lineOf = ({ id, type, validFromMs, confidence, statement }: RecalledRow): string =>
  `[m:${id.replaceAll('-', '')}] (${type}, ${dayOf(validFromMs)}, ${confidence.toFixed(2)}) ${statement}`;

const memoryOf = ({ row, score }: Scored): RecalledMemory =>
  ({ id: row.id, type: row.type, statement: row.statement, score: Math.round(score * 1_000) / 1_000, confidence: row.confidence, validFrom: new Date(row.validFromMs).toISOString() });

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** A careful estimate: an id's hexadecimal digits cost about two letters a token, language about four. */
const tokensOf = (line: string): number => Math.ceil(18 + (line.length - 36) / 3.5);
