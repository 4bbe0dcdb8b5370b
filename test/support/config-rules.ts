// A process's environment as a deployment file gives it, against the one schema that reads it: unknown keys, values the
// schema refuses, required keys that nobody gives. The real `readConfig` judges; only what files hold is made up.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema, readConfig } from '../../src/config.ts';

const keys = new Set(Object.keys(configSchema.shape));
/** A value the schema takes, for keys that come from a secret. */
const sample = (key: string): string => (key.startsWith('DATABASE_') ? 'postgresql://login:word@db/mainstay' : key === 'REDIS_URL' ? 'rediss://:word@redis' : 'a-secret-word');

/** `whole`: the process reads all of it, so that everything required must be there. */
export function configFaults(name: string, env: Readonly<Record<string, string>>, whole: boolean): string[] {
  const faults = Object.keys(env).filter((key) => !keys.has(key.replace(/_FILE$/, '')) || key === '_FILE').map((key) => `${name}: ${key} is no configuration key`);
  if (!whole || faults.length > 0) return faults;
  const dir = mkdtempSync(join(tmpdir(), 'mainstay-config-'));
  try {
    const given = Object.fromEntries(Object.entries(env).map(([key, value]) => {
      if (!key.endsWith('_FILE')) return [key, value];
      writeFileSync(join(dir, key), `${sample(key.replace(/_FILE$/, ''))}\n`);
      return [key, join(dir, key)];
    }));
    readConfig(given);
    return [];
  } catch (error) {
    return [`${name}: ${(error as Error).message}`];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
