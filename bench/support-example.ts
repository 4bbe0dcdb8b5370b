// How long the support example takes on a fleet that is up (`npm start`): submit → completed, and submit → its memories are in
// the vector index, one run after the other, each for a user of its own. Prints one line of JSON.
// Run: node bench/support-example.ts [runs]   (reads the key and the port from .mainstay/)
import { readFileSync } from 'node:fs';
import { Mainstay } from '../src/client/client.ts';
import { monoMs, pause, wallMs } from '../src/clock.ts';

const runs = Number(process.argv[2] ?? 20);
const local = (file: string): Record<string, unknown> => JSON.parse(readFileSync(`.mainstay/${file}`, 'utf8')) as Record<string, unknown>;
const client = new Mainstay({ baseUrl: `http://127.0.0.1:${String(local('ports.json')['api'])}`, apiKey: String(local('local.json')['apiKey']) });
const message = 'I prefer to be contacted by e-mail. Our billing system is Zuora. Since this morning the invoice export fails with error 504.';
const completedMs: number[] = [];
const searchableMs: number[] = [];
for (let at = 0; at < runs; at++) {
  const user = `bench-${wallMs()}-${at}`;
  const beganMs = monoMs();
  const run = await client.runs.create({ agent: 'support-agent', input: { message }, user, session: 'bench' });
  await client.runs.wait(run.id, { timeoutMs: 60_000 });
  completedMs.push(monoMs() - beganMs);
  for (;;) { // the API's own answers are part of what a user waits for
    const { data } = await client.memories.list({ user });
    if (data.length > 0 && data.every(({ indexed }) => indexed)) break;
    if (monoMs() - beganMs > 60_000) throw new Error('no memory within a minute');
    await pause(10);
  }
  searchableMs.push(monoMs() - beganMs);
}
const at = (all: number[], share: number): number => Math.round([...all].sort((a, b) => a - b)[Math.min(all.length - 1, Math.floor(all.length * share))] ?? NaN);
console.log(JSON.stringify({ runs, completedMs: { p50: at(completedMs, 0.5), p95: at(completedMs, 0.95) }, searchableMs: { p50: at(searchableMs, 0.5), p95: at(searchableMs, 0.95) } }));
