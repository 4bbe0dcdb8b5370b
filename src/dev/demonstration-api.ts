// What the demonstration asks of the API, in its own words, so that the story reads as a story: through the typed client, as
// any other service would.
import { monoMs, pause } from '../clock.ts';
import type { Mainstay } from '../client/client.ts';
import type { MemoryState } from '../domain/status.ts';

export interface SeenStep { readonly step: string; readonly next: string | null; readonly durationMs: number; readonly tools: readonly string[] }
export interface SeenRun { readonly id: string; readonly status: string; readonly model: string | null; readonly answer: string; readonly costMicroUsd: number; readonly error: string | null }
export interface SeenVerdict { readonly decision: string; readonly stage: string; readonly reason: string; readonly statement: string }
export interface SeenRecall {
  readonly embedder: string;
  readonly semantic: boolean;
  readonly degraded: boolean;
  /** Put into the prompt, best first. */
  readonly memories: readonly { readonly id: string; readonly statement: string; readonly score: number; readonly cited: boolean }[];
}

/** Memory has no event stream of its own: it is asked this often. */
const ASK_MS = 100;

export class DemonstrationApi {
  readonly #client: Mainstay;

  constructor(client: Mainstay) { this.#client = client; }

  async submit(run: { agent: string; input: { message: string }; user: string; session: string }): Promise<string> {
    return (await this.#client.runs.create(run)).id;
  }

  /** Steps as they are committed, until the run has ended. Throws when that takes longer than `withinMs`. */
  async *steps(run: string, withinMs: number): AsyncIterable<SeenStep> {
    for await (const { type, data } of this.#client.runs.stream(run, { signal: AbortSignal.timeout(withinMs) })) {
      if (type !== 'step.completed') continue;
      const { seq, step, next, durationMs } = data as { seq: number; step: string; next: string | null; durationMs: number };
      const calls = step === 'act' ? (await this.#client.runs.toolCalls(run)).data : [];
      yield { step, next, durationMs, tools: calls.filter((call) => call.stepSeq === seq).map((call) => `${call.tool} (${call.effect}) ${call.status}`) };
    }
  }

  async run(id: string): Promise<SeenRun> {
    const { status, model, output, costMicroUsd, errorCode, errorMessage } = await this.#client.runs.get(id);
    const answer = (output as { answer?: unknown } | null)?.answer;
    return { id, status, model, answer: typeof answer === 'string' ? answer : '', costMicroUsd, error: errorCode === null ? null : `${errorCode}: ${errorMessage ?? ''}` };
  }

  /** The verdicts, once the run has been remembered. */
  async verdicts(run: string, withinMs: number): Promise<readonly SeenVerdict[]> {
    const { verdicts } = await until(`memory of ${run}`, withinMs, () => this.#client.runs.memories(run), ({ memoryState }: { memoryState: MemoryState }) => memoryState !== 'due');
    return verdicts;
  }

  /** Resolves when every memory of the user is in the vector index. */
  async indexed(user: string, withinMs: number): Promise<void> {
    await until(`the index of ${user}'s memories`, withinMs, () => this.#client.memories.list({ user }), ({ data }) => data.every((memory) => memory.indexed));
  }

  /** What the run recalled; undefined = nothing was searched. */
  async recall(run: string): Promise<SeenRecall | undefined> {
    const [trace] = (await this.#client.runs.traces(run)).data;
    if (!trace) return undefined;
    const memories = trace.injected.map(({ id, statement, score, cited }) => ({ id, statement: statement ?? '', score: score ?? 0, cited }));
    return { embedder: trace.embedder, semantic: trace.semantic, degraded: trace.degraded, memories };
  }
}

async function until<T>(what: string, withinMs: number, ask: () => Promise<T>, holds: (seen: T) => boolean): Promise<T> {
  for (const endMs = monoMs() + withinMs; ;) {
    const seen = await ask();
    if (holds(seen)) return seen;
    if (monoMs() > endMs) throw new Error(`${what} did not come within ${withinMs / 1_000} s`);
    await pause(ASK_MS);
  }
}
