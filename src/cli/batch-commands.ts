// `mainstay batches …`: model calls of the batch lane, as Postgres knows them. A batch holds calls of any tenant, so it is the
// operator's to look at; what is in it is not shown.
import type { Command } from 'commander';
import { MainstayError } from '../domain/errors.ts';
import type { BatchRow } from '../store/engine/batches.ts';
import { withDatabase } from './connection.ts';
import { wholeNumber } from './arguments.ts';
import { printJson, printLine, printTable } from './output.ts';

interface Words { readonly json?: boolean; readonly limit: number }

export function addBatchCommands(program: Command): void {
  const batches = program.command('batches').description('model calls of the batch lane: what waits to be sent, and what was');
  batches.command('list').description('calls that wait to be sent by model, and batches, the newest first').option('--limit <n>', 'batches at most', wholeNumber, 20).option('--json', 'print JSON')
    .action(async ({ json, limit }: Words) => {
      const { unsent, sent } = await withDatabase(async (pool) => {
        const { listBatches, unsentItems } = await import('../store/engine/batches.ts');
        return { unsent: await unsentItems(pool), sent: await listBatches(pool, limit) };
      });
      if (json) return printJson({ waiting: unsent, data: sent.map(shown) });
      printTable(['model', 'calls that wait', 'oldest'], unsent.map(({ model, items, oldestMs }) => [model, items, `${Math.round(oldestMs / 1_000)} s`]));
      printTable(['batch', 'model', 'state', 'calls', 'without a result', 'sent (UTC)', 'at the provider'], sent.map((one) => [one.id, one.model, stateOf(one), one.items, one.left, shown(one).sentAt, one.providerId ?? '']));
    });
  batches.command('cancel').description('ask the provider to end a batch; calls without an answer are then made live').argument('<batch>', 'its id').option('--json', 'print JSON')
    .action(async (id: string, { json }: Words) => {
      const found = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id) && await withDatabase(async (pool) => (await import('../store/engine/batches.ts')).cancelBatch(pool, id));
      if (!found) throw new MainstayError('not_found', `No batch "${id}" is under way: \`mainstay batches list\` shows those that are.`);
      if (json) printJson({ id, cancelRequested: true }); else printLine(`${id} is to be cancelled`);
    });
}

const stateOf = ({ state, cancelRequested, adopted, finishedMs }: BatchRow): string =>
  [state, ...(adopted ? ['found by time and count'] : []), ...(cancelRequested && finishedMs === null ? ['to be cancelled'] : [])].join(', ');

const shown = ({ sentMs, finishedMs, ...batch }: BatchRow) => ({ ...batch, sentAt: new Date(sentMs).toISOString(), finishedAt: finishedMs === null ? null : new Date(finishedMs).toISOString() });
