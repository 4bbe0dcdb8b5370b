// A run as its reader sees it: with its output wherever that lies, what its worker last showed while it runs, and whether any
// living worker has its version. The last is asked of Postgres at most once a second by a process: it changes with a deploy.
import { monoMs } from '../clock.ts';
import { codeOf } from '../domain/errors.ts';
import type { Bearer } from '../domain/api-key.ts';
import { LIVE_MACHINES_MS } from '../domain/tunables.ts';
import type { Run } from '../domain/wire.ts';
import type { AppStore } from '../store/app-store.ts';
import { liveMachines } from '../store/read-control.ts';
import type { AgentRun } from '../store/read-runs.ts';
import { readValue, storedNote } from '../values.ts';
import { scopeOf } from './access.ts';
import type { LiveMachines, RouteDeps } from './api-deps.ts';
import * as views from './views.ts';

export function askLiveMachines(store: AppStore): LiveMachines {
  let known: { readonly machines: ReadonlySet<string>; readonly untilMs: number } = { machines: new Set(), untilMs: -Infinity };
  return async (scope, rows) => {
    if (monoMs() >= known.untilMs && rows.some(({ status }) => status === 'queued')) known = { machines: await store.withTenant(scope, liveMachines), untilMs: monoMs() + LIVE_MACHINES_MS };
    return known.machines;
  };
}

export async function shownRun(deps: RouteDeps, bearer: Bearer, run: AgentRun): Promise<Run> {
  const live = run.status === 'running' ? await deps.jobs.read(run.id) : undefined;
  return views.run(run, await outputOf(deps, run), await deps.live(scopeOf(bearer), [run]), live);
}

/** A large output that is lost is named in its place: the rest of the run can still be read. */
async function outputOf({ blobs }: RouteDeps, { tenantId, output, outputBlob }: AgentRun): Promise<unknown> {
  if (outputBlob === null) return output;
  try {
    return await readValue(blobs, tenantId, outputBlob);
  } catch (error) {
    if (codeOf(error) !== 'value_lost') throw error;
    const { $stored } = storedNote(outputBlob);
    return { $stored: { ...$stored, lost: true } };
  }
}
