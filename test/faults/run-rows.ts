// Runs rows: a ground each, the fault, the claims, and one verdict. Rows wait much and work little, so a few go side by side.
import { monoMs } from '../../src/clock.ts';
import { messageOf } from '../../src/domain/errors.ts';
import { Grounds } from './ground.ts';
import type { Claim, Row } from './row.ts';

export interface Verdict {
  readonly id: string;
  readonly title: string;
  readonly ok: boolean;
  readonly landed: Readonly<Record<string, number>>;
  readonly held: readonly Claim[];
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

async function runRow(grounds: Grounds, row: Row): Promise<Verdict> {
  const startMs = monoMs();
  const { id, title } = row;
  const seconds = (): number => Math.round((monoMs() - startMs) / 100) / 10;
  try {
    const ground = await grounds.ground(row);
    try {
      const { landed, held } = await row.inject(ground, grounds.form);
      const real = Object.keys(landed).length > 0 && Object.values(landed).every((count) => count > 0);
      const all = [...held, ...(real ? [] : [{ claim: 'the fault landed', ok: false, evidence: JSON.stringify(landed) }])];
      return { id, title, ok: all.every(({ ok }) => ok), landed, held: all, seconds: seconds() };
    } finally {
      await ground.close();
    }
  } catch (error) {
    return { id, title, ok: false, landed: {}, held: [{ claim: 'the row ran', ok: false, evidence: error instanceof Error ? (error.stack ?? error.message).slice(0, 3_000) : messageOf(error) }], seconds: seconds() };
  }
}
