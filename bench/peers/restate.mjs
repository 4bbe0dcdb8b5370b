// Restate: a server that journals every step and calls the worker over HTTP/2. Its log is fsynced as it comes.
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import * as restate from '@restatedev/restate-sdk';
import * as clients from '@restatedev/restate-sdk-clients';
import { pause } from '../../src/clock.ts';
import { freePort } from '../../src/dev/servers/ports.ts';
import { endProcess, markOf } from '../../src/dev/servers/processes.ts';
import { residentBytes } from '../usage.ts';

const quick = { RESTATE_DEFAULT_RETRY_POLICY__INITIAL_INTERVAL: '50ms', RESTATE_DEFAULT_RETRY_POLICY__MAX_INTERVAL: '1s' };

export const usual = 'tuned';
export const variants = {
  // its worker is called at one address: a second one cannot stand by
  default: { options: {}, standsBy: false },
  // partitions for a small machine, quick retries, finished journals dropped at once, sleepers suspended after 1 s
  tuned: { options: { partitions: 2, env: quick, service: { journalRetention: 0, inactivityTimeout: 1_000 } }, standsBy: false },
  // W6: one scope a tenant, half of the concurrency each (experimental in this version)
  scopes: { options: { partitions: 2, env: { ...quick, RESTATE_EXPERIMENTAL_ENABLE_VQUEUES: 'true' }, service: { journalRetention: 0 }, scopes: true }, standsBy: false },
};

const program = () => {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve(`@restatedev/restate-server-linux-${process.arch}/package.json`)), 'bin/restate-server');
};

export async function prepare(servers, options, workload) {
  const dir = mkdtempSync(join(servers.dir, 'restate-'));
  const [ingress, admin, fabric, service] = [await freePort(), await freePort(), await freePort(), await freePort()];
  // the server has no limit for a whole worker, only one for each partition
  const perPartition = Math.floor(({ W1: 50, W2: 50, W6: 10 }[workload] ?? 0) / (options.partitions ?? 24));
  // It asks a public site for newer versions of itself. Here it keeps to loopback: it gets a resolver file that names nobody.
  const resolver = join(servers.dir, 'resolv.conf');
  writeFileSync(resolver, 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n');
  const alone = ['-m', 'sh', '-c', `mount --bind ${resolver} /etc/resolv.conf && exec "$0" "$@"`, program()];
  const log = openSync(join(servers.dir, 'restate.log'), 'a');
  const child = spawn('unshare', [...alone, '--base-dir', dir, '--node-name', 'bench', '--listen-mode', 'tcp', '--bind-ip', '127.0.0.1', '--bind-port', String(fabric)], {
    stdio: ['ignore', log, log], cwd: dir,
    env: {
      ...process.env, RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`, RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`, RESTATE_DISABLE_TELEMETRY: 'true', RESTATE_LOG_FILTER: 'warn,octocrab=off',
      ...(perPartition > 0 && !options.scopes && { RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT: String(perPartition) }),
      ...(options.partitions && { RESTATE_DEFAULT_NUM_PARTITIONS: String(options.partitions) }), ...options.env,
    },
  });
  closeSync(log);
  const mark = markOf(child.pid);
  await Promise.all([opened(ingress), opened(admin)]);
  return {
    serverPids: [child.pid], more: { ingress, admin, service, dir, pid: child.pid },
    async stop() { await endProcess(mark, 'SIGTERM', 5_000); rmSync(dir, { recursive: true, force: true }); },
  };
}

async function opened(port) {
  const tries = () => new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => resolve(false));
  });
  for (let i = 0; i < 600; i++, await pause(100)) if (await tries()) return;
  throw new Error(`nothing listens on port ${port}`);
}

const put = async (url, method, body) => {
  for (let tries = 0; ; tries++, await pause(100)) {
    const answer = await fetch(url, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }).catch((error) => ({ ok: false, text: async () => String(error) }));
    if (answer.ok) return;
    if (tries === 50) throw new Error(await answer.text());
  }
};

export async function startWorker(place, tasks) {
  const { admin, service: port } = place.more;
  const handlers = { run: (context, job) => tasks.run(job, { step: (k, body) => context.run(`step${k}`, body), sleep: (ms) => context.sleep(ms) }) };
  await restate.serve({ services: [restate.service({ name: 'bench', handlers, options: place.options.service })], port });
  if (!place.recovering) await put(`http://127.0.0.1:${admin}/deployments`, 'POST', { uri: `http://127.0.0.1:${port}` });
  if (place.options.scopes) await put(`http://127.0.0.1:${admin}/limits/rules`, 'PUT', [{ pattern: '*', limits: { concurrency: place.concurrency / 2 } }]);
  return { stop: async () => undefined };
}

export async function startProducer(place) {
  const ingress = clients.connect({ url: `http://127.0.0.1:${place.more.ingress}` });
  const to = (job) => (place.options.scopes && job.tenant ? ingress.scope(job.tenant) : ingress).serviceSendClient({ name: 'bench' });
  return { submit: (job) => to(job).run(job), close: async () => undefined };
}

export const serverBytes = async ({ more }) => ({ serverMemory: residentBytes(more.pid), serverDisk: Number(execFileSync('du', ['-sb', more.dir]).toString().split('\t')[0]) });
