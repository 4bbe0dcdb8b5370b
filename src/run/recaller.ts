// What the executor asks of memory: recall for a step, which of the recalled memories an answer used, and documents for a tool.
import type { DocumentKind } from '../domain/document.ts';
import type { Recall } from '../domain/machine.ts';
import type { FoundPassages } from '../domain/wire-documents.ts';

export interface Recaller {
  recall(request: { tenant: string; user: string | undefined; session?: string | undefined; agent: string; model?: string | undefined; run: string; fence: bigint; stepSeq: number; query: string; asOfMs?: number | undefined; summaries?: number | undefined; signal: AbortSignal }): Promise<Recall>;
  cite(run: { tenant: string; run: string; fence: bigint }, trace: string, memories: readonly string[]): Promise<unknown>;
  searchDocuments(request: { tenant: string; user: string | undefined; agent: string; run: string; fence: bigint; query: string; limit: number; kind?: DocumentKind | undefined }): Promise<FoundPassages>;
}
