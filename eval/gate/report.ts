// The evaluation as a person reads it.
import type { Outcome } from './ask-gate.ts';
import type { Figures } from './figures.ts';

const percent = (part: number | null): string => (part === null ? '–' : `${(part * 100).toFixed(1)} %`);

export function tableOf(name: string, figures: Figures): string {
  return [
    `${name}: ${figures.candidates} candidates`,
    `  of what enters memory: precision ${percent(figures.precision)}, recall ${percent(figures.recall)}, junk ${percent(figures.junk)}`,
    `  false merge ${percent(figures.falseMerge)}, wrong supersede ${percent(figures.wrongSupersede)}, exact dedupe ${percent(figures.exactDedupe)}, injected rules ${figures.injectedRules}`,
    '  decision     precision   recall   right / decided / expected',
    ...Object.entries(figures.perDecision).map(([decision, one]) => `  ${decision.padEnd(12)} ${percent(one.precision).padStart(8)} ${percent(one.recall).padStart(9)}   ${one.right} / ${one.decided} / ${one.expected}`),
    ...Object.entries(figures.joinedBy).filter(([, { decided }]) => decided > 0).map(([by, one]) => `    ${by.padEnd(10)} ${percent(one.precision).padStart(8)}             ${one.right} / ${one.decided}`),
  ].join('\n');
}

export const classesOf = (figures: Figures): string =>
  ['  class          right / candidates', ...Object.entries(figures.perClass).map(([name, one]) => `  ${name.padEnd(14)} ${one.right} / ${one.candidates}`)].join('\n');

export function confusionOf(figures: Figures): string {
  const names = Object.keys(figures.perDecision) as (keyof Figures['perDecision'])[];
  return ['  expected \\ decided'.padEnd(22) + names.map((name) => name.padStart(11)).join(''),
    ...names.map((row) => `  ${row}`.padEnd(22) + names.map((column) => String(figures.confusion[row]?.[column] ?? 0).padStart(11)).join(''))].join('\n');
}

export const faultOf = ({ run, index, labelled, decided }: Outcome): string =>
  `${run.id} c${index + 1} [${labelled.class}] ${labelled.right} ${labelled.target ?? ''} ≠ ${decided.decision} ${decided.target ?? ''} (${decided.stage} ${decided.reason}): ${labelled.candidate.statement}`;
