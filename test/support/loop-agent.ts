// An agent whose tools write into a journal, for processes that are killed in the middle of its loop (AGENTS_MODULE).
import { defineAgent } from '../../src/run/define-agent.ts';
import { tools } from './journal-machine.ts';

export const looper = defineAgent({ name: 'looper', version: 1, model: 'claude-haiku-4-5', instructions: 'You write lines into a journal.', tools: [...tools], memory: false });
export const machines = [looper];
