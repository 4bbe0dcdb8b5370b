// The embedder the configuration asks for. Where the built-in model's folder is not there, recall goes on by words alone:
// said in one loud line here and by `semantic: false` wherever recall is shown. A folder that is there but wrong is an
// error: a silent change of the vector space would make every stored vector worthless.
import { existsSync } from 'node:fs';
import type { Config } from '../../config.ts';
import type { Embedder } from '../../domain/embedder.ts';
import { MainstayError } from '../../domain/errors.ts';
import type { Log } from '../../log.ts';
import { builtinEmbedder } from './builtin.ts';
import { lexicalEmbedder } from './lexical.ts';
import { openaiEmbedder } from './openai.ts';
import { voyageEmbedder } from './voyage.ts';

/** Throws `embedder_invalid` where the configuration cannot be honoured. */
export async function makeEmbedder(config: Config, log: Log): Promise<Embedder> {
  const embedder = await chosen(config, log);
  log.info({ embedder: embedder.fingerprint, semantic: embedder.semantic }, 'embedder is ready');
  if (embedder.fingerprint.startsWith('builtin:')) log.warn('the built-in embedding model knows English: in other languages memories are found by their words more than by their meaning; see "Other embedders" in docs/memory.md');
  return embedder;
}

async function chosen(config: Config, log: Log): Promise<Embedder> {
  const model = config.EMBEDDER_MODEL;
  const dimensions = config.EMBEDDER_DIMENSIONS;
  switch (config.EMBEDDER) {
    case 'voyage':
      return voyageEmbedder({ apiKey: required('VOYAGE_API_KEY', config.VOYAGE_API_KEY), model, dimensions });
    case 'openai':
      return openaiEmbedder({ baseUrl: config.OPENAI_BASE_URL, apiKey: config.OPENAI_API_KEY, model, dimensions });
    case 'lexical':
      return lexicalEmbedder();
    case 'builtin':
      if (existsSync(config.EMBEDDER_MODEL_DIR)) return builtinEmbedder({ dir: config.EMBEDDER_MODEL_DIR, log });
      log.error({ dir: config.EMBEDDER_MODEL_DIR }, 'NO SEMANTIC RECALL: the folder of the built-in embedding model is missing (EMBEDDER_MODEL_DIR); memories are found by their words only');
      return lexicalEmbedder();
  }
}

function required(key: string, value: string | undefined): string {
  if (value === undefined) throw new MainstayError('embedder_invalid', `${key} is not set, and EMBEDDER asks for it.`);
  return value;
}
