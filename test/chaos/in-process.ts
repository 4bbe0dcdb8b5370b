// Preload of every process of the fleet (node --import): obeys the harness, word by word, on standard input, and says on
// standard output what has really happened. `block MS` blocks the event loop; `clock MS` shifts the wall clock (the monotonic
// one goes on, as with a stepped system clock); `arm POINT ACTION` makes the next pass of a fault point (or the PASS-th from now, with
// a third word) kill, stop, fail or block this process; `disarm` takes that back. The process ends with the harness. What it says is written at once, because the
// next thing may be its end. What takes the batch lane minutes takes it seconds here (short-times.ts).
import { writeSync } from 'node:fs';
import { flushCompileCache, registerHooks } from 'node:module';
import { createInterface } from 'node:readline';
import type { FaultPoint } from '../../src/fault-points.ts';
import { LANDED, type PointAction } from './orders.ts';

/** Long enough to be seen, shorter than any lease. */
const POINT_BLOCK_MS = 700;
/** Most of these processes are killed, and would leave no compiled code for the next. */
const FLUSH_AFTER_MS = 3_000;

const say = (what: string): void => { writeSync(1, `${LANDED} ${what}\n`); };
const blockFor = (ms: number): void => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms); };

let armed: { readonly point: string; readonly action: PointAction; passes: number } | undefined;

/** What src/fault-points.ts calls here. */
export function pass(point: FaultPoint): void {
  if (armed?.point !== point || --armed.passes > 0) return;
  const { action } = armed;
  armed = undefined;
  say(`point ${point} ${action}`);
  switch (action) {
    case 'kill': process.kill(process.pid, 'SIGKILL'); blockFor(5_000); return;
    case 'stop': process.kill(process.pid, 'SIGSTOP'); return;
    case 'block': blockFor(POINT_BLOCK_MS); return;
    case 'throw': throw new Error(`thrown at ${point}`);
  }
}

let offsetMs = 0;
const TrueDate = Date;
class ShiftedDate extends TrueDate {
  constructor(...parts: unknown[]) {
    if (parts.length === 0) super(TrueDate.now() + offsetMs);
    else super(...(parts as [number]));
  }
  static override now(): number { return TrueDate.now() + offsetMs; }
}
globalThis.Date = ShiftedDate as DateConstructor;

function obey(line: string): void {
  const [word, first = '', second = '', third = '1'] = line.split(' ');
  switch (word) {
    case 'block': blockFor(Number(first)); say(`block ${first}`); return;
    case 'clock': offsetMs = Number(first); say(`clock ${first}`); return;
    case 'arm': armed = { point: first, action: second as PointAction, passes: Number(third) }; return;
    case 'disarm': armed = undefined; return;
  }
}

createInterface({ input: process.stdin }).on('line', obey);
process.stdin.on('end', () => process.kill(process.pid, 'SIGKILL')); // an exit in good order would wait for readers that are gone
(process.stdin as unknown as { unref?: () => void }).unref?.();
setTimeout(() => flushCompileCache(), FLUSH_AFTER_MS).unref();

/** What stands in a module's place, by the end of its name; it may itself import the true one. */
const INSTEAD = [['/fault-points.ts', 'armed-points.ts'], ['/tunables.ts', 'short-times.ts']].map(([end, other]) => ({ end: end as string, href: new URL(other as string, import.meta.url).href }));
registerHooks({
  resolve: (specifier, context, next) => {
    const other = INSTEAD.find(({ end, href }) => specifier.startsWith('.') && specifier.endsWith(end) && context.parentURL !== href);
    return next(other?.href ?? specifier, context);
  },
});
