// A quota says how much of a kind a tenant, or each of its users, may ask for within a window that begins with the first use.
// Money has budgets instead (budget.ts): they reserve, quotas only count.

export const QUOTA_KINDS = ['requests', 'submissions', 'tokens'] as const;
/** `requests` of the API, `submissions` of runs by whatever door of the API, `tokens` a model took in uncached or gave out. */
export type QuotaKind = (typeof QUOTA_KINDS)[number];

export const QUOTA_SECONDS = { minute: 60, hour: 3_600, day: 86_400 } as const;
export type QuotaPer = keyof typeof QUOTA_SECONDS;
export const QUOTA_PERS = ['minute', 'hour', 'day'] as const satisfies readonly QuotaPer[];

export const QUOTA_SUBJECTS = ['tenant', 'user'] as const;

export interface Quota {
  /** `user`: each user of the tenant by himself. */
  readonly subject: (typeof QUOTA_SUBJECTS)[number];
  readonly kind: QuotaKind;
  readonly per: QuotaPer;
  readonly most: number;
}

export const MAX_QUOTA = 1_000_000_000_000;
