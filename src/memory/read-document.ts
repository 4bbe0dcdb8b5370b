// `mainstay.read_document`: the machine that reads one part of a document for the memory gate. extract (one call of the model) → judge
// (the gate, all verdicts in one transaction) → index. A run of its own on the memory pool, unique by document and part, so that it is
// fenced, resumed and paid for like any other. Each chunk is an event said by the document; whom a note is for follows from whose the
// document is, never from what the model says. No valid answer of the model, no notes.
import { z } from 'zod';
import type { Json } from '../domain/json.ts';
import type { Machine, Move, Step } from '../domain/machine.ts';
import { extractionLane, gatePolicyOf } from '../domain/memory-settings.ts';
import type { Skip } from '../domain/gate-intake.ts';
import type { MemoryScope } from '../domain/status.ts';
import { READ_DOCUMENT } from '../domain/read-document.ts';
import { eventsOf, fitEvents, type TranscriptEvent } from '../domain/transcript.ts';
import { partOfDocument, type DocumentPart } from '../store/document-notes.ts';
import { memoryPolicy } from '../store/memory-policies.ts';
import { documentRequest, readExtraction } from './extraction-request.ts';
import { judgeRun } from './judge-run.ts';
import { countVerdicts, isIndexed, memoryMachine, type RememberDeps } from './remember.ts';
import { chunksOfEvents, eventsOfPart } from './run-transcript.ts';

const input = z.strictObject({ document: z.uuid(), part: z.int().min(0) });
type Input = z.infer<typeof input>;
interface Read { readonly events: readonly TranscriptEvent[]; readonly settings: number; readonly lane?: 'realtime' | 'batch'; readonly part: DocumentPart }
interface JudgeData extends Read { readonly candidates: readonly unknown[] }
interface IndexData { readonly memories: readonly string[]; readonly verdicts: Readonly<Record<string, number>> }

export function readDocumentMachine(deps: RememberDeps): Machine {
  return memoryMachine(deps, {
    name: READ_DOCUMENT, description: 'Reads a part of a document and lets the memory gate judge what it proposes.', input,
    steps: {
      extract: (step: Step<Input>) => extract(deps, step),
      judge: (step: Step<Input, JudgeData>) => judge(deps, step),
      index: async (step: Step<Input, IndexData>) => step.done({ verdicts: step.data.verdicts, indexed: await isIndexed(deps, step.run, step.data.memories) }),
    },
  });
}

async function extract(deps: RememberDeps, step: Step<Input>): Promise<Move> {
  const read = await step.record('part', async () => (await deps.store.withTenant({ tenant: step.run.tenant }, async (tx) => {
    const part = await partOfDocument(tx, step.input.document, step.input.part);
    const set = await memoryPolicy(tx);
    if (set.settings.paused === true) return { skipped: 'SKIP_INELIGIBLE:PAUSED' };
    return part ? { part, settings: set.version, ...extractionLane(set), events: fitEvents(eventsOf(eventsOfPart(part), gatePolicyOf(set).pii)) } : null;
  })) as unknown as Json) as unknown as Read | { readonly skipped: Skip } | null;
  if (read === null) return step.done({ skipped: 'the document is not there' });
  if ('skipped' in read) {
    deps.metrics.gateVerdicts.inc({ decision: 'SKIP', stage: 'intake', reason: read.skipped });
    return step.done(read);
  }
  const extraction = readExtraction(await step.model(documentRequest(step.run.model, read.events), read.lane ? { lane: read.lane } : {}));
  return extraction ? step.next('judge', { ...read, candidates: extraction.candidates.map((one) => scoped(one, read.part)) }) : step.done({ notes: 'missing' });
}

/** For whom: whoever finds the document. */
function scoped(candidate: unknown, { user, agent }: DocumentPart): unknown {
  const scope: MemoryScope = user !== null ? 'user' : agent !== null ? 'agent' : 'workspace';
  return typeof candidate === 'object' && candidate !== null ? { ...candidate, scope } : candidate;
}

async function judge(deps: RememberDeps, step: Step<Input, JudgeData>): Promise<Move> {
  const { part, events, settings, candidates } = step.data;
  const { verdicts, owed } = await judgeRun(deps, { run: step.run.id, fence: step.run.fence }, {
    tenant: step.run.tenant, run: { id: step.run.id, user: part.user, session: null, agent: part.agent ?? READ_DOCUMENT, finishedMs: part.createdMs }, events, settings, extraction: { candidates: [...candidates] },
    document: { id: part.document, chunks: chunksOfEvents(part) },
  });
  return step.next('index', { memories: owed, verdicts: countVerdicts(deps, verdicts) });
}
