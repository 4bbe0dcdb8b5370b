// Every fixed number of the engine, with what happens beyond it and why it has this size. What an operator sets is in
// src/config.ts; what stands here changes only with a measurement.

/** A worker's claims last this long after its last renewal. Shorter finds dead hosts sooner, longer survives longer pauses. */
export const LEASE_MS = 15_000;
/** A third of the lease: two renewals may fail before the worker must stop by itself. */
export const LEASE_RENEW_MS = 5_000;
/** The worker stops writing this long before its lease can end on the database's clock. */
export const LEASE_MARGIN_MS = 1_000;
/** A worker looks at its neighbour's session lock this often, ten small statements a second: a dead one is noticed within it. */
export const LOCK_WATCH_MS = 100;
/** How often it asks which worker that is, and how often it gives back what dead ones held. */
export const RING_MS = 1_000;
/** A session that the server no longer hears is ended by it after 11 s, below a lease: a host that vanished is noticed then. */
export const LOCK_KEEPALIVE = { idleS: 5, intervalS: 2, count: 3 } as const;
/** Connecting anew, or retaking the lock, takes this long or counts as failed: whether somebody else is at work is then not known. */
export const LOCK_CONNECT_MS = 2_000;
/** A worker that runs something asks Postgres this often for cancels that Redis has not told it: below the second a cancel may take. */
export const CANCEL_POLL_MS = 500;
/** A step past its deadline by this much may be reclaimed by anyone, should its worker fail to abort it. */
export const STEP_GRACE_MS = 10_000;
/** A step's time limit where the machine names none. */
export const STEP_TIMEOUT_MS = 300_000;
/** Failures of one step before the run fails with `attempts_exhausted`. */
export const STEP_ATTEMPTS = 5;
/** First back-off; doubles with each failure, with up to half of it as jitter. */
export const BACKOFF_MS = 500;
export const BACKOFF_CAP_MS = 60_000;
/** Crashes of a worker inside a step of this run before it is `poison`. */
export const CRASH_LIMIT = 3;
/** Up to so many crashes, suspects may share a worker with one another, never with other runs; beyond it a suspect is alone. With
 *  0 a killed worker's runs would go one by one, and twenty steps of 20 ms take longer than everything else of a reclaim. */
export const SUSPECT_GROUP_CRASHES = 1;
/** So long after its first crash a suspect keeps its worker from others; doubles with each further crash, so that one which
 *  crashes late is alone in the end, and one that is innocent costs others seconds. */
export const SUSPECT_WINDOW_MS = 5_000;
/** A suspect that finds no worker to be alone in comes again after this. */
export const SUSPECT_RETRY_MS = 300;
/** One wake-up goes with a place for this long, then completes: its fetch and its end cost as much as a run does, and a stop ends it sooner. So long after its last place was filled a worker asks for none. */
export const WAKE_UP_MS = 1_000;
/** Runs that a worker takes at once before BullMQ is asked for a wake-up: more, and one worker would take what others stand idle for. */
export const EARLY_TAKES = 25;
/** A run is written into its wake-up when it is still at it after this, and then at most so often. */
export const SHOW_RUN_MS = 250;
/** Wake-ups lying in BullMQ at most: more adds nothing, since each worker drains the ready queue. */
export const WAKE_UP_WINDOW = 64;
/** A worker with a free place asks Postgres for due runs this often: the bound on what a lost Redis costs. */
export const FALLBACK_POLL_MS = 1_000;
/** A busy worker takes the oldest due run from Postgres every so many claims. */
export const FALLBACK_EVERY = 50;
/** A worker that was handed a run of another build's version takes nothing for so long: those who know it are sooner. */
export const STAND_BACK_MS = 100;
/** Runs that become due within this get a delayed BullMQ job; later ones only their row. */
export const DELAYED_JOB_MS = 60_000;
/** So far ahead the clock of who delayed a job may stand: a job that lies further off is removed, at each of these intervals. */
export const HINT_SKEW_MS = 5_000;
/** Maintenance looks for due, lost and orphaned runs this often. */
export const SWEEP_MS = 1_000;
/** Runs that one sweep ends as `expired`: a statement of a few milliseconds; the rest is the next sweep's. */
export const EXPIRE_MAX = 1_000;
/** Parents nobody looked after are looked for this often: 10 µs for each one that waits (measured), and only a worker that dies
 *  between a child's end and its look leaves one. */
