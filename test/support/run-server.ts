// A process that starts one local server, prints what it got as JSON, and waits to be killed.
// usage: node test/support/run-server.ts redis|postgres|milvus DIR [PYTHON]
import { startMilvusLite } from '../../src/dev/servers/milvus-lite.ts';
import { startPostgres } from '../../src/dev/servers/postgres.ts';
import { startRedis } from '../../src/dev/servers/redis.ts';

const [kind, dir = '', python = ''] = process.argv.slice(2);
const server = kind === 'redis' ? await startRedis(dir, false)
  : kind === 'postgres' ? await startPostgres(dir, false, () => undefined)
    : await startMilvusLite(dir, python);
process.stdout.write(`${JSON.stringify({ ...server, stop: undefined })}\n`);
setInterval(() => undefined, 60_000);
