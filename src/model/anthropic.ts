// The one adapter of the model port: Claude through the Anthropic SDK, streaming always. The SDK's own retries are off, for
// the engine owns retries and the ledger must see each attempt. It promises that a turn it returns is whole, that no call
// outlives its signal, its deadline or a minute of silence, and that nothing of a request or an answer reaches a log.
import Anthropic from '@anthropic-ai/sdk';
import { monoMs, wallMs } from '../clock.ts';
import type { Model, ModelOptions, ModelRequest, ModelTurn } from '../domain/model.ts';
import type { Log } from '../log.ts';
import { makeClient } from './client.ts';
import { failure, mainstayErrorOf } from './provider-errors.ts';
import { limitsOf } from './rate-headers.ts';
import { requestParams } from './request-params.ts';
import { TurnReader } from './turn-reader.ts';

export interface AnthropicOptions {
  readonly apiKey: string;
  /** Without it, Anthropic's own address; the environment is never asked. */
  readonly baseUrl?: string | undefined;
  readonly log: Log;
  /** Longest silence in content; pings do not count. A minute is far beyond the gaps of a healthy stream. */
  readonly contentIdleMs?: number;
  /** The same inside a block of thinking, whose text the provider may withhold until it is done. */
  readonly thinkingIdleMs?: number;
  /** Longest turn, whatever it streams. Below the provider's own ten minutes nothing is lost that would have ended. */
  readonly turnDeadlineMs?: number;
}

/** Waiting this long for the stream's end keeps its connection usable for the next call. */
const STREAM_END_MS = 500;

export function makeAnthropicModel(options: AnthropicOptions): Model {
  const limits: Limits = {
    contentIdleMs: options.contentIdleMs ?? 60_000,
    thinkingIdleMs: options.thinkingIdleMs ?? 240_000,
    turnDeadlineMs: options.turnDeadlineMs ?? 600_000,
  };
  const client = makeClient(options.apiKey, options.baseUrl, limits.turnDeadlineMs);
  return {
    async turn(request, { signal, onText, onLimits }) {
      const watch = new Watch(limits, signal);
      const startedMs = monoMs();
      try {
        return await streamTurn(client, request, watch, { onText, onLimits });
      } catch (error) {
        const mapped = watch.failure() ?? mainstayErrorOf(error, wallMs());
        if (error instanceof Anthropic.APIError && error.headers) onLimits?.(limitsOf(error.headers as Headers, wallMs(), mapped.code === 'rate_limited' ? mapped.retryAfterMs : undefined));
        if (mapped.code !== 'cancelled') options.log.warn({ model: request.model, code: mapped.code, tookMs: Math.round(monoMs() - startedMs) }, 'model call failed');
        throw mapped;
      } finally {
        watch.end();
      }
    },
  };
}

async function streamTurn(client: Anthropic, request: ModelRequest, watch: Watch, { onText, onLimits }: { readonly onText: ModelOptions['onText']; readonly onLimits: ModelOptions['onLimits'] }): Promise<ModelTurn> {
  const { data: stream, response, request_id: requestId } = await client.messages.create(requestParams(request), { signal: watch.signal }).withResponse();
  onLimits?.(limitsOf(response.headers, wallMs()));
  const reader = new TurnReader(requestId ?? undefined, onText);
  watch.content(false);
  for await (const event of stream) { // the SDK swallows pings here, so every event is content
    reader.take(event);
    if (reader.stopped) watch.whole();
    else watch.content(reader.thinking);
  }
  const failed = reader.stopped ? undefined : watch.failure(); // an aborted stream ends its iterator as if it were done
  if (failed) throw failed;
  return reader.finish();
}

interface Limits {
  readonly contentIdleMs: number;
  readonly thinkingIdleMs: number;
  readonly turnDeadlineMs: number;
}

/** Aborts one call: on the caller's signal, on silence, on the deadline. Its first reason is the one that counts. */
class Watch {
  readonly #limits: Limits;
  readonly #caller: AbortSignal;
  readonly #controller = new AbortController();
  readonly #deadline: NodeJS.Timeout;
  #idle: NodeJS.Timeout;
  #reason: 'cancelled' | 'silent' | 'late' | undefined;
  readonly #onCallerAbort = (): void => this.#abort('cancelled');

  constructor(limits: Limits, caller: AbortSignal) {
    this.#limits = limits;
    this.#caller = caller;
    this.#deadline = setTimeout(() => this.#abort('late'), limits.turnDeadlineMs);
    this.#idle = this.#armed(limits.contentIdleMs);
    caller.addEventListener('abort', this.#onCallerAbort, { once: true });
    if (caller.aborted) this.#abort('cancelled');
  }

  get signal(): AbortSignal { return this.#controller.signal; }

  /** Something of the answer has arrived. */
  content(thinking: boolean): void {
    clearTimeout(this.#idle);
    this.#idle = this.#armed(thinking ? this.#limits.thinkingIdleMs : this.#limits.contentIdleMs);
  }

  /** The turn is whole: all that may still come is the end of the stream, and a server that forgets it is not waited for. */
  whole(): void {
    clearTimeout(this.#idle);
    this.#idle = this.#armed(STREAM_END_MS);
  }

  failure(): ReturnType<typeof failure> | undefined {
    switch (this.#reason) {
      case undefined: return undefined;
      case 'cancelled': return failure('cancelled', 'The model call was cancelled.', { billed: 'unknown' });
      case 'silent': return failure('model_stalled', 'The model has been silent for too long.', { billed: 'unknown' });
      case 'late': return failure('model_stalled', `The turn did not end within ${this.#limits.turnDeadlineMs} ms.`, { billed: 'unknown' });
    }
  }

  end(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#idle);
    this.#caller.removeEventListener('abort', this.#onCallerAbort);
  }

  #armed(afterMs: number): NodeJS.Timeout {
    return setTimeout(() => this.#abort('silent'), afterMs);
  }

  #abort(reason: 'cancelled' | 'silent' | 'late'): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#controller.abort();
  }
}
