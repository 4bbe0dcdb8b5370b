// node scripts/migrate.mjs: brings the database of DATABASE_URL (or of the file DATABASE_URL_FILE names) to the newest
// migration and reads back that it is there; the migrate image runs this once per release. It is the same code as in
// development and tests. Running it twice, or two of it at once, changes nothing more.
import { readFileSync } from 'node:fs';
import { migrate, migrations } from '../src/dev/servers/migrate.ts';

const file = process.env.DATABASE_URL_FILE;
const url = file ? readFileSync(file, 'utf8').trim() : process.env.DATABASE_URL;
if (!url) {
  console.error('DATABASE_URL (or DATABASE_URL_FILE) must name the database, as the owner of its schema');
  process.exit(64);
}
try {
  const names = migrations().map(({ name }) => name);
  const done = await migrate(url);
  console.log(`${done ? 'migrated to' : 'already at'} ${names.at(-1)} (${names.length} migrations)`);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
