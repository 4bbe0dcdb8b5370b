// What the executor asks of memory: recall for a step, and which of the recalled memories an answer used.
import type { Recall } from '../domain/machine.ts';

export interface Recaller {
  recall(request: { tenant: string; user: string | undefined; session?: string | undefined; agent: string; run: string; fence: bigint; stepSeq: number; query: string; asOfMs?: number | undefined; signal: AbortSignal }): Promise<Recall>;
  cite(run: { tenant: string; run: string; fence: bigint }, trace: string, memories: readonly string[]): Promise<unknown>;
}
