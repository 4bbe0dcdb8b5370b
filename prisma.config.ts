// Prisma's command line. Where its native engine is there (PRISMA_SCHEMA_ENGINE_BINARY, or a copy in node_modules that
// was downloaded at install) that one is used; elsewhere tools/schema-engine.mjs runs the WASM build, so that migrations
// need no download. This file runs before the engine is looked up.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'prisma/config';

const engines = join(import.meta.dirname, 'node_modules/@prisma/engines');
const native = existsSync(engines) && readdirSync(engines).some((name) => name.startsWith('schema-engine-'));
if (!native) process.env['PRISMA_SCHEMA_ENGINE_BINARY'] ||= join(import.meta.dirname, 'tools/schema-engine.mjs');

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env['DATABASE_URL'] ?? 'postgresql://postgres@127.0.0.1:5432/mainstay' },
});
