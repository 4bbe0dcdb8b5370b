// `mainstay agents`, `usage` and `audit`: what this installation runs, what it cost, and who looked at what.
import type { Command } from 'commander';
import type { AuditQuery, UsageQuery } from '../client/client.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { withPage } from './memory-commands.ts';
import { inline, money, printJson, printPage, printTable, shortTime } from './output.ts';

export function addLookUpCommands(program: Command): void {
  const agents = program.command('agents').description('the agents of this installation');
  withApiOptions(agents.command('list')).description('agents with model and tools; --json also shows the schema of their input')
    .action(async (options: ApiOptions) => {
      printPage(options.json, await apiClient(options).agents.list(), ['agent', 'version', 'model', 'remembers', 'tools', 'description'],
        (agent) => [agent.name, agent.version, agent.model ?? 'default', agent.remembers ? 'yes' : 'no', agent.tools.join(' '), agent.description]);
    });
  withApiOptions(program.command('usage')).description('model calls, tokens and cost by day, agent and model; the last 30 days unless told')
    .option('--from <time>', 'ISO date or time').option('--to <time>', 'ISO date or time').option('--user <user>', 'of this user')
    .action(usage);
  withPage(withApiOptions(program.command('audit'))).description('who did and read what, newest first')
    .option('--action <action>', 'e.g. memory.read').option('--object-type <type>').option('--object-id <id>').option('--user <user>', 'about this user')
    .action(audit);
}

async function usage(options: ApiOptions & UsageQuery): Promise<void> {
  const { from, to, user } = options;
  const found = await apiClient(options).usage.get({ from, to, user });
  if (options.json) return printJson(found);
  const sums = ({ calls, inputTokens, cacheReadTokens, outputTokens, costMicroUsd }: typeof found.total) => [calls, inputTokens, cacheReadTokens, outputTokens, money(costMicroUsd)];
  printTable(['day', 'agent', 'model', 'runs', 'calls', 'tokens in', 'cached', 'tokens out', 'cost'], [
    ...found.data.map((row) => [row.day, row.agent, row.model, row.runs, ...sums(row)]),
    ['total', '', '', '', ...sums(found.total)],
  ]);
}

async function audit(options: ApiOptions & AuditQuery): Promise<void> {
  const { action, objectType, objectId, user, limit, cursor } = options;
  printPage(options.json, await apiClient(options).audit.list({ action, objectType, objectId, user, limit, cursor }), ['time (UTC)', 'actor', 'action', 'object', 'user', 'allowed', 'details'],
    (line) => [shortTime(line.createdAt), line.actor, line.action, `${line.objectType} ${line.objectId}`, line.user, line.allowed ? 'yes' : 'NO', inline(line.details)]);
}
