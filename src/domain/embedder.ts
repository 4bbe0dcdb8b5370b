// The embedder port: text to vectors. A fingerprint names the space; vectors of two fingerprints are never compared.

export type EmbedKind = 'query' | 'document';

export interface Embedder {
  /** Model, dimensions and whatever else shapes the space, e.g. `builtin:all-minilm-l6-v2-int8:384`. */
  readonly fingerprint: string;
  readonly dimensions: number;
  /** `false`: matches words, not meaning. Every surface that shows recall says so. */
  readonly semantic: boolean;
  /**
   * One unit-length vector per text, in order. `untilMs`: by the clock of `monoMs`; who asks waits no longer, so that nothing is tried again later.
   * Throws MainstayError embedder_failed.
   */
  embed(texts: readonly string[], kind: EmbedKind, untilMs?: number): Promise<number[][]>;
  /** Where it remembers what it has embedded: forgets these texts, as they were given. */
  forget?(texts: readonly string[]): Promise<void>;
  close(): Promise<void>;
}
