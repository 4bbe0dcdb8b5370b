// What holds of the gate whatever comes: runs of the labelled stream thrown together at random, with high cosines at random, so that
// nothing but the gate's own rules keeps memories apart. A failure names its seed.
import { describe, expect, test } from '@jest/globals';
import { readStream, TENANT, type LabelledRun } from '../eval/gate/format.ts';
import { liveAfter } from '../eval/gate/steadiness.ts';
import { judge } from '../src/domain/gate.ts';
import { guardFaults } from '../src/domain/gate-duplicates.ts';
import { hashOf, isSingleValued, propertyOf, sameOwner } from '../src/domain/gate-identity.ts';
import type { GateInput, LiveMemory, NewMemory, Verdict } from '../src/domain/gate-input.ts';
import type { Candidate } from '../src/domain/memory.ts';

const stream = readStream();
const SEEDS = Array.from({ length: 150 }, (_, seed) => seed + 1);

/** Numbers from 0 to 1, the same for the same seed (Park and Miller). */
function randomOf(seed: number): () => number {
  let state = (seed * 7_919) % 2_147_483_647;
  return () => { state = (state * 48_271) % 2_147_483_647; return state / 2_147_483_647; };
}

/** Four runs as one of one user: their events in a row, their memories together, their candidates in any order. */
function thrownTogether(seed: number): GateInput {
  const random = randomOf(seed);
  const picked = Array.from({ length: 4 }, () => stream[Math.floor(random() * stream.length)] as LabelledRun);
  const [events, candidates, live]: [GateInput['events'][number][], Candidate[], LiveMemory[]] = [[], [], []];
  picked.forEach((run, place) => {
    const base = events.length;
    const newIdOf = (id: string): string => `e${base + Number(id.slice(1))}`;
    events.push(...run.events.map((event) => ({ ...event, id: newIdOf(event.id) })));
    candidates.push(...run.candidates.map(({ candidate }) => ({ ...candidate, evidence: candidate.evidence.map((line) => ({ ...line, event_id: newIdOf(line.event_id) })) })));
    for (const memory of run.live) {
      const owned = { scope: memory.scope, user: memory.user === run.user ? 'ada' : memory.user, agent: memory.agent === run.agent ? 'talker' : memory.agent };
      const made = { ...memory, ...owned, id: `${place}-${memory.id}`, hash: hashOf(TENANT, owned, memory.type, memory.statement) };
      // what the database would refuse is not there: one row per hash, one live value per single-valued property
      if (!live.some((other) => other.hash === made.hash || (slotOf(other) !== null && slotOf(other) === slotOf(made)))) live.push(made);
    }
  });
  const order = candidates.map((candidate) => ({ candidate, at: random() })).sort((a, b) => a.at - b.at).map(({ candidate }) => candidate);
  const ids = order.map((_, at) => `new-${at}`);
  return {
    run: { tenant: TENANT, id: 'r', user: 'ada', agent: 'talker', observedMs: Math.max(...events.map(({ atMs }) => atMs)) }, events, live, candidates: order, ids, waiting: [], injected: live.filter(() => random() < 0.2).map(({ id }) => id),
    neighbours: order.map((_, at) => [...live.map(({ id }) => id), ...ids.slice(0, at)].map((id) => ({ id, cosine: 1 - random() * 0.3 }))), embedder: 'builtin:all-minilm-l6-v2-int8:384',
  };
}

function slotOf(memory: LiveMemory): string | null {
  const property = propertyOf(memory.attribute, memory.value);
  return isSingleValued(memory.type, property, memory.subject) ? JSON.stringify([memory.scope, memory.user, memory.agent, memory.subject, property]) : null;
}

/** Every verdict with the memories that were live when it was made. */
function stepByStep(input: GateInput): { verdict: Verdict; before: LiveMemory[]; candidate: Candidate }[] {
  const verdicts = judge(input);
  return verdicts.map((verdict, at) => ({ verdict, before: liveAfter(input.live, verdicts.slice(0, at)), candidate: input.candidates[at] as Candidate }));
}
const judged = SEEDS.map((seed) => { const input = thrownTogether(seed); return { seed, input, steps: stepByStep(input) }; });
const each = (check: (step: ReturnType<typeof stepByStep>[number], input: GateInput, seed: number) => void): number => {
  let seen = 0;
  for (const { seed, input, steps } of judged) for (const step of steps) { seen++; check(step, input, seed); }
  return seen;
};

describe('of every verdict', () => {
  test('no paraphrase is told across a veto, whatever the cosine', () => {
    let merged = 0;
    each(({ verdict, before, candidate }, _input, seed) => {
      if (verdict.reason !== 'PARAPHRASE') return;
      merged++;
      const target = before.find(({ id }) => id === verdict.target);
      expect({ seed, faults: target && guardFaults(candidate, target) }).toEqual({ seed, faults: [] });
    });
    expect(merged).toBeGreaterThan(5);
  });

  test('what it is about was live then, and belongs to the same owner', () => {
    const targets = { n: 0 };
    each(({ verdict, before, candidate }, _input, seed) => {
      if (verdict.target === null || verdict.stage === 'echo') return;
      targets.n++;
      const target = before.find(({ id }) => id === verdict.target);
      const owner = { scope: candidate.scope, user: candidate.scope === 'user' ? 'ada' : null, agent: candidate.scope === 'agent' ? 'talker' : null };
      expect({ seed, same: target !== undefined && sameOwner(target, owner) }).toEqual({ seed, same: true });
    });
    expect(targets.n).toBeGreaterThan(100);
  });

  test('a row has evidence of this very run, and orders from tools make none', () => {
    const rows = { n: 0 };
    each(({ verdict: { memory } }, input, seed) => {
      if (!memory) return;
      rows.n++;
      const said = memory.evidence.map(({ event_id }) => input.events.find(({ id }) => id === event_id)?.role);
      expect({ seed, said: said.length > 0 && said.every((role) => role !== undefined) }).toEqual({ seed, said: true });
      if (['preference', 'constraint', 'procedure'].includes(memory.type)) expect({ seed, source: memory.source }).toEqual({ seed, source: 'user' });
    });
    expect(rows.n).toBeGreaterThan(300);
  });
});

describe('of every run', () => {
  test('one live row per hash and per single-valued property, but for what says that it comes beside another', () => {
    for (const { seed, input, steps } of judged) {
      const live = liveAfter(input.live, steps.map(({ verdict }) => verdict));
      const slots = live.filter((memory) => (memory as Partial<NewMemory>).slot !== null).map(slotOf).filter((slot) => slot !== null);
      expect({ seed, hashes: new Set(live.map(({ hash }) => hash)).size, slots: new Set(slots).size }).toEqual({ seed, hashes: live.length, slots: slots.length });
    }
  });

  test('one verdict per candidate, in order, the same twice, and never more rows than a run may add', () => {
    for (const { seed, input, steps } of judged) {
      const verdicts = steps.map(({ verdict }) => verdict);
      expect(verdicts.map(({ index }) => index)).toEqual([...input.candidates.keys()]);
      expect(judge(thrownTogether(seed))).toEqual(verdicts);
      expect(verdicts.filter(({ memory }) => memory !== null).length).toBeLessThanOrEqual(8);
    }
  });
});
