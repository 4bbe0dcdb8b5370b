// node --import test/support/shifted-clock.mjs …: a process whose wall clock is off by the milliseconds that the file
// CLOCK_SHIFT_FILE holds, looked at every 20 ms. The clock that only goes forward is not touched, as on a real machine.
import { readFileSync } from 'node:fs';

const RealDate = Date;
const realNow = RealDate.now.bind(RealDate);
let shiftMs = 0;
setInterval(() => { try { shiftMs = Number(readFileSync(process.env.CLOCK_SHIFT_FILE, 'utf8')); } catch { shiftMs = 0; } }, 20).unref();

globalThis.Date = class extends RealDate {
  constructor(...given) { if (given.length > 0) super(...given); else super(realNow() + shiftMs); }
  static now() { return realNow() + shiftMs; }
};
