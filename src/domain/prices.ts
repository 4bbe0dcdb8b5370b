// What a model call costs: a dated price table and the arithmetic over it, in whole micro-dollars rounded up.
// A price change is a new row with its date, never an edit, so that an old call is always priced as it was billed.
// A model without a row is refused (`model_unpriced`): a budget that cannot count must not let the call through.
import { MainstayError } from './errors.ts';
import type { ModelRequest, Usage } from './model.ts';

/** `batch`: a Message Batch, half of every token price. */
export type PriceLane = 'live' | 'batch';

/** US dollars per million tokens, as the provider prints them. */
export interface Rates {
  readonly in: number;
  readonly out: number;
  readonly write5m: number;
  readonly write1h: number;
  readonly read: number;
}

export interface PriceRow {
  readonly model: string;
  /** First day (UTC) of these prices. The first row of a model also prices every earlier time. */
  readonly effectiveFrom: string;
  /** The rates for prompts up to so many tokens; the last band has no upper end. */
  readonly bands: readonly { readonly promptUpToTokens: number; readonly rates: Rates }[];
}

/** From platform.claude.com's pricing and model pages, read in November 2026; `TABLE_FROM` stands where a row's first day
 *  was not found. Opus 5.5 writes and the 1 h write of Haiku 5.5 above 100k follow the 1.25x / 2x rule. */
const TABLE_FROM = '2026-10-01';
const OPUS_5: Rates = { in: 5, out: 25, write5m: 6.25, write1h: 10, read: 0.5 };
const SONNET_4: Rates = { in: 3, out: 15, write5m: 3.75, write1h: 6, read: 0.3 };
const SONNET_5: Rates = { in: 2, out: 10, write5m: 2.5, write1h: 4, read: 0.2 };
const flat = (model: string, rates: Rates, effectiveFrom = TABLE_FROM): PriceRow => ({ model, effectiveFrom, bands: [{ promptUpToTokens: Infinity, rates }] });

export const PRICES: readonly PriceRow[] = [
  flat('claude-fable-5-1', { in: 10, out: 50, write5m: 12.5, write1h: 20, read: 0.25 }),
  flat('claude-opus-5-5', { in: 4, out: 20, write5m: 5, write1h: 8, read: 0.2 }),
  flat('claude-opus-5', OPUS_5),
  flat('claude-opus-4-8', OPUS_5),
  flat('claude-opus-4-7', OPUS_5),
  flat('claude-opus-4-6', OPUS_5),
  flat('claude-opus-4-5', OPUS_5),
  flat('claude-sonnet-5-5', SONNET_5), // the read price before 2026-10-07 is the 0.1x rule, not a printed number
  flat('claude-sonnet-5-5', { ...SONNET_5, read: 0.1 }, '2026-10-07'),
  flat('claude-sonnet-5', SONNET_5),
  flat('claude-sonnet-4-6', SONNET_4),
  flat('claude-sonnet-4-5', SONNET_4),
  {
    model: 'claude-haiku-5-5',
    effectiveFrom: TABLE_FROM,
    bands: [
      { promptUpToTokens: 100_000, rates: { in: 0.1, out: 0.5, write5m: 0.125, write1h: 0.2, read: 0.01 } },
      { promptUpToTokens: Infinity, rates: { in: 0.5, out: 2.5, write5m: 0.625, write1h: 1, read: 0.05 } },
    ],
  },
  flat('claude-haiku-4-5', { in: 1, out: 5, write5m: 1.25, write1h: 2, read: 0.1 }),
];

/** What a call cost, in micro-dollars, rounded up. `atMs` is when it was made. Throws model_unpriced. */
export function costMicroUsd(model: string, usage: Usage, atMs: number, lane: PriceLane = 'live'): bigint {
  const promptTokens = usage.inputTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens + usage.cacheReadTokens;
  const rates = ratesOf(model, promptTokens, atMs);
  const picoUsd = pico(rates.in, usage.inputTokens) + pico(rates.write5m, usage.cacheWrite5mTokens) + pico(rates.write1h, usage.cacheWrite1hTokens)
    + pico(rates.read, usage.cacheReadTokens) + pico(rates.out, usage.outputTokens);
  return ceilDivide(picoUsd, PICO_PER_MICRO * (lane === 'batch' ? 2n : 1n));
}

/** The most a call can cost: the whole prompt written to the five-minute cache (the only one our adapter writes), the
 *  whole answer used. In micro-dollars, rounded up. Throws model_unpriced. */
export function worstCaseMicroUsd(model: string, estimatedInputTokens: number, maxTokens: number, atMs: number, lane: PriceLane = 'live'): bigint {
  const rates = ratesOf(model, estimatedInputTokens, atMs);
  return ceilDivide(pico(Math.max(rates.in, rates.write5m), estimatedInputTokens) + pico(rates.out, maxTokens), PICO_PER_MICRO * (lane === 'batch' ? 2n : 1n));
}

/** A prompt's tokens, guessed high without asking the provider: one per two bytes (English has three to four bytes a token
 *  in the present tokenizer, tight JSON and numbers a little over two), and a little for each block. For reserves only. */
export function estimateInputTokens(request: Pick<ModelRequest, 'system' | 'context' | 'messages' | 'tools' | 'outputSchema'>): number {
  const text = JSON.stringify([request.system, request.context ?? '', request.messages, request.tools ?? [], request.outputSchema ?? null]);
  const blocks = request.messages.reduce((sum, message) => sum + message.content.length, 0) + (request.tools?.length ?? 0);
  return Math.ceil(Buffer.byteLength(text) / 2) + 16 * blocks + 512;
}

/** Whether the table knows the model; what it does not know is refused where a budget must count. */
export const isPriced = (model: string): boolean => PRICES.some((row) => row.model === aliasOf(model));

const aliasOf = (model: string): string => model.replace(/-20\d{6}$/, '');

/** The rates of a model for a prompt of this size at this time. A dated id (`…-20251001`) has its alias' prices. */
export function ratesOf(model: string, promptTokens: number, atMs: number): Rates {
  const alias = aliasOf(model);
  const rows = PRICES.filter((row) => row.model === alias).sort((a, b) => a.effectiveFrom.localeCompare(b.effectiveFrom));
  const row = rows.filter((candidate) => Date.parse(candidate.effectiveFrom) <= atMs).at(-1) ?? rows[0];
  const band = row?.bands.find((candidate) => promptTokens <= candidate.promptUpToTokens);
  if (!band) throw new MainstayError('model_unpriced', `There is no price for the model "${model}".`);
  return band.rates;
}

/** Dollars per million tokens are micro-dollars per token; a millionth of that makes every printed price a whole number. */
const PICO_PER_MICRO = 1_000_000n;
const pico = (usdPerMillion: number, tokens: number): bigint => {
  if (!Number.isSafeInteger(tokens) || tokens < 0) throw new MainstayError('internal', `"${tokens}" is not a count of tokens.`);
  return BigInt(Math.round(usdPerMillion * 1_000_000)) * BigInt(tokens);
};
const ceilDivide = (value: bigint, by: bigint): bigint => (value + by - 1n) / by;