export const PARENTS_MS = 10_000;
/** Parents that one sweep wakes because nobody looked after their last child had ended; there are as many as workers have died just then. */
export const PARENTS_MAX = 1_000;
/** Items of one grouped statement at most; two groups of a kind are in flight. */
export const GROUP_MAX = 200;
export const GROUP_LANES = 2;
/** JSON that enters a row: bytes of its text and depth of nesting. Beyond it: `data_not_storable`. */
export const MAX_JSON_BYTES = 256 * 1024;
export const MAX_JSON_DEPTH = 64;
/** JSON up to this stays in its row; beyond it goes to the object store and the row keeps key and digest: a checkpoint copies it. */
export const INLINE_BYTES = 32 * 1024;
/** The largest value of a step, a record, a tool or an output, in bytes of JSON; beyond it `data_not_storable`. */
export const MAX_VALUE_BYTES = 32 * 1024 * 1024;
/** Payload of a signal, what is asked in an approval, a result given by hand: bytes of JSON. */
export const MAX_MESSAGE_BYTES = 64 * 1024;
/** A run whose tool with the same business key is under way looks again after this. */
export const BUSINESS_RETRY_MS = 1_000;
/** An HTTP body in bytes; beyond it: `body_too_large`. */
export const MAX_BODY_BYTES = 512 * 1024;
/** Runs of one `POST /v1/runs/many`, and bytes of its body: read, checked and stored in a few tenths of a second. */
export const SUBMIT_MANY_MAX = 1_000;
export const SUBMIT_MANY_BYTES = 4 * 1024 * 1024;
/** Items named by one refusal: enough to see what is wrong with all of them. */
export const FIELDS_MAX = 20;
/** Session state in Redis lives this long after its last use (configurable). */
export const SESSION_TTL_S = 3_600;
/** Messages of a session loaded into the next run's context. */
export const SESSION_MESSAGES = 20;
/** Live state of a run in Redis. */
export const JOB_STATE_TTL_S = 3_600;
/** It is written this late, and at most this often: faster than a person looks twice, and nothing for runs that are shorter. */
export const JOB_STATE_WRITE_MS = 250;
/** Streamed text is sent in pieces of so long: shorter than one notices, ten commands a second for each turn under way. */
export const LIVE_TEXT_WRITE_MS = 100;
/** Pieces kept of a run's streamed text: a turn of a minute and a half. Who comes later begins in the middle. */
export const LIVE_TEXT_ENTRIES = 1_000;
/** Streamed text goes so long after its last piece. */
export const LIVE_TEXT_TTL_MS = 120_000;
/** Recall gives up on Milvus after this and goes on from Postgres, marked degraded. */
export const RECALL_TIMEOUT_MS = 1_000;
/** Tokens of memories put into a prompt. */
export const RECALL_TOKENS = 1_500;
/** What recall found is kept so long after it was found last; it never outlives a change of the memories. */
export const RECALL_CACHE_MS = 600_000;
/** Of one recall, and of recalls a session: more is seldom asked twice. */
export const RECALL_CACHE_BYTES = 32 * 1024;
export const RECALL_CACHE_ENTRIES = 50;
/** Longest name a caller may give: user, session, idempotency key, resource, in characters. */
export const MAX_NAME = 200;
/** Largest tool output kept in a row, in bytes of JSON. */
export const MAX_TOOL_OUTPUT_BYTES = 64 * 1024;
/** A resource lock's life without renewal, and how long a run waits before it asks again for a busy one. */
export const LOCK_TTL_MS = 30_000;
export const LOCK_RETRY_MS = 1_000;
/** A run whose model or tool is not to be called now, and says not for how long, asks again after this. */
export const RATE_RETRY_MS = 5_000;
/** Quotas of a tenant are read again after this: how late a change counts elsewhere. */
export const QUOTA_CACHE_MS = 3_000;
/** Longest a run waits for its turn at a tool's rate before it asks again: others before it may have gone. */
export const MAX_RATE_WAIT_MS = 600_000;
// ready queue, wake-ups, intake
/** Calls of one Lua script grouped into one: 100 takes hold Redis for about 2 ms. */
export const READY_GROUP_MAX = 100;
/** Runs offered by one script call when many come at once (rebuild): about 3 ms of Redis. */
export const READY_OFFER_MAX = 1_000;
/** A run that is due and not held is looked at again after this, before it counts as lost: one that a worker has taken is claimed by then. */
export const CLAIMED_WITHIN_MS = 250;
/** So many of them a sweep reads of the backlog. */
export const SWEEP_PAGES = 4;
/** What a run is charged at its take while nothing is known of its tenant or pool; the settle corrects it. */
export const FIRST_COST_MS = 20;
/** The ready queue forgets a tenant's finish tag and usual cost this long after its last run: an hour-old debt is nobody's loss. */
export const IDLE_TENANT_MS = 3_600_000;
/** Largest |priority| of a run: 1,000 classes of 2^42 ms each leave whole milliseconds exact in a double. */
export const MAX_PRIORITY = 1_000;
/** Largest concurrency limit a tenant, an agent or a submitter may name: beyond it a limit limits nothing. */
export const MAX_RUNNING_LIMIT = 100_000;
/** A claim chooses its permits among so many more free numbers than it needs, so that two workers seldom choose the same. */
export const PERMIT_SPARE = 16;
/** A claim whose permit another took first looks again so often, then waits in the ready queue. */
export const PERMIT_TRIES = 5;
/** Runs that one take sets aside at most, because the limit of their agent or key is full: each is set aside once, and about
 *  5 µs of Redis each. */
