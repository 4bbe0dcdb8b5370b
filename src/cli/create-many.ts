// `mainstay runs create-many`: runs of a file, one JSON body a line, submitted in chunks. A chunk is stored whole or not at all; what
// is stored is printed at once. With a key for each line (its own, or one made of a prefix and its number) the same file may be
// sent again after whatever went wrong: a line that was submitted is answered with its run.
import type { Command } from 'commander';
import { MainstayApiError } from '../client/client.ts';
import { MainstayError } from '../domain/errors.ts';
import { SUBMIT_MANY_BYTES, SUBMIT_MANY_MAX } from '../domain/tunables.ts';
import type { NewRunsBody, SubmittedRun } from '../domain/wire.ts';
import { jsonLines, wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { note, printJsonLine, printLine } from './output.ts';

interface Line { readonly line: number; readonly value: Record<string, unknown> }
interface Words extends ApiOptions { readonly file: readonly Line[]; readonly keyPrefix?: string; readonly chunk: number }

/** Well below the 600 a minute that a user may submit, so that a long file waits for its rate and is not refused. */
const CHUNK = 200;

export function addCreateMany(runs: Command): void {
  withApiOptions(runs.command('create-many')).description('submit the runs of a file; prints an id for each line')
    .requiredOption('--file <file>', 'JSON lines, each a body of POST /v1/runs with, if wanted, its idempotencyKey; - for standard input', jsonLines)
    .option('--key-prefix <prefix>', 'a key for each line that has none: the same file sent again goes on where it stopped')
    .option('--chunk <n>', `runs of one request, ${SUBMIT_MANY_MAX} at most; each is stored whole or not at all`, wholeNumber, CHUNK)
    .action(createMany);
}

async function createMany({ file, keyPrefix, chunk, json, ...options }: Words): Promise<void> {
  if (chunk < 1 || chunk > SUBMIT_MANY_MAX) throw new MainstayError('bad_request', `--chunk must be from 1 to ${SUBMIT_MANY_MAX}.`);
  const client = apiClient(options);
  const lines = keyPrefix === undefined ? file : file.map(({ line, value }) => ({ line, value: { idempotencyKey: `${keyPrefix}:${line}`, ...value } }));
  let [done, before] = [0, 0];
  for (const some of chunksOf(lines, chunk)) {
    let made: SubmittedRun[];
    try {
      made = await client.runs.createMany(some.map(({ value }) => value) as NewRunsBody['runs']); // the server checks each line
    } catch (error) {
      throw byLine(error, some, `${done} of ${lines.length} are submitted${keyPrefix === undefined ? '' : '; sent again with this --key-prefix, the file goes on there'}.`);
    }
    for (const run of made) { if (json) printJsonLine(run); else printLine(run.id); }
    done += made.length;
    before += made.filter(({ created }) => !created).length;
    note(`${done} of ${lines.length} submitted${before > 0 ? `, ${before} of them before` : ''}`);
  }
}

/** At most `max` lines each, and what a request may carry. */
function* chunksOf(lines: readonly Line[], max: number): Generator<Line[]> {
  let [some, bytes]: [Line[], number] = [[], 0];
  for (const one of lines) {
    const more = Buffer.byteLength(JSON.stringify(one.value)) + 100; // and a key, where the client makes one
    if (some.length === max || (some.length > 0 && bytes + more > SUBMIT_MANY_BYTES - 100)) { yield some; [some, bytes] = [[], 0]; }
    some.push(one);
    bytes += more;
  }
  if (some.length > 0) yield some;
}

/** The error with its items named by their lines: `line 17.input.word`. */
function byLine(error: unknown, some: readonly Line[], standing: string): unknown {
  if (!(error instanceof MainstayApiError)) return error;
  const named = (text: string): string => text.replaceAll(/\bruns\.(\d+)\b/g, (_all, at: string) => `line ${some[Number(at)]?.line}`);
  const fields = error.fields.map(({ path, message }) => ({ path: named(path), message }));
  return new MainstayApiError({ code: error.code, status: error.status, detail: `${named(error.message)} ${standing}`, advice: error.advice, fields, requestId: error.requestId, cause: error });
}
