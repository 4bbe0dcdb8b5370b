// The evaluation of recall on the real stores: several questions under way find what one at a time finds, and a set unlike ours is
// taken as it is, with every id, name, date and text that may stand in one.
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { answersTo, ask } from '../eval/recall/ask.ts';
import { embedAhead, evalEmbedder, sideBySide } from '../eval/recall/embed-ahead.ts';
import { parseSet, readSet, type RecallSet } from '../eval/recall/format.ts';
import { ingest } from '../eval/recall/ingest.ts';
import { metricsOf } from '../eval/recall/metrics.ts';
import { readConfig } from '../src/config.ts';
import type { Embedder } from '../src/domain/embedder.ts';
import { makeLog } from '../src/log.ts';
import type { FindDeps } from '../src/memory/find-memories.ts';
import { openIndex } from '../src/memory/milvus.ts';
import { openAppStore } from '../src/store/app-store.ts';
import { openEnginePool } from '../src/store/engine/pool.ts';
import { atFileEnd, freshDatabase, useStack } from './support/stack.ts';

const stack = await useStack();
const log = makeLog('silent', 'test');
const config = readConfig(stack.env);
const embedder = await evalEmbedder(config, log);
atFileEnd(() => embedder.close());

/** The set in stores of its own. */
async function within<T>(set: RecallSet, name: string, work: (deps: FindDeps, turns: Awaited<ReturnType<typeof ingest>>) => Promise<T>): Promise<T> {
  const databaseUrl = await freshDatabase();
  const index = await openIndex({ address: stack.milvusAddress, tls: false, prefix: `${stack.milvusPrefix}_${name}`, denseIndex: stack.milvusDenseIndex, dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log });
  const [pool, store] = [openEnginePool(databaseUrl, true, 2, log), openAppStore({ url: databaseUrl, asRole: true, log, max: 4 })];
  try {
    return await work({ store, index, embedder, log }, await ingest(set, databaseUrl, { pool, index, embedder }, () => undefined));
  } finally {
    await Promise.all([pool.end(), store.close(), index.close()]);
  }
}

test('the questions of the set that ships find the same turns four at a time as one at a time, and by the model more of them than by words', async () => {
  const own = readSet(join(import.meta.dirname, '../eval/recall/own-set.json'));
  await within(own, 'own', async (deps, turns) => {
    const asked: string[] = [];
    const slow: FindDeps = { ...deps, index: { ...deps.index, search: async (collection, request) => { // each first one is overtaken
      const found = await deps.index.search(collection, request);
      if (asked.push(request.text ?? '') % 4 === 1) await deps.index.search(collection, request);
      return found;
    } } };
    const [one, four] = [await answersTo(own.questions, deps, turns, () => undefined, 1), await answersTo(own.questions, slow, turns, () => undefined, 4)];
    expect(one).toHaveLength(own.questions.length);
    expect(one.filter(({ ours }) => ours.ranked.length >= 5).length).toBeGreaterThan(80);
    expect(four).toEqual(one);
    const [ours, words] = [metricsOf(one.map((answer) => answer.ours)), metricsOf(one.map((answer) => answer.words))];
    if (!embedder.semantic) return; // the model's package is away: words are all there is
    expect(ours['recall@10']).toBeGreaterThanOrEqual(0.8);
    for (const name of Object.keys(ours)) expect({ [name]: ours[name]! > words[name]! }).toEqual({ [name]: true });
  });
});

test('ids, names, dates and texts of any kind are taken, and their turns are found', async () => {
  const odd = ['', '   ', 'Der Zug nach Köln fährt um sechs.', '会議は火曜日の午後です。', '🎉🎉', '\u200b', 'half \ud800 and \u0000 nothing', `The harbour pilot is called Miriam. ${'Waves come and go. '.repeat(550)}`, 'Same words.', 'Same words.'];
  const dates = ['2025-03-01', '2025-03-02T10:00:00+02:00', null, undefined, '1:56 pm on 8 May, 2023', '2023/05/20 (Sat) 02:21'];
  const ids = ['D1:1', '\u0000', '\ud800', '語/"\'--', 7, 'x'.repeat(300)];
  const conversations = Array.from({ length: 120 }, (_, n) => ({
    id: n === 0 ? '\u0000' : `c ${n}`,
    sessions: n > 0 ? [{ id: 1, turns: [{ id: 1, speaker: 'Z', text: `The secret of conversation ${n} is number ${n * 7}.` }] }]
      : ids.map((id, k) => ({ id, date: dates[k], turns: odd.map((text, at) => ({ id: `${String(id)}${at}`, speaker: ['O’Brien\n<b>', null, '\u0000'][at % 3], text: `${text}${text.trim() === '' ? '' : ` ${k}`}` })) })),
  }));
  const set = parseSet({ format: 'mainstay-recall/1', name: 'odd', conversations, questions: [
    { id: '\u0000', conversation: '\u0000', category: '', question: 'What is the name of the pilot \u0000 in the harbour?', evidence: ids.map((id) => `${String(id)}7`) },
    { id: 2, conversation: '\u0000', question: 'Köln', evidence: ['D1:12', '\u00002'] }, { id: 3, conversation: '\u0000', question: '', evidence: ['D1:10'] },
    { id: 4, conversation: '\u0000', question: 'nobody knows', evidence: [] }, { id: 5, conversation: 'c 77', category: 1, question: 'What is the secret?', evidence: [1] },
  ] });
  expect(set.conversations[0]?.sessions.map(({ date }) => date)).toEqual(['2025-03-01T00:00:00.000Z', '2025-03-02T08:00:00.000Z', '2025-03-02T08:00:00.000Z', '2025-03-02T08:00:00.000Z', '2023-05-08T13:56:00.000Z', '2023-05-20T02:21:00.000Z']);
  expect(set.conversations[1]?.sessions[0]?.date).toBe('2000-01-01T00:00:00.000Z');
  await within(set, 'odd', async (deps, turns) => {
    const found = await ask(set, deps, turns, () => undefined);
    expect(found).toMatchObject({ questions: 4, skipped: 1, degraded: 0, perCategory: { all: { questions: 3 }, 1: { 'recall@1': 1 } } });
    const ranked = (await answersTo(set.questions, deps, turns, () => undefined)).map(({ ours }) => ours.ranked);
    expect(new Set(ranked[0]?.slice(0, 6))).toEqual(new Set(ids.map((id) => `${String(id)}7`)));
    expect(ranked[1]?.[0]).toMatch(/2$/);
    expect(ranked[4]).toEqual(['1']);
  });
});

test('texts are embedded before they are asked for, each once, as if one by one', async () => {
  const calls: string[][] = [];
  const one: Embedder = { fingerprint: 'f', dimensions: 1, semantic: true, close: () => Promise.resolve(), embed: (texts) => { calls.push([...texts]); return Promise.resolve(texts.map((text) => [Number(text)])); } };
  const texts = Array.from({ length: 700 }, (_, at) => String(at % 600));
  const vectorOf = embedAhead(sideBySide([one, one]), texts, 'document');
  expect(await vectorOf('0')).toEqual([0]);
  expect(calls.flat().sort((a, b) => Number(a) - Number(b)).at(-1)).toBe('383'); // this page and two more
  const vectors = await Promise.all(texts.map(vectorOf));
  expect(vectors).toEqual(texts.map((text) => [Number(text)]));
  expect(new Set(calls.flat()).size).toBe(600);
  expect(await vectorOf('1234')).toEqual([1234]); // not one of them
});
