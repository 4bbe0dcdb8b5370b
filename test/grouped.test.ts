// Groups of calls: what goes together, what waits, and that a process busy with answers does not hold up the next call.
import { expect, test } from '@jest/globals';
import { Grouped } from '../src/grouped.ts';

/** A call that is answered by hand; `sent` tells the groups in the order they left. */
function byHand(lanes: number): { grouped: Grouped<number, number>; sent: number[][]; answer: (error?: Error) => void } {
  const sent: number[][] = [];
  const open: ((error?: Error) => void)[] = [];
  const grouped = new Grouped<number, number>((items) => {
    sent.push(items);
    return new Promise((resolve, reject) => open.push((error) => { if (error) reject(error); else resolve(items.map((item) => item * 10)); }));
  }, { lanes, max: 3 });
  return { grouped, sent, answer: (error) => open.shift()?.(error) };
}

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

test('calls of one turn go together, at most so many, and each gets its own answer', async () => {
  const { grouped, sent, answer } = byHand(2);
  const answers = Promise.all([1, 2, 3, 4].map((item) => grouped.add(item)));
  await turn();
  expect(sent).toEqual([[1, 2, 3], [4]]);
  answer();
  answer();
  expect(await answers).toEqual([10, 20, 30, 40]);
});

test('what waits for a lane is sent before the answered go on, also where sending takes a turn of its own', async () => {
  const left: number[] = [];
  const grouped = new Grouped<number, number>((items) => new Promise((resolve) => {
    process.nextTick(() => { left.push(...items); setTimeout(() => resolve(items), 5); }); // as a pool of connections hands one out
  }), { lanes: 1, max: 1 });
  let atAnswer: number[] = [];
  const first = grouped.add(1).then(() => { atAnswer = [...left]; });
  const second = grouped.add(2);
  await Promise.all([first, second]);
  expect(atAnswer).toEqual([1, 2]);
});

test('a group that fails rejects its own calls only', async () => {
  const { grouped, answer } = byHand(1);
  const failing = grouped.add(1);
  await turn();
  const next = grouped.add(2);
  answer(new Error('gone'));
  await expect(failing).rejects.toThrow('gone');
  await turn();
  answer();
  expect(await next).toBe(20);
});

test('a call that throws at once rejects as well, and gives its lane back', async () => {
  let fails = true;
  const grouped = new Grouped<number, number>((items) => {
    if (fails) throw new Error('at once');
    return Promise.resolve(items);
  }, { lanes: 1, max: 3 });
  await expect(grouped.add(1)).rejects.toThrow('at once');
  fails = false;
  expect(await grouped.add(2)).toBe(2);
});
