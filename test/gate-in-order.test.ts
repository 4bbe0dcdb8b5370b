// Candidates of one run are judged in order: a later one meets what the earlier ones left, in other words, or gone. Pure.
import { expect, test } from '@jest/globals';
import { judge } from '../src/domain/gate.ts';
import { hashOf } from '../src/domain/gate-identity.ts';
import type { GateInput, LiveMemory, Neighbour } from '../src/domain/gate-input.ts';
import { POLICY } from '../src/domain/gate-policy.ts';
import type { Room } from '../src/domain/gate-room.ts';
import type { Candidate } from '../src/domain/memory.ts';

const NOW = Date.parse('2026-11-24T10:00:00Z');
const OWNER = { scope: 'user', user: 'ada', agent: null } as const;

const known = (over: Pick<LiveMemory, 'subject' | 'attribute' | 'value' | 'statement'>): LiveMemory =>
  ({ id: 'old', ...OWNER, type: 'preference', source: 'user', confidence: 0.9, validFromMs: NOW - 86_400_000, hash: hashOf('acme', OWNER, 'preference', over.statement), ...over });

const candidate = (over: Pick<Candidate, 'attribute' | 'value' | 'statement'>, quote: string): Candidate =>
  ({ type: 'preference', subject: 'user', valid_from: null, evidence: [{ event_id: 'e1', quote }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over });

function verdictsOn(words: string, candidates: readonly Candidate[], live: LiveMemory, more: { neighbours?: readonly Neighbour[][]; room?: Room } = {}): string[] {
  const input: GateInput = {
    run: { tenant: 'acme', id: 'r', user: 'ada', agent: 'support', observedMs: NOW }, events: [{ id: 'e1', role: 'user', tool: undefined, text: words, atMs: NOW }], candidates, ids: candidates.map((_, at) => `new ${at}`),
    live: [live], waiting: [], injected: [], neighbours: [], embedder: 'builtin:all-minilm-l6-v2-int8:384', ...more,
  };
  return judge(input).map(({ decision, stage, reason, target }) => `${decision} ${stage} ${reason} ${target}`);
}

test('what has been reworded is met by its new words', () => {
  const long = 'The user would like to be contacted by email.';
  const longer = candidate({ attribute: 'reached by', value: 'email', statement: long }, long);
  const short = known({ subject: 'mail', attribute: 'wish', value: 'email', statement: 'The user wants email.' });
  expect(verdictsOn(long, [longer, longer], short, { neighbours: [[{ id: 'old', cosine: 0.95 }]] })).toEqual(['MERGE near_duplicate PARAPHRASE old', 'REINFORCE exact_duplicate EXACT old']);
});

test('what had to go is not met any more', () => {
  const blue = known({ subject: 'user', attribute: 'colour', value: 'blue', statement: 'The user likes blue.' });
  const room: Room = { tenant: POLICY.caps.tenant, owners: { user: {}, agent: {}, workspace: {} }, evictable: [{ id: 'old', scope: 'user', type: 'preference', strength: 0.1 }] };
  const fresh = candidate({ attribute: 'contact channel', value: 'email', statement: 'The user prefers email.' }, 'I prefer email');
  const again = candidate({ attribute: 'colour', value: 'blue', statement: blue.statement }, 'I like blue');
  expect(verdictsOn('I prefer email. And I like blue.', [fresh, again], blue, { room })).toEqual(['ADMIT caps EVICT old', 'REJECT caps CAP null']);
});
