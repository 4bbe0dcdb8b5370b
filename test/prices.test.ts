import { describe, expect, test } from '@jest/globals';
import { MainstayError } from '../src/domain/errors.ts';
import { NO_USAGE } from '../src/domain/model.ts';
import { PRICES, costMicroUsd, estimateInputTokens, ratesOf, worstCaseMicroUsd } from '../src/domain/prices.ts';

const now = Date.parse('2026-11-24T12:00:00Z');
const million = 1_000_000;

describe('costs, against values computed by hand', () => {
  test('each of the five meters has its own price', () => {
    // Sonnet 5.5: 2 + 2.50 + 4 + 0.10 + 10 dollars for a million of each.
    const usage = { inputTokens: million, cacheWrite5mTokens: million, cacheWrite1hTokens: million, cacheReadTokens: million, outputTokens: million };
    expect(costMicroUsd('claude-sonnet-5-5', usage, now)).toBe(18_600_000n);
    expect(costMicroUsd('claude-sonnet-5-5', { ...NO_USAGE, inputTokens: million }, now)).toBe(2_000_000n);
    expect(costMicroUsd('claude-sonnet-5-5', { ...NO_USAGE, cacheWrite5mTokens: million }, now)).toBe(2_500_000n);
    expect(costMicroUsd('claude-sonnet-5-5', { ...NO_USAGE, cacheWrite1hTokens: million }, now)).toBe(4_000_000n);
    expect(costMicroUsd('claude-sonnet-5-5', { ...NO_USAGE, cacheReadTokens: million }, now)).toBe(100_000n);
    expect(costMicroUsd('claude-sonnet-5-5', { ...NO_USAGE, outputTokens: million }, now)).toBe(10_000_000n);
  });

  test('an ordinary turn', () => {
    // Opus 5.5: 1234 x 4 + 2048 x 5 + 4096 x 0.20 + 345 x 20 = 4936 + 10240 + 819.2 + 6900 = 22895.2 micro-dollars.
    const usage = { inputTokens: 1_234, cacheWrite5mTokens: 2_048, cacheWrite1hTokens: 0, cacheReadTokens: 4_096, outputTokens: 345 };
    expect(costMicroUsd('claude-opus-5-5', usage, now)).toBe(22_896n);
  });

  test('a fraction of a micro-dollar is rounded up, nothing costs nothing', () => {
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, cacheReadTokens: 1 }, now)).toBe(1n); // 0.01
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 8 }, now)).toBe(1n); // 0.8
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 10 }, now)).toBe(1n); // exactly 1
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 11 }, now)).toBe(2n); // 1.1
    expect(costMicroUsd('claude-haiku-5-5', NO_USAGE, now)).toBe(0n);
  });

  test('a batch costs half, rounded up after the halving', () => {
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 2_500, outputTokens: 900 }, now)).toBe(700n); // 250 + 450
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 2_500, outputTokens: 900 }, now, 'batch')).toBe(350n);
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 10 }, now, 'batch')).toBe(1n); // 0.5
  });

  test('the whole prompt decides the band of Haiku 5.5, and every meter follows it', () => {
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 100_000, outputTokens: 1_000 }, now)).toBe(10_500n);
    // 100,001 x 0.50 + 1000 x 2.50 = 50000.5 + 2500
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 100_001, outputTokens: 1_000 }, now)).toBe(52_501n);
    // one uncached token, the rest from the cache: still a prompt of 100,001. 0.5 + 100,000 x 0.05 = 5000.5
    expect(costMicroUsd('claude-haiku-5-5', { ...NO_USAGE, inputTokens: 1, cacheReadTokens: 100_000 }, now)).toBe(5_001n);
  });

  test('a call is priced by its day', () => {
    const usage = { ...NO_USAGE, cacheReadTokens: million };
    expect(costMicroUsd('claude-sonnet-5-5', usage, Date.parse('2026-10-06T23:59:59Z'))).toBe(200_000n);
    expect(costMicroUsd('claude-sonnet-5-5', usage, Date.parse('2026-10-07T00:00:00Z'))).toBe(100_000n);
    expect(costMicroUsd('claude-sonnet-5-5', usage, 0)).toBe(200_000n); // before the table: its first row
  });

  test('a dated id has its alias’ price; an unknown one is refused', () => {
    expect(costMicroUsd('claude-haiku-4-5-20251001', { ...NO_USAGE, inputTokens: 3 }, now)).toBe(3n);
    for (const model of ['claude-fable-5-2', 'gpt-9', '', 'claude-haiku-4-5-2025']) {
      expect(() => costMicroUsd(model, NO_USAGE, now)).toThrow(expect.objectContaining({ code: 'model_unpriced' }));
      expect(() => worstCaseMicroUsd(model, 1, 1, now)).toThrow(MainstayError);
    }
  });

  test('a count that is no count is an error, never a price', () => {
    for (const inputTokens of [-1, 0.5, Number.NaN, Infinity]) expect(() => costMicroUsd('claude-haiku-4-5', { ...NO_USAGE, inputTokens }, now)).toThrow(MainstayError);
  });
});

