// Postgres has no room: every connection of a worker hangs, or the disk is full. The lease does not depend on the connections
// that hang, the API says "later" and not "yes", and all goes on by itself when there is room again.
import { rmSync, statfsSync, writeFileSync, appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { monoMs, pause } from '../../../src/clock.ts';
import { check } from '../check.ts';
import { defineRow, holds } from '../row.ts';
import { openDoor, post, uuidOf, type Door } from './submits.ts';

interface Got { readonly status: number; readonly retryAfter: string | null }

async function get({ port, key }: Door, path: string, timeoutMs: number): Promise<Got | undefined> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { authorization: `Bearer ${key}` }, signal: AbortSignal.timeout(timeoutMs) });
    await answer.arrayBuffer();
    return { status: answer.status, retryAfter: answer.headers.get('retry-after') };
  } catch {
    return undefined;
  }
}

export const R21 = defineRow({
  id: 'R21', title: 'every connection of a worker and of the API hangs on a lock',
  short: { runs: 24, clients: 60, hangMs: 5_000 }, full: { runs: 100, clients: 200, hangMs: 32_000 },
  async inject(ground, { runs, clients, hangMs }) {
    const door = await openDoor(ground);
    try {
      const [worker] = await ground.workers(1, { concurrency: runs });
      await ground.maintenance();
      ground.sink.hold(({ line }) => line === 'inside');
      const inside = ground.sink.next(({ line }) => line === 'inside', runs);
      const accepted = await ground.submitMany(runs, [[{ do: 'note', line: 'inside' }, { do: 'keyed', line: 'effect' }], [{ do: 'keyed', line: 'last' }]], { tenant: 'acme' });
      await inside;
      const holder = await ground.client();
      await holder.query('BEGIN');
      await holder.query('LOCK TABLE tool_calls, run_steps IN ACCESS EXCLUSIVE MODE');
      const startMs = monoMs();
      ground.sink.release(); // each run now wants to write its intent, and waits with a connection in hand
      const asked = Promise.all(Array.from({ length: clients }, (_, n) => get(door, `/v1/runs/run_${(accepted[n % runs]?.id ?? '').replaceAll('-', '')}/steps`, ground.patienceMs)));
      const waiting = await ground.until('connections hang', () => ground.rows<{ n: number }>(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`), ([row]) => (row?.n ?? 0) >= 8).catch(() => []);
      let lapses = 0;
      for (; monoMs() - startMs < hangMs; await pause(200)) {
        const [row] = await ground.rows<{ alive: boolean }>(`SELECT bool_or(ended_at IS NULL AND lease_until > now()) AS alive FROM workers`);
        if (!row?.alive) lapses++;
      }
      await holder.query('ROLLBACK');
      const answers = await asked;
      await ground.rest();
      const statuses = [...new Set(answers.map((one) => one?.status))];
      return {
        landed: { 'connections that hung': waiting[0]?.n ?? 0, 'ms of it': hangMs },
        held: [
          holds('the lease was renewed all the while', lapses === 0, `${lapses} looks without a live lease`), holds('no run was taken for crashed', (await ground.runs()).every(({ crashes, status }) => crashes === 0 && status === 'completed'), worker?.said(/fenced|not renewed/).slice(0, 3).map(({ text }) => text.slice(0, 200))),
          holds('the API answers 200, or 503 with Retry-After; never 500', answers.every((one) => one?.status === 200 || (one?.status === 503 && one.retryAfter !== null)), statuses), ...(await check(ground)),
        ],
      };
    } finally {
      await door.close();
    }
  },
});

export const R23 = defineRow({
  id: 'R23', title: 'disk of Postgres full (a small tmpfs, filled)', needs: { ownPostgres: { diskMiB: 360 } },
  short: { runs: 8, fullMs: 1_500, bytes: 100_000 }, full: { runs: 100, fullMs: 20_000, bytes: 100_000 },
  async inject(ground, { runs, fullMs, bytes }) {
    const door = await openDoor(ground);
    const filler = join(ground.postgres.dir, 'filler');
    try {
      const workers = await ground.workers(2);
      await ground.maintenance();
      await ground.submitMany(runs, [[{ do: 'keyed', line: 'a' }, { do: 'work', ms: 800 }], [{ do: 'keyed', line: 'b' }, { do: 'work', ms: 800 }], [{ do: 'keyed', line: 'c' }]]);
      fill(filler);
      const startMs = monoMs();
      const answers: Awaited<ReturnType<typeof post>>[] = [];
      for (let n = 0; monoMs() - startMs < fullMs || (answers.every((one) => one?.status === 202) && n < 600); n++) {
        const key = `full-${n}`;
        const answer = await post(door.port, door.key, key, { agent: 'fault', input: { sink: ground.sink.url, plan: [[{ do: 'keyed', line: 'effect' }]], mark: 'x'.repeat(bytes) + n } }, 20_000); // large, so that tables must grow
        answers.push(answer);
        if (answer?.id !== undefined) ground.accepts.push({ tenant: 'acme', key, id: uuidOf(answer.id), atMs: monoMs() });
        else ground.lost.push({ tenant: 'acme', key });
      }
      rmSync(filler);
      const back = await ground.until('accepts again', () => post(door.port, door.key, 'afterwards', { agent: 'fault', input: { sink: ground.sink.url, plan: [], mark: 'after' } }, 10_000), (one) => one?.status === 202);
      ground.accepts.push({ tenant: 'acme', key: 'afterwards', id: uuidOf(back?.id ?? ''), atMs: monoMs() });
      await ground.rest();
      const refused = answers.filter((one) => one?.status !== 202);
      return {
        landed: { 'posts refused for the full disk': refused.length, 'posts in all': answers.length },
        held: [
          holds('refused before any 202: 503 with Retry-After, never 500', refused.every((one) => one?.status === 503 && one.retryAfter !== null), [...new Set(refused.map((one) => `${one?.status} ${one?.code}`))]),
          holds('the workers live on', workers.every(({ alive }) => alive), workers.map(({ pid }) => pid)), holds('no run failed for it', (await ground.runs()).every(({ status }) => status !== 'failed'), (await ground.runs()).filter(({ status }) => status === 'failed').slice(0, 3).map(({ error_code }) => error_code)),
          ...(await check(ground)),
        ],
      };
    } finally {
      rmSync(filler, { force: true });
      await door.close();
    }
  },
});

/** Takes all that is free on the disk of `file`. */
function fill(file: string): void {
  const { bavail, bsize } = statfsSync(join(file, '..'));
  writeFileSync(file, Buffer.alloc(Math.max(0, bavail - 16) * bsize));
  try { for (;;) appendFileSync(file, Buffer.alloc(4_096)); } catch { /* ENOSPC: full */ }
}
