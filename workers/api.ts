// The API process: the HTTP API with the Bull Board and the metrics, and the intake of plain BullMQ jobs. Any number of them
// may run; it starts and answers while Redis is away, since a run is accepted by Postgres alone.
import { readConfig } from '../src/config.ts';
import { makeLog } from '../src/log.ts';
import { runProcess, startAll } from '../src/service.ts';
import { assembleApi } from './assemble-api.ts';
import { assembleBase, loadMachines } from './assemble.ts';

async function main(): Promise<() => Promise<void>> {
  const config = readConfig();
  const base = await assembleBase(config, 'api', await loadMachines(config));
  const api = assembleApi(base);
  const stop = await startAll(api.services, base.log);
  base.log.info({ host: config.HOST, port: api.server.port }, 'the API answers');
  return async () => { await stop(); await api.close(); await base.close(); };
}

runProcess(main, makeLog('info', 'api'));
