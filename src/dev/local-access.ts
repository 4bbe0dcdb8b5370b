// The key and the passwords of local use, made once and kept in .mainstay/local.json, readable by its owner only. The key
// is tried against the API first: another database, or a revoked key, and a new one is made. `npm start` is on the
// operator's side of the door, so it may write to the database what `mainstay keys create` would.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { SCOPES } from '../domain/status.ts';
import { makeLog } from '../log.ts';
import { createKey, createTenant } from '../store/engine/api-keys.ts';
import { openEnginePool } from '../store/engine/pool.ts';
import { readJson, writeJson } from './servers/processes.ts';
import type { Stack } from './servers/stack.ts';

export interface LocalSecrets { readonly tenant: string; readonly boardPassword: string; readonly apiKey?: string }

const TENANT = 'local';
const fileOf = (stateDir: string): string => join(stateDir, 'local.json');

/** What an earlier start made, or new secrets. */
export function localSecrets(stateDir: string): LocalSecrets {
  const kept = readJson(fileOf(stateDir)) as Partial<LocalSecrets> | undefined;
  const secrets: LocalSecrets = { tenant: TENANT, boardPassword: randomBytes(9).toString('base64url'), ...kept };
  writeJson(fileOf(stateDir), secrets);
  return secrets;
}

/** A key of the tenant `local` that this API accepts; kept for the next start. */
export async function localAccess(stack: Stack, apiUrl: string, secrets: LocalSecrets): Promise<string> {
  if (secrets.apiKey !== undefined && (await isAccepted(apiUrl, secrets.apiKey))) return secrets.apiKey;
  const pool = openEnginePool(stack.databaseUrl, true, 1, makeLog('silent', 'start'));
  try {
    await createTenant(pool, TENANT);
    const { key } = await createKey(pool, { tenant: TENANT, user: undefined, name: 'local use, made by npm start', scopes: SCOPES, expiresAt: undefined }, 'npm start');
    writeJson(fileOf(stack.stateDir), { ...secrets, apiKey: key });
    return key;
  } finally {
    await pool.end();
  }
}

const isAccepted = async (apiUrl: string, key: string): Promise<boolean> =>
  (await fetch(`${apiUrl}/v1/agents`, { headers: { authorization: `Bearer ${key}` } })).status === 200;
