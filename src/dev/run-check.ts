// `node scripts/bootstrap.mjs check`: types, lint and layers, side by side. Ends with `N passed, N failed`.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { layerFaults } from './layers.ts';
import { checkoutDir } from './servers/migrate.ts';

const bin = (path: string): string => join(checkoutDir, 'node_modules', path);

const passes = (name: string, script: string, args: readonly string[]): Promise<boolean> =>
  new Promise((resolve) => {
    let said = '';
    const child = spawn(process.execPath, [script, ...args], { cwd: checkoutDir, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { said += chunk.toString(); });
    child.on('close', (code) => {
      process.stdout.write(`${code === 0 ? 'ok  ' : 'FAIL'} ${name}\n${said.trim() ? `${said.trim()}\n` : ''}`);
      resolve(code === 0);
    });
  });

const layersHold = (): boolean => {
  const faults = layerFaults(checkoutDir);
  process.stdout.write(`${faults.length === 0 ? 'ok  ' : 'FAIL'} layers\n${faults.map((fault) => `${fault}\n`).join('')}`);
  return faults.length === 0;
};

const outcomes = await Promise.all([
  passes('types', bin('typescript/bin/tsc'), ['--noEmit', '-p', '.']),
  passes('lint', bin('eslint/bin/eslint.js'), ['--max-warnings=0', '.']),
  Promise.resolve().then(layersHold),
]);
const failed = outcomes.filter((passed) => !passed).length;
process.stdout.write(`${outcomes.length - failed} passed, ${failed} failed\n`);
process.exitCode = failed > 0 ? 1 : 0;
