// How a text is cut, what is refused as a document, how long a version that was replaced is kept, and the command line.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { chunksOf, DOCUMENT_BYTES } from '../src/domain/document.ts';
import type { Document, FoundPassages } from '../src/domain/wire-documents.ts';
import type { Page, Problem } from '../src/domain/wire.ts';
import { dropRemoved } from '../src/memory/document-service.ts';
import { startDocuments } from './support/documents.ts';
import { spawnCli } from './support/spawn-cli.ts';
import { openTestIndex } from './support/test-index.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const documents = await startDocuments(stack);
const { api } = documents;
const key = await api.makeKey();
const folder = mkdtempSync(join(tmpdir(), 'mainstay-documents-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('chunks', () => {
  const sentence = 'The quick brown fox jumps over the lazy dog, and a man (3.5 m away) says so! ';
  test.each([
    ['one word', 'word'], ['prose without paragraphs', sentence.repeat(500)], ['short paragraphs', 'A line of a list.\n\n'.repeat(900)], ['lines of a log', '2026-11-25 ERROR id=4711 something broke\n'.repeat(900)],
    ['a word without an end', 'x'.repeat(20_000)], ['characters of two units', `a${'😀'.repeat(5_000)}`], ['words without a sentence', 'word '.repeat(4_000)], ['blanks between', `begin.${' '.repeat(9_000)}end.`],
    ['JSON', JSON.stringify(Array.from({ length: 900 }, (_, id) => ({ id, name: `n${id}` })))], ['CRLF', 'One.\r\n\r\nTwo.\r\n'.repeat(400)],
  ])('of %s: each is what the text has there, none is too long or blank, together they hold all of it', (_name, text) => {
    const chunks = chunksOf(text);
    let covered = 0;
    for (const [at, { ordinal, start, end, text: body }] of chunks.entries()) {
      expect([ordinal, body]).toEqual([at, text.slice(start, end)]);
      expect(body.length > 0 && body.length <= 1_600 && body.trim() !== '' && body.isWellFormed()).toBe(true);
      expect(text.slice(covered, start).trim()).toBe('');
      expect(end).toBeGreaterThan(covered);
      covered = end;
    }
    expect(text.slice(covered).trim()).toBe('');
  });

  test('they end with a sentence, and begin with the end of the one before', () => {
    const chunks = chunksOf(sentence.repeat(60));
    expect(chunks.length).toBeGreaterThan(4);
    for (const [at, { text, start }] of chunks.entries()) {
      expect(text.endsWith('says so! ')).toBe(true);
      if (at > 0) expect(start).toBeLessThan(chunks[at - 1]!.end);
    }
  });

  test('a paragraph is kept whole where it fits', () => {
    const paragraphs = Array.from({ length: 12 }, (_, n) => `Paragraph ${n}. ${sentence.repeat(10)}`.trim());
    const chunks = chunksOf(paragraphs.join('\n\n'));
    expect(chunks).toHaveLength(paragraphs.length);
    for (const [at, { text }] of chunks.entries()) expect(text.trimEnd().endsWith(paragraphs[at]!)).toBe(true);
  });
});

describe('what is refused', () => {
  const title = 'x';
  test.each<[string, unknown, string]>([
    ['no text', { title }, 'text'], ['no title', { text: 'x' }, 'title'], ['an empty text', { title, text: ' \n ' }, 'text'], ['a text that is too long', { title, text: 'x'.repeat(DOCUMENT_BYTES + 1) }, 'text'],
    ['one that is too long in bytes', { title, text: 'ü'.repeat(DOCUMENT_BYTES / 2 + 1) }, 'text'], ['NUL', { title, text: 'a\u0000b' }, 'text'], ['half a character', { title, text: 'a\ud800b' }, 'text'],
    ['a blank title', { title: '  ', text: 'x' }, 'title'], ['a title of two lines', { title: 'a\nb', text: 'x' }, 'title'], ['a title without an end', { title: 'x'.repeat(301), text: 'x' }, 'title'], ['an empty source', { title, text: 'x', source: '' }, 'source'],
    ['a key nobody knows', { title, text: 'x', tenant: 'other' }, ''], ['a number for a text', { title, text: 7 }, 'text'],
  ])('%s: bad_request, naming the field, and nothing is stored', async (_name, body, path) => {
    const answer = await api.call<Problem>('POST', '/v1/documents', { key, body });
    expect([answer.status, answer.body.code]).toEqual([400, 'bad_request']);
    expect(answer.body.fields.map((one) => one.path).join(' ')).toContain(path);
    expect(await api.fleet.rows(`SELECT FROM documents WHERE title = 'x' OR title = 'a\nb'`)).toEqual([]);
  });

  test.each([['/v1/documents/search', 'bad_request', 400], ['/v1/documents/search?q=%20', 'bad_request', 400], ['/v1/documents/search?q=x&limit=51', 'bad_request', 400], ['/v1/documents?cursor=nonsense', 'bad_cursor', 400], ['/v1/documents?run=7', 'not_found', 404], ['/v1/documents/doc_7', 'not_found', 404]])('GET %s: %s', async (path, code, status) => {
    const answer = await api.call<Problem>('GET', path, { key });
    expect([answer.status, answer.body.code]).toEqual([status, code]);
  });

  test('the longest text there may be is taken, and read back page by page', async () => {
    const text = 'A sentence that says little, but says it well enough. '.repeat(DOCUMENT_BYTES).slice(0, DOCUMENT_BYTES);
    const added = await documents.add({ title: 'Long', text });
    expect(added.bytes).toBe(DOCUMENT_BYTES);
    let [read, path]: [string, string] = ['', `/v1/documents/${added.id}/chunks?limit=200`];
    for (;;) {
      const { body } = await api.call<Page<{ start: number; text: string }>>('GET', path, { key });
      for (const { start, text: part } of body.data) read += part.slice(read.length - start);
      if (body.nextCursor === null) break;
      path = `/v1/documents/${added.id}/chunks?limit=200&cursor=${body.nextCursor}`;
    }
    expect(read === text).toBe(true);
    expect((await api.call('DELETE', `/v1/documents/${added.id}`, { key })).status).toBe(204);
  });
});

