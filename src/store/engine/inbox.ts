// What is sent to a run raises `inbox_seq` on its row in the statement that stores it, and wakes the run where it waits for
// something a person, another run or a late result can bring. It looks again, and parks again if it was not that. A commit
// that would park compares the number with the one its step has read. Waits for a time or a rate are not woken.

/** Waits that end by news. */
export const BY_NEWS = `('signal', 'approval', 'child', 'outcome', 'budget', 'batch')`;
/** `r` is the run's row. */
const WAKES = `r.status = 'waiting' AND r.wait_reason IN ${BY_NEWS}`;
export const WOKEN = `status = CASE WHEN ${WAKES} THEN 'queued' ELSE r.status END, wake_at = CASE WHEN ${WAKES} THEN now() ELSE r.wake_at END,
  wait_reason = CASE WHEN ${WAKES} THEN NULL ELSE r.wait_reason END, inbox_seq = r.inbox_seq + 1`;
