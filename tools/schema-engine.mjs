#!/usr/bin/env node
// Prisma's schema engine without its native binary: same arguments, same JSON-RPC on standard input and output, answered
// by the WASM build of the same version (@prisma/schema-engine-wasm) over pg. It never ends without an answer, because
// Prisma's command line takes an engine that just ends for success.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(import.meta.url);
const asked = readArguments(process.argv.slice(2));
if (asked.version) {
  console.log(`schema-engine-cli ${require('@prisma/engines-version').enginesVersion}`);
  process.exit(0);
}
const target = readTarget(asked.datasource?.url);
const loaded = load();
loaded.catch(() => undefined); // told with the first answer
if (asked.command) await answerCommand(asked.command);
else await answerRequests();

function readArguments(words) {
  const found = { datamodels: [], datasource: undefined, command: undefined, version: false };
  for (let i = 0; i < words.length; i++) {
    if (words[i] === '--datamodels') found.datamodels.push(words[++i]);
    else if (words[i] === '--datasource') found.datasource = JSON.parse(words[++i]);
    else if (words[i] === 'cli') found.command = words[++i];
    else if (words[i] === '--version' || words[i] === '-V') found.version = true;
  }
  return found;
}

/** The database of a postgresql:// url and how pg reaches it. */
function readTarget(text) {
  if (!text) return { database: 'none', schema: undefined, place: 'no database', config: (database) => ({ host: '127.0.0.1', port: 1, database }) };
  const url = new URL(text);
  const schema = url.searchParams.get('schema') ?? undefined;
  const sslmode = url.searchParams.get('sslmode');
  const ssl = ['require', 'verify-ca', 'verify-full'].includes(sslmode) ? { rejectUnauthorized: sslmode !== 'require' } : undefined;
  return {
    database: decodeURIComponent(url.pathname.slice(1)),
    schema,
    place: `${url.hostname}:${url.port || 5432}`,
    config: (database) => ({
      host: decodeURIComponent(url.hostname),
      port: Number(url.port || 5432),
      user: decodeURIComponent(url.username) || undefined,
      password: url.password ? decodeURIComponent(url.password) : undefined,
      database,
      options: schema ? `-c search_path=${schema}` : undefined,
      ssl,
    }),
  };
}

/** pg, statements beside the target database, and the WASM engine (made on first use). */
async function load() {
  const { default: pg } = await import('pg');
  const { bindMigrationAwareSqlAdapterFactory } = await import('@prisma/driver-adapter-utils');
  const glue = await import('@prisma/schema-engine-wasm/schema_engine_bg');
  const wasm = require.resolve('@prisma/schema-engine-wasm/schema_engine_bg').replace(/\.js$/, '.wasm');
  const { instance } = await WebAssembly.instantiate(readFileSync(wasm), { './schema_engine_bg.js': glue });
  glue.__wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start();
  const beside = async (sql) => {
    const client = new pg.Client(target.config('postgres'));
    await client.connect();
    try { await client.query(sql); } finally { await client.end(); }
  };
  const Adapter = await migrationAdapter(pg, beside);
  let engine;
  const makeEngine = () => glue.SchemaEngine.new(
    { datamodels: asked.datamodels.length ? asked.datamodels.map((file) => [file, readFileSync(file, 'utf8')]) : undefined },
    (line) => { if (process.env.DEBUG?.includes('schema-engine')) process.stderr.write(`${line}\n`); },
    bindMigrationAwareSqlAdapterFactory(new Adapter({})),
  );
  return { pg, beside, engine: () => (engine ??= makeEngine()) };
}