export const ASIDE_MAX = 64;
/** Finished and failed wake-ups kept for the Bull Board; they prove nothing and are pressed without harm. */
export const WAKE_UPS_KEPT = 100;
/** Events kept in a BullMQ event stream; nobody decides by them. */
export const QUEUE_EVENTS_KEPT = 100;
/** A wake-up that failed holds its place this long, so that a store that is down is not asked thousands of times a second. */
export const WAKE_UP_BACKOFF_MS = 1_000;
/** An intake job whose store is down comes again after this, doubling up to the cap, for as long as it takes. */
export const INTAKE_BACKOFF_MS = 1_000;
export const INTAKE_BACKOFF_CAP_MS = 60_000;
/** Finished intake jobs kept: their return value is how a plain producer learns the run's id. */
export const INTAKE_KEPT = 10_000;
export const INTAKE_KEPT_S = 86_400;
/** BullMQ may hang in `close` when Redis is gone; after this its connections are cut. */
export const QUEUE_CLOSE_MS = 2_000;
/** How long a worker fetches no wake-ups from a Redis that is full; runs come from Postgres meanwhile. */
export const FULL_REST_MS = 1_000;
/** Redis' eviction policy is looked at this often: a change at run time is told well within a minute. */
export const REDIS_POLICY_MS = 20_000;
// what `mainstay doctor` takes for wrong
/** A due run nobody has claimed for this long: pick-up takes milliseconds, the fallback a second, a restart of the fleet less than this. */
export const DOCTOR_DUE_MS = 60_000;
/** What is owed to memory or to the index for this long: a remembering run and its embeddings take seconds. */
export const DOCTOR_OWED_MS = 600_000;
/** A batch under way for this long: the provider ends each within a day. */
export const DOCTOR_BATCH_MS = 25 * 3_600_000;
/** Rows, and vectors, of a collection that are looked for on the other side: a second's work, and what is drifting is seen in it. */
export const DOCTOR_SAMPLE = 1_000;
/** Clocks further apart than this: log lines and `startAt` no longer mean what people read. Leases go by the database's clock alone. */
export const DOCTOR_SKEW_MS = 2_000;
/** Maintenance ends, expires and reclaims within a second or two; what is left for this long has nobody who does it. */
export const DOCTOR_SWEPT_MS = 15_000;
/** Share of Redis' memory limit beyond which writes will soon be refused. */
export const DOCTOR_REDIS_FULL = 0.85;
/** Longest wait for one store. */
export const DOCTOR_WAIT_MS = 5_000;
/** Schedules fired in one round of maintenance; more wait for the next, a second later. */
export const SCHEDULES_A_SWEEP = 500;
/** Gauges are counted anew this often: a scraper asks every 15 s or more, and a count over 200,000 due runs takes half a second. */
export const GAUGES_MS = 10_000;
/** Tenants with a series of their own in the gauges of the backlog, those with most due runs; the rest is one. */
export const TENANTS_SHOWN = 20;
// the edge
/** A follower of a run looks at its row this often: what a person takes for at once, at 7 small reads a second. */
export const FOLLOW_POLL_MS = 150;
/** A silent event stream says so this often, before proxies cut it (30 s and up), and looks whether its key still lives. */
export const STREAM_HEARTBEAT_MS = 15_000;
/** A client whose stream broke comes back after this. */
export const STREAM_RETRY_MS = 1_000;
/** Longest `?wait=`: below the usual 60 s and more of load balancers. */
export const WAIT_MAX_S = 60;
/** Items of a page, where the caller names no limit and at most; steps carry up to 256 KiB each, so theirs are fewer. */
export const PAGE_SIZE = 50;
export const PAGE_MAX = 200;
/** Events of a run read in one go. */
export const FEED_PAGE = 500;
/** What living workers can claim is asked for this seldom: a lease lasts fifteen times as long. */
export const LIVE_MACHINES_MS = 1_000;
/** Runs of one bulk at most, and how many of them are acted on at a time: two of ten connections stay for others. */
export const BULK_MAX = 1_000;
export const BULK_LANES = 8;
/** Runs of a list that the board counts and pages through: nobody turns two hundred pages, and 10,000 entries of an index are a few ms. */
export const BOARD_RUNS_MAX = 10_000;
/** Lines of a run's story on the board, the last of them: a screen or two. */
export const BOARD_LOG_LINES = 200;
// the object store
/** A key in characters, and one part of it: file names end at 255, and S3's names at 1,024 with our prefix before them. */
export const MAX_BLOB_KEY_CHARACTERS = 800;
export const MAX_BLOB_PART_CHARACTERS = 255;
/** A server that says nothing for this long, in a call or in the middle of a body, is given up. */
export const BLOB_SILENCE_MS = 5_000;
/** A connection to it stands by then or never. */
export const BLOB_CONNECT_MS = 2_000;
/** A whole call with its second try: the largest value at 2 MB/s. Beyond it `value_unavailable`. */
export const BLOB_DEADLINE_MS = 20_000;
/** A file that its writer has not named after this was left by a crash: a day is longer than any write and any wrong clock. */
export const LEFT_FILE_MS = 86_400_000;
// erasure
/** Requested erasures are looked for this often. */
export const ERASE_MS = 1_000;
/** Runs emptied in one transaction, and rows whose vectors go in one call. */
export const ERASE_PAGE = 200;
// connections to Redis
/** A socket that owes an answer for this long is half-open (its peer went without a word): it is given up and another opened. */
export const REDIS_SILENCE_MS = 4_000;
/** A BullMQ worker with nothing to do asks again after this: while it blocks, a half-open socket looks like an empty queue. */
export const REDIS_BLOCK_S = 2;
/** A BullMQ worker whose fetch or answer failed tries again after this; BullMQ's own 15 s leave work lying after a failover. */
export const REDIS_RETRY_MS = 1_000;
/** For clients that block on purpose: longer than they do. */
export const REDIS_BLOCKED_SILENCE_MS = 4_500;

