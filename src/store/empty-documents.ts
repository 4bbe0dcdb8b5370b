// SQL: what an emptied document and its chunks look like. Their rows stay until the index has let go of the chunks.

export const EMPTY_DOCUMENT = `closed_at = coalesce(closed_at, now()), erased_at = now(), title = '', source = NULL, source_hash = NULL, hash = sha256(id::text::bytea)`;
export const EMPTY_CHUNK = `closed_at = coalesce(closed_at, now()), erased_at = now(), text = '', hash = '\\x', version = version + 1, indexed_generation = NULL`;
