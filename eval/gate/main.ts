// npm run eval:gate -- [--json FILE] [--faults] [--embed DIR] [--pairs FILE]
// Puts the labelled stream (eval/gate/README.md) to the memory gate and says how often it decides right, beside two naive deciders.
// Needs no network, server or model: cosines are kept. `--faults` lists what was wrong on `dev`, never on `test`; `--embed DIR` makes the
// kept cosines anew with the model in that folder; `--pairs FILE` writes the stream's
// pairs of statements as `mainstay memories calibrate` takes them. Ends with 64 when the call is wrong; figures below a target do not end it.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/domain/errors.ts';
import { POLICY, policyVersion } from '../../src/domain/gate-policy.ts';
import { makeLog } from '../../src/log.ts';
import { builtinEmbedder } from '../../src/memory/embedders/builtin.ts';
import { admitAll, cosineOnly, isRight, outcomesOf, theGate } from './ask-gate.ts';
import { makeCosines, readCosines, type Cosines } from './cosines.ts';
import { figuresOf, type Figures } from './figures.ts';
import { readStream, type LabelledRun } from './format.ts';
import { classesOf, confusionOf, faultOf, tableOf } from './report.ts';
import { speed } from './speed.ts';
import { pairsOf } from './pairs.ts';
import { orderStability, replay } from './steadiness.ts';

const say = (line: string): void => { process.stdout.write(`${line}\n`); };

const given = options();
const runs = readStream();
if (given.embed !== undefined) await embed(given.embed);
else if (given.pairs !== undefined) writeFileSync(given.pairs, `${JSON.stringify(pairsOf(runs), null, 1)}\n`);
else evaluate(readCosines());

function options(): { json?: string; embed?: string; faults?: boolean; pairs?: string } {
  try {
    return parseArgs({ options: { json: { type: 'string' }, embed: { type: 'string' }, pairs: { type: 'string' }, faults: { type: 'boolean' } } }).values;
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\nusage: npm run eval:gate -- [--json FILE] [--faults] [--embed DIR] [--pairs FILE]\n`);
    return process.exit(64);
  }
}

async function embed(dir: string): Promise<void> {
  const embedder = await builtinEmbedder({ dir, log: makeLog('warn', 'eval') });
  await makeCosines(embedder, runs);
  await embedder.close();
}

function evaluate(cosines: Cosines): void {
  const of = (split: LabelledRun['split']): LabelledRun[] => runs.filter((run) => run.split === split);
  const [dev, test] = [of('dev'), of('test')];
  const figures = figuresOf(outcomesOf(test, theGate(cosines)));
  const baselines = { admitAll: figuresOf(outcomesOf(test, admitAll)), cosineOnly: figuresOf(outcomesOf(test, cosineOnly(cosines, bestCosine(dev, cosines)))) };
  const onDev = outcomesOf(dev, theGate(cosines));
  const steadiness = { order: orderStability(runs, cosines), replay: replay(runs, cosines) };
  const took = speed(test, cosines);
  say([tableOf('gate, test', figures), classesOf(figures), confusionOf(figures), tableOf('admit all, test', baselines.admitAll), tableOf('cosine only, test', baselines.cosineOnly), tableOf('gate, dev', figuresOf(onDev)),
    `order: ${steadiness.order.stable} of ${steadiness.order.runs} runs end with the same facts in ${steadiness.order.shuffles} other orders`,
    `judged again: ${steadiness.replay.same ? 'the same verdicts' : 'OTHER VERDICTS'}; on top of its own result ${steadiness.replay.added} rows more, ${steadiness.replay.superseded} superseded`,
    `10 candidates, 10,000 live memories: p50 ${took.p50Ms} ms, p99 ${took.p99Ms} ms without embedding, index and database`].join('\n'));
  if (given.faults) say(onDev.filter((outcome) => !isRight(outcome)).map(faultOf).join('\n'));
  if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(resultOf(figures, took.p99Ms, { policy: policyVersion(POLICY), embedder: cosines.embedder, dev: figuresOf(onDev), baselines, ...steadiness, speed: took }), null, 1)}\n`);
}

/** The ten figures first, what is beside them after. */
function resultOf(figures: Figures, p99Ms: number, more: object): object {
  const { candidates, precision, recall, perDecision, falseMerge, wrongSupersede, exactDedupe, injectedRules, ...rest } = figures;
  return { candidates, precision, recall, perDecision, falseMerge, wrongSupersede, exactDedupe, injectedRules, p99Ms, ...rest, ...more };
}

/** Fitted on `dev`: where most candidates are decided right. */
function bestCosine(dev: readonly LabelledRun[], cosines: Cosines): number {
  const steps = Array.from({ length: 41 }, (_, at) => 0.6 + at / 100);
  const rightAt = (threshold: number): number => outcomesOf(dev, cosineOnly(cosines, threshold)).filter(isRight).length;
  return steps.reduce((best, step) => (rightAt(step) > rightAt(best) ? step : best));
}
