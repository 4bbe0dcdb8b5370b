// The main job, shown once over HTTP as any other service would do it: a user tells the support agent of a problem; what the
// agent learned passes the memory gate; in a second session the same user is recognised, and the agent cites what it
// recalled. Every start has a user of its own (`ada-<time>`), because a user met before would be reinforced, not admitted.
// It waits for what it needs and never for a time to pass; everything seen goes into the report.
import { monoMs, wallMs } from '../clock.ts';
import type { DemonstrationApi, SeenRun, SeenVerdict } from './demonstration-api.ts';
import type { DemonstrationReport } from './demonstration-report.ts';
import { money, seconds, type Terminal } from './terminal.ts';

export interface Stage {
  readonly api: DemonstrationApi;
  readonly terminal: Terminal;
  readonly report: DemonstrationReport;
}

const FIRST = "Hello, my name is Ada Larsen. I prefer to be contacted by e-mail. Our billing system is Zuora. Since this morning the invoice export fails with error 504.";
const SECOND = 'Hello again. Which billing system do we have, and how will you contact me about the broken export? Mind that I prefer to be contacted by e-mail.';

/** How long a part may take before the demonstration gives up on it. */
const PART_MS = 60_000;

export async function demonstrate(stage: Stage): Promise<void> {
  const stamp = new Date(wallMs()).toISOString().replace(/\D/g, '').slice(0, 14);
  const user = `ada-${stamp}`;
  const { terminal, report } = stage;

  terminal.heading(`First session of ${user}`);
  const first = await timed(report, 'first run', () => showRun(stage, user, `first-${stamp}`, FIRST));
  terminal.heading('What the memory gate made of it');
  await timed(report, 'first memories', () => showVerdicts(stage, first));
  await timed(report, 'memories indexed', () => stage.api.indexed(user, PART_MS));

  terminal.heading(`Second session of ${user}`);
  const second = await timed(report, 'second run', () => showRun(stage, user, `second-${stamp}`, SECOND));
  await showRecall(stage, second);
  terminal.heading('What the memory gate made of the second session');
  await timed(report, 'second memories', () => showVerdicts(stage, second));
  showCost(stage);
}

/** Submits one message and shows its steps as they are committed. */
async function showRun({ api, terminal, report }: Stage, user: string, session: string, message: string): Promise<SeenRun> {
  terminal.pair('user', message);
  const beganMs = monoMs();
  const id = await api.submit({ agent: 'support-agent', input: { message }, user, session });
  let steps = 0;
  for await (const step of api.steps(id, PART_MS)) {
    steps++;
    const what = [step.next === null ? 'done' : `→ ${step.next}`, ...step.tools].join('   ');
    terminal.row([seconds(monoMs() - beganMs), step.step, `${step.durationMs} ms`, what], [8, 8, 8]);
  }
  const run = await api.run(id);
  report.runs.push({ id, session, status: run.status, steps, costMicroUsd: run.costMicroUsd });
  report.model = run.model;
  if (run.status === 'completed') terminal.pair('agent', run.answer);
  else terminal.warn(`the run ended as ${run.status}: ${run.error ?? 'no reason was given'}`);
  return run;
}

async function showVerdicts({ api, terminal, report }: Stage, run: SeenRun): Promise<void> {
  if (run.status !== 'completed') return;
  const verdicts: readonly SeenVerdict[] = await api.verdicts(run.id, PART_MS);
  for (const { decision, stage, reason, statement } of verdicts) {
    report.verdicts.push({ run: run.id, decision, stage, reason, statement });
    terminal.row([decision, `${statement}\n(${stage}: ${reason})`], [10]);
  }
}

async function showRecall({ api, terminal, report }: Stage, run: SeenRun): Promise<void> {
  const recall = await api.recall(run.id);
  if (!recall) return terminal.warn('no recall was recorded');
  terminal.heading('What the agent recalled for it');
  for (const { id, statement, score, cited } of recall.memories) {
    report.recalled.push({ memory: id, score, cited });
    terminal.row([score.toFixed(3), cited ? 'cited' : '', statement], [5, 5]);
  }
  Object.assign(report, { embedder: recall.embedder, semantic: recall.semantic, degraded: recall.degraded });
  terminal.pair('embedder', `${recall.embedder}: ${recall.semantic ? 'by meaning' : 'not semantic, it matches words only'}${recall.degraded ? '; degraded, Milvus did not answer' : ''}`);
}

function showCost({ terminal, report }: Stage): void {
  terminal.heading('What it cost');
  for (const { id, session, costMicroUsd, steps } of report.runs) terminal.row([money(costMicroUsd), `${steps} steps`, `${id} in ${session}`], [8, 8]);
  terminal.pair('model', report.model ?? 'none was called');
}

async function timed<T>(report: DemonstrationReport, name: string, work: () => Promise<T>): Promise<T> {
  const beganMs = monoMs();
  try { return await work(); } finally { report.phases[name] = Math.round(monoMs() - beganMs) / 1_000; }
}
