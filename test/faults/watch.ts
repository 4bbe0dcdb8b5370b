// Looks at the database again and again while the faults go on, from outside of the product: each step is remembered by its
// digest when it is first seen, each run by its highest fence. At the end no digest may differ, no step may be gone, and no
// step may have come with a fence older than one its run was seen under before.
import { pause } from '../../src/clock.ts';
import { messageOf } from '../../src/domain/errors.ts';
import type { Claim } from './row.ts';

type Rows = <Row extends object>(text: string, values?: readonly unknown[]) => Promise<Row[]>;
interface StepSeen { id: string; seq: number; fence: string; digest: string }

const DIGEST = `md5(concat_ws('|', s.tenant_id, s.run_id, s.seq, s.event_seq, s.fence, s.name, s.next_step, s.data::text, s.data_blob, s.duration_ms, s.created_at))`;

export class Watch {
  readonly #rows: Rows;
  readonly #everyMs: number;
  readonly #digests = new Map<string, string>();
  readonly #fences = new Map<string, bigint>();
  readonly #zombies: string[] = [];
  readonly #fallen: string[] = [];
  readonly #stopping = new AbortController();
  looks = 0;
  #lastError = '';
  #loop: Promise<void> = Promise.resolve();

  constructor(rows: Rows, everyMs: number) { this.#rows = rows; this.#everyMs = everyMs; }

  /** Steps it has a digest of. */
  get seen(): number { return this.#digests.size; }

  start(): void { this.#loop = this.#looking(); }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  /** I4: every step ever seen is still what it was. */
  async compare(): Promise<Claim> {
    await this.stop();
    const now = new Map((await this.#steps()).map(({ id, seq, digest }) => [`${id} ${seq}`, digest]));
    const changed = [...this.#digests].filter(([step, digest]) => now.get(step) !== digest).map(([step]) => step);
    return { claim: 'I4 a recorded step never changed', ok: changed.length === 0, evidence: changed.length === 0 ? `${this.#digests.size} steps in ${this.looks} looks` : `${changed.length}: ${changed.slice(0, 5).join('; ')}` };
  }

  /** I6: nothing was written under a fence older than one seen before. */
  fences(): Claim {
    const faults = [...this.#zombies, ...this.#fallen];
    return { claim: 'I6 after a takeover nothing came with an older fence', ok: faults.length === 0, evidence: faults.length === 0 ? `${this.#fences.size} runs watched${this.#lastError === '' ? '' : `; a look failed: ${this.#lastError}`}` : faults.slice(0, 5).join('; ') };
  }

  async #looking(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#look().catch((error: unknown) => { this.#lastError = messageOf(error).slice(0, 80); }); // the row has Postgres down: the next look sees it
      await pause(this.#everyMs, this.#stopping.signal);
    }
  }

  async #look(): Promise<void> {
    // one statement, one snapshot: a step and the fence of its run belong together
    const seen = await this.#rows<{ id: string; fence: string; steps: StepSeen[] | null }>(`
      SELECT r.id, abs(r.fence)::text AS fence, (SELECT json_agg(json_build_object('id', s.run_id, 'seq', s.seq, 'fence', s.fence::text, 'digest', ${DIGEST})) FROM run_steps s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id) AS steps
      FROM agent_runs r WHERE r.fence <> 0`);
    for (const { id, fence, steps } of seen) {
      const before = this.#fences.get(id) ?? 0n;
      for (const step of steps ?? []) {
        const name = `${step.id} ${step.seq}`;
        if (this.#digests.has(name)) continue;
        this.#digests.set(name, step.digest);
        if (BigInt(step.fence) < before) this.#zombies.push(`step ${name} came under ${step.fence} after ${before}`);
      }
      if (BigInt(fence) < before) this.#fallen.push(`${id} fell from ${before} to ${fence}`);
      else this.#fences.set(id, BigInt(fence));
    }
    this.looks++;
  }

  #steps(): Promise<StepSeen[]> { return this.#rows<StepSeen>(`SELECT s.run_id AS id, s.seq, s.fence::text AS fence, ${DIGEST} AS digest FROM run_steps s`); }
}
