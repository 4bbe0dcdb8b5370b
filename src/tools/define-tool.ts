// `defineTool`: what a user writes becomes a Tool with every default in place. The safe default is `unkeyed`: a tool that
// says nothing of its effect is never called twice.
import type { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import type { ToolEffect } from '../domain/status.ts';
import type { Tool, ToolContext, ToolRate } from '../domain/tool.ts';

export interface ToolOptions<I, O> {
  /** Lower case letters, digits, `_`; the model calls it by this. */
  readonly name: string;
  readonly version?: number;
  readonly description: string;
  readonly input: z.ZodType<I>;
  /** JSON Schema for the model, where it is not to be made of `input`. */
  readonly inputSchema?: Record<string, unknown>;
  /** A run may make the same call as often as it likes (to poll); the third is refused unless told. */
  readonly mayRepeat?: boolean;
  readonly effect?: ToolEffect;
  /** How long the callee honours our key, milliseconds; a day unless told. */
  readonly keyTtlMs?: number;
  readonly timeoutMs?: number;
  /** Micro-dollars a call costs: fixed, or at most before it and in the end by its result. Free unless told. */
  readonly costMicroUsd?: bigint | { readonly atMost: (args: I) => bigint; readonly of: (args: I, result: O) => bigint };
  /** Of a `read`: its result is given again for so long, to the same user, for the same arguments and permissions. Never unless told. */
  readonly cacheMs?: number;
  /** Has the provider hold the model's arguments to the schema. All strict schemas of a request are compiled together, and too many are
   *  refused with the request: false unless told. */
  readonly strict?: boolean;
  readonly scopes?: readonly string[];
  readonly dataset?: (args: I) => string | undefined;
  /** Keeps long answers to be searched by the run's user and agent; true unless told for a tool that asks for no scope and no dataset, whose answers
   *  would otherwise outlive a permission. */
  readonly searchable?: boolean;
  readonly lock?: (args: I) => string | undefined;
  /** At most so many calls in so many whole seconds: of the whole fleet unless `per` says of each tenant or user. No limit unless told. */
  readonly rate?: { readonly calls: number; readonly perS: number; readonly per?: ToolRate['per'] };
  /** Asks a person first: always, or when this says so. Never unless told. */
  readonly approval?: 'never' | 'always' | ((args: I) => boolean);
  /** How long the question stays open, milliseconds, and what no answer counts as; open for ever and `deny` unless told. */
  readonly approvalExpiresInMs?: number;
  readonly approvalOnExpiry?: 'approve' | 'deny';
  /** The tool's own name of the effect (`ticket for order 4711`): two runs that mean the same get one effect and one result. */
  readonly businessKey?: (args: I) => string | undefined;
  /** How long one effect stands for the same business key, milliseconds; a day unless told. */
  readonly businessWindowMs?: number;
  readonly run: (args: I, context: ToolContext) => Promise<O>;
  readonly lookup?: (key: string, context: ToolContext) => Promise<{ result: O } | 'not_applied' | undefined>;
  readonly notApplied?: (error: unknown) => boolean;
}

const DAY_MS = 86_400_000;

/** The types of arguments and result stay inside: a list of tools is a list of `Tool`. */
export function defineTool<I, O>(options: ToolOptions<I, O>): Tool {
  if (!/^[a-z][a-z0-9_]{0,62}$/.test(options.name)) throw new MainstayError('bad_request', `"${options.name}" is not a name for a tool: use lower case letters, digits and "_".`);
  // whoever calls it parses the arguments with its schema first
  return {
    name: options.name,
    version: options.version ?? 1,
    description: options.description,
    input: options.input,
    inputSchema: options.inputSchema,
    agent: undefined,
    mayRepeat: options.mayRepeat ?? false,
    effect: options.effect ?? 'unkeyed',
    keyTtlMs: options.keyTtlMs ?? DAY_MS,
    timeoutMs: options.timeoutMs ?? 30_000,
    cost: costOf(options),
    cacheMs: cacheOf(options),
    strict: options.strict ?? false,
    scopes: options.scopes ?? [],
    dataset: options.dataset,
    searchable: options.searchable ?? ((options.scopes ?? []).length === 0 && options.dataset === undefined),
    lock: options.lock,
    rate: rateOf(options),
    approval: approvalOf(options),
    business: options.businessKey && { key: options.businessKey, windowMs: options.businessWindowMs ?? DAY_MS },
    run: options.run,
    lookup: options.lookup,
    notApplied: options.notApplied,
  };
}

function costOf<I, O>({ name, costMicroUsd: cost }: ToolOptions<I, O>): Tool['cost'] {
  if (cost === undefined) return undefined;
  if (typeof cost !== 'bigint') return cost as Tool['cost'];
  if (cost < 0n) throw new MainstayError('bad_request', `The cost of ${name} is below 0.`);
  return { atMost: () => cost, of: () => cost };
}

function cacheOf<I, O>({ name, effect, cacheMs }: ToolOptions<I, O>): number | undefined {
  if (cacheMs === undefined) return undefined;
  if (effect !== 'read') throw new MainstayError('bad_request', `${name} has an effect: only the results of a \`read\` may be cached.`);
  if (!Number.isSafeInteger(cacheMs) || cacheMs < 1 || cacheMs > DAY_MS) throw new MainstayError('bad_request', `The results of ${name} may be cached for 1 ms to a day.`);
  return cacheMs;
}

function rateOf<I, O>({ name, rate }: ToolOptions<I, O>): ToolRate | undefined {
  if (rate === undefined) return undefined;
  if (![rate.calls, rate.perS].every((n) => Number.isSafeInteger(n) && n > 0)) throw new MainstayError('bad_request', `The rate of ${name} is ${rate.calls} calls in ${rate.perS} s: use whole numbers above 0.`);
  return { per: 'fleet', ...rate };
}

function approvalOf<I, O>({ approval = 'never', approvalExpiresInMs = null, approvalOnExpiry = 'deny' }: { approval?: ToolOptions<I, O>['approval']; approvalExpiresInMs?: number | null; approvalOnExpiry?: 'approve' | 'deny' }): Tool['approval'] {
  if (approval === 'never') return undefined;
  return { asks: approval === 'always' ? () => true : approval, expiresInMs: approvalExpiresInMs, onExpiry: approvalOnExpiry };
}
