// The layers hold in this checkout, and the check itself finds what it is there to find.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { layerFaults } from '../src/dev/layers.ts';
import { checkoutDir } from '../src/dev/servers/migrate.ts';

const scratch = mkdtempSync(join(tmpdir(), 'mainstay-layers-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A checkout of four innocent files and one more. */
function faultsWith(file: string, text: string): string[] {
  const root = mkdtempSync(join(scratch, 'c-'));
  const files: Record<string, string> = {
    'src/clock.ts': 'export const wallMs = () => Date.now();\n', 'src/domain/a.ts': 'export const a = 1;\n',
    'src/store/s.ts': "import pg from 'pg';\nexport const s = pg;\n", 'src/queue/q.ts': 'export const q = 1;\n',
    'src/run/r.ts': "import { s } from '../store/s.ts';\nexport const r = s;\n", [file]: text,
  };
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
  return layerFaults(root);
}

test('imports only go down, no rings, one owner per outside system', () => {
  expect(layerFaults(checkoutDir)).toEqual([]);
});

test('innocent files have no faults', () => {
  expect(faultsWith('src/api/x.ts', "import { r } from '../run/r.ts';\nexport const x = r;\n")).toEqual([]);
});

test.each([
  ['an import upwards', 'src/store/up.ts', "import { r } from '../run/r.ts';\nexport const x = r;\n", /only go down/],
  ['an import between adapters', 'src/queue/side.ts', "import type { s } from '../store/s.ts';\nexport type X = typeof s;\n", /neighbours/],
  ['a ring', 'src/domain/a.ts', "import { b } from './a.ts';\nexport const a = () => b;\nexport const b = 1;\n", /ring/],
  ['Prisma outside of the store', 'src/run/p.ts', "import { PrismaPg } from '@prisma/adapter-pg';\nexport const x = PrismaPg;\n", /only src\/store\//],
  ['the environment', 'src/run/e.ts', "export const x = process.env['HOME'];\n", /environment/],
  ['the clock', 'src/run/c.ts', 'export const x = () => new Date();\n', /clock/],
  ['a barrel', 'src/run/all.ts', "export { r } from './r.ts';\n", /barrels/],
  ['a default export', 'src/run/d.ts', 'export default 1;\n', /default/],
  ['a file that is too long', 'src/run/l.ts', 'export {};\n'.repeat(401), /401 lines/],
  ['a folder without a layer', 'src/utils/u.ts', 'export const u = 1;\n', /in no layer/],
])('finds %s', (_name, file, text, fault) => {
  expect(faultsWith(file, text).join('\n')).toMatch(fault);
});
