// `mainstay runs signal|pause|resume|retry|fork|unsettled|settle|bulk`: what a person does to runs from outside, over HTTP. A bulk
// only says what it would do until `--yes` is given; what was refused of it makes the exit code 1.
import { Argument, Option, type Command } from 'commander';
import { MainstayApiError } from '../client/client.ts';
import { MainstayError } from '../domain/errors.ts';
import { BULK_ACTIONS, RUN_STATUSES, type BulkAction } from '../domain/status.ts';
import type { BulkBody, Run } from '../domain/wire.ts';
import { isoTime, jsonArgument, wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { note, printJson, printLine, printPage, printTable, shortTime } from './output.ts';

interface OnceWords extends ApiOptions { readonly idempotencyKey?: string }
interface SignalWords extends OnceWords { readonly payload?: unknown }
interface ForkWords extends OnceWords { readonly fromStep: number }
interface SettleWords extends ApiOptions { readonly step: number; readonly path: string; readonly outcome: 'succeeded' | 'not_applied'; readonly response?: unknown }
interface BulkWords extends ApiOptions {
  readonly agent?: string; readonly status?: Run['status']; readonly user?: string; readonly session?: string; readonly createdBefore?: string; readonly createdAfter?: string;
  readonly all?: true; readonly limit?: number; readonly yes?: true;
}

const RUN = ['<run>', 'run_…'] as const;
const withKey = (command: Command): Command => command.option('--idempotency-key <key>', 'the same key with the same request is done once');

export function addControlCommands(runs: Command): void {
  withKey(withApiOptions(runs.command('signal'))).description('send a run a message; it is kept until the run asks for it').argument(...RUN).argument('<name>', 'what the run waits for')
    .option('--payload <json>', 'JSON, @file, or - for standard input', jsonArgument)
    .action(async (id: string, name: string, { payload, idempotencyKey, ...options }: SignalWords) => {
      const sent = await apiClient(options).runs.signal(id, { name, payload }, { idempotencyKey });
      if (options.json) printJson(sent); else printLine(sent.id);
    });
  withApiOptions(runs.command('pause')).description('stop a run at its next checkpoint, until it is resumed').argument(...RUN)
    .action(async (id: string, options: ApiOptions) => {
      const run = await apiClient(options).runs.pause(id);
      say(options, run, run.waitReason === 'paused' ? 'is paused' : 'stops at its next checkpoint');
    });
  withApiOptions(runs.command('resume')).description('let a paused run go on').argument(...RUN)
    .action(async (id: string, options: ApiOptions) => say(options, await apiClient(options).runs.resume(id), 'goes on'));
  withKey(withApiOptions(runs.command('retry'))).description('go on from the last checkpoint of a run that did not complete, as a new run; prints its id').argument(...RUN)
    .action(async (id: string, { idempotencyKey, ...options }: OnceWords) => begun(options, await apiClient(options).runs.retry(id, { idempotencyKey })));
  withKey(withApiOptions(runs.command('fork'))).description('begin a new run with the first steps of another; prints its id').argument(...RUN)
    .requiredOption('--from-step <seq>', 'the last step to take over; 0 = none', wholeNumber)
    .action(async (id: string, { fromStep, idempotencyKey, ...options }: ForkWords) => begun(options, await apiClient(options).runs.fork(id, fromStep, { idempotencyKey })));
  addOutcomes(runs);
  addBulk(runs);
}

function addOutcomes(runs: Command): void {
  withApiOptions(runs.command('unsettled')).description('effects of a run whose end nobody knows').argument(...RUN)
    .action(async (id: string, options: ApiOptions) => {
      printPage(options.json, await apiClient(options).runs.unsettled(id), ['step', 'path', 'tool', 'effect', 'status', 'started (UTC)'], (call) => [call.stepSeq, call.path, call.tool, call.effect, call.status, shortTime(call.startedAt)]);
    });
  withApiOptions(runs.command('settle')).description('say what became of such an effect, so that its run goes on').argument(...RUN)
    .requiredOption('--step <seq>', 'as `unsettled` shows it', wholeNumber).requiredOption('--path <path>', 'as `unsettled` shows it')
    .addOption(new Option('--outcome <word>', 'what you found out').choices(['succeeded', 'not_applied']).makeOptionMandatory())
    .option('--response <json>', 'its result, where it succeeded: JSON, @file, or -', jsonArgument)
    .action(async (id: string, { step, path, outcome, response, ...options }: SettleWords) => {
      const call = await apiClient(options).runs.settle(id, { stepSeq: step, path, outcome, response });
      if (options.json) printJson(call); else printLine(`${call.tool} of step ${call.stepSeq}: ${call.status}`);
    });
}

function addBulk(runs: Command): void {
  withApiOptions(runs.command('bulk')).description('one action on every run of a filter; says what it would do until --yes is given')
    .addArgument(new Argument('<action>').choices(BULK_ACTIONS))
    .option('--agent <name>').addOption(new Option('--status <status>').choices(RUN_STATUSES)).option('--user <user>').option('--session <session>')
    .option('--created-before <time>', 'ISO 8601 with a zone', isoTime).option('--created-after <time>', 'ISO 8601 with a zone', isoTime)
    .option('--all', 'instead of a filter').option('--limit <n>', 'runs at most, the oldest first', wholeNumber).option('--yes', 'do it')
    .action(bulk);
}

async function bulk(action: BulkAction, { agent, status, user, session, createdBefore, createdAfter, all, limit, yes, ...options }: BulkWords): Promise<void> {
  const filter = { agent, status, user, session, createdBefore, createdAfter };
  if (all && Object.values(filter).some((value) => value !== undefined)) throw new MainstayError('bad_request', '--all goes without a filter.');
  const body: BulkBody = { action, filter, all: all ?? false, dryRun: !yes, limit };
  const answer = await apiClient(options).runs.bulk(body);
  if (options.json) printJson(answer);
  else if (!yes) {
    for (const id of answer.ids) printLine(id);
    note(`${answer.ids.length} of ${answer.matched} would be chosen for ${action}; --yes does it`);
  } else {
    note(`${action}: ${answer.done} done, ${answer.failed.length} refused, of ${answer.matched}`);
    if (answer.failed.length > 0) printTable(['run', 'code'], answer.failed.map(({ id, code }) => [id, code]));
  }
  const [first] = answer.failed;
  if (first) throw new MainstayApiError({ code: first.code, status: 0, detail: `${answer.failed.length} of ${answer.ids.length} were refused.`, advice: '`mainstay runs get` shows each.' });
}

function say(options: ApiOptions, run: Run, what: string): void {
  if (options.json) printJson(run); else printLine(`${run.id} ${what}`);
}

function begun(options: ApiOptions, run: Run): void {
  if (options.json) return printJson(run);
  printLine(run.id);
  note(`${run.status}; follow it: mainstay runs watch ${run.id}`);
}
