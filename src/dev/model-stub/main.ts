// The model stub as a process: `node src/dev/model-stub/main.ts [port] [host]`. Prints its address as the first line of standard
// output and serves until SIGTERM or SIGINT.
import { startModelStub } from './server.ts';

const port = Number(process.argv[2] ?? 0);
if (!Number.isInteger(port) || port < 0 || port > 65_535) {
  console.error(`"${process.argv[2]}" is not a port.`);
  process.exit(2);
}
const stub = await startModelStub({ port, host: process.argv[3] ?? '127.0.0.1' });
console.log(stub.url);
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => { void stub.stop().then(() => process.exit(0)); });
