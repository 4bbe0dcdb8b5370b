// The object store as the engine sees it: bytes under a key, for values too large for their row. The row keeps the key's last
// part and the digest, so that what comes back is known to be what was put.

export interface BlobStore {
  /** Durable when it resolves. The same key with other bytes is never put: the digest is part of it. Throws `value_unavailable`. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Undefined: there is nothing under this key. Throws `value_unavailable`. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** What is not there is no error. Throws `value_unavailable`. */
  delete(key: string): Promise<void>;
  /** Rejects unless the store answers. */
  ping(): Promise<void>;
}

/** A value in its row as JSON text, or where it lies in the object store; never both. */
export interface Stored { readonly json: string | null; readonly blob: string | null }
