// Use case 3: a long report job. Not an LLM loop but four steps of our own: collect → analyse → write → deliver. After a
// crash it goes on with the step it was in; what was collected is not collected again, and the report is delivered once.
// Submit it with `startAt` to have it run tonight.
import { createHash } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { Step } from '../src/domain/machine.ts';
import { defineMachine } from '../src/run/define-machine.ts';
import { defineTool } from '../src/tools/define-tool.ts';
import { runQuery, type Table } from './data-tools.ts';

const input = z.strictObject({
  title: z.string().trim().min(1).max(120),
  /** Where the numbers come from; the run's user must be permitted to read it. */
  dataset: z.literal('sales').default('sales'),
});
type ReportInput = z.infer<typeof input>;

interface Collected { readonly byMonth: Table; readonly byRegion: Table; readonly byProduct: Table }
interface Analysed { readonly total: number; readonly findings: readonly string[]; readonly byMonth: Table }
interface Written { readonly text: string }

export const reportJob = (dataSourceUrl: string, artifactsDir: string) => defineMachine<ReportInput>({
  name: 'report-job',
  version: 1,
  description: 'Writes a report over a dataset and delivers it as a file.',
  input,
  start: 'collect',
  tools: [runQuery(dataSourceUrl), deliverReport(artifactsDir)],
  remembers: false,
  steps: { collect, analyse, write, deliver },
});

/** Three queries at once. Each is recorded by itself: one that has answered is not asked again. */
async function collect(step: Step<ReportInput>) {
  const { dataset } = step.input;
  step.progress(0.1, 'collecting');
  const sumBy = (column: string) => async (branch: Step<ReportInput>) =>
    await branch.tool('run_query', { dataset, sql: `SELECT ${column} AS name, sum(amount) AS amount FROM ${dataset} GROUP BY ${column} ORDER BY ${column}` }) as unknown as Table;
  const [byMonth, byRegion, byProduct] = await step.all([sumBy('month'), sumBy('region'), sumBy('product')]);
  return step.next('analyse', { byMonth, byRegion, byProduct });
}

async function analyse(step: Step<ReportInput, Collected>) {
  step.progress(0.5, 'analysing');
  const { byMonth, byRegion, byProduct } = step.data;
  const total = sumOf(byMonth);
  const findings = [
    `Total: ${total}.`,
    ...([['month', byMonth], ['region', byRegion], ['product', byProduct]] as const).map(([what, table]) => {
      const best = table.rows.reduce((left, right) => (Number(right['amount']) > Number(left['amount']) ? right : left), table.rows[0] ?? {});
      return `Best ${what}: ${best['name']} with ${best['amount']} (${Math.round((Number(best['amount']) / total) * 100)} %).`;
    }),
  ];
  return step.next('write', { total, findings, byMonth });
}

async function write(step: Step<ReportInput, Analysed>) {
  step.progress(0.8, 'writing');
  const { findings, byMonth } = step.data;
  const text = [
    `# ${step.input.title}`, '', ...findings.map((finding) => `- ${finding}`), '',
    '| month | amount |', '|---|---:|', ...byMonth.rows.map((row) => `| ${row['name']} | ${row['amount']} |`), '',
  ].join('\n');
  return step.next('deliver', { text });
}

async function deliver(step: Step<ReportInput, Written>) {
  const delivered = await step.tool('deliver_report', { text: step.data.text });
  step.progress(1, 'delivered');
  return step.done(delivered);
}

/** `keyed`: the key is the file's name, so a second delivery writes the same file again. */
const deliverReport = (artifactsDir: string) => defineTool({
  name: 'deliver_report',
  description: 'Puts the report where its readers find it.',
  input: z.strictObject({ text: z.string().min(1) }),
  effect: 'keyed',
  run: async ({ text }, { tenant, key }) => {
    const artifact = join(tenant, 'reports', `${key}.md`);
    const path = join(artifactsDir, artifact);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.next`, text);
    await rename(`${path}.next`, path); // whole or not at all
    return { artifact, bytes: Buffer.byteLength(text), sha256: createHash('sha256').update(text).digest('hex') };
  },
});

const sumOf = (table: Table): number => table.rows.reduce((sum, row) => sum + Number(row['amount']), 0);
