// The order in which the stub asks its scripts; the first that matches answers. A new one goes before the fallback.
import type { StubScript } from '../wire.ts';
import { dataAssistant } from './data-assistant.ts';
import { memoryExtraction } from './memory-extraction.ts';
import { fallback } from './fallback.ts';
import { supportAgent } from './support-agent.ts';

export const SCRIPTS: readonly StubScript[] = [memoryExtraction, dataAssistant, supportAgent, fallback];
