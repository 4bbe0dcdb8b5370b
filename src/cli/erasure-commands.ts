// `mainstay erase …` and `mainstay erasures …`: what is asked to be forgotten, and the receipts.
import type { Command } from 'commander';
import { pause } from '../clock.ts';
import { MainstayError } from '../domain/errors.ts';
import type { Erasure, NewErasureBody } from '../domain/wire.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { withPage } from './memory-commands.ts';
import { note, printJson, printLine, printPage, printPairs, shortTime } from './output.ts';

interface EraseWords extends ApiOptions, NewErasureBody { readonly yes?: boolean; readonly wait?: boolean }
interface PageWords extends ApiOptions { readonly limit?: number; readonly cursor?: string }

const LOOK_MS = 500;

export function addErasureCommands(program: Command): void {
  withApiOptions(program.command('erase')).description('erase a memory, a run, a user or the tenant from every store; prints the id of the erasure')
    .option('--memory <memory>', 'mem_…').option('--run <run>', 'run_…, with its children, its forks and what was learned from it').option('--user <user>').option('--tenant <tenant>', "the key's own, named so that nobody erases it by a slip")
    .option('--yes', 'do it: an erasure cannot be undone').option('--wait', 'wait for the receipt and print it')
    .action(async ({ memory, run, user, tenant, yes, wait, ...options }: EraseWords) => {
      if (!yes) throw new MainstayError('bad_request', 'An erasure cannot be undone: say --yes.');
      const client = apiClient(options);
      let one = await client.erasures.create({ memory, run, user, tenant });
      if (!wait) { if (options.json) printJson(one); else printLine(one.id); return; }
      for (let said = ''; one.finishedAt === null; one = await client.erasures.get(one.id)) {
        const now = erasedOf(one);
        if (now !== said) note((said = now) || 'runs are being ended');
        await pause(LOOK_MS);
      }
      printJson(one.receipt);
    });
  const erasures = program.command('erasures').description('what was asked to be erased');
  withPage(withApiOptions(erasures.command('list'))).description('erasures, newest first').action(async (options: PageWords) => {
    printPage(options.json, await apiClient(options).erasures.list({ limit: options.limit, cursor: options.cursor }), ['erasure', 'kind', 'subject', 'asked (UTC)', 'done (UTC)'], (one) => [one.id, one.kind, one.subject, shortTime(one.requestedAt), shortTime(one.finishedAt)]);
  });
  withApiOptions(erasures.command('show')).description('one erasure, with its receipt').argument('<erasure>', 'era_…').action(async (id: string, options: ApiOptions) => {
    const one = await apiClient(options).erasures.get(id);
    if (options.json) return printJson(one);
    printPairs([['erasure', one.id], [one.kind, one.subject], ['asked by', one.requestedBy], ['asked', shortTime(one.requestedAt)], ['done', shortTime(one.finishedAt)], ['erased', erasedOf(one)], ['receipt', one.receipt === null ? null : JSON.stringify(one.receipt, null, 2)]]);
  });
}

const erasedOf = ({ erased }: Erasure): string => Object.entries(erased).map(([store, n]) => `${n} ${store}`).join(', ');
