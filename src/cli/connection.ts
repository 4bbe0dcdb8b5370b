// Where the command line finds the API and the database. Options win over the environment, the environment over what
// `npm start` left in .mainstay/ of the current folder. A key is read from a file or the environment, never from an option's
// value: other users of a machine can read those.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { Mainstay } from '../client/client.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { makeLog } from '../log.ts';
import { isConnectionError, openEnginePool, type EnginePool } from '../store/engine/pool.ts';

/** Options of every command that asks the API. */
export interface ApiOptions { readonly url?: string; readonly keyFile?: string; readonly json?: boolean }

export const withApiOptions = (command: Command): Command => command
  .option('--url <address>', "the API's address (MAINSTAY_URL)")
  .option('--key-file <file>', 'file that holds the API key (MAINSTAY_API_KEY)')
  .option('--json', 'print JSON');

export function apiClient({ url, keyFile }: ApiOptions): Mainstay {
  const baseUrl = url ?? environment('MAINSTAY_URL') ?? localUrl();
  if (baseUrl === undefined) throw new MainstayError('bad_request', 'The address of the API is not known: set MAINSTAY_URL, give --url, or run `npm start` in this folder.');
  const apiKey = keyFile === undefined ? environment('MAINSTAY_API_KEY') ?? localKey(baseUrl) : keyIn(keyFile);
  if (apiKey === undefined) throw new MainstayError('unauthenticated', 'There is no API key: set MAINSTAY_API_KEY, or give --key-file.');
  try {
    return new Mainstay({ baseUrl, apiKey });
  } catch (error) {
    throw new MainstayError('bad_request', messageOf(error));
  }
}

/** A connection to Postgres with the engine's role, for the operator's commands, closed when `work` has ended. */
export async function withDatabase<T>(work: (pool: EnginePool) => Promise<T>): Promise<T> {
  const engineUrl = environment('DATABASE_ENGINE_URL');
  const url = engineUrl ?? environment('DATABASE_URL');
  if (url === undefined) throw new MainstayError('bad_request', `This command works on Postgres itself: set DATABASE_URL.${localDatabaseHint()}`);
  const pool = openEnginePool(url, engineUrl === undefined, 1, makeLog('silent', 'cli'));
  try {
    return await work(pool);
  } catch (error) {
    if (isConnectionError(error)) throw new MainstayError('unavailable', `Postgres does not answer: ${messageOf(error) || String((error as { code?: unknown }).code)}`, { cause: error });
    throw error;
  } finally {
    await pool.end();
  }
}

/** A value, or the content of the file that KEY_FILE names; empty counts as unset, as everywhere. */
function environment(key: string): string | undefined {
  const file = process.env[`${key}_FILE`];
  return (file ? readFileSync(file, 'utf8').trim() : process.env[key]) || undefined;
}

function keyIn(file: string): string {
  let text: string;
  try { text = readFileSync(file, 'utf8').trim(); } catch (error) { throw new MainstayError('bad_request', `The key cannot be read: ${messageOf(error)}`); }
  if (text === '' || /\s/.test(text)) throw new MainstayError('bad_request', `${file} must hold the key and nothing else.`);
  return text;
}

const localUrl = (): string | undefined => {
  const port = localFile('ports.json')['api'];
  return typeof port === 'number' ? `http://127.0.0.1:${port}` : undefined;
};

/** The key of the local fleet goes to the local fleet only. */
const localKey = (baseUrl: string): string | undefined => {
  const key = localFile('local.json')['apiKey'];
  return typeof key === 'string' && baseUrl.replace('localhost', '127.0.0.1').replace(/\/+$/, '') === localUrl() ? key : undefined;
};

const localDatabaseHint = (): string =>
  ('databaseUrl' in localFile('stack.json') ? ` The local fleet’s is in .mainstay/stack.json: export DATABASE_URL="$(node -p "require('./.mainstay/stack.json').databaseUrl")"` : '');

/** What `npm start` wrote; empty where it did not. */
function localFile(name: string): Record<string, unknown> {
  try { return JSON.parse(readFileSync(join(process.cwd(), '.mainstay', name), 'utf8')) as Record<string, unknown>; } catch { return {}; }
}
