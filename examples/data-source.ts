// A small data source over HTTP: `node examples/data-source.ts [port]`. Two datasets, made up: `sales` and `payroll`. Each is
// a SQLite database of its own in memory, so that a query of one can never reach the other, whatever it says; queries only
// read. Who may ask for which dataset is not decided here but by Mainstay, before the call.
//
//   GET  /datasets                      names
//   GET  /describe?dataset=             { dataset, columns, rows }
//   POST /query                         { dataset, sql } → { columns, rows }, at most 100 rows
//   GET  /healthz
import { DatabaseSync } from 'node:sqlite';
import { mainOf, serveJson, type Answer, type Asked, type JsonServer } from './json-server.ts';

const MAX_ROWS = 100;

const REGIONS = ['north', 'south', 'west'];
const PRODUCTS = ['desk', 'chair', 'lamp', 'shelf'];
const STATUSES = ['active', 'active', 'active', 'lapsed', 'trial'];

/** 120 sales over six months, the same at every start. */
const sales = Array.from({ length: 120 }, (_, index) => [index + 1, `2026-0${1 + Math.floor(index / 20)}`, REGIONS[index % 3], PRODUCTS[(index * 7) % 4], STATUSES[(index * 3) % 5], 40 + ((index * 37) % 160)]);
const payroll = Array.from({ length: 12 }, (_, index) => [index + 1, `employee ${index + 1}`, 3_200 + index * 150]);

const DATASETS: Readonly<Record<string, { readonly columns: readonly (readonly [name: string, type: string])[]; readonly rows: readonly (readonly unknown[])[] }>> = {
  sales: { columns: [['id', 'INTEGER'], ['month', 'TEXT'], ['region', 'TEXT'], ['product', 'TEXT'], ['customer_status', 'TEXT'], ['amount', 'INTEGER']], rows: sales },
  payroll: { columns: [['id', 'INTEGER'], ['employee', 'TEXT'], ['salary', 'INTEGER']], rows: payroll },
};

export function startDataSource(options: { port?: number } = {}): Promise<JsonServer> {
  const databases = new Map(Object.keys(DATASETS).map((name) => [name, databaseOf(name)]));
  return serveJson(options.port ?? 0, (asked) => answer(databases, asked));
}

function databaseOf(name: string): DatabaseSync {
  const { columns, rows } = DATASETS[name] as (typeof DATASETS)[string];
  const database = new DatabaseSync(':memory:');
  database.exec(`CREATE TABLE ${name} (${columns.map((column) => column.join(' ')).join(', ')})`);
  const insert = database.prepare(`INSERT INTO ${name} VALUES (${columns.map(() => '?').join(', ')})`);
  for (const row of rows) insert.run(...row as (string | number)[]);
  database.exec('PRAGMA query_only = ON');
  return database;
}

function answer(databases: ReadonlyMap<string, DatabaseSync>, { route, query, body }: Asked): Answer {
  if (route === 'GET /healthz') return { status: 200, body: { ok: true } };
  if (route === 'GET /datasets') return { status: 200, body: { datasets: [...databases.keys()] } };
  const dataset = route === 'POST /query' ? String(body['dataset']) : query.get('dataset') ?? '';
  const database = databases.get(dataset);
  if (!database) return { status: 404, body: { error: `there is no dataset "${dataset}": ${[...databases.keys()].join(', ')}` } };
  if (route === 'GET /describe') return { status: 200, body: { dataset, columns: DATASETS[dataset]?.columns.map(([name, type]) => ({ name, type })), rows: DATASETS[dataset]?.rows.length } };
  if (route === 'POST /query') return { status: 200, body: select(database, typeof body['sql'] === 'string' ? body['sql'] : '') };
  return { status: 404, body: { error: `no such path: ${route}` } };
}

/** One SELECT; SQLite compiles the first statement only and ignores what follows. */
function select(database: DatabaseSync, sql: string): { columns: readonly string[]; rows: readonly unknown[] } {
  if (!/^\s*(select|with)\b/i.test(sql)) throw new Error('only SELECT is answered');
  const rows: Record<string, unknown>[] = [];
  for (const row of database.prepare(sql).iterate()) {
    if (rows.length >= MAX_ROWS) break;
    rows.push(row);
  }
  return { columns: Object.keys(rows[0] ?? {}), rows };
}

await mainOf(import.meta.url, (port) => startDataSource({ port }));
