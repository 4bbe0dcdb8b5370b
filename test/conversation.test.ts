// Conversations as the provider accepts them: what is mended, what is left alone, and that mending is done once.
import { describe, expect, test } from '@jest/globals';
import { fault } from '../src/dev/model-stub/validate.ts';
import { digestOf, lastExchange, repaired, withUserTexts } from '../src/domain/conversation.ts';
import type { ContentBlock, ModelMessage } from '../src/domain/model.ts';

const text = (words: string): ContentBlock => ({ type: 'text', text: words });
const use = (id: string): ContentBlock => ({ type: 'tool_use', id, name: 'find', input: { id } });
const result = (id: string, content = 'found'): ContentBlock => ({ type: 'tool_result', tool_use_id: id, content });
const user = (...content: ContentBlock[]): ModelMessage => ({ role: 'user', content });
const model = (...content: ContentBlock[]): ModelMessage => ({ role: 'assistant', content });
/** What the provider has against it. */
const wrongWith = (messages: readonly ModelMessage[]): string | undefined => fault({ model: 'm', max_tokens: 1, messages });
const NOT_DONE = { type: 'tool_result', is_error: true, content: expect.stringContaining('not carried out') };

describe('orphans', () => {
  const broken: readonly (readonly [string, ModelMessage[], unknown])[] = [
    ['a use at the end', [user(text('go')), model(use('a'))], [{ role: 'user' }, { role: 'assistant' }, { role: 'user', content: [{ ...NOT_DONE, tool_use_id: 'a' }] }]],
    ['a use before the user’s next words', [user(text('go')), model(use('a')), user(text('well?'))], [{}, {}, { content: [{ ...NOT_DONE, tool_use_id: 'a' }, { type: 'text', text: 'well?' }] }]],
    ['one of two uses', [user(text('go')), model(use('a'), use('b')), user(result('b'))], [{}, {}, { content: [{ ...NOT_DONE, tool_use_id: 'a' }, { tool_use_id: 'b', content: 'found' }] }]],
    ['a result that comes a message late', [user(text('go')), model(use('a')), user(text('wait')), model(text('yes?')), user(result('a'))], [{}, {}, { content: [{ ...NOT_DONE }, { text: 'wait' }] }, { content: [{ text: 'yes?' }] }]],
    ['a result nobody asked for', [user(text('go')), model(text('ok')), user(result('x'), text('and?'))], [{}, {}, { content: [{ text: 'and?' }] }]],
    ['words before the results', [user(text('go')), model(use('a')), user(text('hm'), result('a'))], [{}, {}, { content: [{ tool_use_id: 'a' }, { text: 'hm' }] }]],
    ['a use, and then the model again', [user(text('go')), model(use('a')), model(text('done')), user(text('thanks'))], [{}, {}, { content: [{ ...NOT_DONE }] }, { role: 'assistant' }, { role: 'user' }]],
    ['a result given twice', [user(text('go')), model(use('a')), user(result('a', 'one'), result('a', 'two'))], [{}, {}, { content: [{ content: 'one' }] }]],
  ];
  test.each(broken)('%s', (_what, messages, expected) => {
    const mended = repaired(messages);
    expect(mended).toMatchObject(expected as object);
    if (mended.at(-1)?.role === 'user') expect(wrongWith(mended)).toBeUndefined();
    expect(repaired(mended)).toBe(mended); // once
  });

  test('a sound conversation is left as it is, to the byte', () => {
    const sound = [user(text('go')), model({ type: 'opaque', value: { type: 'thinking', thinking: 't', signature: 's' } }, text('looking'), use('a'), use('b')), user(result('a'), result('b'), text('and hurry')), model(text('done'))];
    expect(repaired(sound)).toBe(sound);
  });
});

test('what the user says meanwhile goes behind the results of its message, or in one of its own', () => {
  const open = [user(text('go')), model(use('a')), user(result('a'))];
  expect(withUserTexts(open, ['faster', 'now'])).toEqual([open[0], open[1], user(result('a'), text('faster'), text('now'))]);
  expect(withUserTexts([user(text('go')), model(text('ok'))], ['more'])).toEqual([user(text('go')), model(text('ok')), user(text('more'))]);
  expect(withUserTexts(open, [])).toBe(open);
});

test('the last exchange and the digest are words, within their length', () => {
  const messages = [user(text('go')), model(text('looking'), use('a'), use('b')), user(result('a'), { type: 'tool_result', tool_use_id: 'b', content: 'no', is_error: true })];
  expect(lastExchange(messages, 1_000)).toBe('find({"id":"a"}) answered: found\nfind({"id":"b"}) answered: no');
  expect(lastExchange([user(text('go'))], 1_000)).toBe('');
  expect(digestOf(messages, 1_000)).toBe('user: go\nassistant: looking\ncalled find with {"id":"a"}\ncalled find with {"id":"b"}\nwhich answered: found\nwhich answered: no');
  expect(digestOf(messages, 10)).toHaveLength(10);
});
