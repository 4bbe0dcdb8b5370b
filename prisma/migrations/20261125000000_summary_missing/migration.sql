-- A finished run whose extraction gave no valid summary, twice: nothing of it enters memory, and the row says so.
ALTER TYPE memory_state ADD VALUE 'summary_missing';
