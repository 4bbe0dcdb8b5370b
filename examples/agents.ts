// The agents of a fleet: every process loads this module (AGENTS_MODULE) and runs what it exports as `machines`.
import { readConfig } from '../src/config.ts';
import type { Machine } from '../src/domain/machine.ts';
import { dataAssistant } from './data-assistant.ts';
import { reportJob } from './report-job.ts';
import { supportAgent } from './support-agent.ts';

const config = readConfig();

export const machines: readonly Machine[] = [
  supportAgent(config.TICKET_DESK_URL),
  dataAssistant(config.DATA_SOURCE_URL),
  reportJob(config.DATA_SOURCE_URL, config.ARTIFACTS_DIR),
];
