// What the demonstration asks of the API, in its own words, so that the story reads as a story.

export interface SeenStep { readonly step: string; readonly next: string | null; readonly durationMs: number }
export interface SeenRun { readonly id: string; readonly status: string; readonly model: string | null; readonly output: unknown; readonly costMicroUsd: number; readonly errorCode: string | null; readonly errorMessage: string | null }
export interface SeenVerdict { readonly decision: string; readonly stage: string; readonly reason: string; readonly statement: string }
export interface SeenTrace {
  readonly embedder: string;
  readonly semantic: boolean;
  readonly degraded: boolean;
  /** Put into the prompt, best first. */
  readonly injected: readonly { readonly id: string; readonly statement: string; readonly score: number; readonly cited: boolean }[];
}
