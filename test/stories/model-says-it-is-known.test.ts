// The model that extracts is shown what is known of what a run speaks of, and may say that a candidate is one of them. That is a hint: the gate
// strengthens the memory only where its own guards agree, a label of nothing is ignored, and what was shown is never evidence.
import { beforeEach, describe, expect, test } from '@jest/globals';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { judge } from '../../src/domain/gate.ts';
import { hashOf } from '../../src/domain/gate-identity.ts';
import type { GateInput, LiveMemory } from '../../src/domain/gate-input.ts';
import { extractionRequest } from '../../src/memory/extraction-request.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { until } from '../support/meet.ts';
import { plantMemories } from '../support/memories.ts';
import { useStack } from '../support/stack.ts';

let proposed: object[] = [];
const asked: { system: unknown; text: string }[] = [];
const extraction: StubScript = {
  name: 'extraction-of-this-test', matches: (request) => memoryExtraction.matches(request),
  reply: ({ system, messages }) => {
    asked.push({ system, text: JSON.stringify(messages) });
    return { json: { summary: { goal: 'g', result: 'r', decisions: [], open_items: [] }, candidates: proposed } };
  },
};
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer.' }), defineAgent({ name: 'other', version: 1, instructions: 'Answer.' })], { scripts: [extraction] });
const candidate = (statement: string, quote: string, over: Record<string, unknown> = {}) => ({
  type: 'fact', subject: 'depot north', attribute: 'gate', value: statement, statement, valid_from: null, evidence: [{ event_id: 'e1', quote }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', same_as: null, ...over,
});
let session = 0;
async function tell(message: string, over: { tenant?: string; user?: string; agent?: string } = {}): Promise<{ decision: string; reason: string; target: string | null }[]> {
  const { tenant = 'acme', user = 'ada', agent = 'talker' } = over;
  const { id } = await fleet.talk(agent, message, { tenant, user, session: `s${++session}` });
  return fleet.rows(`SELECT decision::text, reason, target_id::text AS target FROM memory_candidates WHERE run_id = $1 ORDER BY index`, [id]);
}
beforeEach(() => { proposed = []; asked.length = 0; });
const plant = async (tenant: string, user: string, statement: string): Promise<string> => (await plantMemories((sql, values) => fleet.rows(sql, values), tenant, [{ user, statement }]))[0]!;

test('it is shown what is known of what the run speaks of, of this user and tenant alone, without secrets', async () => {
  const known = await plant('acme', 'ada', 'Deliveries come in by the big gate.');
  for (const [tenant, user] of [['acme', 'bob'], ['globex', 'ada']] as const) await plant(tenant, user, `Deliveries of ${tenant} ${user} come in by the small gate.`);
  await fleet.rows(`UPDATE memories SET subject = 'depot north', attribute = 'entrance', value = 'big gate'`);
  const secret = await plant('acme', 'ada', 'The password is hunter2Xk29sdf!q.');
  await fleet.rows(`UPDATE memories SET subject = 'depot north' WHERE id = $1`, [secret]);
  await tell('What of Depot North?');
  expect(asked[0]?.text).toContain('Agent: talker');
  expect(asked[0]?.text).toContain('(fact, depot north, entrance): Deliveries come in by the big gate.');
  expect(asked[0]?.text).toContain('[secret removed]');
  expect(asked[0]?.text).not.toMatch(/small gate|hunter2/);
  // once the run is remembered nothing of it is left in the run that did it
  await until('it is remembered', async () => (await fleet.rows(`SELECT FROM agent_runs WHERE agent = 'mainstay.remember' AND status = 'completed'`)).length === 1);
  expect(await fleet.rows(`SELECT count(*)::int AS n, count(*) FILTER (WHERE result::text <> 'null')::int AS full FROM step_records WHERE name = 'known'`)).toEqual([{ n: 1, full: 0 }]);
  const rows = await fleet.rows(`WITH r AS (SELECT id FROM agent_runs WHERE agent = 'mainstay.remember') SELECT row_to_json(k)::text AS text FROM step_records k JOIN r ON r.id = k.run_id UNION ALL SELECT row_to_json(s)::text FROM run_steps s JOIN r ON r.id = s.run_id UNION ALL SELECT row_to_json(m)::text FROM model_calls m JOIN r ON r.id = m.run_id`);
  expect(rows.length).toBeGreaterThan(3);
  expect(JSON.stringify(rows)).not.toContain('big gate');
  await tell('What of the harbour?');
  expect(asked[1]?.text).not.toMatch(/Known already|big gate/);
  await fleet.rows(`UPDATE memories SET valid_to = now() WHERE id = $1`, [secret]);

  // "same as m0", and the guards agree
  proposed = [candidate('Deliveries of goods come in at the big gate, on the river side of the long yard.', 'Depot North: deliveries of goods come in at the big gate, on the river side of the long yard', { same_as: 'm0', value: 'big gate' })];
  expect(await tell('Depot North: deliveries of goods come in at the big gate, on the river side of the long yard')).toEqual([{ decision: 'REINFORCE', reason: 'SAME_AS', target: known }]);
  // a label of nothing, and words that are only in what was shown
  proposed = [candidate('Lorries of Depot North wait in lane 4.', 'lorries of Depot North wait in lane 4', { same_as: 'm9', attribute: 'lane' }), candidate('Deliveries come in by the big gate.', 'Deliveries come in by the big gate', { same_as: 'm0', attribute: 'entrance' }), candidate('Deliveries come in by the big gate.', 'Deliveries come in by the big gate', { same_as: 'm0', evidence: [{ event_id: 'm0', quote: 'Deliveries come in by the big gate' }] })];
  expect((await tell('lorries of Depot North wait in lane 4')).map(({ decision, reason }) => `${decision} ${reason}`)).toEqual(['ADMIT NEW', 'REJECT NO_PROVENANCE', 'REJECT NO_PROVENANCE']);
});

test('the instructions are the same bytes for every tenant and agent, with six examples and one mark for the cache', async () => {
  await tell('Our boat is called Alma.');
  await tell('Our cat is called Mila.', { tenant: 'globex', user: 'eve', agent: 'other' });
  expect(asked).toHaveLength(2);
  expect(JSON.stringify(asked[0]?.system)).toBe(JSON.stringify(asked[1]?.system));
  expect(JSON.stringify(asked[0]?.system).match(/cache_control/g)).toHaveLength(1);
  expect(asked.map(({ text }) => text).join()).not.toContain('cache_control');
  const { system } = extractionRequest('m', [], { agent: 'talker', known: [] });
  expect([system.match(/^(?:candidates|Example\. .*\ncandidates): /gm)?.length, system.startsWith(extractionRequest('m', []).system)]).toEqual([6, true]);
});

describe('the hint in the gate', () => {
  const uuid = (n: number): string => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
  const made = { id: uuid(900), scope: 'user', user: 'ada', agent: null, type: 'fact', subject: 'depot north', attribute: 'entrance', value: 'big gate', statement: 'All our deliveries come in by the big gate.', source: 'user', confidence: 0.9, validFromMs: 0 } as const;
  const live: LiveMemory = { ...made, hash: hashOf('acme', made, made.type, made.statement) };
  const judged = (statement: string, { value = 'big gate', cosine = 0, hint = live.id, embedder = 'builtin:all-minilm-l6-v2-int8:384' }: { value?: string; cosine?: number; hint?: string | null; embedder?: string } = {}): string => {
    const one = { ...candidate(statement, statement), value, attribute: 'way in' };
    const input: GateInput = {
      run: { tenant: 'acme', id: uuid(1), user: 'ada', agent: 'talker', observedMs: 1_000 }, events: [{ id: 'e1', role: 'user', tool: undefined, text: statement, atMs: 500 }], candidates: [one], ids: [uuid(100)],
      live: [live], waiting: [], injected: [], neighbours: [[{ id: live.id, cosine }]], hints: [hint], embedder,
    };
    const [verdict] = judge(input);
    return `${verdict?.decision} ${verdict?.reason}`;
  };
  test.each<[string, string, Parameters<typeof judged>[1], string]>([
    ['with half of the words', 'Deliveries come in by the big gate at the river.', {}, 'REINFORCE SAME_AS'],
    ['with a cosine above the lower bound', 'It is the big gate that lorries use.', { cosine: 0.7 }, 'REINFORCE SAME_AS'],
    ['by itself alone', 'It is the big gate that lorries use.', { cosine: 0.3 }, 'ADMIT NEW'],
    ['with a cosine nobody has measured', 'It is the big gate that lorries use.', { cosine: 0.9, embedder: 'unknown:8' }, 'ADMIT NEW'],
    ['without a hint', 'Deliveries come in by the big gate at the river.', { hint: null }, 'ADMIT NEW'],
    ['of another memory', 'Deliveries come in by the big gate at the river.', { hint: uuid(901) }, 'ADMIT NEW'],
    ['against another denial', 'Deliveries do not come in by the big gate at the river.', {}, 'ADMIT NEW'],
    ['against another number', 'Deliveries come in by the big gate 4 at the river.', {}, 'ADMIT NEW'],
    ['against another value', 'Deliveries come in by the small gate of wood.', { value: 'small wooden door' }, 'ADMIT NEW'],
  ])('%s', (_how, statement, over, expected) => { expect(judged(statement, over)).toBe(expected); });
});