test('a version that was replaced long ago is deleted, a younger one and the live one stay', async () => {
  const index = await openTestIndex(stack);
  for (const n of [1, 2, 3]) await documents.add({ title: `Version ${n}`, text: `Text ${n}.`, source: 'versions.md' });
  await api.fleet.rows(`UPDATE documents SET closed_at = now() - interval '91 days' WHERE title = 'Version 1'`);
  await documents.index();
  await dropRemoved({ pool: api.fleet.base.pool, index });
  expect((await documents.list('?source=versions.md&include=replaced')).map(({ title }) => title)).toEqual(['Version 3', 'Version 2']);
  expect(await api.fleet.rows(`SELECT FROM documents WHERE erased_at IS NOT NULL`)).toEqual([]);
});

test('the command line adds files, shows, finds and removes them, and says what is wrong with one', async () => {
  const mainstay = (...words: string[]) => spawnCli(['documents', ...words], { cwd: folder, env: { MAINSTAY_URL: api.url, MAINSTAY_API_KEY: key } });
  writeFileSync(join(folder, 'tea.md'), 'Green tea wants water of seventy degrees.');
  writeFileSync(join(folder, 'coffee.md'), 'Coffee is ground right before it is brewed.');
  writeFileSync(join(folder, 'picture.png'), Buffer.from([0x89, 0x50, 0xff, 0xfe]));
  const added = await mainstay('add', 'tea.md', 'coffee.md', '--user', 'ada', '--agent', 'barista');
  expect(added).toMatchObject({ code: 0, out: expect.stringMatching(/^doc_[0-9a-f]{32}\ndoc_[0-9a-f]{32}\n$/), err: expect.stringContaining('tea.md: version 1, 1 chunks') });
  const [tea = '', coffee = ''] = added.out.split('\n');
  expect((await mainstay('add', 'tea.md', '--user', 'ada', '--agent', 'barista')).out).toBe(`${tea}\n`);
  expect((await mainstay('list', '--user', 'ada')).out).toMatch(/ada +barista +1 +1 +0 .* coffee\.md\n.* tea\.md\n$/s);
  expect(JSON.parse((await mainstay('show', tea, '--json')).out)).toMatchObject({ id: tea, source: 'tea.md', user: 'ada', agent: 'barista' } satisfies Partial<Document>);
  expect((await mainstay('show', tea, '--text')).out).toBe('Green tea wants water of seventy degrees.\n');
  expect((JSON.parse((await mainstay('search', 'degrees of the water', '--user', 'ada', '--json')).out) as FoundPassages).data[0]).toMatchObject({ document: tea, source: 'tea.md', start: 0 });
  expect(await mainstay('remove', tea, coffee)).toMatchObject({ code: 0, out: `${tea} is removed\n${coffee} is removed\n` });
  for (const [words, sentence] of [[['add', 'picture.png'], 'picture.png is not text in UTF-8'], [['add', 'nowhere.md'], 'nowhere.md cannot be read'], [['add', 'tea.md', 'coffee.md', '--title', 'x'], '--title and --source are of one file'], [['show', tea], 'not_found']] as const) {
    expect(await mainstay(...words)).toMatchObject({ code: 1, out: '', err: expect.stringContaining(sentence) });
  }
}, 60_000);