/** adapter-pg is written for queries; three things migrations need are put right here. */
async function migrationAdapter(pg, beside) {
  const { PrismaPg } = await import('@prisma/adapter-pg');
  const { ColumnTypeEnum } = await import('@prisma/driver-adapter-utils');
  const charOid = 18, textOid = 25;
  return class extends PrismaPg {
    connect() { return this.#open(target.database); }

    // the adapter's own keeps the main database when it was configured by a connection string
    async connectToShadowDb() {
      const name = `prisma_migrate_shadow_db_${globalThis.crypto.randomUUID()}`;
      await beside(`CREATE DATABASE ${identifier(name)} TEMPLATE template0`);
      return this.#open(name, () => beside(`DROP DATABASE IF EXISTS ${identifier(name)} WITH (FORCE)`));
    }

    async #open(database, afterwards) {
      const pool = new pg.Pool({ ...target.config(database), max: 1 });
      const query = pool.query.bind(pool);
      let charColumns = [];
      // "char" columns of the catalogue are unknown to the adapter; reported as text they make the engine panic
      pool.query = async (...args) => {
        const answer = await query(...args);
        charColumns = [];
        for (const one of Array.isArray(answer) ? answer : [answer]) {
          (one.fields ?? []).forEach((field, i) => { if (field.dataTypeID === charOid) { field.dataTypeID = textOid; charColumns.push(i); } });
        }
        return answer;
      };
      const adapter = await new PrismaPg(pool, target.schema ? { schema: target.schema } : undefined).connect();
      const queryRaw = adapter.queryRaw.bind(adapter);
      adapter.queryRaw = async (text) => {
        const answer = await queryRaw(text);
        for (const i of charColumns) answer.columnTypes[i] = ColumnTypeEnum.Character;
        return answer;
      };
      // the adapter's own splits at every semicolon, functions and DO blocks included
      adapter.executeScript = async (script) => { try { await pool.query(script); } catch (error) { adapter.onError(error); } };
      adapter.dispose = async () => { await pool.end(); await afterwards?.(); };
      return adapter;
    }
  };
}

function identifier(name) { return `"${name.replaceAll('"', '""')}"`; }

/** `cli can-connect-to-database | create-database | drop-database`: one answer by exit code and log line. */
async function answerCommand(command) {
  const log = (level, fields) => process.stderr.write(`${JSON.stringify({ timestamp: new Date().toISOString(), level, fields, target: 'schema_engine::logger' })}\n`);
  log('INFO', { message: 'Starting schema engine CLI', git_hash: '' }); // the command line drops the first line
  try {
    const { pg, beside } = await loaded;
    if (command === 'can-connect-to-database') {
      const client = new pg.Client(target.config(target.database));
      await client.connect();
      await client.end();
    } else if (command === 'create-database') await beside(`CREATE DATABASE ${identifier(target.database)}`);
    else if (command === 'drop-database') await beside(`DROP DATABASE IF EXISTS ${identifier(target.database)} WITH (FORCE)`);
    else throw new Error(`unknown command ${command}`);
    process.exit(0);
  } catch (error) {
    const code = { '3D000': 'P1003', '28P01': 'P1000', 28000: 'P1010', '42P04': 'P1009', 23505: 'P1009' }[error.code] ?? 'P1001';
    const message = {
      P1003: `Database \`${target.database}\` does not exist`,
      P1009: `Database \`${target.database}\` already exists`,
      P1001: `Can't reach database server at \`${target.place}\`: ${error.message}`,
    }[code] ?? error.message;
    log('ERROR', { is_panic: false, error_code: code, message, meta: null });
    process.exit(1);
  }
}

/** JSON-RPC, one line each way, until standard input ends. */
async function answerRequests() {
  const send = (message, then) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`, then);
  let pending, panic, printId = 1_000_000;
  // a panic inside the WASM never settles its request: it is answered here
  globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (message) => { panic = message; } };
  const die = (error) => send({ id: pending ?? 1, error: { code: 4466, message: 'The schema engine stopped.', data: { is_panic: false, message: panic ?? error?.stack ?? String(error), meta: null } } }, () => process.exit(101));
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    if (!line.trim()) continue;
    const { id, method, params } = JSON.parse(line);
    if (!method) continue; // the answer to one of our prints
    pending = id;
    try {
      let result = await perform(method, params);
      if (method === 'diff' && result?.stdout != null) {
        send({ id: printId++, method: 'print', params: { content: result.stdout } });
        result = { ...result, stdout: null };
      }
      send({ id, result: result ?? {} });
    } catch (error) {
      const code = typeof error?.code === 'string' ? { error_code: error.code } : {};
      send({ id, error: { code: 4466, message: 'An error happened. Check the data field for details.', data: { is_panic: false, message: error?.message ?? String(error), meta: error?.meta ?? null, ...code } } });
    }
  }
  process.exit(0);
}

async function perform(method, params) {
  const { beside, engine } = await loaded;
  if (method === 'createDatabase') {
    await beside(`CREATE DATABASE ${identifier(target.database)}`);
    return { databaseName: target.database };
  }
  const wasm = await engine();
  return method === 'getDatabaseVersion' ? wasm.version(params) : wasm[method](params);
}
