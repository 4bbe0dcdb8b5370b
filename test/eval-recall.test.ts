// The evaluation of recall: the figures by hand, the format with what is odd and what is wrong in it, turns cut into statements, and
// the set that ships.
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { BadSet, parseSet, readSet, turnsIn } from '../eval/recall/format.ts';
import { piecesOf } from '../eval/recall/ingest.ts';
import { metricsOf, perCategory } from '../eval/recall/metrics.ts';

const set = (over: Record<string, unknown> = {}): Record<string, unknown> => ({
  format: 'mainstay-recall/1', name: 'small',
  conversations: [{ id: 1, sessions: [{ id: 's', date: '2025-01-01', turns: [{ id: 't1', speaker: 'Ann', text: 'hello' }, { id: 't2', text: '' }] }] }],
  questions: [{ id: 'q', conversation: 1, category: 3, question: 'what?', evidence: ['t1'] }], ...over,
});

describe('figures', () => {
  const ranked = ['a', 'x', 'b', ...Array.from({ length: 20 }, (_, at) => `n${at}`)];

  test('as worked out by hand', () => {
    const found = metricsOf([{ category: 'c', evidence: ['a', 'b'], ranked }, { category: 'c', evidence: ['gone'], ranked }]);
    expect(found).toMatchObject({ 'recall@1': 0.25, 'recall@5': 0.5, 'any@1': 0.5, 'any@25': 0.5, mrr: 0.5 });
    expect(found['ndcg@10']).toBeCloseTo((1 + 1 / Math.log2(4)) / (1 + 1 / Math.log2(3)) / 2, 3);
  });

  test('by category', () => {
    expect(perCategory([{ category: 'one', evidence: ['b'], ranked }, { category: 'two', evidence: ['z'], ranked }])).toMatchObject({ one: { questions: 1, 'recall@5': 1, mrr: 0.3333 }, two: { questions: 1, 'recall@25': 0 } });
  });
});

describe('the format', () => {
  test('numbers as ids, turns without a speaker or text, and questions without evidence or category are no error', () => {
    const read = parseSet(set({ questions: [{ id: 1, conversation: '1', question: 'x', evidence: [] }] }));
    expect(read.questions[0]).toMatchObject({ id: '1', category: 'all', evidence: [] });
    expect(read.conversations[0]?.sessions[0]?.turns[1]).toMatchObject({ speaker: '', text: '' });
  });

  test('null is as good as nothing, and turns are counted by conversation', () => {
    const [one] = (set()['conversations'] as { sessions: { turns: object[] }[] }[]);
    const read = parseSet(set({ conversations: [one, { ...one, id: 2 }], questions: [{ id: 1, conversation: 2, category: null, question: 'x', evidence: ['t1', 't1'] }] }));
    expect(read.questions[0]?.category).toBe('all');
    expect(turnsIn(read)).toBe(4);
    expect(() => parseSet(set({ questions: [{ id: 1, conversation: 1, question: 'x' }] }))).toThrow(/questions\.0\.evidence/);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['another format', { format: 'locomo' }, /format/],
    ['a day that is none', { conversations: [{ id: 1, sessions: [{ id: 's', date: 'last Friday', turns: [] }] }] }, /2026-03-01/],
    ['a year that is none', { conversations: [{ id: 1, sessions: [{ id: 's', date: '0000-01-01', turns: [] }] }] }, /2026-03-01/],
    ['a number for a day', { conversations: [{ id: 1, sessions: [{ id: 's', date: '5', turns: [] }] }] }, /conversations\.0\.sessions\.0\.date/],
    ['two turns of one id in two sessions', { conversations: [{ id: 1, sessions: ['a', 'b'].map((id) => ({ id, turns: [{ id: 1, text: 'x' }] })) }], questions: [{ id: 1, conversation: 1, question: 'x', evidence: [] }] }, /two turns of conversation 1/],
    ['a turn without a text', { conversations: [{ id: 1, sessions: [{ id: 's', turns: [{ id: 1 }] }] }] }, /turns\.0\.text/],
    ['evidence that leads nowhere', { questions: [{ id: 'q', conversation: 1, question: 'x', evidence: ['t9'] }] }, /question q .* t9/],
    ['a conversation that is not there', { questions: [{ id: 'q', conversation: 2, question: 'x', evidence: [] }] }, /conversation 2/],
    ['two questions of one id', { questions: [1, 1].map((id) => ({ id, conversation: 1, question: 'x', evidence: [] })) }, /two questions/],
    ['no questions', { questions: [] }, /questions/],
  ])('%s is refused, and the place is named', (_what, over, message) => {
    expect(() => parseSet(set(over))).toThrow(BadSet);
    expect(() => parseSet(set(over))).toThrow(message);
  });
});

describe('turns as statements', () => {
  test('long ones are cut between sentences or words, none is too long, and nothing but space is lost', () => {
    for (const text of ['One. Two! Three? '.repeat(60), 'word '.repeat(300), 'x'.repeat(1_000), '語'.repeat(700), '😀'.repeat(400)]) {
      const pieces = piecesOf(text, 280);
      expect(pieces.every((piece) => piece !== '' && piece.length <= 280)).toBe(true);
      if (!text.includes('😀')) expect(pieces.join('').replace(/\s/g, '')).toBe(text.replace(/\s/g, ''));
    }
    expect(piecesOf('   ', 280)).toEqual([]);
  });
});

test('the set that ships has at least 60 questions over 6 conversations, each with evidence', () => {
  const own = readSet(join(import.meta.dirname, '../eval/recall/own-set.json'));
  expect(own.conversations.length).toBeGreaterThanOrEqual(6);
  expect(own.questions.filter(({ evidence }) => evidence.length > 0).length).toBeGreaterThanOrEqual(60);
});
