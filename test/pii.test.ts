// Personal data by its shape: what is found, what only looks like it, and what is left when it is taken out.
import { expect, test } from '@jest/globals';
import { piiIn, redact, takenFrom, type PiiRules } from '../src/domain/pii.ts';

const ALL: PiiRules = { email: 'redact', phone: 'redact', iban: 'redact', card: 'redact', ip: 'redact' };

test.each([
  ['Write to lena.k@example.org, please.', 'Write to [email removed], please.'],
  ['müller+shop@post.example.co.uk or a@b.io', '[email removed] or [email removed]'],
  ['The new account is DE44 5001 0517 5407 3249 31. Pay there.', 'The new account is [iban removed]. Pay there.'],
  ['IBAN GB82WEST12345698765432 AND NL91ABNA0417164300', 'IBAN [iban removed] AND [iban removed]'],
  ['de44500105175407324931', '[iban removed]'],
  ['Charge 4111 1111 1111 1111 or 5500-0000-0000-0004.', 'Charge [card removed] or [card removed].'],
  ['The host is 192.168.10.7, port 80.', 'The host is [ip removed], port 80.'],
  ['It listens on 2001:db8::ff00:42:8329 now', 'It listens on [ip removed] now'],
  ['The phone stays the same, +39 011 5551200.', 'The phone stays the same, [phone removed].'],
  ['Call me at 0171 2345678 tomorrow', 'Call me at [phone removed] tomorrow'],
  ['(415) 555-2671 and 415-555-2671', '[phone removed] and [phone removed]'],
  ['Tel.: 030/1234567', 'Tel.: [phone removed]'],
  ['0049 30 1234567 is the fax', '[phone removed] is the fax'],
])('%s', (text, left) => {
  expect(redact(text, ALL)).toBe(left);
  expect(new Set(piiIn(text))).toEqual(new Set(takenFrom(left)));
  expect(piiIn(left)).toEqual([]);
  expect(redact(text, { email: 'allow', phone: 'allow', iban: 'allow', card: 'allow', ip: 'allow' })).toBe(text);
});

test.each([
  'The account for phone is 4920.', 'The phone call on 2026-03-01 went well.', 'Order 4111111111111112 is late.', 'Order 4711-2345-11 of 12.05.2026', 'Version 10.0.3.1 is out; v2.1.0.4 too.', 'It runs from 12:30:45 to 18:00.', 'std::vector and face::add',
  'See run 0192f0aa-1b2c-7d3e-8f40-5a6b7c8d9e0f.', 'Pay 1.250.000,00 or 12 345 678 units', 'Mail @lena in #ops at 5', 'DE00 5001 0517 5407 3249 31', 'Phone plan 2026: 12 lines', '256.1.1.1', 'ratio 1:2:3',
])('"%s" holds none', (text) => {
  expect(piiIn(text)).toEqual([]);
});

test('an account that is allowed is no telephone number and no card either', () => {
  const text = 'Transfer to DE44 5001 0517 5407 3249 31 and call +49 30 1234567.';
  expect(redact(text, { ...ALL, iban: 'allow' })).toBe('Transfer to DE44 5001 0517 5407 3249 31 and call [phone removed].');
});

test('a long text is read in no time that grows faster than it', () => {
  const hostile = ['a'.repeat(20_000), '1 '.repeat(10_000), 'a.'.repeat(10_000), '(1'.repeat(10_000), ':'.repeat(20_000), 'phone '.repeat(4_000), 'AB12 '.repeat(4_000), 'a@a.'.repeat(5_000)];
  for (const text of hostile) expect(redact(text, ALL).length).toBeLessThanOrEqual(text.length * 4);
});
