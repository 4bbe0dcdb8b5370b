// `mainstay agents` and `audit`: what this installation runs, and who looked at what.
import type { Command } from 'commander';
import type { AuditQuery } from '../client/client.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { withPage } from './memory-commands.ts';
import { inline, printPage, shortTime } from './output.ts';

export function addLookUpCommands(program: Command): void {
  const agents = program.command('agents').description('the agents of this installation');
  withApiOptions(agents.command('list')).description('agents with model and tools; --json also shows the schema of their input')
    .action(async (options: ApiOptions) => {
      printPage(options.json, await apiClient(options).agents.list(), ['agent', 'version', 'model', 'remembers', 'tools', 'description'],
        (agent) => [agent.name, agent.version, agent.model ?? 'default', agent.remembers ? 'yes' : 'no', agent.tools.join(' '), agent.description]);
    });
  withPage(withApiOptions(program.command('audit'))).description('who did and read what, newest first')
    .option('--action <action>', 'e.g. memory.read').option('--object-type <type>').option('--object-id <id>').option('--user <user>', 'about this user')
    .action(audit);
}

async function audit(options: ApiOptions & AuditQuery): Promise<void> {
  const { action, objectType, objectId, user, limit, cursor } = options;
  printPage(options.json, await apiClient(options).audit.list({ action, objectType, objectId, user, limit, cursor }), ['time (UTC)', 'actor', 'action', 'object', 'user', 'allowed', 'details'],
    (line) => [shortTime(line.createdAt), line.actor, line.action, `${line.objectType} ${line.objectId}`, line.user, line.allowed ? 'yes' : 'NO', inline(line.details)]);
}
