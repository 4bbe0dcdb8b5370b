// The API with what its documents need: `index` brings what the index is owed, as the maintenance process does.
import { pause } from '../../src/clock.ts';
import type { Config } from '../../src/config.ts';
import type { AddedDocument, Document, FoundPassages, NewDocumentBody } from '../../src/domain/wire-documents.ts';
import type { Page } from '../../src/domain/wire.ts';
import { assembleMemory, type MemoryParts } from '../../workers/assemble-memory.ts';
import { startApi, type TestApi } from './api.ts';
import { atFileEnd, type TestStack } from './stack.ts';

export interface TestDocuments {
  readonly api: TestApi;
  readonly memory: MemoryParts;
  index(): Promise<void>;
  add(body: NewDocumentBody, key?: string): Promise<AddedDocument>;
  search(q: string, over?: Readonly<Record<string, string>>, key?: string): Promise<FoundPassages>;
  list(query?: string, key?: string): Promise<Document[]>;
}

export async function startDocuments(stack: TestStack, config: Partial<Record<keyof Config, string>> = {}): Promise<TestDocuments> {
  const api = await startApi(stack, [], { config });
  const memory = await assembleMemory(api.fleet.base);
  atFileEnd(() => memory.close());
  const all = await api.makeKey();
  const answer = async <Body>(wanted: number, ...[method, path, options]: Parameters<TestApi['call']>): Promise<Body> => {
    let { status, body } = await api.call<Body>(method, path, options);
    for (let tries = 0; status === 503 && tries < 5; tries++) { // a store that is busy: sent again, as its problem advises
      await pause(2_000);
      ({ status, body } = await api.call<Body>(method, path, options));
    }
    if (status !== wanted) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(body)}`);
    return body;
  };
  return {
    api, memory,
    index: async () => { while ((await memory.indexPending(200)) > 0); },
    add: (body, key = all) => answer(202, 'POST', '/v1/documents', { key, body }),
    search: (q, over = {}, key = all) => answer(200, 'GET', `/v1/documents/search?${new URLSearchParams({ q, ...over }).toString()}`, { key }),
    list: async (query = '', key = all) => (await answer<Page<Document>>(200, 'GET', `/v1/documents${query}`, { key })).data,
  };
}
