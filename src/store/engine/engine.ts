// The engine's door to Postgres: the hot statements, grouped per process, and the rest as they are. Every call carries its
// tenant; answers are matched by the tenant and id that came back, never by position alone.
import { GROUP_LANES, GROUP_MAX } from '../../domain/tunables.ts';
import { Grouped } from '../../grouped.ts';
import { claimDue, claimRuns, type ClaimedRun, type ClaimRequest } from './claim.ts';
import { commitRunsIfHeld, isCheckpoint, type Commit, type Committed } from './commit.ts';
import { recordedCalls, type RecordedCall, type StepPlace } from './ledger.ts';
import { reserveModelCallsIfHeld, settleModelCalls, type BudgetNews, type ModelIntent, type ModelSettlement, type Reserved } from './model-ledger.ts';
import type { EnginePool } from './pool.ts';
import { submitDebounced, submitRuns, submitTogether, type NewRun, type Submitted, type Together } from './submit.ts';
import { wakeAnswered, type Parent } from './waits.ts';

const GROUPS = { lanes: GROUP_LANES, max: GROUP_MAX };

export class Engine {
  readonly pool: EnginePool;
  readonly #submits: Grouped<NewRun, Submitted>;
  readonly #commits: Grouped<Commit, Committed | Error>;
  readonly #checkpoints: Grouped<Commit, Committed | Error>;
  readonly #reserves: Grouped<ModelIntent, Reserved | Error>;
  readonly #items: Grouped<ModelIntent, Reserved | Error>;
  readonly #settlements: Grouped<ModelSettlement, readonly BudgetNews[]>;
  readonly #wakes: Grouped<Parent, boolean>;
  readonly #recorded: Grouped<StepPlace, RecordedCall[]>;

  constructor(pool: EnginePool) {
    this.pool = pool;
    this.#submits = new Grouped((runs) => submitRuns(pool, runs), GROUPS);
    this.#commits = new Grouped((commits) => commitRunsIfHeld(pool, commits), GROUPS);
    this.#checkpoints = new Grouped((commits) => commitRunsIfHeld(pool, commits), { ...GROUPS, lanes: 1 }); // they come in step with one another: two lanes make two groups of half the size
    this.#reserves = new Grouped((intents) => reserveModelCallsIfHeld(pool, intents), GROUPS);
    this.#items = new Grouped((intents) => reserveModelCallsIfHeld(pool, intents), GROUPS);
    this.#settlements = new Grouped((settlements) => settleGroup(pool, settlements), GROUPS);
    this.#wakes = new Grouped((runs) => wakeAnswered(pool, runs), { ...GROUPS, lanes: 1 }); // one at a time: a thousand ends become a few looks
    this.#recorded = new Grouped((steps) => recordedCalls(pool, steps), GROUPS);
  }

  /** Answered when it is durable; throws what the statement threw for this call alone. */
  async reserveModelCall(intent: ModelIntent): Promise<Reserved> {
    const answer = await (intent.lane === 'batch' ? this.#items : this.#reserves).add(intent);
    if (answer instanceof Error) throw answer;
    return answer;
  }

  /** Resolves when it is durable, with the news of its budgets: each budget's goes to one call of a group. */
  settleModelCall(settlement: ModelSettlement): Promise<readonly BudgetNews[]> { return this.#settlements.add(settlement); }

  submit(run: NewRun): Promise<Submitted> { return this.#submits.add(run); }
  /** Not grouped: two submits of one key in a statement would meet in one row. */
  submitDebounced(run: NewRun): Promise<Submitted> { return submitDebounced(this.pool, run); }
  submitTogether(runs: readonly NewRun[], rejecting: readonly string[]): Promise<Together> { return submitTogether(this.pool, runs, rejecting); }

  /** Throws what the statement threw for this run alone; `fenced` is an answer, not an error. */
  async commitIfHeld(commit: Commit): Promise<Committed> {
    const answer = await (isCheckpoint(commit) ? this.#checkpoints : this.#commits).add(commit);
    if (answer instanceof Error) throw answer;
    return answer;
  }

  /** Looks whether the run's wait for children is answered, and wakes it; to be asked after the commit of whoever ended or parked. */
  wakeIfAnswered(tenant: string, id: string): Promise<boolean> { return this.#wakes.add({ tenant, id }); }

  /** Everything a step has on record: a dead worker's runs begin together. */
  recordedCalls(step: StepPlace): Promise<RecordedCall[]> { return this.#recorded.add(step); }

  /** The claims of one worker: grouped among its slots. */
  claimer(incarnation: string, machines: readonly string[], runPool: string, stepMs: number): Claimer {
    const claims = new Grouped<ClaimRequest, ClaimedRun | undefined>((asked) => claimRuns(this.pool, asked, incarnation, machines, stepMs), { lanes: 1, max: GROUP_MAX });
    return {
      claim: (tenant, id) => claims.add({ tenant, id }),
      claimDue: (limit) => claimDue(this.pool, runPool, limit, incarnation, machines, stepMs),
    };
  }
}

export interface Claimer {
  claim(tenant: string, id: string): Promise<ClaimedRun | undefined>;
  claimDue(limit: number): Promise<ClaimedRun[]>;
}

/** A group that failed is settled one by one. */
async function settleGroup(pool: EnginePool, settlements: readonly ModelSettlement[]): Promise<(readonly BudgetNews[])[]> {
  const news = await settleModelCalls(pool, settlements).catch((error: unknown) => { if (settlements.length === 1) throw error; return undefined; });
  if (!news) return Promise.all(settlements.map((one) => settleModelCalls(pool, [one])));
  const first = new Map(settlements.map(({ place }, at) => [place.tenant, at])); // a budget is of one tenant, as is the run that tells of it
  return settlements.map(({ place }, at) => (first.get(place.tenant) === at ? news.filter(({ tenant }) => tenant === place.tenant) : []));
}
