// Folders of earlier test runs under .mainstay/test: those whose process is gone are removed, with what a kill -9 left
// running in them. The newest kept one of a failed run goes too: a run keeps its own failures only.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isSame, readJson, type ProcessMark } from '../../src/dev/servers/processes.ts';

export function sweepStateFolders(dir: string, say: (line: string) => void): void {
  let names: string[] = [];
  try { names = readdirSync(dir).filter((name) => name.startsWith('run-')); } catch { return; }
  for (const name of names) {
    const folder = join(dir, name);
    const holder = readJson(join(folder, 'stack.lock')) as ProcessMark | undefined;
    if (holder && isSame(holder)) continue;
    removeStateFolder(folder, say);
  }
}

/** Removes a run's folder, and its PostgreSQL data where that had to live elsewhere; ends what still runs on them. */
export function removeStateFolder(folder: string, say: (line: string) => void): void {
  for (const server of ['redis', 'postgres', 'milvus']) {
    const left = readJson(join(folder, server, 'server.json')) as { mark?: ProcessMark; dataDir?: string } | undefined;
    if (left?.mark && isSame(left.mark)) {
      say(`ending ${server} (${left.mark.pid}) of a test run that was killed`);
      process.kill(left.mark.pid, server === 'postgres' ? 'SIGQUIT' : 'SIGKILL');
    }
    if (left?.dataDir) rmSync(left.dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}
