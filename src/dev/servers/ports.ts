// Free ports on loopback. A port once chosen is kept in the state folder by whoever uses it, so that a second start has
// the same addresses; when something else has taken it meanwhile, another is chosen and recorded.
import { createServer } from 'node:net';
import { monoMs, pause } from '../../clock.ts';

/** A port of 127.0.0.1 that was free a moment ago. */
export const freePort = (): Promise<number> => listenOnce(0);

/**
 * `wanted` when it is free, otherwise another one. Looks for a quarter of a second: the kernel closes the sockets of a
 * killed process a moment after the process is gone.
 */
export async function freePortNear(wanted: number | undefined): Promise<number> {
  if (wanted === undefined) return freePort();
  for (const endMs = monoMs() + 250; ; await pause(25)) {
    try { return await listenOnce(wanted); } catch { if (monoMs() > endMs) return freePort(); }
  }
}

/** Binds the port and lets go of it; rejects when it is taken. */
const listenOnce = (port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      server.close(() => (address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
