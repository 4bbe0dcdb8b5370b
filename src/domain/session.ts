// The state of a session that lives in Redis between runs: a convenience rebuilt from Postgres whenever it is gone, older
// or unreadable, never the truth. The schema is what both the cache and machines may rely on; it is mutable on purpose,
// because a step changes it in place and the run's end writes it back. Nothing here may be needed to finish a run.
import { z } from 'zod';
import type { Json } from './json.ts';

/** Steps remembered at most; older ones fall out. Enough to see what the last few runs did, small enough to read whole. */
export const RECENT_STEPS = 20;

const json: z.ZodType<Json> = z.json();
const anyName = z.record(z.string(), json);

export const sessionStateSchema = z.object({
  /** Rises with every run that ends in the session; equal to the row's in Postgres, or the copy does not count. */
  version: z.number().int().nonnegative(),
  conversation: z.object({
    title: z.string().optional(),
    /** ISO 8601 */
    startedAt: z.string(),
    /** Runs that have ended in this session. */
    runs: z.number().int().nonnegative(),
  }),
  /** What is known of the user for this conversation (locale, plan, …). */
  user: anyName,
  flags: z.record(z.string(), z.boolean()),
  /** What the user wants at present, in the agent's words. */
  intent: z.string().nullable(),
  recentSteps: z.array(z.object({ run: z.string(), step: z.string(), at: z.string() })).max(RECENT_STEPS),
  /** The machine's own notes. */
  scratchpad: anyName,
});

export interface SessionState {
  version: number;
  conversation: { title?: string | undefined; startedAt: string; runs: number };
  user: Record<string, Json>;
  flags: Record<string, boolean>;
  intent: string | null;
  recentSteps: { run: string; step: string; at: string }[];
  scratchpad: Record<string, Json>;
}

/** The state of a session nobody has used yet. `startedAt`: ISO 8601. */
export const emptySession = (startedAt: string, version = 0): SessionState => ({
  version,
  conversation: { startedAt, runs: 0 },
  user: {},
  flags: {},
  intent: null,
  recentSteps: [],
  scratchpad: {},
});

/** The state of a text, or undefined when it is not one. */
export function parseSession(text: string): SessionState | undefined {
  try {
    const parsed = sessionStateSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined; // not JSON
  }
}

/** Adds a step to the recent ones and lets the oldest fall out. */
export function noteStep(state: SessionState, run: string, step: string, at: string): void {
  state.recentSteps.push({ run, step, at });
  state.recentSteps.splice(0, Math.max(0, state.recentSteps.length - RECENT_STEPS));
}
