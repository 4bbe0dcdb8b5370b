// `mainstay documents …`: texts that are searched by passages.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Command } from 'commander';
import type { DocumentQuery, PassageQuery } from '../client/client.ts';
import { DOCUMENT_BYTES } from '../domain/document.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { withPage } from './memory-commands.ts';
import { note, printJson, printJsonLine, printLine, printPage, printPairs, printPiece, printTable, shortTime } from './output.ts';

interface AddWords extends ApiOptions { readonly extract?: boolean; readonly user?: string; readonly agent?: string; readonly title?: string; readonly source?: string }
interface ListWords extends ApiOptions, Omit<DocumentQuery, 'include'> { readonly replaced?: boolean }
interface SearchWords extends ApiOptions, Omit<PassageQuery, 'q'> { readonly limit?: number }

export function addDocumentCommands(program: Command): void {
  const documents = program.command('documents').description('texts that are searched by passages');
  withApiOptions(documents.command('add')).description('add files of text; prints an id for each').argument('<file...>', `text or Markdown in UTF-8, up to ${DOCUMENT_BYTES} bytes each; - for standard input`)
    .option('--user <user>', 'whose they are; without it the tenant’s').option('--agent <agent>', 'found by this agent alone').option('--extract', 'have facts read out of them for memory, through the gate')
    .option('--title <title>', 'of a single file; its name unless told').option('--source <source>', 'of a single file: URL or name; its path unless told. Another text of the same source takes its place')
    .action(addFiles);
  withPage(withApiOptions(documents.command('list'))).description('documents, newest first')
    .option('--user <user>', 'of this user').option('--agent <agent>', 'for this agent alone').option('--source <source>').option('--run <run>', 'what its tools answered').option('--replaced', 'also older versions')
    .action(async ({ replaced, user, agent, source, run, limit, cursor, ...options }: ListWords) => {
      const page = await apiClient(options).documents.list({ user, agent, source, run, limit, cursor, include: replaced ? 'replaced' : undefined });
      printPage(options.json, page, ['document', 'user', 'agent', 'version', 'chunks', 'indexed', 'added (UTC)', 'title'], (one) => [one.id, one.user, one.agent, one.replacedAt === null ? one.version : `${one.version}, replaced`, one.chunks, one.indexed, shortTime(one.createdAt), one.title]);
    });
  withApiOptions(documents.command('search')).description('passages for words or a question, best first').argument('<query>')
    .option('--user <user>', 'also what is this user’s').option('--agent <agent>', 'as this agent finds it').option('--kind <kind>', 'document or tool_output').option('--limit <n>', 'passages at most', wholeNumber)
    .action(async (q: string, { user, agent, kind, limit, ...options }: SearchWords) => {
      const found = await apiClient(options).documents.search({ q, user, agent, kind, limit });
      if (options.json) return printJson(found);
      printTable(['document', 'characters', 'score', 'title', 'text'], found.data.map((one) => [one.document, `${one.start}–${one.end}`, one.score.toFixed(2), one.title, one.text]));
      if (found.degraded) note('The index did not answer: found by words and kept vectors in Postgres.');
    });
  withApiOptions(documents.command('show')).description('one document; with --text its text').argument('<document>', 'doc_…').option('--text', 'its text alone')
    .action(async (id: string, { text, ...options }: ApiOptions & { readonly text?: boolean }) => {
      const client = apiClient(options);
      if (text) return printText(client.documents.iterateChunks(id));
      const one = await client.documents.get(id);
      if (options.json) return printJson(one);
      printPairs([
        ['document', one.id], ['title', one.title], ['source', one.source], ['of', one.user ?? 'the tenant'], ['for agent', one.agent ?? 'all'], ['version', one.version], ['bytes', one.bytes], ['chunks', `${one.chunks}, ${one.indexed} indexed`],
        ['answered by', one.tool], ['run', one.run === null ? null : `${one.run}, step ${one.stepSeq}, call ${one.path}`], ['added', `${shortTime(one.createdAt)} by ${one.addedBy}`], ['replaced', one.replacedAt === null ? null : `${shortTime(one.replacedAt)} by ${one.replacedBy}`],
      ]);
    });
  withApiOptions(documents.command('remove')).description('remove documents: emptied at once and found no more').argument('<document...>', 'doc_…')
    .action(async (ids: string[], options: ApiOptions) => {
      for (const id of ids) { await apiClient(options).documents.remove(id); if (options.json) printJsonLine({ removed: id }); else printLine(`${id} is removed`); }
    });
}

async function addFiles(files: string[], { user, agent, title, source, extract, ...options }: AddWords): Promise<void> {
  if (files.length > 1 && (title !== undefined || source !== undefined)) throw new MainstayError('bad_request', '--title and --source are of one file: add the files one by one.');
  const client = apiClient(options);
  for (const file of files) {
    const stdin = file === '-';
    const added = await client.documents.add({ text: textOf(file), title: title ?? (stdin ? 'standard input' : basename(file)), ...(source === undefined && stdin ? {} : { source: source ?? file }), ...(user === undefined ? {} : { user }), ...(agent === undefined ? {} : { agent }), ...(extract ? { extract } : {}) });
    if (options.json) printJsonLine(added); else printLine(added.id);
    note(`${file}: ${added.created ? `version ${added.version}, ${added.chunks} chunks` : 'was there'}`);
  }
}

function textOf(file: string): string {
  let bytes: Buffer;
  try { bytes = readFileSync(file === '-' ? 0 : file); } catch (error) { throw new MainstayError('bad_request', `${file} cannot be read: ${messageOf(error)}`); }
  if (bytes.length > DOCUMENT_BYTES) throw new MainstayError('bad_request', `${file} has ${bytes.length} bytes; a document has ${DOCUMENT_BYTES} at most: cut it into several.`);
  try { return new TextDecoder('utf-8', { fatal: true }).decode(bytes); } catch { throw new MainstayError('bad_request', `${file} is not text in UTF-8: convert it first.`); }
}

/** Each character once: a chunk begins with the end of the one before it. */
async function printText(chunks: AsyncIterable<{ readonly start: number; readonly end: number; readonly text: string }>): Promise<void> {
  let shown = 0;
  for await (const { start, end, text } of chunks) {
    printPiece(text.slice(Math.max(0, shown - start)));
    shown = end;
  }
  printLine('');
}
