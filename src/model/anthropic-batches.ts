// Message batches through the Anthropic SDK. A creation that fails after it left may have made a batch: its error says so, and
// whoever asked looks for it. Requests are the live ones but for streaming; a result is put together as a streamed turn is.
import Anthropic from '@anthropic-ai/sdk';
import { wallMs } from '../clock.ts';
import type { BatchResult, ModelBatches, ProviderBatch } from '../domain/lane.ts';
import { BATCH_CREATE_MS } from '../domain/tunables.ts';
import type { ModelRequest } from '../domain/model.ts';
import { makeClient } from './client.ts';
import { mainstayErrorOf } from './provider-errors.ts';
import { requestParams } from './request-params.ts';
import { turnOfMessage } from './turn-reader.ts';

/** Of the provider's sentence. */
const DETAIL_CHARACTERS = 300;
const PAGE = 100;

export function makeAnthropicBatches({ apiKey, baseUrl }: { readonly apiKey: string; readonly baseUrl?: string | undefined }): ModelBatches {
  const { batches } = makeClient(apiKey, baseUrl, BATCH_CREATE_MS).messages;
  return {
    create: (items) => mapped(async () => shown(await batches.create({ requests: items.map(({ id, request }) => ({ custom_id: id, params: paramsOf(request) })) }))),
    since: (ms) => mapped(async () => {
      const found: ProviderBatch[] = [];
      for await (const batch of batches.list({ limit: PAGE })) {
        if (Date.parse(batch.created_at) < ms) break;
        found.push(shown(batch));
      }
      return found;
    }),
    look: (id) => mapped(async () => shown(await batches.retrieve(id))).catch((error: unknown) => { if (isUnknown(error)) return undefined; throw error; }),
    async *results(id) {
      try {
        for await (const line of await batches.results(id)) yield resultOf(line);
      } catch (error) {
        throw mainstayErrorOf(error, wallMs());
      }
    },
    cancel: (id) => mapped(async () => { await batches.cancel(id); }),
  };
}

function paramsOf(request: ModelRequest): Anthropic.MessageCreateParamsNonStreaming {
  const { stream: _, ...params } = requestParams(request);
  return params;
}

const shown = ({ id, created_at, processing_status, request_counts: counts }: Anthropic.Messages.MessageBatch): ProviderBatch =>
  ({ id, createdMs: Date.parse(created_at), ended: processing_status === 'ended', items: counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired });

function resultOf({ custom_id: id, result }: Anthropic.Messages.MessageBatchIndividualResponse): BatchResult {
  switch (result.type) {
    case 'succeeded':
      try { return { id, turn: turnOfMessage(result.message) }; } catch { return { id, unanswered: 'errored', detail: 'the message is no whole turn' }; }
    case 'errored': return { id, unanswered: 'errored', detail: `${result.error.error.type}: ${result.error.error.message}`.slice(0, DETAIL_CHARACTERS) };
    case 'canceled': return { id, unanswered: 'canceled', detail: 'the batch was canceled' };
    case 'expired': return { id, unanswered: 'expired', detail: 'the batch expired' };
  }
}

const isUnknown = (error: unknown): boolean => ((error as { cause?: { httpStatus?: number } }).cause?.httpStatus ?? 0) === 404;

async function mapped<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw mainstayErrorOf(error, wallMs());
  }
}
