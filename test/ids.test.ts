// Ids sort by the time they were made at, those of one process by their order, and are drawn from fresh randomness.
import { expect, test } from '@jest/globals';
import { newId } from '../src/ids.ts';

const COUNT = 20_000; // many to a millisecond, and many draws of random bytes

test('each id of a process sorts after the one before, and says when it was made', () => {
  const fromMs = Date.now();
  const ids = Array.from({ length: COUNT }, newId);
  const toMs = Date.now();
  expect(ids.findIndex((id, index) => index > 0 && id <= ids[index - 1]!)).toBe(-1);
  expect(ids.filter((id) => !/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id))).toEqual([]);
  const madeMs = ids.map((id) => parseInt(id.replaceAll('-', '').slice(0, 12), 16));
  expect(madeMs.filter((ms) => ms < fromMs || ms > toMs)).toEqual([]);
});

test('no id has the random part of another', () => {
  const tails = Array.from({ length: 2_000 }, () => newId().slice(-10));
  expect(new Set(tails).size).toBe(2_000);
});
