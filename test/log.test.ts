// The log of a process as whoever collects it gets it: many lines in one write, none lost at an exit in good order, and a warning at once.
import { expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { monoMs } from '../src/clock.ts';
import { checkoutDir } from '../src/dev/servers/migrate.ts';

interface Line { readonly msg: string; readonly atMs: number }

async function linesOf(code: string): Promise<{ lines: Line[]; chunks: number; endMs: number }> {
  const script = `import { makeLog } from './src/log.ts'; const log = makeLog('info', 'test'); ${code}`;
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script], { cwd: checkoutDir, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } });
  const lines: Line[] = [];
  let chunks = 0;
  child.stdout.on('data', () => { chunks++; });
  createInterface({ input: child.stdout }).on('line', (line) => lines.push({ msg: (JSON.parse(line) as { msg: string }).msg, atMs: monoMs() }));
  const [status] = await once(child, 'close') as [number];
  expect(status).toBe(0);
  return { lines, chunks, endMs: monoMs() };
}

test('many lines leave together, and an exit loses none of them', async () => {
  const { lines, chunks } = await linesOf(`for (let n = 0; n < 500; n++) { log.info('line ' + n); if (n % 50 === 0) await new Promise((resolve) => setImmediate(resolve)); } process.exit(0);`);
  expect(lines.map(({ msg }) => msg)).toEqual(Array.from({ length: 500 }, (_, n) => `line ${n}`));
  expect(chunks).toBeLessThan(50);
});

test('a warning leaves at once with what was said before, though the process does nothing else for long', async () => {
  const { lines, endMs } = await linesOf(`log.info('before'); log.warn('now'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000);`);
  expect(lines.map(({ msg }) => msg)).toEqual(['before', 'now']);
  expect(endMs - (lines[1]?.atMs ?? endMs)).toBeGreaterThan(1_000);
});

test('a line alone leaves soon', async () => {
  const { lines, endMs } = await linesOf(`log.info('alone'); setTimeout(() => undefined, 2_000);`);
  expect(lines.map(({ msg }) => msg)).toEqual(['alone']);
  expect(endMs - (lines[0]?.atMs ?? endMs)).toBeGreaterThan(1_000);
});
