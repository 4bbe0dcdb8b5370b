// `mainstay schedules …`: runs that begin by themselves.
import { Option, type Command } from 'commander';
import { MISFIRES, OVERLAPS } from '../domain/schedule.ts';
import type { NewScheduleBody, Schedule } from '../domain/wire.ts';
import { isoTime, jsonArgument, wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { withPage } from './memory-commands.ts';
import { inline, printJson, printLine, printPage, printPairs, shortTime } from './output.ts';

interface PageWords extends ApiOptions { readonly user?: string; readonly limit?: number; readonly cursor?: string }
type CreateWords = ApiOptions & NewScheduleBody;

const SCHEDULE = ['<schedule>', 'sch_…'] as const;
const timeOf = ({ cron, zone, everyMs }: Schedule): string => (cron === null ? `every ${(everyMs ?? 0) / 1_000} s` : `${cron} ${zone}`);

export function addScheduleCommands(program: Command): void {
  const schedules = program.command('schedules').description('runs that begin by themselves');
  withApiOptions(schedules.command('create')).description('make a schedule; prints its id').argument('<name>')
    .requiredOption('--agent <agent>').requiredOption('--input <json>', 'JSON, @file, or - for standard input', jsonArgument)
    .option('--cron <expression>', 'five fields, with --zone').option('--zone <zone>', 'IANA time zone, such as Europe/Berlin').option('--every-ms <ms>', 'instead of --cron: an interval', wholeNumber)
    .option('--user <user>').option('--session <session>').option('--priority <number>', '-1000 to 1000', wholeNumber)
    .addOption(new Option('--overlap <policy>', 'while its last run is unfinished').choices(OVERLAPS)).addOption(new Option('--misfire <policy>', 'occurrences nobody was there for').choices(MISFIRES))
    .option('--grace-ms <ms>', 'later than this is a misfire', wholeNumber).option('--ends-at <time>', 'ISO 8601 with zone', isoTime)
    .action(async (name: string, { url, keyFile, json, ...body }: CreateWords) => {
      const made = await apiClient({ ...(url === undefined ? {} : { url }), ...(keyFile === undefined ? {} : { keyFile }) }).schedules.create({ ...body, name });
      if (json) printJson(made); else printLine(made.id);
    });
  withPage(withApiOptions(schedules.command('list'))).description('schedules, newest first').option('--user <user>', 'of this user')
    .action(async (options: PageWords) => {
      const { user, limit, cursor } = options;
      printPage(options.json, await apiClient(options).schedules.list({ user, limit, cursor }), ['schedule', 'name', 'agent', 'user', 'when', 'next (UTC)'],
        (one) => [one.id, one.name, one.agent, one.user, timeOf(one), one.paused ? 'paused' : shortTime(one.next[0] ?? null)]);
    });
  withApiOptions(schedules.command('show')).description('one schedule, with its next occurrences').argument(...SCHEDULE).action(show);
  withPage(withApiOptions(schedules.command('occurrences'))).description('what it fired and skipped, latest first').argument(...SCHEDULE)
    .action(async (id: string, options: PageWords) => {
      printPage(options.json, await apiClient(options).schedules.occurrences(id, { limit: options.limit, cursor: options.cursor }), ['at (UTC)', 'outcome', 'reason', 'run'], (one) => [shortTime(one.at), one.outcome, one.reason, one.run]);
    });
  for (const change of ['pause', 'resume'] as const) {
    withApiOptions(schedules.command(change)).description(change === 'pause' ? 'name no occurrences until it is resumed' : 'go on from now').argument(...SCHEDULE)
      .action(async (id: string, options: ApiOptions) => {
        const one = await apiClient(options).schedules[change](id);
        if (options.json) printJson(one); else printLine(`${one.name}: ${one.paused ? 'paused' : `next ${shortTime(one.next[0] ?? null)}`}`);
      });
  }
  withApiOptions(schedules.command('run')).description('begin one run now; prints its id').argument(...SCHEDULE)
    .action(async (id: string, options: ApiOptions) => {
      const run = await apiClient(options).schedules.runNow(id);
      if (options.json) printJson(run); else printLine(run.id);
    });
  withApiOptions(schedules.command('delete')).description('end a schedule; its runs stay').argument(...SCHEDULE).action((id: string, options: ApiOptions) => apiClient(options).schedules.delete(id));
}

async function show(id: string, options: ApiOptions): Promise<void> {
  const one = await apiClient(options).schedules.get(id);
  if (options.json) return printJson(one);
  printPairs([
    ['schedule', one.id], ['name', one.name], ['agent', one.agent], ['input', inline(one.input)], ['user', one.user], ['session', one.session], ['when', timeOf(one)], ['overlap', one.overlap], ['misfire', one.misfire],
    ['ends', shortTime(one.endsAt)], ['paused', one.paused ? 'yes' : 'no'], ['next', one.next.map(shortTime).join(', ')], ['last run', one.lastRun],
  ]);
}
