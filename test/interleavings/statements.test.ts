// Every ordered pair of the engine's statements, from every state of a run, in two sessions on a real Postgres and in every
// order of their beginnings and ends. What is left behind, and what each was told, must be what one of the two serial orders
// of the model leaves; a statement whose partner gave up must be as if it had been alone. And whatever happened, nothing
// sent is lost, events are dense, one end stands.
import { expect, test } from '@jest/globals';
import { faultsOf, MEETING_STATES, moved, MOVES, type Move, type RunImage, type State } from '../support/model-of-a-run.ts';
import { openBench, TENANT, type Subject } from '../support/run-bench.ts';
import { useStack } from '../support/stack.ts';
import { ORDERS, TwoSessions, type Order, type Played } from '../support/two-sessions.ts';

const LANES = 5;
const stack = await useStack();
const bench = await openBench(stack, 4 * LANES + 2);
const lanes = await Promise.all(Array.from({ length: LANES }, () => TwoSessions.open(bench.pool)));

interface Play { readonly first: Move; readonly second: Move; readonly order: Order }
/** All that can tell something: a first statement that changes nothing has nothing to give up, and the table of moves has it. */
function playsOf({ before, inboxRead }: Subject): Play[] {
  const idle = (move: Move): boolean => moved(before, move, 'a', inboxRead).image === before;
  return MOVES.flatMap((first) => MOVES.flatMap((second) => ORDERS.filter((order) => !idle(first) || order === 'overlap' || order === 'gate').map((order): Play => ({ first, second, order }))));
}
const FEWEST_PLAYS = 6_800;

interface Outcome { readonly image: RunImage; readonly answers: readonly [string, string] }

/** What the model lets the two leave behind. */
function allowed(subject: Subject, { first, second, order }: Play): Outcome[] {
  const { before, inboxRead } = subject;
  const inOrder = (): Outcome => {
    const one = moved(before, first, 'a', inboxRead);
    const two = moved(one.image, second, 'b', inboxRead);
    return { image: two.image, answers: [one.answer, two.answer] };
  };
  if (order === 'serial') return [inOrder()];
  if (order === 'rolled back') {
    const alone = moved(before, second, 'b', inboxRead);
    return [{ image: alone.image, answers: [moved(before, first, 'a', inboxRead).answer, alone.answer] }];
  }
  const two = moved(before, second, 'b', inboxRead);
  const one = moved(two.image, first, 'a', inboxRead);
  return [inOrder(), { image: one.image, answers: [one.answer, two.answer] }, ...tooEarly(subject, first, second)];
}

/** A run that becomes due in one transaction may not be so for a claim whose transaction began before: it is refused, and the
 *  next one has it. */
function tooEarly({ before, inboxRead }: Subject, first: Move, second: Move): Outcome[] {
  const isClaim = (move: Move): boolean => move === 'claim' || move === 'reclaim';
  const refused = (other: Move, side: 'a' | 'b', claim: Move): Outcome[] => {
    const { image, answer } = moved(before, other, side, inboxRead);
    if (image.status !== 'queued' || before.status === 'queued') return [];
    return [{ image: claim === 'reclaim' ? { ...image, holderLives: false } : image, answers: side === 'a' ? [answer, 'refused'] : ['refused', answer] }];
  };
  return [...(isClaim(second) ? refused(first, 'a', second) : []), ...(isClaim(first) ? refused(second, 'b', first) : [])];
}

const textOf = ({ image, answers }: Outcome): string => JSON.stringify({ answers, ...Object.fromEntries(Object.entries(image).sort(([a], [b]) => a.localeCompare(b))) });

/** Where an outcome differs from the model's first serial order, for whoever reads the failure. */
function differences(seen: Outcome, wanted: Outcome): string {
  const fields = (Object.keys(seen.image) as (keyof RunImage)[]).filter((field) => JSON.stringify(seen.image[field]) !== JSON.stringify(wanted.image[field]));
  return [`answers ${JSON.stringify(seen.answers)}, the model ${JSON.stringify(wanted.answers)}`, ...fields.map((field) => `${field} ${JSON.stringify(seen.image[field])}, the model ${JSON.stringify(wanted.image[field])}`)].join('; ');
}

const tally = { plays: 0, waited: 0 };

async function playAll(state: State): Promise<string[]> {
  const [sample] = await bench.make(state, 1);
  const plays = playsOf(sample as Subject);
  const subjects = await bench.make(state, plays.length);
  const played: Played[] = [];
  let next = 0;
  await Promise.all(lanes.map(async (lane) => {
    for (let at = next++; at < plays.length; at = next++) {
      const [subject, { first, second, order }] = [subjects[at] as Subject, plays[at] as Play];
      played[at] = await lane.play(order, TENANT, subject.id, (door) => bench.move(door, subject, first, 'a'), (door) => bench.move(door, subject, second, 'b'));
    }
  }));
  const images = await bench.images(subjects);
  return plays.flatMap((play, at) => {
    const [subject, image, { answers, waited }] = [subjects[at] as Subject, images[at] as RunImage, played[at] as Played];
    tally.plays++;
    if (waited) tally.waited++;
    const outcome = { image, answers };
    const may = allowed(subject, play);
    const faults = faultsOf(subject.before, image);
    if (!may.some((one) => textOf(one) === textOf(outcome))) faults.push(may.map((one) => differences(outcome, one)).join(' | or | '));
    return faults.map((fault) => `${state}: ${play.first} + ${play.second}, ${play.order}: ${fault}`);
  });
}

test.each(MEETING_STATES)('%s: every pair of statements leaves what one of its serial orders leaves', async (state) => {
  const faults = await playAll(state);
  expect(faults.slice(0, 20)).toEqual([]);
}, 60_000);

test('all of it was played, and the sessions did meet', () => {
  for (const lane of lanes) lane.close();
  expect(tally.plays).toBeGreaterThanOrEqual(FEWEST_PLAYS);
  expect(tally.waited).toBeGreaterThan(FEWEST_PLAYS / 2); // most pairs meet at the run's row
});
