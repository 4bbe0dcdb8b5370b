// What a demonstration saw, as `-- --json FILE` writes it, and whether every part of it was seen to work. Pure.

export interface DemonstrationReport {
  ok: boolean;
  /** Seconds by part of the start and of the demonstration. */
  phases: Record<string, number>;
  runs: { id: string; session: string; status: string; steps: number; costMicroUsd: number }[];
  verdicts: { run: string; decision: string; stage: string; reason: string; statement: string }[];
  recalled: { memory: string; score: number; cited: boolean }[];
  /** Fingerprint of what turned texts into vectors. */
  embedder: string | null;
  /** False: it matches words, not meaning. */
  semantic: boolean;
  /** True: Milvus did not answer and Postgres did. */
  degraded: boolean;
  model: string | null;
  /** What was not seen to work, a sentence each; empty when `ok`. */
  missing: string[];
}

export const emptyReport = (): DemonstrationReport => ({ ok: false, phases: {}, runs: [], verdicts: [], recalled: [], embedder: null, semantic: false, degraded: false, model: null, missing: [] });

/** Sentences about what was not seen; the demonstration is ok when there are none. */
export function missingIn(report: DemonstrationReport): string[] {
  const { runs, verdicts, recalled, embedder, semantic, degraded } = report;
  const must = (seen: boolean, sentence: string): string[] => (seen ? [] : [sentence]);
  return [
    ...must(runs.length === 2 && runs.every(({ status }) => status === 'completed'), `two runs should have completed: ${runs.map(({ status }) => status).join(', ') || 'none ran'}`),
    ...must(runs.every(({ steps }) => steps > 0), 'a run showed no steps'),
    ...must(new Set(runs.map(({ session }) => session)).size === runs.length, 'the two runs should be in two sessions'),
    ...must(verdicts.some(({ decision }) => decision === 'ADMIT'), 'the memory gate admitted nothing'),
    ...must(verdicts.some(({ decision }) => decision !== 'ADMIT'), 'the memory gate gave no other verdict than ADMIT'),
    ...must(recalled.some(({ cited }) => cited), 'the second session cited no memory of the first'),
    ...must(semantic, `recall was not semantic (${embedder ?? 'no embedder seen'})`),
    ...must(!degraded, 'recall was degraded: Milvus did not answer'),
  ];
}
