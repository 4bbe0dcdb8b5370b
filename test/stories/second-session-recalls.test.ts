// What an agent learned of a user in one session it knows in the next: by meaning, not by words; cited, traced, audited and
// counted; and also when Milvus is away, then marked degraded.
import { expect, test } from '@jest/globals';
import { startTicketDesk } from '../../examples/ticket-desk.ts';
import { supportAgent } from '../../examples/support-agent.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const desk = await startTicketDesk();
atFileEnd(() => desk.stop());
const fleet = await startMemoryFleet(stack, [supportAgent(desk.url)]);
const ada = (session: string) => ({ tenant: 'acme', user: 'ada', session });

interface Trace { semantic: boolean; degraded: boolean; statement: string; cited: boolean }
const traceOf = (run: string): Promise<Trace[]> => fleet.rows<Trace>(
  `SELECT t.semantic, t.degraded, m.statement, m.id = ANY (t.cited) AS cited FROM retrieval_traces t, unnest(t.injected) AS i(id) JOIN memories m ON m.id = i.id WHERE t.run_id = $1 ORDER BY m.statement`, [run]);

test('the first session is remembered: every candidate has its verdict, every memory its evidence and its run', async () => {
  const first = await fleet.talk('support-agent', 'Hello, my name is Ada Larsen. I prefer to be contacted by e-mail. Our billing system is Zuora. The invoice export fails with error 504.', ada('monday'));
  expect(first).toMatchObject({ status: 'completed', error_code: null });
  expect((await fleet.run('acme', first.id)).memory_state).toBe('done');
  const verdicts = await fleet.rows<{ decision: string; stage: string; reason: string; memory_id: string | null }>(`SELECT decision::text, stage, reason, memory_id FROM memory_candidates WHERE run_id = $1 ORDER BY index`, [first.id]);
  expect(verdicts.filter(({ decision }) => decision === 'ADMIT').length).toBeGreaterThanOrEqual(3);
  expect(verdicts.filter(({ decision }) => decision !== 'ADMIT').length).toBeGreaterThan(0);
  const memories = await fleet.rows<{ run_id: string; evidence: { quote: string }[] }>(`SELECT run_id, evidence FROM memories WHERE user_id = 'ada'`);
  expect(memories.length).toBe(verdicts.filter(({ memory_id }) => memory_id !== null).length);
  for (const memory of memories) expect([memory.run_id, (memory.evidence[0]?.quote.length ?? 0) > 0]).toEqual([first.id, true]);
  await fleet.indexed('acme');
});

test('the second session recalls by meaning, cites what it used, and the use is traced, counted and audited', async () => {
  const second = await fleet.talk('support-agent', 'How are you going to reach out to me about it?', ada('tuesday'));
  expect(second.status).toBe('completed');
  const trace = await traceOf(second.id);
  const mail = trace.find(({ statement }) => statement.includes('e-mail'));
  expect(mail).toMatchObject({ semantic: true, degraded: false });
  expect((second.output as { answer: string }).answer).toMatch(/\[m:[0-9a-f]{32}\]/);
  expect(trace.some(({ cited }) => cited)).toBe(true);
  const counted = await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM memories WHERE cited_count > 0`);
  expect(counted[0]?.n).toBe(trace.filter(({ cited }) => cited).length);
  const audited = await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM audit_events WHERE action = 'memory.recalled' AND actor = 'run:' || $1`, [second.id]);
  expect(audited[0]?.n).toBe(trace.length);
});

test('where Milvus does not answer, recall goes on from Postgres and says that it is degraded', async () => {
  const away = await startMemoryFleet(stack, [supportAgent(desk.url)], { change: { MILVUS_ADDRESS: '127.0.0.1:1', REDIS_PREFIX: `${stack.redisPrefix}-b` } });
  await Promise.all(fleet.workers.map((worker) => worker.stop())); // from here on only the other fleet works
  const third = await away.talk('support-agent', 'Which billing system do we have?', ada('wednesday'));
  expect(third.status).toBe('completed');
  const trace = await traceOf(third.id);
  expect(trace.map(({ degraded }) => degraded)).toEqual(trace.map(() => true));
  expect((await away.base.metrics.recalls.get()).values).toMatchObject([{ labels: { outcome: 'degraded', arm: 'told' }, value: 1 }]);
  expect(trace.some(({ statement }) => statement.includes('Zuora'))).toBe(true);
}, 60_000);
