// `mainstay sessions …` and `mainstay memories …`: what was said, and what was kept of it. The API audits each of these reads.
import { Argument, Option, type Command } from 'commander';
import type { MemoryQuery, OfUser, Paging } from '../client/client.ts';
import { MEMORY_FEEDBACK } from '../domain/feedback.ts';
import { MEMORY_SCOPES, MEMORY_TYPES } from '../domain/status.ts';
import type { MemoryWorth } from '../domain/wire-worth.ts';
import { wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { addGateCommands } from './gate-commands.ts';
import { inline, note, printJson, printPage, printPairs, printTable, shortTime } from './output.ts';

interface SessionWords extends ApiOptions, OfUser, Paging {}
interface MemoryWords extends ApiOptions, Omit<MemoryQuery, 'include'> { readonly superseded?: boolean }

const yesNo = (is: boolean): string => (is ? 'yes' : 'no');
const USER_DOC = 'whose; required unless the key is bound to a user';

export const withPage = (command: Command): Command => command
  .option('--limit <n>', 'items of the page', wholeNumber)
  .option('--cursor <cursor>', 'go on after this page');

export function addMemoryCommands(program: Command): void {
  addSessions(program.command('sessions').description('lasting conversations: their state and messages'));
  const memories = program.command('memories').description('what passed the memory gate');
  addMemories(memories);
  addGateCommands(memories);
  addSummaries(program.command('summaries').description('what runs came to'));
}

function addSummaries(summaries: Command): void {
  withApiOptions(summaries.command('search')).description('find earlier runs by what they came to: by meaning and by words').argument('<words>')
    .option('--user <user>', 'of this user’s runs').option('--agent <agent>', 'of the runs this agent made for nobody').option('--limit <n>', 'at most', wholeNumber)
    .action(async (q: string, { user, agent, limit, ...options }: ApiOptions & { readonly user?: string; readonly agent?: string; readonly limit?: number }) => {
      const found = await apiClient(options).summaries.search({ q, user, agent, limit });
      if (options.json) return printJson(found);
      printTable(['run', 'time (UTC)', 'agent', 'score', 'summary'], found.data.map((one) => [one.run, shortTime(one.createdAt), one.agent, one.score.toFixed(3), one.text.replaceAll('\n', ' ')]));
      if (found.degraded) note('The index did not answer: found by words and kept vectors in Postgres.');
    });
}

function addSessions(sessions: Command): void {
  withPage(withApiOptions(sessions.command('list'))).description('sessions, newest first').option('--user <user>', 'of this user')
    .action(async (options: SessionWords) => {
      const { user, limit, cursor } = options;
      printPage(options.json, await apiClient(options).sessions.list({ user, limit, cursor }), ['session', 'user', 'runs', 'updated (UTC)'],
        (session) => [session.id, session.user, session.version, shortTime(session.updatedAt)]);
    });
  withApiOptions(sessions.command('show')).description('one session, with its state').argument('<session>').option('--user <user>', USER_DOC)
    .action(async (id: string, options: SessionWords) => {
      const session = await apiClient(options).sessions.get(id, { user: options.user });
      if (options.json) return printJson(session);
      printPairs([['session', session.id], ['user', session.user], ['runs', session.version], ['created', shortTime(session.createdAt)], ['updated', shortTime(session.updatedAt)], ['state', JSON.stringify(session.state, null, 2)]]);
    });
  withPage(withApiOptions(sessions.command('messages'))).description('messages of a session, newest first').argument('<session>').option('--user <user>', USER_DOC)
    .action(async (id: string, options: SessionWords) => {
      const { user, limit, cursor } = options;
      printPage(options.json, await apiClient(options).sessions.messages(id, { user, limit, cursor }), ['seq', 'time (UTC)', 'role', 'content'],
        (message) => [message.seq, shortTime(message.createdAt), message.role, message.content]);
    });
}

function addMemories(memories: Command): void {
  withPage(withApiOptions(memories.command('list'))).description('memories, newest first')
    .option('--user <user>', 'of this user').addOption(new Option('--type <type>').choices(MEMORY_TYPES)).addOption(new Option('--scope <scope>').choices(MEMORY_SCOPES))
    .option('--run <run>', 'learned from this run').option('--superseded', 'also those a newer one has replaced')
    .action(async (options: MemoryWords) => {
      const { user, type, scope, run, limit, cursor } = options;
      const page = await apiClient(options).memories.list({ user, type, scope, run, limit, cursor, include: options.superseded ? 'superseded' : undefined });
      printPage(options.json, page, ['memory', 'user', 'type', 'conf', 'seen', 'indexed', 'statement'],
        (memory) => [memory.id, memory.user, memory.type, memory.confidence.toFixed(2), memory.seenCount, memory.indexed ? 'yes' : 'not yet', memory.statement]);
    });
  withApiOptions(memories.command('search')).description('find memories as a recall does: by meaning and by words').argument('<words>')
    .option('--user <user>', 'also what is this user’s').option('--agent <agent>', 'also what is this agent’s').option('--as-of <time>', 'what held then: ISO date or time').option('--limit <n>', 'at most', wholeNumber)
    .action(async (q: string, { user, agent, asOf, limit, ...options }: ApiOptions & { readonly user?: string; readonly agent?: string; readonly asOf?: string; readonly limit?: number }) => {
      const found = await apiClient(options).memories.search({ q, user, agent, asOf, limit });
      if (options.json) return printJson(found);
      printTable(['memory', 'user', 'type', 'score', 'statement'], found.data.map((memory) => [memory.id, memory.user, memory.type, memory.score.toFixed(3), memory.statement]));
    });
  withApiOptions(memories.command('correct')).description('say what a memory should say; another version takes its place').argument('<memory>', 'mem_…')
    .option('--statement <text>', 'one sentence').option('--value <text>', 'the value it says').option('--if-version <n>', 'only if this still is its version; without it the present one', wholeNumber)
    .action(async (id: string, { statement, value, ifVersion, ...options }: ApiOptions & { readonly statement?: string; readonly value?: string; readonly ifVersion?: number }) => {
      const client = apiClient(options);
      const memory = await client.memories.correct(id, { statement, value, version: ifVersion ?? (await client.memories.get(id)).version });
      if (options.json) return printJson(memory);
      printPairs([['memory', memory.id], ['statement', memory.statement], ['value', memory.value], ['takes the place of', id]]);
    });
  withApiOptions(memories.command('promote')).description('take a candidate out of quarantine: you say that it is right').argument('<run>', 'run_…').argument('<index>', 'its place among the verdicts of the run', wholeNumber)
    .addOption(new Option('--scope <scope>', 'for more than it was proposed for').choices(MEMORY_SCOPES))
    .action(async (run: string, index: number, { scope, ...options }: ApiOptions & { readonly scope?: (typeof MEMORY_SCOPES)[number] }) => {
      const promoted = await apiClient(options).memories.promote(run, index, { scope });
      if (options.json) return printJson(promoted);
      printPairs([['decision', `${promoted.decision} (${promoted.reason})`], ['memory', promoted.memory]]);
    });
  withApiOptions(memories.command('feedback')).description('say of a memory that it is useful, wrong (it never held) or outdated; the last two take it out of recall').argument('<memory>', 'mem_…').addArgument(new Argument('<verdict>').choices(MEMORY_FEEDBACK))
    .option('--run <run>', 'run_…: the run whose answer it is about')
    .action(async (id: string, verdict: (typeof MEMORY_FEEDBACK)[number], { run, ...options }: ApiOptions & { readonly run?: string }) => {
      const said = await apiClient(options).memories.feedback(id, { verdict, run });
      if (options.json) return printJson(said);
      printPairs([['memory', said.memory.id], ['said', said.changed ? verdict : `${verdict}, as before`], ['confidence', said.memory.confidence.toFixed(2)], ['valid', `${shortTime(said.memory.validFrom)} to ${said.memory.validTo === null ? 'now' : shortTime(said.memory.validTo)}`]]);
    });
  for (const [name, pinned, says] of [['pin', true, 'keep a memory whatever the caps and retention say'], ['unpin', false, 'let the caps and retention decide of it again']] as const) {
    withApiOptions(memories.command(name)).description(says).argument('<memory>', 'mem_…').action(async (id: string, options: ApiOptions) => {
      const memory = await apiClient(options).memories.pin(id, pinned);
      if (options.json) return printJson(memory);
      printPairs([['memory', memory.id], ['pinned', yesNo(memory.pinned)], ['statement', memory.statement]]);
    });
  }
  withApiOptions(memories.command('uses')).description('the runs a memory was shown to, whether they cited it, and whether their answers say what it says').argument('<memory>', 'mem_…')
    .action(async (id: string, options: ApiOptions) => {
      printPage(options.json, await apiClient(options).memories.uses(id), ['run', 'agent', 'cited', 'supported', 'feedback', 'time (UTC)'],
        ({ run, agent, cited, supported, feedback, at }) => [run, agent, yesNo(cited), supported === null ? '' : yesNo(supported), feedback ?? '', shortTime(at)]);
    });
  withApiOptions(memories.command('traces')).description('what a run recalled: for whom and by which rules, what it was shown, and what of it was used').argument('<run>', 'run_…')
    .action(async (id: string, options: ApiOptions) => {
      const { data } = await apiClient(options).runs.traces(id);
      if (options.json) return printJson({ data });
      for (const trace of data) {
        printPairs([
          ['trace', trace.id], ['step', trace.stepSeq], ['asked', inline(trace.query)], ['for', trace.filters === null ? null : `${trace.filters.user ?? 'no user'}, agent ${trace.filters.agent}${trace.filters.asOf === null ? '' : `, as of ${trace.filters.asOf}`}`],
          ['epoch', trace.epoch], ['by', inline(trace.decidedBy)], ['settings', trace.policyVersion], ['degraded', yesNo(trace.degraded)], ['without memory', yesNo(trace.heldOut)], ['left out', trace.leftOut], ['tokens', trace.tokens], ['summaries of', trace.summaries.join(' ')],
        ]);
        printTable(['memory', 'type', 'score', 'cited', 'supported', 'statement'], trace.injected.map((one) => [one.id, one.type, one.score?.toFixed(3) ?? '', yesNo(one.cited), one.supported === null ? '' : yesNo(one.supported), one.statement ?? 'not there any more']));
      }
    });
  withApiOptions(memories.command('worth')).description('what came of runs with memory beside those that MEMORY_HOLDOUT left without, how much of it was used, and what each type adds')
    .option('--from <time>', 'ISO date or time; 30 days ago').option('--to <time>', 'ISO date or time').option('--agent <agent>', 'of this agent')
    .action(async ({ from, to, agent, ...options }: ApiOptions & { readonly from?: string; readonly to?: string; readonly agent?: string }) => {
      const worth = await apiClient(options).memories.worth({ from, to, agent });
      if (options.json) return printJson(worth);
      const share = ({ n, yes }: { readonly n: number; readonly yes: number }): string => (n === 0 ? 'nobody said' : `${Math.round((yes / n) * 100)} % of ${n}`);
      const mean = ({ n, mean: of }: { readonly n: number; readonly mean: number | null }): string => (of === null ? 'nobody said' : `${Math.round(of / 1_000)} s of ${n}`);
      const points = (d: MemoryWorth['satisfied'], unit: number, word: string): string => (d === null ? 'too few' : `${(d.difference * unit).toFixed(1)} ${word} (${(d.from * unit).toFixed(1)} to ${(d.to * unit).toFixed(1)})`);
      printTable(['', 'with memory', 'without', 'difference, 95 %'], [
        ['runs', worth.treated.runs, worth.heldOut.runs, ''],
        ['satisfied', share(worth.treated.satisfied), share(worth.heldOut.satisfied), points(worth.satisfied, 100, 'points')],
        ['resolved', share(worth.treated.resolved), share(worth.heldOut.resolved), points(worth.resolved, 100, 'points')],
        ['took', mean(worth.treated.handlingMs), mean(worth.heldOut.handlingMs), points(worth.handlingMs, 0.001, 's')],
      ]);
      const percent = (part: number | null): string => (part === null ? '' : `${Math.round(part * 100)} %`);
      printTable(['type', 'shown', 'cited', 'supported of cited', 'stale', 'left out of', 'satisfied, 95 %', 'resolved, 95 %'], [...worth.byType.map((one) =>
        [one.type, one.shown, percent(one.useRate), percent(one.supportRate), percent(one.staleRate), `${one.withoutRuns} runs`, points(one.satisfied, 100, 'points'), points(one.resolved, 100, 'points')]),
      ['all', worth.use.shown, percent(worth.use.useRate), percent(worth.use.supportRate), percent(worth.use.staleRate), '', '', '']]);
      printPairs([['tokens for each supported memory', worth.use.tokensPerSupported === null ? 'none was' : Math.round(worth.use.tokensPerSupported)], ['unused memories', [worth.unused.count, ...worth.unused.memories].join(' ')]]);
    });
  withApiOptions(memories.command('show')).description('one memory, with its evidence').argument('<memory>', 'mem_…')
    .action(async (id: string, options: ApiOptions) => {
      const memory = await apiClient(options).memories.get(id);
      if (options.json) return printJson(memory);
      printPairs([
        ['memory', memory.id], ['statement', memory.statement], ['scope', `${memory.scope}${memory.user === null ? '' : ` of ${memory.user}`}`], ['type', memory.type],
        ['slot', `${memory.subject} / ${memory.attribute} = ${memory.value}`], ['confidence', memory.confidence.toFixed(2)], ['said by', memory.sourceRole],
        ['valid', `${shortTime(memory.validFrom)} to ${memory.validTo === null ? 'now' : shortTime(memory.validTo)}`], ['replaced by', memory.supersededBy],
        ['seen', memory.seenCount], ['cited', memory.citedCount], ['run', memory.run], ['session', memory.session], ['indexed', memory.indexed ? 'yes' : 'not yet'], ['evidence', inline(memory.evidence)],
      ]);
    });
}
