// The tables of the README that are generated: configuration, error codes, and which test holds each promise. Run
// `node src/dev/readme-tables.ts` after a change; a test compares the README with what this makes.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { configTable } from '../config.ts';
import { ERRORS } from '../domain/errors.ts';

/** Story tests by the number of the promise they hold. */
export const PROMISES: Readonly<Record<number, readonly string[]>> = {
  1: ['submitted-twice-runs-once', 'worker-killed-mid-step-resumes', 'lost-redis-loses-no-run', 'plain-bullmq-job-runs', 'wait-holds-no-worker', 'signal-sent-early-is-kept', 'poison-run-harms-no-other', 'schedule-fires-once-per-occurrence', 'bulk-submit-is-all-or-nothing', 'last-of-a-debounce-wins', 'model-outage-loses-no-run'],
  2: ['worker-killed-mid-step-resumes', 'fenced-worker-cannot-write', 'child-runs-once', 'newer-build-takes-over'],
  3: ['tool-call-happens-once', 'worker-killed-mid-step-resumes', 'one-effect-per-business-key', 'unknown-outcome-is-settled-by-a-person', 'approval-is-used-once'],
  4: ['budget-is-never-passed', 'model-outage-loses-no-run', 'quota-is-waited-for'],
  5: ['tenants-never-meet', 'users-never-meet'],
  6: ['summary-missing-admits-nothing', 'duplicate-reinforces', 'second-session-recalls'],
};

const cell = (text: string): string => text.replaceAll('|', '\\|');
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [`| ${head.join(' | ')} |`, `|${head.map(() => '---').join('|')}|`, ...rows.map((row) => `| ${row.map(cell).join(' | ')} |`)].join('\n');

/** What stands between the markers of each table. */
export function readmeTables(): Record<string, string> {
  return {
    promises: table(['promise', 'held by (`test/stories/`)'], Object.entries(PROMISES).map(([number, tests]) => [number, tests.filter((name) => existsSync(`test/stories/${name}.test.ts`)).map((name) => `\`${name}\``).join(', ') || 'no story yet'])),
    configuration: table(['key', 'default', 'what it is'], configTable().map((row) => [`\`${row.key}\``, row.default === 'required' || row.default === '' ? row.default : `\`${row.default}\``, row.doc])),
    errors: table(['code', 'HTTP', 'a run that meets it', 'what to do'], Object.entries(ERRORS).map(([code, kind]) => [`\`${code}\``, String(kind.status), { terminal: 'fails', retry: 'tries again', wait: 'waits' }[kind.on], kind.advice])),
  };
}

/** The README with its tables as they should be. */
export function withTables(readme: string): string {
  return Object.entries(readmeTables()).reduce((text, [name, content]) =>
    text.replace(new RegExp(`(<!-- ${name}:begin -->)[\\s\\S]*?(<!-- ${name}:end -->)`), (_all, begin: string, end: string) => `${begin}\n${content}\n${end}`), readme);
}

if (process.argv[1]?.endsWith('readme-tables.ts')) writeFileSync('README.md', withTables(readFileSync('README.md', 'utf8')));