describe('reserves', () => {
  test('the worst case writes the whole prompt to the cache and uses the whole answer', () => {
    // Sonnet 5.5: 10,000 x 2.50 + 4096 x 10
    expect(worstCaseMicroUsd('claude-sonnet-5-5', 10_000, 4_096, now)).toBe(65_960n);
    expect(worstCaseMicroUsd('claude-haiku-5-5', 8_000, 1_024, now)).toBe(1_512n); // 1000 + 512
  });

  test('no way to bill the same tokens with our adapter costs more than the reserve', () => {
    for (const { model } of PRICES) {
      const reserve = worstCaseMicroUsd(model, 9_000, 2_000, now);
      for (const split of [{ inputTokens: 9_000 }, { cacheWrite5mTokens: 9_000 }, { cacheReadTokens: 9_000 }, { inputTokens: 4_000, cacheWrite5mTokens: 5_000 }]) {
        expect(costMicroUsd(model, { ...NO_USAGE, ...split, outputTokens: 2_000 }, now)).toBeLessThanOrEqual(reserve);
      }
    }
  });

  test('the estimate of a prompt grows with every part of it and counts bytes, not letters', () => {
    const request = { system: 'You help.', messages: [{ role: 'user' as const, content: [{ type: 'text' as const, text: 'Hi' }] }] };
    const base = estimateInputTokens(request);
    expect(estimateInputTokens({ ...request, system: 'x'.repeat(4_000) })).toBeGreaterThan(base + 1_900);
    expect(estimateInputTokens({ ...request, context: '日'.repeat(1_000) })).toBeGreaterThan(base + 1_400);
    expect(estimateInputTokens({ ...request, tools: [{ name: 'a', description: 'b', inputSchema: { type: 'object' } }] })).toBeGreaterThan(base);
  });
});

test('the table is sound: dates parse, prices have whole pico-dollars, the last band is open', () => {
  expect(PRICES.length).toBeGreaterThanOrEqual(14);
  for (const row of PRICES) {
    expect(Number.isNaN(Date.parse(row.effectiveFrom))).toBe(false);
    expect(row.bands.at(-1)?.promptUpToTokens).toBe(Infinity);
    for (const { rates } of row.bands) {
      for (const price of Object.values(rates)) expect(Math.abs(price * 1e6 - Math.round(price * 1e6))).toBeLessThan(1e-6);
      expect(rates.write5m).toBeCloseTo(rates.in * 1.25, 6);
      expect(rates.write1h).toBeCloseTo(rates.in * 2, 6);
      expect(rates.read).toBeLessThan(rates.in);
    }
  }
  expect(ratesOf('claude-sonnet-5-5', 1, now).read).toBe(0.1);
});
