// Who may share a worker with a suspect: first crashes with one another, later ones with nobody, and nobody waits for ever.
import { describe, expect, test } from '@jest/globals';
import { monoMs } from '../src/clock.ts';
import { SUSPECT_WINDOW_MS } from '../src/domain/tunables.ts';
import { Suspects } from '../src/run/suspects.ts';

const run = (id: string, crashes = 0): { id: string; crashes: number; stepClaims: number } => ({ id, crashes, stepClaims: 1 });
const GO = { admitted: true, alone: false, waited: false };
const BACK = { admitted: false };
function gate(): { suspects: Suspects; opened: () => number } {
  let count = 0;
  return { suspects: new Suspects(() => { count++; }), opened: () => count };
}

describe('beside runs that did nothing', () => {
  test('others are admitted together', async () => {
    const { suspects } = gate();
    expect(await suspects.admit(run('a'))).toMatchObject(GO);
    expect(await suspects.admit(run('b'))).toMatchObject(GO);
    expect(suspects.open).toBe(true);
  });

  test('a suspect waits until they have made way, and nothing is taken meanwhile', async () => {
    const { suspects } = gate();
    await suspects.admit(run('a'));
    const admitted = suspects.admit(run('s', 1));
    expect(suspects.open).toBe(false);
    expect(suspects.makesWay('a')).toBe(true);
    expect(await suspects.admit(run('b'))).toEqual({ admitted: false, wakeInMs: 0 });
    suspects.leave('a');
    expect(await admitted).toMatchObject({ admitted: true, alone: false, waited: true });
    expect(suspects.makesWay('s')).toBe(false);
  });

  test('a suspect for which they make no way is handed back, and comes with more patience', async () => {
    const { suspects, opened } = gate();
    await suspects.admit(run('a'));
    const startedMs = monoMs();
    expect(await suspects.admit({ ...run('s', 2), stepClaims: 2 })).toMatchObject(BACK);
    expect(monoMs() - startedMs).toBeGreaterThanOrEqual(SUSPECT_WINDOW_MS - 10);
    expect(suspects.open).toBe(true);
    expect(opened()).toBe(1);
  });
});

describe('after a first crash', () => {
  test('suspects share a worker, and whoever is none is sent away', async () => {
    const { suspects, opened } = gate();
    expect(await suspects.admit(run('s', 1))).toMatchObject(GO);
    expect(await suspects.admit(run('t', 1))).toMatchObject(GO);
    expect(suspects.open).toBe(true); // what is taken next may be a suspect as well
    expect(await suspects.admit(run('a'))).toMatchObject(BACK);
    expect(suspects.open).toBe(false);
    suspects.clear('s');
    expect(suspects.open).toBe(false);
    suspects.leave('t');
    expect(opened()).toBe(1);
    expect(await suspects.admit(run('a'))).toMatchObject(GO); // `s` has committed a step
  });
});

describe('after a second crash', () => {
  test('a suspect is alone until it has committed a step', async () => {
    const { suspects, opened } = gate();
    expect(await suspects.admit(run('p', 2))).toMatchObject({ admitted: true, alone: true, waited: false, windowMs: 2 * SUSPECT_WINDOW_MS });
    expect(suspects.open).toBe(false);
    for (const other of [run('a'), run('s', 1), run('q', 2)]) expect(await suspects.admit(other)).toMatchObject(BACK);
    expect(suspects.clear('p')).toBe(true);
    expect(suspects.clear('p')).toBe(false);
    expect(opened()).toBe(1);
    expect(await suspects.admit(run('a'))).toMatchObject(GO);
  });

  test('it is not alone with suspects of a first crash either', async () => {
    const { suspects } = gate();
    await suspects.admit(run('s', 1));
    expect(await suspects.admit(run('p', 2))).toMatchObject(BACK);
  });

  test('even one that was cleared makes way for it', async () => {
    const { suspects } = gate();
    await suspects.admit(run('s', 1));
    suspects.clear('s');
    const admitted = suspects.admit(run('p', 2));
    expect(suspects.makesWay('s')).toBe(true);
    suspects.leave('s');
    expect(await admitted).toMatchObject({ admitted: true, alone: true, waited: true });
  });
});
