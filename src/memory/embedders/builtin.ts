// The built-in embedder: a sentence-transformers model in a folder, run by ONNX Runtime in a thread of this process, so
// that semantic recall needs no second key and no second service. Queries overtake documents: a recall waits for one text
// at most, however long the indexer's batch is. A thread that dies fails the text it held and is started again. A thread is
// never terminated from outside: inside the native runtime that ends the whole process (seen: an uncaught Napi::Error).
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { EmbedKind, Embedder } from '../../domain/embedder.ts';
import { MainstayError, messageOf } from '../../domain/errors.ts';
import type { Log } from '../../log.ts';
import { readManifest, type Manifest } from './builtin-manifest.ts';
import type { FromWorker, ToWorker, WorkerInput } from './builtin-worker.ts';

export interface BuiltinOptions {
  readonly dir: string;
  readonly log: Log;
  /** Which ONNX Runtime: `any` takes the native one where it loads, else WASM. */
  readonly runtime?: WorkerInput['runtime'];
  /** That compute one text, where the runtime is native; 2 unless told. */
  readonly threads?: number;
}

/** Half of a small machine: the rest moves runs. */
const textThreads = 2;
/** A thread that has not read its model by then never will. */
const startMs = 60_000;
/** What closing waits for the text in work and for the thread's end; a thread that still runs then ends with the process. */
const closeMs = 10_000;

interface Job { readonly text: string; resolve(vector: number[]): void; reject(error: Error): void }

interface State {
  readonly options: BuiltinOptions;
  readonly manifest: Manifest;
  readonly waiting: Record<EmbedKind, Job[]>;
  /** The thread that reads its model or works; cleared when it ends. */
  thread: Promise<Worker> | undefined;
  /** The newest thread: the end of an older one is no news. */
  worker: Worker | undefined;
  running: { id: number; job: Job } | undefined;
  lastId: number;
  closed: boolean;
}

/** Reads and checks the folder, starts the thread. Throws `embedder_invalid`, or `embedder_failed` when no runtime loads. */
export async function builtinEmbedder(options: BuiltinOptions): Promise<Embedder> {
  const manifest = await readManifest(options.dir);
  const state: State = { options, manifest, waiting: { query: [], document: [] }, thread: undefined, worker: undefined, running: undefined, lastId: 0, closed: false };
  await thread(state);
  return {
    fingerprint: `builtin:${manifest.id}:${manifest.dimensions}`,
    dimensions: manifest.dimensions,
    semantic: true,
    embed: (texts, kind) => Promise.all(texts.map((text) => enqueue(state, text, kind))),
    close: () => close(state),
  };
}

function enqueue(state: State, text: string, kind: EmbedKind): Promise<number[]> {
  if (state.closed) return Promise.reject(new MainstayError('embedder_failed', 'The embedder was closed.'));
  const prefix = kind === 'query' ? state.manifest.queryPrefix : state.manifest.documentPrefix;
  return new Promise((resolve, reject) => {
    state.waiting[kind].push({ text: prefix + text, resolve, reject });
    void next(state);
  });
}

/** Gives the thread the next text, when it has none. */
async function next(state: State): Promise<void> {
  if (state.running) return;
  const job = state.waiting.query.shift() ?? state.waiting.document.shift();
  if (!job) return;
  const running = { id: ++state.lastId, job };
  state.running = running; // before the wait below: one text at a time
  try {
    const worker = await thread(state);
    worker.ref(); // a process with work to do stays
    worker.postMessage({ kind: 'embed', id: running.id, text: job.text } satisfies ToWorker);
  } catch (error) {
    settle(state, running.id, () => job.reject(error instanceof Error ? error : new Error(messageOf(error))));
  }
}

function settle(state: State, id: number, answer: (job: Job) => void): void {
  if (state.running?.id !== id) return;
  const { job } = state.running;
  state.running = undefined;
  answer(job);
  void next(state);
}

function thread(state: State): Promise<Worker> {
  state.thread ??= start(state);
  return state.thread;
}

async function start(state: State): Promise<Worker> {
  const { dir, runtime = 'any', threads = textThreads, log } = state.options;
  const file = import.meta.url.endsWith('.ts') ? './builtin-worker.ts' : './builtin-worker.js'; // from source, or compiled
  const worker = new Worker(new URL(file, import.meta.url), {
    workerData: { dir, manifest: state.manifest, runtime, threads } satisfies WorkerInput,
    execArgv: [], // flags of this process (--eval, --input-type) may be none for a thread
  });
  state.worker = worker;
  worker.on('message', (message: FromWorker) => { listen(state, worker, message); });
  worker.on('error', (error) => { ended(state, worker, `broke off: ${messageOf(error)}`); });
  worker.on('exit', () => { ended(state, worker, 'ended'); });
  try {
    const [first] = await once(worker, 'message', { signal: AbortSignal.timeout(startMs) }) as [FromWorker];
    if (first.kind === 'unusable') throw new MainstayError(first.code, first.detail);
    if (first.kind === 'ready') log.info({ model: state.manifest.id, runtime: first.runtime }, 'embedding model is loaded');
    worker.unref();
    return worker;
  } catch (error) {
    state.thread = undefined;
    worker.unref(); // it has ended itself, or hangs and is left behind
    throw error instanceof MainstayError ? error : new MainstayError('embedder_failed', `The embedding thread did not start: ${messageOf(error)}`, { cause: error });
  }
}

function listen(state: State, worker: Worker, message: FromWorker): void {
  if (message.kind === 'vector') settle(state, message.id, (job) => job.resolve([...message.vector]));
  if (message.kind === 'failed') settle(state, message.id, (job) => job.reject(new MainstayError('embedder_failed', `The embedding model failed: ${message.detail}`)));
  if (!state.running && !state.closed) worker.unref(); // an idle thread keeps no process alive
}

/** The thread is gone: its text fails, the others get a new thread. */
function ended(state: State, worker: Worker, how: string): void {
  if (state.worker !== worker) return;
  state.worker = undefined;
  state.thread = undefined;
  const { running } = state;
  if (running) settle(state, running.id, (job) => job.reject(new MainstayError('embedder_failed', `The embedding thread ${how}.`)));
}

async function close(state: State): Promise<void> {
  if (state.closed) return;
  state.closed = true;
  const reason = new MainstayError('embedder_failed', 'The embedder was closed.');
  for (const job of [...state.waiting.query.splice(0), ...state.waiting.document.splice(0)]) job.reject(reason);
  const worker = await state.thread?.catch(() => undefined);
  if (!worker || state.worker !== worker) return;
  worker.ref();
  const ended = once(worker, 'exit', { signal: AbortSignal.timeout(closeMs) });
  worker.postMessage({ kind: 'stop' } satisfies ToWorker); // read after the text in work
  await ended.catch(() => { worker.unref(); state.options.log.warn('the embedding thread did not end in time'); });
}
