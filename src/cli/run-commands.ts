// `mainstay runs …`: submit a run, look at it, follow it, end it; over HTTP, as any other service would. Whoever waits for a
// run or watches it gets exit code 0 only when the run completed, so that a script may rely on it.
import { Option, type Command } from 'commander';
import { MainstayApiError, type Mainstay, type RunQuery } from '../client/client.ts';
import { ERRORS, MainstayError } from '../domain/errors.ts';
import { LANES, type Lane } from '../domain/lane.ts';
import { MULTITASK_STRATEGIES, RUN_STATUSES, type MultitaskStrategy } from '../domain/status.ts';
import type { LiveText, NewRunBody, Run, RunEvent, RunItem } from '../domain/wire.ts';
import { isoTime, jsonArgument, jsonObject, wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { addControlCommands } from './control-commands.ts';
import { addCreateMany } from './create-many.ts';
import { inline, money, note, printJson, printJsonLine, printLine, printPage, printPairs, printPiece, shortTime } from './output.ts';

interface CreateWords extends ApiOptions {
  readonly agent: string; readonly input: unknown; readonly user?: string; readonly session?: string; readonly priority?: number; readonly metadata?: Record<string, unknown>;
  readonly startAt?: string; readonly delayMs?: number; readonly expiresInMs?: number; readonly idempotencyKey?: string; readonly multitaskStrategy?: MultitaskStrategy; readonly lane?: Lane; readonly deadlineAt?: string; readonly wait?: true | number;
  readonly concurrencyKey?: string; readonly concurrencyLimit?: number; readonly debounceKey?: string; readonly debounceWindowMs?: number; readonly debounceMaxMs?: number;
}
interface ListWords extends ApiOptions, RunQuery {}
interface WatchWords extends ApiOptions { readonly after?: number; readonly text?: true }

export function addRunCommands(program: Command): void {
  const runs = program.command('runs').description('submit runs, look at them, follow them, end them');
  withApiOptions(runs.command('create')).description('submit a run; prints its id')
    .requiredOption('--agent <name>', 'the agent that shall run')
    .requiredOption('--input <json>', "what the agent's schema asks for: JSON, @file, or - for standard input", jsonArgument)
    .option('--user <user>', 'on whose behalf the run acts')
    .option('--session <session>', 'a lasting conversation of that user')
    .option('--priority <n>', "higher goes first among the tenant's own runs", wholeNumber)
    .option('--concurrency-key <key>', 'runs that share it are limited together; with --concurrency-limit')
    .option('--concurrency-limit <n>', 'of runs with that key at most so many are running at once', wholeNumber)
    .option('--metadata <json>', 'an object kept with the run: JSON, @file, or -', jsonObject)
    .option('--start-at <time>', 'not before this time (ISO 8601 with a zone)', isoTime)
    .option('--delay-ms <ms>', 'not before so many milliseconds from now', wholeNumber)
    .option('--expires-in-ms <ms>', 'end as expired when it has not started so many milliseconds after it may', wholeNumber)
    .option('--idempotency-key <key>', 'the same key with the same request is the same run')
    .addOption(new Option('--multitask-strategy <word>', 'what to do while the session has an unfinished run').choices(MULTITASK_STRATEGIES))
    .addOption(new Option('--lane <lane>', 'of its calls of the model: a batch is half the price and may take a day').choices(LANES))
    .option('--deadline-at <time>', 'by when the result is wanted (ISO 8601 with a zone): nearer than two hours no call goes into a batch', isoTime)
    .option('--debounce-key <key>', 'until the run starts, the last submit of this key is what it runs')
    .option('--debounce-window-ms <ms>', 'start when no further submit has come for so long', wholeNumber)
    .option('--debounce-max-ms <ms>', 'and so long after the first at the latest', wholeNumber)
    .option('--wait [seconds]', 'wait until the run has ended and print it; exit code 0 only when it completed', wholeNumber)
    .action(create);
  addCreateMany(runs);
  withApiOptions(runs.command('get')).description('one run, with input and output').argument('<run>', 'run_…')
    .action(async (id: string, options: ApiOptions) => show(await apiClient(options).runs.get(id), options.json));
  withApiOptions(runs.command('list')).description('runs, newest first')
    .option('--agent <name>').addOption(new Option('--status <status>').choices(RUN_STATUSES)).option('--user <user>').option('--session <session>').option('--parent <run>', 'spawned by this run')
    .option('--limit <n>', 'items of the page', wholeNumber).option('--cursor <cursor>', 'go on after this page')
    .action(list);
  withApiOptions(runs.command('watch')).description('print what happens in a run until it has ended; exit code 0 only when it completed').argument('<run>', 'run_…')
    .option('--after <seq>', 'begin after the event of this number', wholeNumber).option('--text', 'also what the model says, as it says it; a turn that is discarded is named')
    .action(watch);
  withApiOptions(runs.command('cancel')).description('ask for the end of a run').argument('<run>', 'run_…')
    .action(cancel);
  addControlCommands(runs);
}

async function cancel(id: string, options: ApiOptions): Promise<void> {
  const run = await apiClient(options).runs.cancel(id);
  if (options.json) return printJson(run);
  printLine(`${run.id} ${run.status === 'cancelled' ? 'is cancelled' : `is ${run.status}; its end is asked for`}`);
  for (const call of run.unsettled) note(`nobody knows the end of ${call.tool} in step ${call.stepSeq}: mainstay runs settle ${run.id} --step ${call.stepSeq} --path ${call.path} --outcome …`);
}

async function create(options: CreateWords): Promise<void> {
  const client = apiClient(options);
  const { agent, input, user, session, priority, metadata, startAt, delayMs, expiresInMs, multitaskStrategy, lane, deadlineAt, idempotencyKey, wait, json } = options;
  const { concurrencyKey: key, concurrencyLimit: limit } = options;
  if ((key === undefined) !== (limit === undefined)) throw new MainstayError('bad_request', 'Give --concurrency-key and --concurrency-limit, or neither.');
  const body: NewRunBody = { agent, input, user, session, priority, metadata, startAt, delayMs, expiresInMs, lane, deadlineAt, multitask_strategy: multitaskStrategy, debounce: debounceOf(options), concurrency: key === undefined || limit === undefined ? undefined : { key, limit } };
  const run = await client.runs.create(body, { idempotencyKey });
  if (wait !== undefined) {
    if (!json) note(`${run.id} is accepted`);
    return end(await client.runs.wait(run.id, wait === true ? {} : { timeoutMs: wait * 1_000 }), json);
  }
  if (json) return printJson(run);
  printLine(run.id);
  note(`${run.status}${run.debounced > 0 ? ', folded into the run of this key that has not started' : ''}; follow it: mainstay runs watch ${run.id}`);
}

function debounceOf({ debounceKey: key, debounceWindowMs: windowMs, debounceMaxMs: maxMs }: CreateWords): NewRunBody['debounce'] {
  if (key !== undefined && windowMs !== undefined) return { key, windowMs, maxMs };
  if (key ?? windowMs ?? maxMs) throw new MainstayError('bad_request', '--debounce-key and --debounce-window-ms go together.');
  return undefined;
}

async function list(options: ListWords): Promise<void> {
  const { agent, status, user, session, parent, limit, cursor } = options;
  printPage(options.json, await apiClient(options).runs.list({ agent, status, user, session, parent, limit, cursor }), ['run', 'agent', 'status', 'user', 'session', 'steps', 'cost', 'created (UTC)'], (run) => [
    run.id, run.agent, statusOf(run), run.user, run.session, run.steps, money(run.costMicroUsd), shortTime(run.createdAt),
  ]);
}

async function watch(id: string, options: WatchWords): Promise<void> {
  const client = apiClient(options);
  const onText = options.text ? (piece: LiveText): void => { if (options.json) printJsonLine(piece); else printPiece(pieceOf(piece)); } : undefined;
  for await (const event of client.runs.stream(id, { after: options.after, onText })) {
    if (options.json) printJsonLine(event); else printLine(sentenceOf(event));
  }
  if (options.json) return failUnlessCompleted(await client.runs.get(id));
  await finished(client, id);
}

const pieceOf = ({ type, text = '' }: LiveText): string => (type === 'text.delta' ? text : type === 'text.settled' ? '\n' : '\n(discarded: this turn is asked for again)\n');

async function finished(client: Mainstay, id: string): Promise<void> {
  const run = await client.runs.get(id);
  if (run.status === 'completed') printLine(`output    ${inline(run.output)}`);
  failUnlessCompleted(run);
}

function end(run: Run, json: boolean | undefined): void {
  show(run, json);
  failUnlessCompleted(run);
}

function failUnlessCompleted(run: Run): void {
  if (run.status === 'completed') return;
  const advice = run.errorCode !== null && Object.hasOwn(ERRORS, run.errorCode) ? ERRORS[run.errorCode as keyof typeof ERRORS].advice : `\`mainstay runs get ${run.id}\` shows the run.`;
  throw new MainstayApiError({ code: run.errorCode ?? run.status, status: 0, detail: run.errorMessage ?? `${run.id} is ${run.status}.`, advice });
}

function show(run: Run, json: boolean | undefined): void {
  if (json) return printJson(run);
  printPairs([
    ['run', run.id], ['agent', `${run.agent} ${run.version}`], ['status', statusOf(run)], ['pause', run.pauseRequested && run.waitReason !== 'paused' ? 'asked for' : ''], ['parent', run.parent], ['forked from', run.forkedFrom], ['folded in', run.debounced === 0 ? '' : `${run.debounced} later submits`],
    ['cancel', run.cancelRequested && run.finishedAt === null ? 'asked for' : ''], ['error', run.errorCode === null ? '' : `${run.errorCode}: ${run.errorMessage ?? ''}`],
    ['user', run.user], ['session', run.session], ['steps', `${run.steps}${run.finishedAt === null ? `, next ${run.nextStep}` : ''}`],
    ['progress', run.live === null ? '' : `${Math.round(run.live.progress * 100)} % ${run.live.note}`], ['model', run.model],
    ['tokens', `${run.inputTokens} in, ${run.outputTokens} out`], ['cost', money(run.costMicroUsd)], ['memory', run.memorySkipped === null ? run.memoryState : `${run.memoryState}: ${run.memorySkipped}`],
    ['due', shortTime(run.dueAt)], ['created', shortTime(run.createdAt)], ['started', shortTime(run.startedAt)], ['finished', shortTime(run.finishedAt)],
    ['metadata', inline(run.metadata) === '{}' ? '' : inline(run.metadata)], ['input', inline(run.input)], ['output', inline(run.output)],
  ]);
}

/** `waiting: approval`, `queued: no worker of this version` */
const statusOf = ({ status, waitReason, blocked }: RunItem): string => (waitReason !== null ? `${status}: ${waitReason}` : blocked === null ? status : `${status}: no worker of this ${blocked}`);

/** `07:49:12  step.completed  think → act, 120 ms` */
function sentenceOf({ type, data, createdAt }: RunEvent): string {
  const { step, next, durationMs } = (data ?? {}) as { step?: string; next?: string | null; durationMs?: number };
  const what = type === 'step.completed' ? `${step} → ${next ?? 'end'}, ${durationMs} ms` : data === null || JSON.stringify(data) === '{}' ? '' : inline(data);
  return `${createdAt.slice(11, 19)}  ${type.padEnd(14)}  ${what}`.trimEnd();
}
