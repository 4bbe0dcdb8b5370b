// The evaluation of the gate: the labelled stream is what its README says, a line that is wrong is refused, the figures are those
// worked out by hand, and the gate keeps its targets on the part nothing was fitted on.
import { describe, expect, test } from '@jest/globals';
import { admitAll, cosineOnly, inputOf, outcomesOf, theGate, type Decided, type Outcome } from '../eval/gate/ask-gate.ts';
import { readCosines } from '../eval/gate/cosines.ts';
import { figuresOf } from '../eval/gate/figures.ts';
import { CLASSES, parseStream, readStream, type Labelled } from '../eval/gate/format.ts';
import { orderStability, replay } from '../eval/gate/steadiness.ts';
import { judge } from '../src/domain/gate.ts';
import type { Waiting } from '../src/domain/gate-input.ts';

const runs = readStream();
const cosines = readCosines();
const of = (split: string) => runs.filter((run) => run.split === split);
const sizeOf = (some: typeof runs): number => some.reduce((sum, run) => sum + run.candidates.length, 0);

describe('the stream', () => {
  test('is as large as promised in both parts, and every class is in both', () => {
    expect(sizeOf(runs)).toBeGreaterThanOrEqual(700);
    expect(sizeOf(of('test'))).toBeGreaterThanOrEqual(200);
    expect(new Set(runs.map((run) => run.id)).size).toBe(runs.length);
    for (const split of ['dev', 'test']) expect(new Set(of(split).flatMap((run) => run.candidates.map((one) => one.class)))).toEqual(new Set(CLASSES));
  });

  test('no statement is said twice with the same label, but for what says so', () => {
    const said = runs.flatMap((run) => run.candidates.map((one) => `${one.candidate.statement} ${one.class} ${run.agent}`));
    expect(said.length - new Set(said).size).toBeLessThan(10);
  });

  const run = 'run r 2026-01-01 support ada\nM1 user/fact/user 2025-01-01 | user | plan | Basic | The user is on Basic.\nU I am on Pro\n';
  test('a run reads as what it says', () => {
    const [read] = parseStream(`${run}C supersede super M1 | fact | user | plan | Pro | The user is on Pro. | e1 "on Pro" | inferred from=2026-01-01`, 'x');
    expect(read).toMatchObject({ id: 'r', user: 'ada', events: [{ id: 'e1', role: 'user', text: 'I am on Pro' }], live: [{ id: 'M1', subject: 'user', user: 'ada' }] });
    expect(read?.candidates[0]).toMatchObject({ class: 'supersede', right: 'super', target: 'M1', candidate: { evidence: [{ event_id: 'e1', quote: 'on Pro' }], valid_from: '2026-01-01', confidence: 'medium', source_role: 'user', scope: 'user' } });
  });

  test.each([
    ['a class of its own', 'C odd add | fact | user | plan | Pro | The user is on Pro. | e1', /odd is none of/],
    ['a target that is not there', 'C exact join M2 | fact | user | plan | Pro | The user is on Pro. | e1', /M2 is no memory/],
    ['a part too few', 'C clean add | fact | user | plan | Pro | The user is on Pro.', /6 parts/],
    ['evidence in another form', 'C clean add | fact | user | plan | Pro | The user is on Pro. | said', /evidence/],
  ])('%s is refused with its place', (_what, line, message) => {
    expect(() => parseStream(run + line, 'file.txt')).toThrow(message);
    expect(() => parseStream(run + line, 'file.txt')).toThrow(/file\.txt:4/);
  });
});

