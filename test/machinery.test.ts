// The harness and the local servers keep their own promises.
import { describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { withClient } from '../src/dev/servers/migrate.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();

describe('a test file', () => {
  test('has a migrated database of its own', async () => {
    const rows = await withClient(stack.databaseUrl, async (client) => (await client.query('SELECT migration_name FROM _prisma_migrations')).rows);
    expect(rows.length).toBeGreaterThan(0);
  });

  test('reaches Redis', async () => {
    const redis = new Redis(stack.redisUrl);
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
  });
});
