// What the images leave out of node_modules.
//   node scripts/image-packages.mjs keep [NAME…]  rewrites ./package.json to these packages, without names to those of
//                                                production; `npm install` after it takes the lock file's versions
//   node scripts/image-packages.mjs trim         removes files of ./node_modules that this platform can never load
// Only for image builds: it changes the folder it is called in. A path it expects and does not find is an error, so
// that an update of a package cannot quietly bring 400 MB back.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [verb, ...names] = process.argv.slice(2);
if (verb === 'keep') keep(names);
else if (verb === 'trim') trim();
else throw new Error('usage: image-packages.mjs keep [NAME…] | trim');

function keep(wanted) {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
  const all = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.devDependencies };
  const unknown = wanted.filter((name) => !all[name]);
  if (unknown.length > 0) throw new Error(`not in package.json: ${unknown.join(', ')}`);
  if (wanted.length > 0) {
    manifest.dependencies = Object.fromEntries(wanted.map((name) => [name, all[name]]));
    delete manifest.optionalDependencies;
  }
  delete manifest.devDependencies; // `--omit=dev` alone leaves Prisma's command line: it is an optional peer of the client
  writeFileSync('package.json', `${JSON.stringify(manifest, null, 2)}\n`);
}

function trim() {
  // ONNX Runtime ships every platform's library and every browser's build
  const native = 'node_modules/onnxruntime-node/bin';
  for (const abi of existsSync(native) ? list(native) : []) {
    for (const os of list(join(native, abi))) {
      if (os !== process.platform) rm(join(native, abi, os));
      else for (const arch of list(join(native, abi, os))) if (arch !== process.arch) rm(join(native, abi, os, arch));
    }
  }
  const web = new Set(['ort.node.min.mjs', 'ort.node.min.js', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm']);
  removeBut('node_modules/onnxruntime-web/dist', (name) => web.has(name));
  // Prisma's query compiler, once per database and module format; we are ESM on PostgreSQL
  removeBut('node_modules/@prisma/client/runtime', (name) =>
    !name.startsWith('query_compiler') || (name.includes('.postgresql.') && !name.endsWith('.wasm-base64.js')));
  for (const path of readdirSync('node_modules', { recursive: true })) {
    if (/\.(d\.[cm]?ts|[cm]?js)\.map$/.test(path)) rm(join('node_modules', path));
  }
}

function list(dir) {
  const found = readdirSync(dir);
  if (found.length === 0) throw new Error(`${dir} is empty`);
  return found;
}

function removeBut(dir, kept) {
  const found = list(dir);
  if (!found.some(kept)) throw new Error(`${dir}: nothing of what is to be kept is there`);
  for (const name of found) if (!kept(name)) rm(join(dir, name));
}

function rm(path) { rmSync(path, { recursive: true, force: true }); }
