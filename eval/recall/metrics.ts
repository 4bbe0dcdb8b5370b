// How well a ranking of turns answers questions whose evidence is known. Pure. A question without evidence has no right ranking
// and is not counted.

export const DEPTHS = [1, 5, 10, 25] as const;
const NDCG_AT = 10;

export interface Ranking {
  readonly category: string;
  /** Ids of the turns that answer the question. */
  readonly evidence: readonly string[];
  /** Ids of turns, best first, each once. */
  readonly ranked: readonly string[];
}

/** `recall@k`: share of the evidence among the first k; `any@k`: some of it is there; `ndcg@10`; `mrr`. Means over questions, 0 to 1. */
export type Metrics = Readonly<Record<string, number>>;

export function metricsOf(rankings: readonly Ranking[]): Metrics {
  const each = rankings.map(scoresOf);
  const names = Object.keys(each[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, round(each.reduce((sum, one) => sum + (one[name] ?? 0), 0) / each.length)]));
}

export function perCategory(rankings: readonly Ranking[]): Record<string, Metrics> {
  const categories = [...new Set(rankings.map(({ category }) => category))].sort();
  return Object.fromEntries(categories.map((category) => {
    const own = rankings.filter((one) => one.category === category);
    return [category, { questions: own.length, ...metricsOf(own) }];
  }));
}

function scoresOf({ evidence, ranked }: Ranking): Record<string, number> {
  const wanted = new Set(evidence);
  const hits = ranked.map((id) => wanted.has(id));
  const found = (k: number): number => hits.slice(0, k).filter(Boolean).length;
  const first = hits.indexOf(true);
  const gain = (places: readonly boolean[]): number => places.reduce((sum, hit, at) => sum + (hit ? 1 / Math.log2(at + 2) : 0), 0);
  const best = gain(Array.from({ length: Math.min(NDCG_AT, wanted.size) }, () => true));
  return {
    ...Object.fromEntries(DEPTHS.map((k) => [`recall@${k}`, found(k) / wanted.size])),
    ...Object.fromEntries(DEPTHS.map((k) => [`any@${k}`, found(k) > 0 ? 1 : 0])),
    [`ndcg@${NDCG_AT}`]: gain(hits.slice(0, NDCG_AT)) / best,
    mrr: first < 0 ? 0 : 1 / (first + 1),
  };
}

const round = (value: number): number => Math.round(value * 10_000) / 10_000;
