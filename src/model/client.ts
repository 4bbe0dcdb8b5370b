// The SDK's client as every adapter wants it: no retries of its own (the engine owns them, and the ledger must see each attempt),
// no log of its own (it would hold what the model wrote), no address from the environment.
import Anthropic from '@anthropic-ai/sdk';

const ANTHROPIC_URL = 'https://api.anthropic.com';

/** `baseUrl`: unset, Anthropic's own address. */
export const makeClient = (apiKey: string, baseUrl: string | undefined, timeout: number): Anthropic =>
  new Anthropic({ apiKey, baseURL: baseUrl ?? ANTHROPIC_URL, maxRetries: 0, timeout, logLevel: 'off', openTelemetry: false });
