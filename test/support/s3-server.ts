// A server that speaks S3 over its wire: PyPI's moto, kept in the state folder, started on a port of its own with nothing in
// it. It checks no signatures and keeps everything in memory. Ended by its process id, also when the test process is killed.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { endProcess, endWithMe, markOf, run } from '../../src/dev/servers/processes.ts';
import { preparePython } from '../../src/dev/servers/python.ts';
import { defaultStateDir } from '../../src/dev/servers/stack.ts';

/** moto's own `server` extra brings every service of Amazon's, and 300 MB; this is what S3 alone needs. */
const PINS = ['moto[s3]==5.2.5', 'flask==3.1.3', 'flask-cors==6.0.5'];
const folder = join(defaultStateDir, 'python-moto');

export interface S3Server {
  readonly url: string;
  makeBucket(name: string): Promise<void>;
  /** Stops and continues the process: connections stay open, nothing answers. */
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

export const S3_LOGIN = { accessKeyId: 'test', secretAccessKey: 'test-secret' };

/** The first time it fetches the server: about 15 s. */
export async function startS3Server(): Promise<S3Server> {
  const { python } = await preparePython(join(defaultStateDir, 'venv'), () => undefined);
  const done = join(folder, `.has-${PINS.join('-')}`);
  if (!existsSync(done)) {
    await run(python, ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--upgrade', '--target', folder, ...PINS]);
    writeFileSync(done, '');
  }
  const child = spawn(python, [join(import.meta.dirname, 's3_server.py')], { env: { ...process.env, PYTHONPATH: folder, PYTHONUNBUFFERED: '1' }, stdio: ['ignore', 'ignore', 'pipe'] });
  const url = await addressOf(child);
  const mark = markOf(child.pid ?? 0);
  const calm = endWithMe([mark]);
  return {
    url,
    makeBucket: async (name) => {
      const client = new S3Client({ endpoint: url, region: 'us-east-1', credentials: S3_LOGIN, forcePathStyle: true });
      await client.send(new CreateBucketCommand({ Bucket: name }));
      client.destroy();
    },
    freeze: () => { child.kill('SIGSTOP'); },
    thaw: () => { child.kill('SIGCONT'); },
    stop: async () => { calm(); await endProcess(mark, 'SIGKILL', 5_000); },
  };
}

/** It says where it listens once it does. Its output is read for ever: a full pipe would stop it. */
const addressOf = (child: ChildProcess): Promise<string> => new Promise((resolve, reject) => {
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = `${said}${chunk.toString()}`.slice(-4_000);
    const url = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(said)?.[1];
    if (url !== undefined) resolve(url);
  });
  child.once('error', reject);
  child.once('exit', (code) => reject(new Error(`the S3 server ended (${code}): ${said}`)));
});
