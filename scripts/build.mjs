// node scripts/build.mjs: compiles src, workers and examples into dist/ and puts beside them what is no TypeScript but is
// read at run time (Lua scripts). What is only for development (src/dev) is compiled only where something imports it.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true }); // a file that was deleted must not live on in dist/
const compiled = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.build.json')], { cwd: root, stdio: 'inherit' });
if (compiled.status !== 0) process.exit(compiled.status ?? 1);

let copied = 0;
for (const folder of ['src', 'workers', 'examples']) {
  if (!existsSync(join(root, folder))) continue;
  for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (!entry.isFile() || /\.(ts|md)$/.test(entry.name) || file.startsWith(join(root, 'src/dev'))) continue;
    cpSync(file, join(dist, file.slice(root.length + 1)));
    copied += 1;
  }
}
if (copied === 0) throw new Error('no Lua script was found: the image would start and fail at its first take');
console.log(`dist/ is built, ${copied} other files copied`);
