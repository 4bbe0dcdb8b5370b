// Preload of a worker (node --import): its wall clock is off by the milliseconds that the file FAULT_CLOCK_FILE holds, read
// again and again. Only Date is shifted, as a stepped system clock would be; the monotonic clock goes on.
import { readFileSync } from 'node:fs';

const file = process.env.FAULT_CLOCK_FILE;
let offsetMs = 0;
const look = () => { try { offsetMs = Number(readFileSync(file, 'utf8')) || 0; } catch { /* not written yet */ } };
look();
setInterval(look, 50).unref();

const TrueDate = Date;
globalThis.Date = class Date extends TrueDate {
  constructor(...parts) { if (parts.length === 0) super(TrueDate.now() + offsetMs); else super(...parts); }
  static now() { return TrueDate.now() + offsetMs; }
};
