// `mainstay permissions …`: what a user's runs may do. The API replaces the whole set; here what is not named is kept, so
// that granting a dataset does not take a role away by accident.
import type { Command } from 'commander';
import { MainstayError } from '../domain/errors.ts';
import type { Permission } from '../domain/wire.ts';
import { nameList } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { printJson, printPairs, shortTime } from './output.ts';

interface SetWords extends ApiOptions { readonly roles?: string[]; readonly datasets?: string[]; readonly scopes?: string[] }

export function addPermissionCommands(program: Command): void {
  const permissions = program.command('permissions').description("what a user's runs may do");
  withApiOptions(permissions.command('get')).description("a user's roles, datasets and scopes").argument('<user>')
    .action(async (user: string, options: ApiOptions) => show(await apiClient(options).permissions.get(user), options.json));
  withApiOptions(permissions.command('set')).description("replaces a user's roles, datasets or scopes; what is not named is kept").argument('<user>')
    .option('--roles <names>', "separated by commas; '' for none", nameList)
    .option('--datasets <names>', "separated by commas; '' for none", nameList)
    .option('--scopes <names>', "separated by commas; '' for none", nameList)
    .action(set);
}

async function set(user: string, options: SetWords, command: Command): Promise<void> {
  const { roles, datasets, scopes } = options;
  if (roles === undefined && datasets === undefined && scopes === undefined) command.error('error: name what to set: --roles, --datasets or --scopes', { exitCode: 2 });
  const client = apiClient(options);
  const kept = await client.permissions.get(user);
  const before = kept.epoch;
  const after = await client.permissions.put(user, { roles: roles ?? kept.roles, datasets: datasets ?? kept.datasets, scopes: scopes ?? kept.scopes });
  show(after, options.json);
  // Somebody else changed the same user in between: what they set and we kept may be gone.
  if (after.epoch - before > 1) throw new MainstayError('internal', `The permissions of ${user} were changed by somebody else at the same time: look at them again.`);
}

function show(permission: Permission, json: boolean | undefined): void {
  if (json) return printJson(permission);
  const names = (list: readonly string[]): string => (list.length === 0 ? 'none' : list.join(', '));
  printPairs([['user', permission.user], ['roles', names(permission.roles)], ['datasets', names(permission.datasets)], ['scopes', names(permission.scopes)], ['changed', shortTime(permission.updatedAt)]]);
}
