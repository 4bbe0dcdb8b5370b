// The object store in a folder: on one machine, or on a volume that every process mounts. A file appears whole or not at all:
// written beside, synced, renamed into place, and every folder on its way synced, before `put` says so. What the disk refuses
// is `value_unavailable`, a vanished folder too, so that an unmounted volume is never taken for values that are lost.
import { access, constants, mkdir, open, readFile, readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { v7 } from 'uuid';
import { wallMs } from '../clock.ts';
import type { BlobStore } from '../domain/blob.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { LEFT_FILE_MS } from '../domain/tunables.ts';
import { partsOf } from './keys.ts';

/** Where files are written before they have a name. No key can name it: `#` is not among a key's characters. */
const UNNAMED = '#new';
/** A name that is not there, lies below a file, or is a folder: each means that nothing was put under this key. */
const MISSING = new Set(['ENOENT', 'ENOTDIR', 'EISDIR']);
/** Some network file systems cannot sync a folder and say so; Postgres lets these two pass as well. */
const CANNOT_SYNC = new Set(['EINVAL', 'EBADF']);

/** Asks nothing of the disk yet: a process that stores nothing needs no folder. */
export function openFiles(folder: string): BlobStore {
  const root = resolve(folder);
  const pathOf = (key: string): string => join(root, ...partsOf(key));
  let swept = false;
  return {
    put: async (key, bytes) => {
      const path = pathOf(key);
      await ofDisk('put', () => write(root, path, bytes));
      if (swept) return;
      swept = true;
      await sweep(join(root, UNNAMED)).catch(() => undefined); // the value is kept; what a crash left may wait for the next start
    },
    get: async (key) => {
      const path = pathOf(key);
      return ofDisk('get', () => unlessMissing(root, readFile(path)));
    },
    delete: async (key) => {
      const path = pathOf(key);
      await ofDisk('delete', () => unlessMissing(root, remove(root, path)));
    },
    ping: () => ofDisk('ping', async () => {
      await mkdir(root, { recursive: true });
      await access(root, constants.R_OK | constants.W_OK | constants.X_OK);
    }),
  };
}

async function ofDisk<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new MainstayError('value_unavailable', `The artifacts folder failed to ${what}: ${codeIn(error) ?? messageOf(error)}.`, { cause: error });
  }
}

const codeIn = (error: unknown): string | undefined => (error as { code?: string } | null)?.code;
const isMissing = (error: unknown): boolean => MISSING.has(codeIn(error) ?? '');

/** Undefined for what is not there, as long as the folder of all is. */
async function unlessMissing<T>(root: string, work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!isMissing(error)) throw error;
    await access(join(root, sep)); // with the slash a file of this name is an error too
    return undefined;
  }
}

async function write(root: string, path: string, bytes: Uint8Array): Promise<void> {
  const unnamed = join(root, UNNAMED, v7());
  await mkdir(dirname(unnamed), { recursive: true });
  try {
    const file = await open(unnamed, 'wx', 0o640);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await moveTo(unnamed, path);
  } catch (error) {
    await rm(unnamed, { force: true }).catch(() => undefined); // the next start sweeps it; the first error counts
    throw error;
  }
  // To the top each time: another writer may have made a folder on the way and not have synced its name yet.
  for (let folder = dirname(path); folder.length >= root.length; folder = dirname(folder)) await syncFolder(folder);
}

/** A delete may take the emptied folder away between the two calls; it is made again then. Ten in a row is no delete. */
async function moveTo(unnamed: string, path: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await mkdir(dirname(path), { recursive: true });
      return await rename(unnamed, path);
    } catch (error) {
      if (codeIn(error) !== 'ENOENT' || tries === 10) throw error;
    }
  }
}

/** A folder that is gone was emptied by a delete after us, which is the later word. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch((error: unknown) => { if (!isMissing(error)) throw error; });
  if (!handle) return;
  try {
    await handle.sync();
  } catch (error) {
    if (!CANNOT_SYNC.has(codeIn(error) ?? '')) throw error;
  } finally {
    await handle.close();
  }
}

/** The file, and the folders it leaves empty: a run's folder must not outlive its values. */
async function remove(root: string, path: string): Promise<void> {
  await unlink(path);
  let folder = dirname(path);
  try {
    for (; folder.length > root.length; folder = dirname(folder)) await rmdir(folder);
  } catch { /* not empty: others' values are in it */ }
  await syncFolder(folder);
}

/** What writers left that were killed: old enough that none of them can still be writing. */
async function sweep(unnamed: string): Promise<void> {
  for (const name of await readdir(unnamed)) {
    const file = join(unnamed, name);
    if ((await stat(file)).mtimeMs < wallMs() - LEFT_FILE_MS) await rm(file, { force: true });
  }
}
