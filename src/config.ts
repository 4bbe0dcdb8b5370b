// The only file that reads the environment. One schema, read once at start, a sentence per key; everything else gets
// values. Any key may be given as KEY_FILE naming a file that holds the value (Kubernetes secrets). The README's table
// is generated from this schema and a test compares the two.
import { readFileSync } from 'node:fs';
import { z } from 'zod';

const int = (min: number, max: number) => z.coerce.number().int().min(min).max(max);
const flag = z.enum(['true', 'false']).transform((text) => text === 'true');

export const configSchema = z.object({
  // stores
  DATABASE_URL: z.string().regex(/^postgres(ql)?:\/\//).describe('Postgres, as the owner of the schema: migrations, and both logins below where they are not set. `sslmode` is honoured.'),
  DATABASE_ENGINE_URL: z.string().regex(/^postgres(ql)?:\/\//).optional().describe('Postgres login of the engine (member of `mainstay_engine`). Unset: DATABASE_URL with that role.'),
  DATABASE_APP_URL: z.string().regex(/^postgres(ql)?:\/\//).optional().describe('Postgres login under row-level security (member of `mainstay_app`). Unset: DATABASE_URL with that role.'),
  REDIS_URL: z.string().regex(/^rediss?:\/\//).describe('Redis 6.2 or later, `noeviction`, AOF. `rediss://` is TLS.'),
  REDIS_PREFIX: z.string().regex(/^[a-z0-9-]{1,32}$/).default('mainstay').describe('First part of every Redis key; one per installation.'),
  MILVUS_ADDRESS: z.string().min(1).describe('host:port of Milvus (2.6 or later) or Milvus Lite’s server.'),
  MILVUS_TOKEN: z.string().optional().describe('Milvus login as `user:password`.'),
  MILVUS_TLS: flag.default(false).describe('`true`: TLS to Milvus.'),
  MILVUS_PREFIX: z.string().regex(/^[a-z][a-z0-9_]{0,40}$/).default('mainstay').describe('First part of every collection name.'),
  MILVUS_DENSE_INDEX: z.enum(['FLAT', 'HNSW']).default('HNSW').describe('Index of dense vectors: HNSW on Milvus, FLAT on Milvus Lite.'),
  RECALL_FUSER: z.enum(['context', 'zscores', 'weighted', 'rrf']).default('context').describe('How the lists by meaning and by words become one; docs/memory.md says what each does.'),
  MEMORY_HOLDOUT: z.coerce.number().min(0).max(0.5).default(0).describe('Share of runs that go without memory (constraints excepted), so that `mainstay memories worth` can say what it is worth; 0.05 is a good measure.'),
  MEMORY_LEAVE_ONE_OUT: z.coerce.number().min(0).max(0.5).default(0).describe('Share of the other runs whose recalls leave out one memory (never a constraint), so that it can be told what each type is worth; 0.05 is a good measure.'),
  TOOL_OUTPUTS: int(0, 200).default(20).describe('Long answers of tools (32 KiB and more) that a run keeps to be searched, see docs/documents.md; 0: none.'),
  TOOL_OUTPUT_BYTES: int(1_000, 1_048_576).default(131_072).describe('Bytes of them together, for each run; what is over is cut.'),
  ARTIFACTS_DIR: z.string().default('.mainstay/artifacts').describe('Folder for files that runs deliver and, unless S3_BUCKET is set, for values too large for their row; shared by all processes.'),
  S3_BUCKET: z.string().min(1).optional().describe('Bucket for values too large for their row. Unset: ARTIFACTS_DIR.'),
  S3_ENDPOINT: z.string().regex(/^https?:\/\/[^/]/).optional().describe('Address of an S3-compatible server. Unset: Amazon S3 of the region.'),
  S3_REGION: z.string().min(1).default('us-east-1').describe('Region of the bucket; other servers than Amazon’s mostly take any.'),
  S3_PREFIX: z.string().regex(/^[a-z0-9-]{1,64}(\/[a-z0-9-]{1,64}){0,2}$/).default('mainstay').describe('First part of every object’s name; one per installation.'),
  S3_ACCESS_KEY_ID: z.string().min(1).optional().describe('Login of the object store. Unset: the role that the platform gives the process.'),
  S3_SECRET_ACCESS_KEY: z.string().min(1).optional().describe('Its secret; both or none.'),
  S3_FORCE_PATH_STYLE: flag.default(false).describe('`true`: the bucket stands in the path instead of the host name, as most S3-compatible servers want it.'),
  // model
  ANTHROPIC_API_KEY: z.string().optional().describe('Key for Claude. `npm start` without one talks to the local model stub.'),
  ANTHROPIC_BASE_URL: z.string().url().optional().describe('Another address for the Messages API (a proxy; the stub in development).'),
  MODEL: z.string().default('claude-sonnet-5-5').describe('Model of agents that name none.'),
  MEMORY_MODEL: z.string().default('claude-haiku-5-5').describe('Model that summarises runs and extracts candidate memories.'),
  // embedder
  EMBEDDER: z.enum(['builtin', 'voyage', 'openai', 'lexical']).default('builtin').describe('Where embeddings come from. `lexical` is no semantic recall and says so wherever recall is shown.'),
  EMBEDDER_MODEL_DIR: z.string().default('.mainstay/embedder').describe('Folder of the built-in model: manifest.json, model.onnx, tokenizer.json.'),
  EMBEDDER_MODEL: z.string().optional().describe('Model name for `voyage` (voyage-4-lite) or `openai` (text-embedding-3-small).'),
  EMBEDDER_DIMENSIONS: int(32, 4096).optional().describe('Length of the vectors, where the model lets one choose.'),
  VOYAGE_API_KEY: z.string().optional().describe('Key for `EMBEDDER=voyage`.'),
  OPENAI_BASE_URL: z.string().url().default('https://api.openai.com/v1').describe('Address of an OpenAI-compatible embeddings server.'),
  OPENAI_API_KEY: z.string().optional().describe('Key for `EMBEDDER=openai`, where the server wants one.'),
  // processes
  AGENTS_MODULE: z.string().default('examples/agents.ts').describe('Module that exports `machines`: the agents this fleet runs.'),
  HOST: z.string().default('127.0.0.1').describe('Address the API and the workers’ health servers listen on.'),
  PORT: int(0, 65535).default(7400).describe('Port of the API.'),
  HEALTH_PORT: int(0, 65535).default(0).describe('Port of a worker’s /healthz, /readyz and /metrics; 0 picks a free one.'),
  CONCURRENCY: int(1, 1000).default(10).describe('Runs whose steps a worker runs at the same time; the last commit of one goes on beside the next.'),
  LEASE_MS: int(1_000, 600_000).default(15_000).describe('How long a silent worker keeps its claims, milliseconds.'),
  DRAIN_MS: int(0, 3_600_000).default(20_000).describe('How long a stopping worker waits for its steps, milliseconds; the grace period must be longer.'),
  ERASURE_KEY: z.string().min(16).optional().describe('Secret that signs receipts of erasures (HMAC-SHA256); unset: they carry their digest only.'),
  SESSION_TTL_S: int(1, 2_592_000).default(3_600).describe('Life of a session’s state in Redis after its last use, seconds.'),
  RATE_LIMIT: int(1, 1_000_000).default(600).describe('Requests per minute and API key.'),
  SUBMIT_RATE_LIMIT: int(1, 1_000_000).default(600).describe('Submissions per minute, tenant and user.'),
  INTAKE: z.string().default('').describe('Plain BullMQ intake: `source=tenant` pairs, comma-separated; each is the queue `intake-<source>`.'),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info').describe('pino level.'),
  BOARD_USER: z.string().default('admin').describe('User of the Bull Board.'),
  BOARD_PASSWORD: z.string().min(8).optional().describe('Password of the Bull Board; without one the board is off.'),
  TICKET_DESK_URL: z.string().url().default('http://127.0.0.1:7410').describe('Address of the ticket desk the support example works with (`examples/ticket-desk.ts`).'),
  DATA_SOURCE_URL: z.string().url().default('http://127.0.0.1:7411').describe('Address of the data source the data and report examples work with (`examples/data-source.ts`).'),
  METRICS_TOKEN: z.string().min(8).optional().describe('Bearer token of the API’s /metrics; unset: open, so keep the port private.'),
});

export type Config = z.infer<typeof configSchema>;

/** Reads the configuration. Throws one error that lists every wrong key. Empty strings count as unset. */
export function readConfig(env: Readonly<Record<string, string | undefined>> = process.env): Config {
  const given: Record<string, string> = {};
  for (const key of Object.keys(configSchema.shape)) {
    const file = env[`${key}_FILE`];
    const value = file ? readFileSync(file, 'utf8').trim() : env[key];
    if (value !== undefined && value !== '') given[key] = value;
  }
  const parsed = configSchema.safeParse(given);
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message} — ${docOf(String(issue.path[0]))}`);
  throw new Error(`configuration:\n${lines.join('\n')}`);
}

/** Rows of the README's table: key, default (or `required` / none), what it is. */
export function configTable(): { key: string; default: string; doc: string }[] {
  return Object.entries(configSchema.shape).map(([key, schema]) => {
    const inner = schema as z.ZodType & { def: { type: string; defaultValue?: unknown } };
    const standard = inner.def.type === 'default' ? String(inner.def.defaultValue) : inner.def.type === 'optional' ? '' : 'required';
    return { key, default: standard, doc: docOf(key) };
  });
}

const docOf = (key: string): string => (configSchema.shape as Record<string, z.ZodType>)[key]?.description ?? '';

/** `INTAKE` as pairs. */
export const intakeSources = (config: Config): { source: string; tenant: string }[] =>
  config.INTAKE.split(',').map((pair) => pair.trim()).filter(Boolean).map((pair) => {
    const [source, tenant] = pair.split('=');
    if (!source || !tenant || !/^[a-z0-9-]+$/.test(source)) throw new Error(`configuration:\n  INTAKE: "${pair}" is not source=tenant`);
    return { source, tenant };
  });