// The batch lane.
/** With less than this to its deadline no call goes into a batch. */
export const BATCH_LEAD_MS = 2 * 3_600_000;
/** A batch leaves when it has so many items or bytes, or when its first item has waited so long. */
export const BATCH_MAX_ITEMS = 500;
export const BATCH_MAX_BYTES = 8 * 1024 * 1024;
export const BATCH_WAIT_MS = 5 * 60_000;
/** Between two looks at a batch: doubled from the first to the second. */
export const BATCH_LOOK_MS = 30_000;
export const BATCH_LOOK_MAX_MS = 5 * 60_000;
/** A batch whose creation nobody answered is looked for so long. */
export const BATCH_LOST_MS = 10 * 60_000;
/** For the upload and the answer of one creation. */
export const BATCH_CREATE_MS = 120_000;
/** The provider's clock against ours. */
export const BATCH_SKEW_MS = 60_000;
/** Results are kept for 29 days; what is older is treated as expired. */
export const BATCH_KEPT_MS = 29 * 86_400_000;
export const BATCH_SWEEP_MS = 1_000;
/** After the provider refused a batch for now and named no time. */
export const BATCH_REFUSED_MS = 60_000;
/** Results settled in one transaction. */
export const BATCH_PAGE = 100;

/** Of one cached result, and of results a user. */
export const TOOL_CACHE_BYTES = 64 * 1024;
export const TOOL_CACHE_ENTRIES = 1_000;

/** Between two looks for memories that outlived their time. */
export const RETENTION_MS = 3_600_000;

/** Rows of each collection that are looked for in the index so often: a collection that was emptied is filled again from the next look on. */
export const INDEX_LOOK_MS = 60_000;
export const INDEX_LOOK_ROWS = 100;
