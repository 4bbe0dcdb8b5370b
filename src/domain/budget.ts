// A budget limits what the calls of a tenant, an agent, a user or a run (with all it spawns) may cost, for good or in each
// day or month (UTC). Calls reserve their worst case in every budget they fall under before they are made.
import { MainstayError } from './errors.ts';

export const BUDGET_WINDOWS = ['total', 'day', 'month'] as const;
export type BudgetWindow = (typeof BUDGET_WINDOWS)[number];

/** `tenant`, `agent:<name>`, `user:<id>` or `run:<uuid>`. */
export type BudgetSubject = 'tenant' | `agent:${string}` | `user:${string}` | `run:${string}`;

/** As reserves name it: subject and window. */
export const budgetKey = (subject: BudgetSubject, window: BudgetWindow): string => `${subject}/${window}`;

/** Share of a budget that, once spent, is worth a word while there is time. */
export const BUDGET_WARNING = 0.8;

/** The largest limit: a billion dollars in micro-dollars, far below what a double holds exactly. */
export const MAX_BUDGET_MICRO_USD = 1_000_000_000_000_000;

/** At most one of the three; none = the tenant's. Throws `bad_request`. */
export function subjectOf({ agent, user, run }: { readonly agent?: string | undefined; readonly user?: string | undefined; /** uuid */ readonly run?: string | undefined }): BudgetSubject {
  const named: BudgetSubject[] = [...(agent === undefined ? [] : [`agent:${agent}` as const]), ...(user === undefined ? [] : [`user:${user}` as const]), ...(run === undefined ? [] : [`run:${run}` as const])];
  if (named.length > 1) throw new MainstayError('bad_request', 'A budget is of an agent, a user or a run, or of the tenant where none is named.', { fields: [{ path: 'agent', message: 'more than one subject' }] });
  return named[0] ?? 'tenant';
}

/** For a person: `the tenant`, `agent support`, `user ada`, `run 0190…`. */
export function whoseBudget(key: string): string {
  const cut = key.lastIndexOf('/');
  const [subject, window] = [key.slice(0, cut), key.slice(cut + 1)];
  return `${subject === 'tenant' ? 'the tenant' : subject.replace(':', ' ')}${window === 'total' ? '' : ` for the ${window}`}`;
}
