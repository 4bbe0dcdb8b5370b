// The object store in a bucket of S3, or of anything that speaks like it. A put is one signed request whose signature covers
// the digest of its bytes, so a server cannot keep others. Every call ends: silence, a stalled body and the whole have limits.
// Only the server's own word that the key is missing counts as missing; a missing bucket, a bare 404 of a proxy, a refused
// login are `value_unavailable`, since a run must not fail for good on somebody's configuration.
import { DeleteObjectCommand, GetObjectCommand, HeadBucketCommand, NoSuchKey, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { BlobStore } from '../domain/blob.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { BLOB_CONNECT_MS, BLOB_DEADLINE_MS, BLOB_SILENCE_MS } from '../domain/tunables.ts';
import { partsOf } from './keys.ts';

export interface S3Options {
  readonly bucket: string;
  readonly region: string;
  /** First part of every object's name. */
  readonly prefix: string;
  /** Undefined: Amazon's own, by the region. */
  readonly endpoint: string | undefined;
  readonly forcePathStyle: boolean;
  /** Undefined: what the process was given by its platform (a pod's or an instance's role), as the SDK finds it. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
  /** Shorter in tests. */
  readonly silenceMs?: number;
  readonly deadlineMs?: number;
}

/** Asks nothing of the server yet. */
export function openS3(options: S3Options): BlobStore {
  const { bucket: Bucket, prefix, silenceMs = BLOB_SILENCE_MS, deadlineMs = BLOB_DEADLINE_MS } = options;
  const client = clientFor(options, silenceMs);
  const place = (key: string) => ({ Bucket, Key: `${prefix}/${partsOf(key).join('/')}` });
  return {
    put: async (key, bytes) => {
      const object = place(key);
      await answered('put', deadlineMs, (abortSignal) => client.send(new PutObjectCommand({ ...object, Body: bytes }), { abortSignal }));
    },
    get: async (key) => {
      const object = place(key);
      return answered('get', deadlineMs, (abortSignal) => read(client, object, abortSignal));
    },
    delete: async (key) => {
      const object = place(key);
      await answered('delete', deadlineMs, (abortSignal) => client.send(new DeleteObjectCommand(object), { abortSignal }));
    },
    ping: async () => { await answered('ping', silenceMs, (abortSignal) => client.send(new HeadBucketCommand({ Bucket }), { abortSignal })); },
  };
}

const clientFor = ({ region, endpoint, forcePathStyle, credentials }: S3Options, silenceMs: number): S3Client =>
  new S3Client({
    region, forcePathStyle,
    ...(endpoint !== undefined && { endpoint }),
    ...(credentials && { credentials }),
    // A second try is for the kept connection that the server has just closed. All calls may be repeated, and a put that
    // fails may follow a tool's effect, whose result would then be unknown. More tries are the engine's business.
    maxAttempts: 2, retryMode: 'standard',
    requestHandler: { connectionTimeout: Math.min(BLOB_CONNECT_MS, silenceMs), socketTimeout: silenceMs },
    // Newer checksums are unknown to many servers that speak S3; the signature covers a SHA-256 already, and whoever reads a
    // value compares its digest.
    requestChecksumCalculation: 'WHEN_REQUIRED', responseChecksumValidation: 'WHEN_REQUIRED',
    // Not every such server answers `Expect: 100-continue`, for which the SDK waits six seconds before it sends the bytes.
    expectContinueHeader: false,
  });

async function read(client: S3Client, object: { Bucket: string; Key: string }, abortSignal: AbortSignal): Promise<Uint8Array | undefined> {
  try {
    const { Body } = await client.send(new GetObjectCommand(object), { abortSignal });
    return Body ? await Body.transformToByteArray() : new Uint8Array();
  } catch (error) {
    if (error instanceof NoSuchKey) return undefined;
    throw error;
  }
}

/** The signal ends a request; the race ends what the SDK does before one, where it may ask other servers for a login. */
async function answered<T>(what: string, deadlineMs: number, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const limit = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => { reject(new Error(`no answer within ${deadlineMs} ms`)); limit.abort(); }, deadlineMs);
  });
  try {
    return await Promise.race([call(limit.signal), late]);
  } catch (error) {
    throw new MainstayError('value_unavailable', `The object store failed to ${what}: ${worded(error)}.`, { cause: error });
  } finally {
    clearTimeout(timer); // it holds the answer, which may be large
  }
}

/** Name and status of a failure. The server's sentence stays in the cause: it may quote names of others' objects. */
function worded(error: unknown): string {
  const { name, code, $metadata } = error as { name?: unknown; code?: unknown; $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode;
  return `${String(code ?? (name === 'Error' ? messageOf(error) : name))}${status === undefined ? '' : ` (${status})`}`;
}
