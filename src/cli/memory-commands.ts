// `mainstay sessions …` and `mainstay memories …`: what was said, and what was kept of it. The API audits each of these reads.
import { Option, type Command } from 'commander';
import type { MemoryQuery, OfUser, Paging } from '../client/client.ts';
import { MEMORY_SCOPES, MEMORY_TYPES } from '../domain/status.ts';
import { wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { addGateCommands } from './gate-commands.ts';
import { inline, printJson, printPage, printPairs, shortTime } from './output.ts';

interface SessionWords extends ApiOptions, OfUser, Paging {}
interface MemoryWords extends ApiOptions, Omit<MemoryQuery, 'include'> { readonly superseded?: boolean }

const USER_DOC = 'whose; required unless the key is bound to a user';

export const withPage = (command: Command): Command => command
  .option('--limit <n>', 'items of the page', wholeNumber)
  .option('--cursor <cursor>', 'go on after this page');

export function addMemoryCommands(program: Command): void {
  addSessions(program.command('sessions').description('lasting conversations: their state and messages'));
  const memories = program.command('memories').description('what passed the memory gate');
  addMemories(memories);
  addGateCommands(memories);
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
  withApiOptions(memories.command('promote')).description('take a candidate out of quarantine: you say that it is right').argument('<run>', 'run_…').argument('<index>', 'its place among the verdicts of the run', wholeNumber)
    .addOption(new Option('--scope <scope>', 'for more than it was proposed for').choices(MEMORY_SCOPES))
    .action(async (run: string, index: number, { scope, ...options }: ApiOptions & { readonly scope?: (typeof MEMORY_SCOPES)[number] }) => {
      const promoted = await apiClient(options).memories.promote(run, index, { scope });
      if (options.json) return printJson(promoted);
      printPairs([['decision', `${promoted.decision} (${promoted.reason})`], ['memory', promoted.memory]]);
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
