// What processes have used, from /proc: CPU time of a process with its children (PostgreSQL is many), and resident memory.
import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ of Linux. */
const TICKS_PER_S = 100;

const statOf = (pid: number): number[] => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ').map(Number); // the name before it may hold spaces
};

const ownTicks = (fields: readonly number[]): number => (fields[11] ?? 0) + (fields[12] ?? 0);
const reapedTicks = (fields: readonly number[]): number => (fields[13] ?? 0) + (fields[14] ?? 0);

/** CPU milliseconds so far of these processes, their children, and children that ended. */
export function cpuMs(pids: readonly number[]): number {
  let ticks = 0;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const fields = statOf(Number(entry));
      if (pids.includes(Number(entry))) ticks += ownTicks(fields) + reapedTicks(fields);
      else if (pids.includes(fields[1] ?? 0)) ticks += ownTicks(fields);
    } catch { /* it ended meanwhile */ }
  }
  return (ticks * 1_000) / TICKS_PER_S;
}

export function residentBytes(pid: number): number {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n').find((one) => one.startsWith('VmRSS'));
  return Number(line?.split(/\s+/)[1] ?? NaN) * 1_024;
}
