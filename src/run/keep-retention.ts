// One round of retention over all tenants. A tenant of which more is due than one sweep may take is left alone and named, until a
// person has looked: `mainstay memories retention`.
import { messageOf } from '../domain/errors.ts';
import { isBraked } from '../domain/retention.ts';
import type { Log } from '../log.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { dueRetention, retain } from '../store/engine/retention.ts';

export async function keepRetention(pool: EnginePool, log: Log): Promise<void> {
  for (const due of await dueRetention(pool)) {
    if (isBraked(due)) {
      log.warn(due, 'retention is braked: more of this tenant’s memories are due than one sweep may take; see `mainstay memories retention`');
      continue;
    }
    await retain(pool, due.tenant, 'maintenance').then((done) => { if (done.took.length > 0) log.info({ tenant: due.tenant, ...done }, 'memories that outlived their time'); },
      (error: unknown) => log.warn({ tenant: due.tenant, error: messageOf(error) }, 'retention of a tenant could not go on'));
  }
}
