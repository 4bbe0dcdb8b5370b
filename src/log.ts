// Structured logs (pino), bound to tenant, run and fence, with secrets and content removed by name. A log line never
// carries what a person wrote, a tool returned or a memory says: ids, codes, numbers and our own sentences only.
import { pino, type Logger } from 'pino';

export type Log = Logger;

const REDACTED = ['authorization', 'apiKey', 'api_key', 'password', 'secret', 'token', 'input', 'output', 'content', 'statement', 'text', 'arguments', 'headers'];

/** level: pino's level name; name: the process, e.g. `agent-worker`. Writes JSON lines to standard output. */
export function makeLog(level: string, name: string): Log {
  return pino({
    name,
    level,
    redact: { paths: REDACTED.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
    base: { name, pid: process.pid },
  });
}
