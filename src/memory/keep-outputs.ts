// What a run's tools answered at length becomes searchable when the run is remembered: cut into chunks, with run, step and tool, for the
// run's user and agent alone. Secrets, and personal data the tenant does not allow, are taken out first. So many answers and bytes a
// run; the rest stays in the object store, where its steps lead to it.
import type { BlobStore } from '../domain/blob.ts';
import { chunksOf } from '../domain/document.ts';
import { codeOf } from '../domain/errors.ts';
import { gatePolicyOf } from '../domain/memory-settings.ts';
import { redact, type PiiRules } from '../domain/pii.ts';
import { scrubSecrets } from '../domain/secrets.ts';
import { clipBytes } from '../domain/vector-index.ts';
import { faultPoint } from '../fault-points.ts';
import { newId } from '../ids.ts';
import type { AppStore } from '../store/app-store.ts';
import { holdRun, type HeldRun } from '../store/hold-run.ts';
import { memoryPolicy } from '../store/memory-policies.ts';
import type { FinishedRun } from '../store/remember-run.ts';
import { addToolOutput, largeOutputs, outputOrder, type NewOutput } from '../store/tool-outputs.ts';
import { readValue } from '../values.ts';

export interface OutputDeps {
  readonly store: AppStore;
  readonly blobs: BlobStore;
  /** Of one run: answers, and bytes of UTF-8 of all of them; what is over is cut. 0 answers: none are kept. */
  readonly outputs: { readonly most: number; readonly bytes: number };
}

/** How many documents it made. A run without a user keeps none: they would be everybody's. Throws `fenced`, `value_unavailable` and what Postgres throws. */
export async function keepOutputs({ store, blobs, outputs }: OutputDeps, held: HeldRun, tenant: string, { id: run, user, agent }: Pick<FinishedRun, 'id' | 'user' | 'agent'>): Promise<number> {
  if (user === null || outputs.most === 0) return 0;
  const { calls, pii } = await store.withTenant({ tenant }, async (tx) => ({ calls: await largeOutputs(tx, run, outputs.most), pii: gatePolicyOf(await memoryPolicy(tx)).pii }));
  const found: NewOutput[] = [];
  for (let [at, room] = [0, outputs.bytes]; at < calls.length && room > 0; at++) {
    const call = calls[at];
    const text = call && clean(await textOf(blobs, tenant, call.blob), room, pii);
    if (!call || !text || text.trim() === '') continue;
    room -= Buffer.byteLength(text);
    const chunks = chunksOf(text);
    found.push({ ...call, id: newId(), run, user, agent, text, chunks, chunkIds: chunks.map(() => newId()) });
  }
  if (found.length === 0) return 0;
  const kept = await store.withTenant({ tenant }, async (tx) => {
    await holdRun(tx, held);
    let added = 0;
    // Two runs may have been told the same: in one order none waits for another that waits for it.
    for (const one of found.sort((a, b) => (outputOrder(a) < outputOrder(b) ? -1 : 1))) added += Number(await addToolOutput(tx, one));
    return added;
  });
  faultPoint('outputs-kept');
  return kept;
}

/** As `read_result` shows it, so that its characters count alike. Bytes are no text, and what is lost is left out. */
async function textOf(blobs: BlobStore, tenant: string, blob: string): Promise<string> {
  const value = await readValue(blobs, tenant, blob).catch((error: unknown) => { if (codeOf(error) === 'value_lost') return ''; throw error; });
  if (typeof value === 'object' && value !== null && '$bytes' in value) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Cut before it is looked through, with room for what a look may take. */
const clean = (text: string, room: number, pii: PiiRules): string => clipBytes(redact(scrubSecrets(clipBytes(text, 2 * room).replaceAll('\u0000', '')), pii), room);
