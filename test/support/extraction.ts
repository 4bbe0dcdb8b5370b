// A model whose extraction proposes what a test wants judged.
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';

/** `candidates` is asked at each extraction. */
export const proposing = (candidates: () => readonly object[]): StubScript => ({
  name: 'extraction-of-this-test', matches: (request) => memoryExtraction.matches(request),
  reply: () => ({ json: { summary: { goal: 'g', result: 'r', decisions: [], open_items: [] }, candidates: candidates() } }),
});