describe('figures', () => {
  const outcome = (name: string, right: string, target: string | undefined, decision: string, decidedTarget?: string, by?: string): Outcome =>
    ({ run: {} as never, index: 0, labelled: { class: name, right, target, candidate: { type: 'preference' } } as unknown as Labelled, decided: { decision, target: decidedTarget, by } as unknown as Decided });

  test('as worked out by hand', () => {
    const figures = figuresOf([
      outcome('clean', 'add', undefined, 'ADMIT'), outcome('clean', 'add', undefined, 'REJECT'), outcome('exact', 'join', 'M1', 'JOIN', 'M1', 'MERGE'), outcome('nearmiss', 'add', undefined, 'JOIN', 'M1', 'REINFORCE'),
      outcome('supersede', 'super', 'M1', 'SUPERSEDE', 'M2'), outcome('injected', 'out', undefined, 'ADMIT'), outcome('chatter', 'out', undefined, 'QUARANTINE'), outcome('secret', 'rej', undefined, 'REJECT'),
    ]);
    expect(figures).toMatchObject({ candidates: 8, precision: 0.4, recall: 0.4, falseMerge: 0.5, wrongSupersede: 1, exactDedupe: 1, injectedRules: 1, junk: 0.2 });
    expect(figures.joinedBy).toEqual({ REINFORCE: { right: 0, decided: 1, precision: 0 }, MERGE: { right: 1, decided: 1, precision: 1 } });
    expect(figures.perDecision.REJECT).toEqual({ right: 1, decided: 2, expected: 2, precision: 0.5, recall: 0.5 });
    expect(figures.confusion).toMatchObject({ ADMIT: { ADMIT: 1, REJECT: 1, JOIN: 1 }, QUARANTINE: { QUARANTINE: 1 } });
  });
});

describe('the gate on what nothing was fitted on', () => {
  const figures = figuresOf(outcomesOf(of('test'), theGate(cosines)));
  test('keeps its targets', () => {
    expect(figures.precision).toBeGreaterThanOrEqual(0.95);
    expect(figures.recall).toBeGreaterThanOrEqual(0.90);
    expect(figures.junk).toBeLessThanOrEqual(0.05);
    expect(figures.falseMerge).toBeLessThanOrEqual(0.01);
    expect(figures.perDecision.SUPERSEDE.expected).toBeGreaterThanOrEqual(60);
    expect(figures.wrongSupersede).toBeLessThanOrEqual(0.03);
    expect(figures.exactDedupe).toBe(1);
    expect(figures.injectedRules).toBe(0);
  });

  test('is far above admitting everything and above cosine alone', () => {
    for (const naive of [admitAll, cosineOnly(cosines, 0.9)]) {
      const other = figuresOf(outcomesOf(of('test'), naive));
      expect(figures.precision).toBeGreaterThan((other.precision ?? 1) + 0.3);
      expect(figures.recall).toBeGreaterThan((other.recall ?? 1) + 0.2);
    }
  });

  test('orders from tools and pages stay out, also when run after run brings them again', () => {
    let planted = 0;
    for (const run of runs) {
      const input = inputOf(run, cosines);
      const first = judge(input);
      const waiting = first.flatMap(({ decision, reason, index, scores }): Waiting[] => (decision === 'QUARANTINE' && reason === 'UNSURE'
        ? [{ run: 'an earlier run', index, source: scores['source_found'] as Waiting['source'], user: run.user, agent: run.agent, candidate: run.candidates[index]?.candidate as Waiting['candidate'] }] : []));
      const again = judge({ ...input, waiting });
      for (const [index, { class: name, candidate }] of run.candidates.entries()) {
        if (name !== 'injected') continue;
        planted++;
        for (const verdict of [first[index], again[index]]) expect([run.id, index, candidate.statement, verdict?.memory ?? verdict?.evidence]).toEqual([run.id, index, candidate.statement, []]);
      }
    }
    expect(planted).toBe(43);
  });

  test('candidates in another order leave the same facts behind', () => {
    const { runs: judged, stable } = orderStability(runs, cosines, 5);
    expect(judged).toBeGreaterThan(100);
    expect(stable).toBe(judged);
  });

  test('the same input gives the same verdicts, and a run judged on top of its own result adds nothing', () => {
    expect(replay(runs, cosines)).toEqual({ same: true, added: 0, superseded: 0 });
  });
});
