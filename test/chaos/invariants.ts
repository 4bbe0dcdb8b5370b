// The invariants a chaos run is judged by, in words, and what a look at one of them answers: how many rows it examined and what it
// found wrong. A look that examined nothing proves nothing and counts as broken, and so does one that is missing.
export const INVARIANTS = {
  I1: 'Every accepted run is there and ended exactly once; no run is left unfinished.',
  I2: 'There is no run that nobody asked for.',
  I3: 'One idempotency key is one run, whoever asked and however often.',
  I4: 'Steps are numbered without a gap, and a recorded step never changed.',
  I5: 'Fences rise: with every claim, and from step to step.',
  I6: 'After a takeover nothing was written under an older fence.',
  I7: 'Each effect was applied once.',
  I8: 'The ledger knows every effect, and the outside world every result.',
  I9: 'Every tool call was permitted, and agreed to where a person had to agree.',
  I10: 'The ledger of the model is what the model counted, times the price; what nobody learnt is booked at its reserve.',
  I11: 'No budget was passed by more than a reserve for each slot, and every reserve was released.',
  I12: 'Transcripts are valid: each tool use is answered next, and nothing half said was carried out.',
  I14: 'The vector index holds the live memories of Postgres, and no other.',
  I17: 'Nothing is owed, offered, locked or held when all has ended.',
  I19: 'Each occurrence of a schedule fired once, or is recorded as skipped.',
  I21: '99 of 100 runs ended in time, and every worker runs fresh runs within a minute after the last fault.',
  I22: 'The chaos was real: faults landed, workers were overtaken, runs completed.',
} as const;
export type InvariantId = keyof typeof INVARIANTS;
export const INVARIANT_IDS = Object.keys(INVARIANTS) as InvariantId[];

export interface Look {
  /** Rows examined. */
  readonly evidence: number;
  /** What is wrong, a sentence each. */
  readonly wrong: readonly string[];
  /** Of interest to people. */
  readonly note?: string;
}

export interface Verdict { readonly ok: boolean; readonly evidence: number }
export type Verdicts = Readonly<Record<InvariantId, Verdict>>;

export function judge(looks: ReadonlyMap<InvariantId, Look>): { verdicts: Verdicts; violations: string[] } {
  const violations: string[] = [];
  const verdicts = Object.fromEntries(INVARIANT_IDS.map((id) => {
    const look = looks.get(id) ?? { evidence: 0, wrong: [] };
    const wrong = look.evidence > 0 ? look.wrong : [...look.wrong, 'nothing was examined'];
    violations.push(...wrong.slice(0, 10).map((sentence) => `${id}: ${sentence}`));
    return [id, { ok: wrong.length === 0, evidence: look.evidence }];
  })) as Verdicts;
  return { verdicts, violations };
}
