// `mainstay usage`, `mainstay budgets …` and `mainstay quotas …`: what was spent, and what may be.
import { Argument, InvalidArgumentError, Option, type Command } from 'commander';
import type { UsageQuery } from '../client/client.ts';
import { wallMs } from '../clock.ts';
import { BUDGET_WINDOWS, type BudgetWindow } from '../domain/budget.ts';
import { QUOTA_KINDS, QUOTA_PERS, type QuotaKind, type QuotaPer } from '../domain/quota.ts';
import type { Budget, Quota } from '../domain/wire.ts';
import { wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, withDatabase, type ApiOptions } from './connection.ts';
import { money, printJson, printPage, printTable, shortTime } from './output.ts';

interface SetWords extends ApiOptions { readonly agent?: string; readonly user?: string; readonly run?: string; readonly window: BudgetWindow; readonly limit: number | 'none' }

export function addMoneyCommands(program: Command): void {
  withApiOptions(program.command('usage')).description('model calls, tokens and cost by day, agent, model and lane; the last 30 days unless told')
    .option('--from <time>', 'ISO date or time').option('--to <time>', 'ISO date or time').option('--user <user>', 'of this user')
    .option('--all-tenants', 'by tenant, model and lane, the dearest first (the operator: works on DATABASE_URL)')
    .action(usage);
  const budgets = program.command('budgets').description('limits on money; runs that find no room in one wait');
  withApiOptions(budgets.command('list')).description('budgets of the tenant, its agents and users: limit, spent, reserved by calls under way, and how many runs wait')
    .option('--run <run>', 'the budget of this run instead, run_…')
    .action(async (options: ApiOptions & { readonly run?: string }) => { printPage(options.json, await apiClient(options).budgets.list({ run: options.run }), HEADINGS, line); });
  withApiOptions(budgets.command('set')).description('set a limit, of the tenant unless told; runs that wait for it look again at once')
    .requiredOption('--limit <dollars>', 'such as 12.50, or `none`', dollars)
    .option('--agent <agent>', 'of this agent').option('--user <user>', 'of this user').option('--run <run>', 'of this run and what it spawned, run_…')
    .addOption(new Option('--window <window>', 'counted anew each day or month, UTC').choices(BUDGET_WINDOWS).default('total'))
    .action(async (options: SetWords) => {
      const { agent, user, run, window, limit } = options;
      printPage(options.json, await apiClient(options).budgets.set({ agent, user, run, window, limitMicroUsd: limit === 'none' ? null : limit }), HEADINGS, line);
    });

  const quotas = program.command('quotas').description('how much may be asked for in a window; runs wait for more tokens, requests are refused');
  withApiOptions(quotas.command('list')).description('all quotas')
    .action(async (options: ApiOptions) => { printPage(options.json, await apiClient(options).quotas.list(), QUOTA_HEADINGS, quotaLine); });
  withApiOptions(quotas.command('set')).description('set a quota of the tenant, or of each of its users')
    .addArgument(new Argument('<kind>').choices(QUOTA_KINDS)).requiredOption('--most <n>', 'a whole number, or `none`', (text: string) => (text === 'none' ? text : wholeNumber(text)))
    .addOption(new Option('--per <window>').choices(QUOTA_PERS).makeOptionMandatory()).option('--each-user', 'each user by himself')
    .action(async (kind: QuotaKind, options: ApiOptions & { readonly most: number | 'none'; readonly per: QuotaPer; readonly eachUser?: true }) => {
      const { most, per, eachUser } = options;
      printPage(options.json, await apiClient(options).quotas.set({ subject: eachUser ? 'user' : 'tenant', kind, per, most: most === 'none' ? null : most }), QUOTA_HEADINGS, quotaLine);
    });
}

const QUOTA_HEADINGS = ['of', 'kind', 'per', 'most'];
const quotaLine = ({ subject, kind, per, most }: Quota): (string | number)[] => [subject === 'user' ? 'each user' : 'tenant', kind, per, most];

const HEADINGS = ['of', 'window', 'limit', 'spent', 'reserved', 'left', 'waiting', 'begins anew (UTC)'];
const line = (one: Budget): (string | number)[] =>
  [one.of === 'tenant' ? 'tenant' : `${one.of} ${one.name}`, one.window, money(one.limitMicroUsd), money(one.spentMicroUsd), money(one.reservedMicroUsd), money(one.leftMicroUsd), one.waiting, shortTime(one.endsAt)];

async function usage(options: ApiOptions & UsageQuery & { readonly allTenants?: true }): Promise<void> {
  const { from, to, user } = options;
  if (options.allTenants) return usageOverTenants(options);
  const found = await apiClient(options).usage.get({ from, to, user });
  if (options.json) return printJson(found);
  const sums = ({ calls, inputTokens, cacheReadTokens, cacheWriteTokens, outputTokens, costMicroUsd }: typeof found.total) => [calls, inputTokens, cacheWriteTokens, cacheReadTokens, outputTokens, money(costMicroUsd)];
  printTable(['day', 'agent', 'model', 'lane', 'runs', 'calls', 'tokens in', 'to cache', 'from cache', 'tokens out', 'cost'], [
    ...found.data.map((row) => [row.day, row.agent, row.model, row.lane, row.runs, ...sums(row)]),
    ['total', '', '', '', '', ...sums(found.total)],
  ]);
}

async function usageOverTenants({ from, to, user, json }: ApiOptions & UsageQuery): Promise<void> {
  if (user !== undefined) throw new InvalidArgumentError('--user is of one tenant: leave --all-tenants out.');
  const end = to === undefined ? new Date(wallMs()) : timeOf(to);
  const begin = from === undefined ? new Date(end.getTime() - 30 * 86_400_000) : timeOf(from);
  const data = await withDatabase(async (pool) => (await import('../store/engine/usage.ts')).usageOfTenants(pool, begin, end));
  if (json) return printJson({ from: begin.toISOString(), to: end.toISOString(), data });
  printTable(['tenant', 'model', 'lane', 'runs', 'calls', 'tokens in', 'tokens out', 'cost'], data.map((row) => [row.tenant, row.model, row.lane, row.runs, row.calls, row.inputTokens, row.outputTokens, money(row.costMicroUsd)]));
}

function timeOf(text: string): Date {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new InvalidArgumentError(`"${text}" is no date: write it as 2026-11-01 or 2026-11-01T10:00:00Z.`);
  return time;
}

/** Micro-dollars. */
function dollars(text: string): number | 'none' {
  if (text === 'none') return text;
  if (!/^\d{1,9}(\.\d{1,6})?$/.test(text)) throw new InvalidArgumentError('It must be dollars, such as 12.50, or `none`.');
  return Math.round(Number(text) * 1_000_000);
}
