// The conditions that keep the engine's promises, each with its name: a statement or a branch that holds one says so by
// calling `guarded` or `isGuarded`. Here they are always on. A test build puts another module in this one's place, switches
// one off and shows that the test named for it fails: a guard no test misses is none.
export const GUARDS = {
  'submit-idempotency': 'The same key of a tenant is one run, and another request under it is refused.',
  'claim-live-holder': 'A run is not taken from a worker that lives.',
  'claim-session-head': 'Only the head of a session is claimed.',
  'claim-permit': 'A run of a limit that is full is not claimed.',
  'commit-fence': 'A commit needs the fence of the last claim.',
  'commit-seq': 'A commit needs the step it began with to be the current one.',
  'commit-inbox': 'A wait is not entered past a message that was not read.',
  'ledger-held': 'Ledger rows and records are written only while the claim holds.',
  'result-once': 'The result of a call is filled once.',
  'budget-room': 'A call is reserved only where every budget it falls under has room.',
  'record-returned': 'A recorded call is returned and not made again.',
  'key-of-place': 'The key of a call is made of its place: the same over every try.',
  'unknown-asks': 'An unkeyed call whose outcome is unknown is not made again.',
  'signal-once': 'A signal is consumed by one wait.',
  'approval-once': 'A decision is taken once, while the question is open.',
  'approval-arguments': 'A decision counts for the arguments that were asked.',
  'settle-known-dead': '"Not applied" is settled by hand only when the call cannot be under way any more.',
  'business-key': 'One effect per business key and window.',
  'finish-first': 'The first terminal state stands.',
  'lease-self-fence': 'A worker whose lease may be over writes nothing.',
  'reclaim-order': 'A dead worker is retired only when it holds nothing.',
  'suspect-alone': 'A run that was inside a crash runs alone.',
  'pause-parks': 'A paused run is not moved.',
  'lost-is-found': 'A due run that the ready queue does not hold is found in Postgres.',
  'owed-is-swept': 'What is owed to memory or to the index is found in Postgres.',
} as const;
export type Guard = keyof typeof GUARDS;

/** The SQL condition, with the name of the promise it keeps. */
export const guarded = (_guard: Guard, sql: string): string => sql;

/** For conditions that are no SQL. */
export const isGuarded = (_guard: Guard): boolean => true;
