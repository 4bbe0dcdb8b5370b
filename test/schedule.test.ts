// When schedules fire: expressions in their zone over both changes of the clocks, intervals that do not drift, and what each
// policy makes of occurrences nobody was there for.
import { describe, expect, test } from '@jest/globals';
import { checkTime, dueOccurrences, MAX_MADE_UP, occurrencesAfter, type Misfire } from '../src/domain/schedule.ts';

const at = (iso: string): number => Date.parse(iso);
const iso = (times: readonly number[]): string[] => times.map((ms) => new Date(ms).toISOString().slice(0, 16));

describe('daylight saving', () => {
  test.each([
    ['a time that does not exist that day comes at the next one that does', '30 2 * * *', 'Europe/Berlin', '2026-03-27T12:00Z', ['2026-03-28T01:30', '2026-03-29T01:30', '2026-03-30T00:30']],
    ['a time that exists twice comes once', '30 2 * * *', 'Europe/Berlin', '2026-10-23T12:00Z', ['2026-10-24T00:30', '2026-10-25T00:30', '2026-10-26T01:30']],
    ['every hour is every real hour', '0 * * * *', 'Europe/Berlin', '2026-10-24T23:30Z', ['2026-10-25T00:00', '2026-10-25T01:00', '2026-10-25T02:00']],
    ['nine stays nine', '0 9 * * *', 'America/New_York', '2026-10-30T22:30Z', ['2026-10-31T13:00', '2026-11-01T14:00', '2026-11-02T14:00']],
    ['a zone that changes on the southern side', '30 2 * * *', 'Australia/Sydney', '2026-10-02T00:00Z', ['2026-10-02T16:30', '2026-10-03T16:30', '2026-10-04T15:30']],
    ['the 29th of February waits for its year', '0 0 29 2 *', 'UTC', '2026-01-01T00:00Z', ['2028-02-29T00:00', '2032-02-29T00:00', '2036-02-29T00:00']],
  ])('%s', (_what, cron, zone, after, expected) => {
    expect(iso(occurrencesAfter({ cron, zone }, at(after), 3))).toEqual(expected);
  });
});

describe('intervals', () => {
  const hourly = { everyMs: 3_600_000, anchorMs: at('2026-01-01T00:20Z') };
  test('count from their anchor, whenever one asks', () => {
    expect(iso(occurrencesAfter(hourly, at('2026-01-01T05:19Z'), 2))).toEqual(['2026-01-01T05:20', '2026-01-01T06:20']);
    expect(iso(occurrencesAfter(hourly, at('2026-01-01T05:20Z'), 1))).toEqual(['2026-01-01T06:20']);
    expect(iso(occurrencesAfter(hourly, at('2025-12-31T00:00Z'), 1))).toEqual(['2026-01-01T00:20']);
  });
});

describe('a fleet that was away for a day', () => {
  const hourly = { cron: '0 * * * *', zone: 'UTC' };
  const due = (misfire: Misfire, nowIso: string, over: { graceMs?: number; endsMs?: number | null } = {}) => dueOccurrences(hourly, { misfire, graceMs: 60_000, endsMs: null, ...over }, at('2026-01-01T01:00Z'), at(nowIso));
  test.each<[Misfire, number, number]>([['skip', 0, 24], ['fire_once', 1, 23], ['fire_all', 24, 0]])('%s: %i made up, %i skipped', (misfire, fired, skipped) => {
    const { fire, skip, nextMs } = due(misfire, '2026-01-02T00:30Z');
    expect([fire.length, skip.length, iso([nextMs ?? 0])]).toEqual([fired, skipped, ['2026-01-02T01:00']]);
    expect(fire.length === 1 ? iso(fire) : []).toEqual(fired === 1 ? ['2026-01-02T00:00'] : []); // the last one, not the first
  });
  test('what is found in time is no misfire, and then nothing is made up once more', () => {
    const { fire, skip } = due('fire_once', '2026-01-01T03:00:30Z');
    expect([iso(fire), skip.length]).toEqual([['2026-01-01T03:00'], 2]);
    expect(iso(due('skip', '2026-01-01T01:00:59Z').fire)).toEqual(['2026-01-01T01:00']);
  });
  test('no more than so many are made up, the latest; the others are recorded', () => {
    const { fire, skip } = due('fire_all', '2026-01-11T00:30Z');
    expect([fire.length, skip.length + fire.length, iso(fire.slice(-1))]).toEqual([MAX_MADE_UP, 240, ['2026-01-11T00:00']]);
  });
  test('after its end there is none', () => {
    const { fire, nextMs } = due('fire_all', '2026-01-02T00:30Z', { endsMs: at('2026-01-01T03:30Z') });
    expect([iso(fire), nextMs]).toEqual([['2026-01-01T01:00', '2026-01-01T02:00', '2026-01-01T03:00'], null]);
  });
});

describe('what is no time', () => {
  test.each([
    ['six fields', { cron: '0 0 * * * *', zone: 'UTC' }, 'cron'], ['a word', { cron: 'every day at nine', zone: 'UTC' }, 'cron'], ['a field out of range', { cron: '61 * * * *', zone: 'UTC' }, 'cron'],
    ['an unknown zone', { cron: '0 9 * * *', zone: 'Mars/Olympus' }, 'zone'], ['an interval too short', { everyMs: 999, anchorMs: 0 }, 'every'], ['an interval that is none', { everyMs: NaN, anchorMs: 0 }, 'every'],
  ])('%s is refused', (_what, time, path) => {
    expect(() => checkTime(time, at('2026-01-01T00:00Z'))).toThrow(expect.objectContaining({ code: 'bad_request', fields: [{ path, message: 'not a time' }] }));
  });
});
