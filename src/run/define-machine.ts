// `defineMachine`: what a user writes becomes a Machine with every default in place.
import type { z } from 'zod';
import type { Machine, Migration, Move, RunInfo, SessionMessage, Step } from '../domain/machine.ts';
import { MainstayError } from '../domain/errors.ts';
import type { Lane } from '../domain/lane.ts';
import { STEP_ATTEMPTS, STEP_TIMEOUT_MS } from '../domain/tunables.ts';
import type { Tool } from '../domain/tool.ts';

export interface MachineOptions<I> {
  /** Lower case letters, digits, `-`, `.`, `_`; stored with every run. */
  readonly name: string;
  /** Raise it with every change of steps or data: runs stay on the version they started on. */
  readonly version: number;
  readonly description?: string;
  readonly input: z.ZodType<I>;
  /** Schema of what is handed from step to step, where all steps share one. */
  readonly data?: z.ZodType;
  /** Older versions whose unfinished runs this one takes over. */
  readonly migrates?: Migration;
  readonly start: string;
  readonly steps: Readonly<Record<string, (step: Step<I, never>) => Promise<Move>>>;
  readonly tools?: readonly Tool[];
  /** Time limit of one step, milliseconds. */
  readonly stepTimeoutMs?: number;
  /** Failures of one step before the run fails. */
  readonly attempts?: number;
  /** Whether finished runs go through the memory gate; true unless told. */
  readonly remembers?: boolean;
  /** Resources only one run at a time may work on. */
  readonly locks?: (input: I, run: RunInfo) => readonly string[];
  readonly budgetMicroUsd?: bigint;
  /** `ask` unless told: a run without room in its own budget waits until a person raises it. */
  readonly overBudget?: 'ask' | 'fail';
  readonly model?: string;
  /** Of its calls of the model, where neither a submission nor a call asks for one; `realtime` unless told. */
  readonly lane?: Lane;
  readonly pool?: string;
  readonly visible?: boolean;
  /** What stays in the session of a run that another message interrupted, told from the last checkpoint's data. */
  readonly interrupted?: (input: I, data: never) => readonly SessionMessage[];
}

export function defineMachine<I>(options: MachineOptions<I>): Machine {
  if (!/^[a-z][a-z0-9._-]{0,62}$/.test(options.name)) throw new MainstayError('bad_request', `"${options.name}" is not a name for a machine: use lower case letters, digits, ".", "_" and "-".`);
  if (!Number.isSafeInteger(options.version) || options.version < 1) throw new MainstayError('bad_request', `The version of ${options.name} must be a whole number from 1 on.`);
  if (!options.steps[options.start]) throw new MainstayError('bad_request', `${options.name} starts at "${options.start}", which is none of its steps.`);
  const newer = options.migrates?.from.find((from) => !Number.isSafeInteger(from) || from < 1 || from >= options.version);
  if (newer !== undefined) throw new MainstayError('bad_request', `${options.name}@${options.version} cannot migrate from version ${newer}.`);
  return {
    name: options.name,
    version: options.version,
    pool: options.pool ?? 'agent',
    visible: options.visible ?? true,
    description: options.description ?? '',
    input: options.input,
    data: options.data,
    migrates: options.migrates,
    start: options.start,
    steps: options.steps,
    tools: options.tools ?? [],
    stepTimeoutMs: options.stepTimeoutMs ?? STEP_TIMEOUT_MS,
    attempts: options.attempts ?? STEP_ATTEMPTS,
    remembers: options.remembers ?? true,
    locks: options.locks,
    budgetMicroUsd: options.budgetMicroUsd,
    overBudget: options.overBudget ?? 'ask',
    model: options.model,
    lane: options.lane ?? 'realtime',
    interrupted: options.interrupted,
  };
}
