// The README says what the code does: its tables are the generated ones, its promises are the design's words.
import { expect, test } from '@jest/globals';
import { existsSync, readFileSync } from 'node:fs';
import { configSchema } from '../src/config.ts';
import { readmeTables, withTables } from '../src/dev/readme-tables.ts';
import { ERRORS } from '../src/domain/errors.ts';
import { GUARDS } from '../src/guards.ts';

const readme = readFileSync('README.md', 'utf8');

test('the tables are up to date (node src/dev/readme-tables.ts)', () => {
  expect(withTables(readme)).toBe(readme);
  expect(Object.keys(ERRORS).length).toBeGreaterThan(40);
  for (const name of Object.keys(readmeTables())) expect(readme).toContain(`<!-- ${name}:begin -->`);
  for (const key of Object.keys(configSchema.shape)) expect(readme).toContain(`\`${key}\``);
});

test('a stale table is noticed', () => {
  expect(withTables(readme.replace('`not_found`', '`not_there`'))).toBe(readme);
  expect(readme.replace('`not_found`', '`not_there`')).not.toBe(readme);
});

test('docs/guarantees.md names tests and stories that are there, and every guard', () => {
  const table = readFileSync('docs/guarantees.md', 'utf8').split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| guarantee')).map((line) => line.split(' | '));
  const named = (cell: string | undefined): string[] => [...(cell ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
  const tests = table.flatMap(([, , test]) => named(test));
  expect(tests.length).toBeGreaterThan(20);
  expect(tests.filter((name) => !existsSync(name.startsWith('test/') ? name : `test/stories/${name}.test.ts`))).toEqual([]);
  expect(table.flatMap(([, , , guard]) => named(guard)).sort()).toEqual(Object.keys(GUARDS).sort());
});
