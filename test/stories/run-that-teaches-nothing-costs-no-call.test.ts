// A run that may teach memory nothing, or has nothing to teach, is passed over without a call of a model, and says why to whoever looks.
import { beforeEach, describe, expect, test } from '@jest/globals';
import { Mainstay } from '../../src/client/client.ts';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { ineligible, trivial } from '../../src/domain/gate-intake.ts';
import type { SourceRole } from '../../src/domain/status.ts';
import type { TranscriptEvent } from '../../src/domain/transcript.ts';
import { publicId, parseId } from '../../src/ids.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startAll } from '../../src/service.ts';
import { SCOPES } from '../../src/domain/status.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { assembleApi } from '../../workers/assemble-api.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { spawnCli } from '../support/spawn-cli.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

let [asked, answer] = [0, ''];
const answering: StubScript = { name: 'answers-as-the-test-says', matches: ({ output_config }) => output_config === undefined, reply: () => ({ text: answer }) };
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer.' })], { scripts: [answering, proposing(() => { asked++; return []; })], change: { PORT: '0' } });
const api = assembleApi(fleet.base, {});
const stop = await startAll(api.services, fleet.base.log);
atFileEnd(async () => { await stop(); await api.close(); });
await createTenant(fleet.base.engine.pool, 'acme');
const apiKey = (await createKey(fleet.base.engine.pool, { tenant: 'acme', user: undefined, name: 'test', scopes: SCOPES, expiresAt: undefined }, 'test')).key;
const baseUrl = `http://127.0.0.1:${api.server.port}`;
const client = new Mainstay({ baseUrl, apiKey });

let session = 0;
const talk = async (message: string): Promise<string> => publicId('run', (await fleet.talk('talker', message, { tenant: 'acme', user: 'ada', session: `s${++session}` })).id);
const remembered = async (run: string) => { const { memoryState, skipped, summary, verdicts } = await client.runs.memories(run); return { memoryState, skipped, summary: summary?.text ?? null, verdicts }; };
beforeEach(() => { [asked, answer] = [0, 'Fine.']; });

test('small talk is summarised without a call; the run says so over the API and on the command line', async () => {
  const run = await talk('ok thanks');
  expect([await remembered(run), asked]).toEqual([{ memoryState: 'done', skipped: 'SKIP_TRIVIAL:SMALL_TALK', summary: 'Goal: ok thanks\nResult: Fine.', verdicts: [] }, 0]);
  expect((await client.runs.get(run)).memorySkipped).toBe('SKIP_TRIVIAL:SMALL_TALK');
  const { out } = await spawnCli(['runs', 'get', run], { env: { MAINSTAY_URL: baseUrl, MAINSTAY_API_KEY: apiKey } });
  expect(out).toMatch(/^memory +done: SKIP_TRIVIAL:SMALL_TALK$/m);
  expect(await fleet.base.metrics.registry.metrics()).toMatch(/gate_verdicts_total\{[^}]*decision="SKIP",stage="intake",reason="SKIP_TRIVIAL:SMALL_TALK"[^}]*\} 1/);
});

test('a run with a word to it is asked about, and says nothing of the kind', async () => {
  const run = await talk('I am vegan.');
  expect([await remembered(run), asked]).toEqual([{ memoryState: 'done', skipped: null, summary: 'Goal: g\nResult: r', verdicts: [] }, 1]);
  expect((await client.runs.get(run)).memorySkipped).toBeNull();
});

test('a fork that says word for word what its origin said teaches nothing new; one that came to say something else does', async () => {
  const origin = await talk('Our depot is in Graz.');
  expect(asked).toBe(1);
  const forked = async () => {
    const { id } = await client.runs.fork(origin, 1);
    await fleet.until('acme', parseId('run', id)!, (row) => row.memory_state !== 'due' && row.finished_at !== null);
    return remembered(id);
  };
  expect([await forked(), asked]).toMatchObject([{ skipped: 'SKIP_TRIVIAL:REPLAY', summary: 'Goal: Our depot is in Graz.\nResult: Fine.' }, 1]);
  answer = 'Noted.';
  expect([await forked(), asked]).toMatchObject([{ skipped: null, summary: 'Goal: g\nResult: r' }, 2]);
  await fleet.rows(`UPDATE agent_runs SET memory_state = 'summary_missing' WHERE id = $1`, [parseId('run', origin)]);
  answer = 'Fine.';
  expect([await forked(), asked]).toMatchObject([{ skipped: null }, 3]); // nobody has learned from the origin
});

test('while a tenant has memory rest nothing is learned, not even a summary; afterwards it is again', async () => {
  await client.memories.setPolicy({ paused: true });
  const run = await talk('Our depot is in Linz.');
  expect([await remembered(run), asked]).toEqual([{ memoryState: 'done', skipped: 'SKIP_INELIGIBLE:PAUSED', summary: null, verdicts: [] }, 0]);
  await client.memories.setPolicy({ paused: null });
  expect(await remembered(await talk('Our depot is in Wels.'))).toMatchObject({ skipped: null, summary: 'Goal: g\nResult: r' });
});

describe('told from what is recorded', () => {
  const events = (...said: [SourceRole, string][]): TranscriptEvent[] => said.map(([role, text], at) => ({ id: `e${at + 1}`, role, tool: role === 'tool' ? 'look' : undefined, text, atMs: at }));
  const said = events(['user', 'Our depot is in Graz.'], ['agent', 'Fine.']);

  test('may it teach anything?', () => {
    expect(ineligible(said, false)).toBeUndefined();
    expect(ineligible(said, true)).toBe('SKIP_INELIGIBLE:PAUSED');
    expect(ineligible(events(['agent', 'I found out that the depot is in Graz.']), false)).toBe('SKIP_INELIGIBLE:NOTHING_SAID');
    expect(ineligible([], false)).toBe('SKIP_INELIGIBLE:NOTHING_SAID');
    expect(ineligible(events(['tool', 'ok']), false)).toBeUndefined();
  });

  test.each<[string, TranscriptEvent[], TranscriptEvent[] | undefined, ReturnType<typeof trivial>]>([
    ['greetings', events(['user', 'Hello, good morning!'], ['agent', 'Our depot is in Graz.']), undefined, 'SKIP_TRIVIAL:SMALL_TALK'],
    ['one word that may matter', events(['user', 'vegan']), undefined, undefined],
    ['a tool that said something', events(['user', 'ok'], ['tool', 'shipped on 2026-03-01']), undefined, undefined],
    ['another time of day, the same words', said.map((event) => ({ ...event, atMs: 99 })), said, 'SKIP_TRIVIAL:REPLAY'],
    ['the same words of somebody else', events(['tool', 'Our depot is in Graz.'], ['agent', 'Fine.']), said, undefined],
    ['one word more', events(['user', 'Our depot is in Graz.'], ['agent', 'Fine.'], ['user', 'Or Linz.']), said, undefined],
  ])('has it anything to teach: %s', (_what, of, origin, expected) => { expect(trivial(of, origin)).toBe(expected); });
});
