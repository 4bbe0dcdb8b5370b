// The thread in which the built-in model runs: one text in, one vector out. ONNX Runtime blocks its thread (50 ms for a long
// text, 300 ms under WASM), so it may not run where runs are moved. One text per call: quantised models round by what else
// is in the batch, and the same text must always give the same vector. Native runtime where it loads, else WASM.
import { parentPort, workerData } from 'node:worker_threads';
import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { codeOf, messageOf } from '../../domain/errors.ts';
import { readChecked, type Manifest } from './builtin-manifest.ts';

export interface WorkerInput { readonly dir: string; readonly manifest: Manifest; readonly runtime: 'any' | 'native' | 'wasm'; /** Of the native runtime; for one text. */ readonly threads: number }
export type ToWorker = { readonly kind: 'embed'; readonly id: number; readonly text: string } | { readonly kind: 'stop' };
export type FromWorker =
  | { readonly kind: 'ready'; readonly runtime: 'native' | 'wasm' }
  | { readonly kind: 'unusable'; readonly code: 'embedder_invalid' | 'embedder_failed'; readonly detail: string }
  | { readonly kind: 'vector'; readonly id: number; readonly vector: Float32Array }
  | { readonly kind: 'failed'; readonly id: number; readonly detail: string };

/** What we use of @huggingface/tokenizers, whose own types do not resolve under Node's rules. It neither pads nor truncates. */
interface Tokenizer { encode(text: string): { readonly ids: readonly number[] } }

interface Runtime {
  readonly kind: 'native' | 'wasm';
  readonly session: InferenceSession;
  tensor(values: BigInt64Array): Tensor;
}

/** Texts longer than the model's window are cut before tokenizing: no token is longer than this on average. */
const charsPerToken = 24;
/** Its threads sleep between two operations: by default they spin, which on shared cores doubles what a text costs and triples its wait. */
const quiet = { session: { intra_op: { allow_spinning: '0' } } };

const post = (message: FromWorker): void => parentPort?.postMessage(message);

async function main({ dir, manifest, runtime: wanted, threads }: WorkerInput): Promise<void> {
  const tokenizers = await import('@huggingface/tokenizers') as unknown as { Tokenizer: new (json: object, config: object) => Tokenizer };
  const tokenizer = new tokenizers.Tokenizer(JSON.parse((await readChecked(dir, 'tokenizer.json', manifest)).toString()) as object, {});
  const runtime = await openRuntime(await readChecked(dir, 'model.onnx', manifest), wanted, threads);
  let work = Promise.resolve(); // one after the other; the end waits for the last
  parentPort?.on('message', (message: ToWorker) => {
    work = work.then(() => (message.kind === 'stop' ? end(runtime) : answer(message, () => embed(runtime, tokenizer, manifest, message.text))));
  });
  await embed(runtime, tokenizer, manifest, 'ready'); // a model of another shape is found out now, not at the first recall
  post({ kind: 'ready', runtime: runtime.kind });
}

async function answer({ id }: { id: number }, embedText: () => Promise<Float32Array>): Promise<void> {
  try { post({ kind: 'vector', id, vector: await embedText() }); }
  catch (error) { post({ kind: 'failed', id, detail: messageOf(error) }); }
}

/** With the port closed nothing is left to do, and the thread ends by itself. */
async function end(runtime: Runtime): Promise<void> {
  await runtime.session.release().catch(() => undefined);
  parentPort?.close();
}

async function openRuntime(model: Buffer, wanted: WorkerInput['runtime'], threads: number): Promise<Runtime> {
  if (wanted !== 'wasm') {
    try {
      const native = (await import('onnxruntime-node')).default;
      const session = await native.InferenceSession.create(model, { intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 3, extra: quiet });
      return { kind: 'native', session, tensor: (values) => new native.Tensor('int64', values, [1, values.length]) };
    } catch (error) {
      if (wanted === 'native') throw error; // otherwise the package, its library or this platform is missing
    }
  }
  const web = await import('onnxruntime-web');
  web.env.wasm.numThreads = 1; // its own threads are workers of this worker and outlive it
  web.env.logLevel = 'error';
  const session = await web.InferenceSession.create(model, { executionProviders: ['wasm'] });
  return { kind: 'wasm', session, tensor: (values) => new web.Tensor('int64', values, [1, values.length]) };
}

async function embed(runtime: Runtime, tokenizer: Tokenizer, manifest: Manifest, text: string): Promise<Float32Array> {
  const ids = window(tokenizer.encode(text.slice(0, manifest.maxTokens * charsPerToken).toWellFormed()).ids, manifest.maxTokens);
  const inputs: Record<string, Tensor> = {
    input_ids: runtime.tensor(BigInt64Array.from(ids, BigInt)),
    attention_mask: runtime.tensor(new BigInt64Array(ids.length).fill(1n)),
    token_type_ids: runtime.tensor(new BigInt64Array(ids.length)),
  };
  const wanted = Object.entries(inputs).filter(([name]) => runtime.session.inputNames.includes(name));
  const outputs = await runtime.session.run(Object.fromEntries(wanted));
  const hidden = outputs['last_hidden_state'] ?? outputs[runtime.session.outputNames[0] ?? ''];
  if (!hidden || !(hidden.data instanceof Float32Array) || hidden.dims.length !== 3 || hidden.dims[2] !== manifest.dimensions) {
    throw new Error(`the model answers with shape ${hidden?.dims.join('x')}, the manifest says ${manifest.dimensions} dimensions`);
  }
  return meanOf(hidden.data, ids.length, manifest.dimensions);
}

/** At most `max` ids; the last one, which ends a text, stays last. */
const window = (ids: readonly number[], max: number): number[] => (ids.length <= max ? [...ids] : [...ids.slice(0, max - 1), ids.at(-1) ?? 0]);

/** Mean over the tokens, at length 1. */
function meanOf(hidden: Float32Array, tokens: number, dimensions: number): Float32Array {
  const sum = new Float64Array(dimensions);
  for (let token = 0; token < tokens; token++) {
    for (let at = 0; at < dimensions; at++) sum[at] = (sum[at] ?? 0) + (hidden[token * dimensions + at] ?? 0);
  }
  const norm = Math.hypot(...sum);
  if (!(norm > 0) || !Number.isFinite(norm)) throw new Error('the model answered with a vector without length');
  return Float32Array.from(sum, (value) => value / norm);
}

main(workerData as WorkerInput).catch((error: unknown) => {
  post({ kind: 'unusable', code: codeOf(error) === 'embedder_invalid' ? 'embedder_invalid' : 'embedder_failed', detail: messageOf(error) });
});
