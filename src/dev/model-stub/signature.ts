// What stands for the provider's signature under a block of thinking.
import { createHash } from 'node:crypto';

/** Belongs to this thinking and to no other: what comes back changed is refused. */
export const signatureOf = (thinking: string): string => createHash('sha256').update(`stub:${thinking}`).digest('base64').slice(0, 32);
