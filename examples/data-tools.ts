// Tools over the data source. Both declare the dataset they read: before every call the engine asks Postgres whether the
// run's user may read it, and leaves an audit row whatever the answer was.
import { z } from 'zod';
import { defineTool } from '../src/tools/define-tool.ts';
import { callService } from './call-service.ts';

export interface Description { readonly dataset: string; readonly columns: readonly { readonly name: string; readonly type: string }[]; readonly rows: number }
export interface Table { readonly columns: readonly string[]; readonly rows: readonly Readonly<Record<string, string | number | null>>[] }

const dataset = z.string().regex(/^[a-z][a-z0-9_]{0,62}$/).describe('Name of the dataset, e.g. sales.');

export const describeDataset = (dataSourceUrl: string) => defineTool({
  name: 'describe_dataset',
  description: 'Columns and number of rows of a dataset.',
  input: z.strictObject({ dataset }),
  effect: 'read',
  dataset: (args) => args.dataset,
  run: (args, context) => {
    const url = new URL('/describe', dataSourceUrl);
    url.searchParams.set('dataset', args.dataset);
    return callService<Description>(url, context);
  },
});

export const runQuery = (dataSourceUrl: string) => defineTool({
  name: 'run_query',
  description: 'Runs one SELECT over a dataset (the table has the name of the dataset) and returns its rows.',
  input: z.strictObject({ dataset, sql: z.string().min(1).max(4_000) }),
  effect: 'read',
  dataset: (args) => args.dataset,
  run: (args, context) => callService<Table>(new URL('/query', dataSourceUrl), context, args),
});
