// The people of the fleet: they send the signals runs wait for, answer what they are asked, give runs more money that wait for some, and
// settle effects whose outcome nobody knows, by what the sink says happened. They look every half second, and come back where they were not heard.
import { pause } from '../../src/clock.ts';
import { publicId } from '../../src/ids.ts';
import type { Stand } from './stand.ts';
import type { Traffic } from './traffic.ts';

const LOOK_MS = 500;
const ENOUGH_MICRO_USD = 2_000_000;

interface Waiting { tenant: string; id: string; reason: string }

export class People {
  readonly #stand: Stand;
  readonly #traffic: Traffic;
  readonly #stopping = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  /** Outcomes that were settled by hand. */
  settled = 0;

  constructor(stand: Stand, traffic: Traffic) { this.#stand = stand; this.#traffic = traffic; }

  start(): void { this.#loop = this.#looking(); }
  async stop(): Promise<void> { this.#stopping.abort(); await this.#loop; }

  async #looking(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await pause(LOOK_MS, this.#stopping.signal);
      const waiting = await this.#stand.rows<Waiting>(`SELECT tenant_id AS tenant, id, wait_reason::text AS reason FROM agent_runs WHERE status = 'waiting' AND wait_reason IN ('signal', 'approval', 'budget', 'outcome')`).catch(() => []);
      await Promise.all(waiting.map((run) => this.#help(run).catch(() => undefined))); // not heard: looked at again
    }
  }

  #help({ tenant, id, reason }: Waiting): Promise<unknown> {
    const client = this.#traffic.client(tenant);
    const run = publicId('run', id);
    if (reason === 'signal') return client.runs.signal(run, { name: 'go on', payload: { by: 'people' } }, { idempotencyKey: `go-on-${id}` });
    if (reason === 'budget') return client.budgets.set({ run, limitMicroUsd: ENOUGH_MICRO_USD });
    if (reason === 'approval') return this.#decide(tenant, id);
    return this.#settle(tenant, id);
  }

  /** Every fifth question is answered with no, by its id, so that the same one gets the same answer. */
  async #decide(tenant: string, run: string): Promise<void> {
    const open = await this.#stand.rows<{ id: string }>(`SELECT id FROM approvals WHERE tenant_id = $1 AND run_id = $2 AND status = 'pending'`, [tenant, run]);
    for (const { id } of open) await this.#traffic.client(tenant).approvals.decide(publicId('approval', id), { approved: parseInt(id.slice(-2), 16) % 5 !== 0 });
  }

  async #settle(tenant: string, run: string): Promise<void> {
    const client = this.#traffic.client(tenant);
    const open = await this.#stand.rows<{ stepSeq: number; path: string; key: string }>(`SELECT step_seq AS "stepSeq", path, key FROM tool_calls WHERE tenant_id = $1 AND run_id = $2 AND status IN ('intent', 'unknown') AND effect <> 'read'`, [tenant, run]);
    for (const { stepSeq, path, key } of open) {
      const applied = this.#stand.sink.effects.some((effect) => effect.run === run && effect.key === key);
      await client.runs.settle(publicId('run', run), applied ? { stepSeq, path, outcome: 'succeeded', response: { first: true } } : { stepSeq, path, outcome: 'not_applied' });
      this.settled++;
    }
  }
}
