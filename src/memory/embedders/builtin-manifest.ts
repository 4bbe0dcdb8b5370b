// A model folder of the built-in embedder: manifest.json, model.onnx, tokenizer.json. The manifest says how the model wants
// its texts and what hash each file has; nothing is loaded from a folder whose files do not match.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { MainstayError, messageOf } from '../../domain/errors.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

export const manifestSchema = z.object({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,80}$/),
  dimensions: z.number().int().min(32).max(4_096),
  pooling: z.literal('mean'),
  maxTokens: z.number().int().min(8).max(8_192),
  queryPrefix: z.string().max(200),
  documentPrefix: z.string().max(200),
  sha256: z.object({ 'model.onnx': sha256, 'tokenizer.json': sha256 }),
});
export type Manifest = z.infer<typeof manifestSchema>;

/** Throws `embedder_invalid`. */
export async function readManifest(dir: string): Promise<Manifest> {
  let value: unknown;
  try { value = JSON.parse(await readFile(join(dir, 'manifest.json'), 'utf8')); }
  catch (error) { throw new MainstayError('embedder_invalid', `manifest.json in ${dir} cannot be read: ${messageOf(error)}`); }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) throw new MainstayError('embedder_invalid', `manifest.json in ${dir} is not as it should be: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** The file's bytes once its hash is right. Throws `embedder_invalid`. */
export async function readChecked(dir: string, file: keyof Manifest['sha256'], manifest: Manifest): Promise<Buffer> {
  const bytes = await readFile(join(dir, file)).catch((error: unknown) => { throw new MainstayError('embedder_invalid', `${file} in ${dir} cannot be read: ${messageOf(error)}`); });
  if (createHash('sha256').update(bytes).digest('hex') !== manifest.sha256[file]) throw new MainstayError('embedder_invalid', `${file} in ${dir} is not the file its manifest names: the hash differs.`);
  return bytes;
}
