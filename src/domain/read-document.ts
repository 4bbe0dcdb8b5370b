// The product's own run that reads a document for the memory gate: its name, its parts, and how often it is there. Pure.

export const READ_DOCUMENT = 'mainstay.read_document';
/** Chunks one run reads: what the model that extracts is given at once. */
export const CHUNKS_OF_PART = 40;
/** One reading run per document and part, however often it is asked for. */
export const readKey = (document: string, part: number): string => `read:${document}:${part}`;
