// `mainstay approvals …`: what runs ask people, and the answers. A yes may carry other arguments; a decision is taken once.
import { Option, type Command } from 'commander';
import type { ApprovalQuery } from '../client/client.ts';
import { APPROVAL_STATUSES } from '../domain/status.ts';
import type { DecisionBody } from '../domain/wire.ts';
import { jsonArgument } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { withPage } from './memory-commands.ts';
import { inline, printJson, printLine, printPage, printPairs, shortTime } from './output.ts';

interface ListWords extends ApiOptions, ApprovalQuery {}
interface DecideWords extends ApiOptions { readonly reason?: string; readonly edited?: unknown }

export function addApprovalCommands(program: Command): void {
  const approvals = program.command('approvals').description('what runs ask people');
  withPage(withApiOptions(approvals.command('list'))).description('questions, newest first')
    .addOption(new Option('--status <status>').choices(APPROVAL_STATUSES)).option('--user <user>', 'of runs of this user').option('--run <run>', 'asked by this run')
    .action(list);
  withApiOptions(approvals.command('show')).description('one question, with what it is about').argument('<approval>', 'apr_…').action(show);
  withApiOptions(approvals.command('approve')).description('say yes').argument('<approval>', 'apr_…')
    .option('--edited <json>', 'other arguments: JSON, @file, or -', jsonArgument).option('--reason <text>')
    .action((id: string, { edited, reason, ...options }: DecideWords) => decide(id, { approved: true, edited, reason }, options));
  withApiOptions(approvals.command('deny')).description('say no').argument('<approval>', 'apr_…').option('--reason <text>', 'told to the run')
    .action((id: string, { reason, ...options }: DecideWords) => decide(id, { approved: false, reason }, options));
}

async function list(options: ListWords): Promise<void> {
  const { status, user, run, limit, cursor } = options;
  printPage(options.json, await apiClient(options).approvals.list({ status, user, run, limit, cursor }), ['approval', 'status', 'user', 'run', 'expires (UTC)', 'subject', 'request'],
    (one) => [one.id, one.status, one.user, one.run, shortTime(one.expiresAt), one.subject, inline(one.request)]);
}

async function show(id: string, options: ApiOptions): Promise<void> {
  const one = await apiClient(options).approvals.get(id);
  if (options.json) return printJson(one);
  printPairs([
    ['approval', one.id], ['subject', one.subject], ['request', inline(one.request)], ['status', one.status], ['run', one.run], ['step', `${one.stepSeq} ${one.path}`], ['user', one.user],
    ['asked', shortTime(one.createdAt)], ['expires', one.expiresAt === null ? '' : `${shortTime(one.expiresAt)}, then ${one.onExpiry}`],
    ['decided', one.decidedAt === null ? '' : `${shortTime(one.decidedAt)} by ${one.decidedBy}`], ['reason', one.reason], ['edited', inline(one.edited)],
  ]);
}

async function decide(id: string, body: DecisionBody, options: ApiOptions): Promise<void> {
  const one = await apiClient(options).approvals.decide(id, body);
  if (options.json) printJson(one); else printLine(`${one.id} is ${body.approved ? 'approved' : 'denied'}: ${one.subject}`);
}
