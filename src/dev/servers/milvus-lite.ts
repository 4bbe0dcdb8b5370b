// Milvus Lite's server on loopback, behind our own launcher (milvus_lite_server.py says why). It ends with this process,
// however that ends, because it watches the pipe that is its standard input; so there is never one to adopt, but a
// predecessor may still be writing its last rows, and the start waits for that.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pause } from '../../clock.ts';
import { freePort, freePortNear } from './ports.ts';
import { endProcess, markOf, readJson, writeJson, type ProcessMark } from './processes.ts';

export interface MilvusLite { readonly address: string; readonly mark: ProcessMark; stop(): Promise<void> }

/** Rows beyond this are flushed to files; what is not flushed is searched slowly (measured: 827 ms against 34 at 10k). */
const memtableBytes = 8 << 20;
const readyMs = 60_000;

export async function startMilvusLite(dir: string, python: string): Promise<MilvusLite> {
  mkdirSync(join(dir, 'data'), { recursive: true });
  const file = join(dir, 'server.json');
  let port = await freePortNear((readJson(file) as { port?: number } | undefined)?.port);
  for (let tries = 1; ; tries++) {
    const outcome = await launch(python, join(dir, 'data'), port);
    if (!('trouble' in outcome)) {
      const mark = markOf(outcome.child.pid ?? 0);
      writeJson(file, { port, mark });
      return { address: `127.0.0.1:${port}`, mark, stop: () => stop(outcome.child, mark) };
    }
    const taken = outcome.trouble.includes('is taken');
    const locked = outcome.trouble.includes('DataDirLockedError');
    if (tries === 20 || !(taken || locked)) throw new Error(`Milvus Lite did not start in ${dir}: ${outcome.trouble}`);
    if (taken) port = await freePort();
    else await pause(500); // its predecessor is closing
  }
}

async function launch(python: string, dataDir: string, port: number): Promise<{ child: ChildProcess } | { trouble: string }> {
  const launcher = join(import.meta.dirname, 'milvus_lite_server.py');
  const child = spawn(python, [launcher, dataDir, String(port)], {
    stdio: ['pipe', 'pipe', 'pipe'], detached: true,
    env: { ...process.env, MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES: String(memtableBytes), PYTHONUNBUFFERED: '1' },
  });
  child.stdin.on('error', () => undefined);
  let said = '';
  const listening = new Promise<true>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => { // read for ever: a full pipe would stop the server
        said = `${said}${chunk.toString()}`.slice(-4_000);
        if (said.includes(`listening on 127.0.0.1:${port}`)) resolve(true);
      });
    }
  });
  const ended = once(child, 'close').then(() => false, (error: Error) => { said += error.message; return false; });
  const late = new AbortController();
  const up = await Promise.race([listening, ended, pause(readyMs, late.signal).then(() => false)]);
  late.abort();
  if (!up) { child.kill('SIGKILL'); return { trouble: said.slice(-1_000) || 'it wrote nothing' }; }
  unhold(child);
  return { child };
}

/** The server must not keep our process alive: whoever started the stack decides when to end. */
function unhold(child: ChildProcess): void {
  child.unref();
  for (const stream of child.stdio) (stream as { unref?: () => void } | null)?.unref?.();
}

/** SIGTERM: calls in flight end, rows are flushed, exit code 0. */
const stop = (child: ChildProcess, mark: ProcessMark): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : endProcess(mark, 'SIGTERM', 20_000);
