// Runs rows: a ground each, the fault, the claims, and one verdict. Rows wait much and work little, so a few go side by side.
import { monoMs } from '../../src/clock.ts';
import { messageOf } from '../../src/domain/errors.ts';
import { Grounds } from './ground.ts';
import type { Claim, Observed, Row } from './row.ts';

export interface Verdict {
  readonly id: string;
  readonly title: string;
  readonly ok: boolean;
  readonly landed: Readonly<Record<string, number>>;
  readonly held: readonly Claim[];
  /** How often it was injected until it landed. */
  readonly tries: number;
  readonly seconds: number;
}

export interface RunRowsOptions {
  readonly form: 'short' | 'full';
  readonly seed: number;
  readonly together: number;
  readonly milvusAddress?: () => Promise<string>;
  readonly onVerdict?: (verdict: Verdict) => void;
}

/** A promise for each row's verdict, by its id, and one that resolves when all is put away. */
export function runRows(rows: readonly Row[], options: RunRowsOptions): { verdicts: ReadonlyMap<string, Promise<Verdict>>; done: Promise<void> } {
  const grounds = new Grounds(options.form, options.seed, options.milvusAddress);
  const settle = new Map<string, (verdict: Verdict) => void>();
  const verdicts = new Map(rows.map(({ id }) => [id, new Promise<Verdict>((resolve) => settle.set(id, resolve))]));
  const waiting = [...rows];
  const lane = async (): Promise<void> => {
    for (let row = waiting.shift(); row; row = waiting.shift()) {
      const verdict = await runRow(grounds, row);
      options.onVerdict?.(verdict);
      settle.get(row.id)?.(verdict);
    }
  };
  const done = Promise.all(Array.from({ length: options.together }, lane)).then(() => grounds.close());
  return { verdicts, done };
}

/** A fault that did not land proves nothing, either way: it is injected again, on a fresh ground. What broke is never asked twice. */
const TRIES = 3;

async function runRow(grounds: Grounds, row: Row): Promise<Verdict> {
  const startMs = monoMs();
  const { id, title } = row;
  for (let tries = 1; ; tries++) {
    const { landed, held } = await inject(grounds, row, tries);
    const real = Object.keys(landed).length > 0 && Object.values(landed).every((count) => count > 0);
    const kept = held.every(({ ok }) => ok);
    if (kept && !real && tries < TRIES) continue;
    const all = real || !kept ? held : [...held, { claim: 'the fault landed', ok: false, evidence: `${JSON.stringify(landed)} in the last of ${tries} tries` }];
    return { id, title, ok: all.every(({ ok }) => ok), landed, held: all, tries, seconds: Math.round((monoMs() - startMs) / 100) / 10 };
  }
}

async function inject(grounds: Grounds, row: Row, tries: number): Promise<Observed> {
  try {
    const ground = await grounds.ground(row, tries);
    try {
      return await row.inject(ground, grounds.form);
    } finally {
      await ground.close();
    }
  } catch (error) {
    return { landed: {}, held: [{ claim: 'the row ran', ok: false, evidence: error instanceof Error ? (error.stack ?? error.message).slice(0, 3_000) : messageOf(error) }] };
  }
}
