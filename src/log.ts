// Structured logs (pino), bound to tenant, run and fence, with secrets and content removed by name. A log line never
// carries what a person wrote, a tool returned or a memory says: ids, codes, numbers and our own sentences only.
// Lines are written many at a time: a write for each costs a run that does little a tenth of its processor time. A warning leaves at
// once, with all before it; of the rest a process that is killed loses the last tenth of a second.
import { pino, symbols, type DestinationStream, type Logger } from 'pino';

export type Log = Logger;

const REDACTED = ['authorization', 'apiKey', 'api_key', 'password', 'secret', 'token', 'input', 'output', 'content', 'statement', 'text', 'arguments', 'headers'];
const FLUSH_BYTES = 8_192;
const FLUSH_MS = 100;
const WARN = 40;

/** level: pino's level name; name: the process, e.g. `agent-worker`. Writes JSON lines to standard output. */
export function makeLog(level: string, name: string): Log {
  return pino({
    name,
    level,
    redact: { paths: REDACTED.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
    base: { name, pid: process.pid },
  }, standardOutput());
}

let output: DestinationStream | undefined;

/** One for all logs of the process, so that their lines stay in order. */
function standardOutput(): DestinationStream {
  if (output) return output;
  const lines = pino.destination({ fd: process.stdout.fd, sync: true, minLength: FLUSH_BYTES, periodicFlush: FLUSH_MS }); // not synchronous, what is under way at an exit is lost
  process.once('exit', () => lines.flush());
  const stream = { [symbols.needsMetadataGsym]: true, lastLevel: 0, write(line: string) { lines.write(line); if (stream.lastLevel >= WARN) lines.flush(); } };
  return output = stream;
}
