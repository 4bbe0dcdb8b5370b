// Every error of the product in one list: code, HTTP status, what becomes of a run that meets it, and what the reader
// should do. Throw `new MainstayError(code, detail)`; nothing else carries a stable code.
// The docs print this list and a test compares the two, both ways.

/** What the engine does when a step ends with this error. `terminal` fails the run, `retry` backs off, `wait` parks. */
export type OnError = 'terminal' | 'retry' | 'wait';

interface ErrorKind {
  readonly status: number;
  readonly on: OnError;
  /** One sentence: what the caller should do. */
  readonly advice: string;
}

export const ERRORS = {
  // the caller's input
  bad_request: { status: 400, on: 'terminal', advice: 'Correct the named field and send the request again.' },
  bad_json: { status: 400, on: 'terminal', advice: 'Send a body that is valid JSON in UTF-8.' },
  bad_cursor: { status: 400, on: 'terminal', advice: 'Pass the cursor exactly as the last page returned it, or leave it out.' },
  body_too_large: { status: 413, on: 'terminal', advice: 'Send less than the stated number of bytes; put large data where the agent can fetch it.' },
  unsupported_media_type: { status: 415, on: 'terminal', advice: 'Send the body as application/json.' },
  input_invalid: { status: 422, on: 'terminal', advice: "Make the input match the agent's schema; the named paths are wrong." },
  data_not_storable: { status: 422, on: 'terminal', advice: 'Remove NUL characters and values JSON cannot hold, and stay within the stated depth and size.' },
  agent_unknown: { status: 404, on: 'terminal', advice: 'Use the name of a registered agent; `GET /v1/agents` lists them.' },
  not_found: { status: 404, on: 'terminal', advice: 'Check the id; it may belong to another tenant or user, which looks the same.' },
  method_not_allowed: { status: 405, on: 'terminal', advice: 'See the OpenAPI document for the methods of this path.' },
  idempotency_conflict: { status: 422, on: 'terminal', advice: 'This key was used with another body or for another user: use a new key for a new request.' },
  session_busy: { status: 409, on: 'terminal', advice: 'The session has an unfinished run; wait for it or submit with multitask_strategy `enqueue`.' },
  run_finished: { status: 409, on: 'terminal', advice: 'The run has already ended; submit a new one.' },
  tenant_in_payload: { status: 422, on: 'terminal', advice: 'Remove the tenant from the job: the intake queue decides it.' },
  // who is asking
  unauthenticated: { status: 401, on: 'terminal', advice: 'Send `Authorization: Bearer <api key>`; `mainstay keys create` makes one.' },
  forbidden: { status: 403, on: 'terminal', advice: 'Use a key that has the named scope or belongs to the named user.' },
  rate_limited: { status: 429, on: 'retry', advice: 'Wait for the seconds in `Retry-After`, then send the request again.' },
  // the fleet
  unavailable: { status: 503, on: 'retry', advice: 'A store does not answer; send the request again after `Retry-After` seconds, with the same Idempotency-Key.' },
  internal: { status: 500, on: 'retry', advice: 'Report the request id; the error is logged under it.' },
  // the life of a run
  fenced: { status: 409, on: 'terminal', advice: 'Nothing: another worker holds the run now and goes on with it.' },
  cancelled: { status: 409, on: 'terminal', advice: 'Nothing: the run was cancelled on request.' },
  interrupted: { status: 409, on: 'terminal', advice: 'Nothing: a newer message of its session took its place.' },
  expired: { status: 409, on: 'terminal', advice: 'Submit again with a later expiry, or add workers.' },
  step_unknown: { status: 500, on: 'terminal', advice: 'The machine moved to a step it does not define; correct the machine and submit again.' },
  step_failed: { status: 500, on: 'retry', advice: "Look at the run's events for the error the step threw." },
  step_diverged: { status: 500, on: 'terminal', advice: 'A resumed step made another call than the one recorded; make the step deterministic up to its calls.' },
  step_timeout: { status: 504, on: 'retry', advice: 'The step ran past its deadline; raise `stepTimeoutMs` or split the step.' },
  attempts_exhausted: { status: 500, on: 'terminal', advice: "The step failed as often as its limit allows; the run's events hold each error." },
  poison: { status: 500, on: 'terminal', advice: 'The run ended its worker process three times; correct the step and submit again.' },
  data_invalid: { status: 500, on: 'terminal', advice: "The data handed to the next step does not match the machine's schema." },
  turns_exhausted: { status: 500, on: 'terminal', advice: 'The agent used all its turns without an answer; raise `limits.maxTurns` or narrow the task.' },
  // tools
  tool_unknown: { status: 500, on: 'terminal', advice: 'The agent asked for a tool it does not have; register it or correct the instructions.' },
  tool_input_invalid: { status: 422, on: 'terminal', advice: "The arguments do not match the tool's schema." },
  tool_denied: { status: 403, on: 'terminal', advice: "Grant the run's user the named scope or dataset, or remove the tool from the agent." },
  tool_failed: { status: 502, on: 'retry', advice: 'The tool answered with an error; it is recorded in tool_calls.' },
  tool_timeout: { status: 504, on: 'retry', advice: 'The tool did not answer within its time limit.' },
  outcome_unknown: { status: 409, on: 'wait', advice: 'An effect was begun and its outcome is not known: settle the tool call by hand.' },
  lock_busy: { status: 423, on: 'wait', advice: 'Nothing: another run holds the resource; this one goes on when it is free.' },
  breaker_open: { status: 503, on: 'wait', advice: 'Nothing: the callee fails too often; the run goes on when a probe succeeds.' },
  spend_limit: { status: 503, on: 'wait', advice: 'The model provider’s spend limit is reached: raise it there, then `mainstay breakers close model:<name>`; without that the run goes on when the month has turned.' },
  quota_exhausted: { status: 429, on: 'wait', advice: 'Nothing: the run goes on when the window of the quota is over; `mainstay quotas list` shows them.' },
  budget_exceeded: { status: 402, on: 'terminal', advice: 'The run has no room left in its own budget for another call and ends there as its agent asks; raise `limits.budgetMicroUsd` and submit again.' },
  approval_denied: { status: 403, on: 'terminal', advice: 'A person said no, or nobody answered in time; submit again when that has changed.' },
  approval_closed: { status: 409, on: 'terminal', advice: 'The question was decided, has expired or its run has ended; look at the run.' },
  outcome_settled: { status: 409, on: 'terminal', advice: 'Nothing is open about this call: its result is on record.' },
  outcome_open: { status: 409, on: 'terminal', advice: 'The call may still be under way: settle it after its deadline, or when its worker is known dead.' },
  // control
  not_paused: { status: 409, on: 'terminal', advice: 'Only a paused run can be resumed; look at its status.' },
  not_retryable: { status: 409, on: 'terminal', advice: 'Only a failed, cancelled or expired run is retried; fork a completed one.' },
  no_such_checkpoint: { status: 404, on: 'terminal', advice: "Name the seq of one of the run's recorded steps; 0 is its start." },
  value_lost: { status: 500, on: 'terminal', advice: 'A large value is missing from the object store or was changed there: restore it, then retry the run.' },
  value_unavailable: { status: 503, on: 'retry', advice: 'The object store does not answer; the engine tries again.' },
  // the model
  model_unpriced: { status: 422, on: 'terminal', advice: 'Add the model to the price table, or use one that is in it.' },
  model_rejected: { status: 502, on: 'terminal', advice: 'The model provider refused the request; its message is in the run’s events.' },
  model_refused: { status: 502, on: 'terminal', advice: 'The model declined to answer; rephrase the task.' },
  turn_too_long: { status: 502, on: 'terminal', advice: 'The model ended its turn at its token limit without a word; raise `limits.maxTokens` or narrow the task.' },
  context_exceeded: { status: 422, on: 'terminal', advice: 'What was sent does not fit into the context of the model; send less, or use a model with a larger one.' },
  model_unavailable: { status: 503, on: 'retry', advice: 'The model provider is overloaded or unreachable; the engine tries again.' },
  model_cut_off: { status: 502, on: 'retry', advice: 'The stream ended before the model finished; the turn is discarded and repeated.' },
  model_stalled: { status: 504, on: 'retry', advice: 'The stream was silent for too long; the turn is discarded and repeated.' },
  // memory
  summary_missing: { status: 502, on: 'retry', advice: 'The extraction returned no valid summary; nothing of this run enters memory.' },
  not_promotable: { status: 409, on: 'terminal', advice: 'Only a quarantined candidate whose evidence is still there can be promoted, once; the verdicts of its run say where it stands.' },
  memory_changed: { status: 412, on: 'terminal', advice: 'The memory is another than the version you named: read it again, and correct that one.' },
  memory_closed: { status: 409, on: 'terminal', advice: 'The memory holds no more: correct the one that took its place.' },
  memory_exists: { status: 409, on: 'terminal', advice: 'Another memory that holds says this, or has its place: correct or close that one.' },
  embedder_failed: { status: 503, on: 'retry', advice: 'The embedding service failed; indexing goes on by itself when it is back.' },
  embedder_invalid: { status: 500, on: 'terminal', advice: 'Point EMBEDDER_MODEL_DIR to a folder whose files match its manifest.' },
  index_unavailable: { status: 503, on: 'retry', advice: 'Milvus does not answer; recall goes on from Postgres, marked degraded.' },
  index_rejected: { status: 500, on: 'terminal', advice: 'Milvus refused the call; check its version and the collection’s dimensions.' },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

/** An error with a stable code. `detail` is one sentence for a person; `fields` may name the offending paths. */
export class MainstayError extends Error {
  readonly code: ErrorCode;
  readonly fields: readonly { path: string; message: string }[];
  /** Milliseconds after which it is worth trying again, where known. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, detail: string, options: { fields?: readonly { path: string; message: string }[]; retryAfterMs?: number; cause?: unknown } = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MainstayError';
    this.code = code;
    this.fields = options.fields ?? [];
    this.retryAfterMs = options.retryAfterMs;
  }

  get kind(): ErrorKind { return ERRORS[this.code]; }
}

export const isMainstayError = (error: unknown): error is MainstayError => error instanceof MainstayError;

/** The code of any thrown value; what is not ours is `fallback`. */
export const codeOf = (error: unknown, fallback: ErrorCode = 'internal'): ErrorCode => (isMainstayError(error) ? error.code : fallback);

/** The sentence of any thrown value. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
