// What every statement over `budgets` says in the same way. `g` is the row's alias. A window is not turned by a clock of ours:
// whoever next changes the row finds that a day or month has begun since, and counts from there.

const BEGINS = (g: string): string => `CASE ${g}.budget_window WHEN 'total' THEN ${g}.since ELSE date_trunc(${g}.budget_window, now(), 'UTC') END`;
const HAS_TURNED = (g: string): string => `(${g}.since < ${BEGINS(g)})`;

/** What is spent in the window that is now. */
export const spentOf = (g: string): string => `(CASE WHEN ${HAS_TURNED(g)} THEN 0 ELSE ${g}.spent_micro_usd END)`;

/** What a call may still reserve. */
export const roomOf = (g: string): string => `(${g}.limit_micro_usd - ${spentOf(g)} - ${g}.reserved_micro_usd)`;

/** When the window turns; null for good. */
export const endOf = (g: string): string => `(CASE ${g}.budget_window WHEN 'total' THEN NULL ELSE date_trunc(${g}.budget_window, now(), 'UTC') + ('1 ' || ${g}.budget_window)::interval END)`;

/** The assignments of a change: more or less reserved and spent. */
export const changed = (g: string, reserve: string, spend: string): string =>
  `reserved_micro_usd = greatest(0, ${g}.reserved_micro_usd + ${reserve}), spent_micro_usd = greatest(0, ${spentOf(g)} + ${spend}), since = greatest(${g}.since, ${BEGINS(g)}), warned_at = CASE WHEN NOT ${HAS_TURNED(g)} THEN ${g}.warned_at END`;

/** The budgets an attempt reserved in; of a version before them the two there were. */
export const keysOf = (k: string): string => `(CASE WHEN ${k}.budgets = '{?}' THEN ARRAY['tenant/total', 'agent:' || ${k}.agent || '/total'] ELSE ${k}.budgets END)`;
