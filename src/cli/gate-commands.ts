// `mainstay memories replay` and `mainstay memories policy`: what the gate would have decided under other numbers. Works on the
// database itself, with the settings of the workers, in the scope it is told; changes nothing.
import type { Command } from 'commander';
import { readConfig, type Config } from '../config.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { POLICY, policySchema, policyVersion, type GatePolicy } from '../domain/gate-policy.ts';
import { mergePatch } from '../domain/json.ts';
import { changedSettings, gatePolicyOf, memorySettingsSchema, type MemorySettings } from '../domain/memory-settings.ts';
import { publicId } from '../ids.ts';
import { makeLog } from '../log.ts';
import { wholeNumber } from './arguments.ts';
import { apiClient, withApiOptions, withDatabase, type ApiOptions } from './connection.ts';
import { addCalibrate } from './calibrate-command.ts';
import { printJson, printLine, printTable } from './output.ts';
import { issuesOf, readJson } from './read-json.ts';

interface Words { readonly tenant: string; readonly user?: string; readonly policy?: string; readonly limit: number; readonly json?: boolean }

export function addGateCommands(memories: Command): void {
  const policy = memories.command('policy').description("the gate's policy as JSON: the numbers `replay --policy` may change").action(() => { printJson(POLICY); });
  withApiOptions(policy.command('show')).description('what the tenant has set, and what holds by it, as JSON').action(async (options: ApiOptions) => { printJson(await apiClient(options).memories.policy()); });
  withApiOptions(policy.command('set')).description('change what the tenant has set; audited').argument('<file>', 'JSON with the settings that change, such as {"gate": {"caps": {"user": 500}}}; null goes back to what holds for everybody')
    .action(async (file: string, options: ApiOptions) => { printJson(await apiClient(options).memories.setPolicy(readObject(file))); });
  memories.command('replay').description('judge stored verdicts again under another policy and show what would change; changes nothing')
    .requiredOption('--tenant <tenant>', 'whose verdicts').option('--user <user>', 'only of runs for this user')
    .option('--policy <file>', 'JSON with the fields of `memories policy` that differ; without it the tenant’s present policy').option('--limit <n>', 'newest runs', wholeNumber, 1_000).option('--json', 'print JSON')
    .action(replay);
  addCalibrate(memories);
  memories.command('retention').description('what is due to be rolled up, closed and deleted by tenant; changes nothing unless told').option('--tenant <tenant>', 'of this tenant').option('--policy <file>', 'what would be due if this were set, as `memories policy set` takes it: only with --tenant').option('--apply', 'carry it out, also what the brake has stopped: only with --tenant').option('--json', 'print JSON')
    .action(retention);
}

async function replay({ tenant, user, policy: file, limit, json }: Words): Promise<void> {
  const config = configuration();
  const [{ openAppStore }, { replayVerdicts }, { memoryPolicy }] = await Promise.all([import('../store/app-store.ts'), import('../memory/replay-verdicts.ts'), import('../store/memory-policies.ts')]);
  const store = openAppStore({ url: config.DATABASE_APP_URL ?? config.DATABASE_URL, asRole: config.DATABASE_APP_URL === undefined, log: makeLog('warn', 'cli'), max: 2 });
  try {
    const present = gatePolicyOf(await store.withTenant({ tenant }, (tx) => memoryPolicy(tx)));
    const policy = file === undefined ? present : readPolicy(file, present);
    const { runs, verdicts, changes, otherInputs } = await replayVerdicts(store, { tenant, ...(user !== undefined && { user }) }, policy, limit);
    const named = changes.map((change) => ({ ...change, run: publicId('run', change.run) }));
    if (json) return printJson({ policy: policyVersion(policy), present: policyVersion(present), runs, verdicts, changes: named, otherInputs: otherInputs.map((run) => publicId('run', run)) });
    for (const { run, index, was, now, statement } of named) printLine(`${run} ${index}: ${was.decision} (${was.stage} ${was.reason}) would be ${now.decision} (${now.stage} ${now.reason}): ${statement}`);
    printLine(`${verdicts} verdicts of ${runs} runs judged again under policy ${policyVersion(policy)}: ${named.length} would change`);
    if (otherInputs.length > 0) printLine(`${otherInputs.length} runs left out: what they were decided on has changed since`);
  } finally {
    await store.close();
  }
}

/** Fields that are not given stay as they are; groups such as `weights` may be given in part. */
function readPolicy(file: string, present: GatePolicy): GatePolicy {
  const { data, error } = policySchema.safeParse(mergePatch(present, readObject(file)));
  if (data) return data;
  throw new MainstayError('bad_request', `${file}: ${issuesOf(error)}. \`mainstay memories policy\` prints the fields there are.`);
}

function readObject(file: string): object {
  const given = readJson(file);
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return given;
  throw new MainstayError('bad_request', `${file} holds no JSON object.`);
}

function configuration(): Config {
  try { return readConfig(); } catch (error) { throw new MainstayError('bad_request', messageOf(error)); }
}

interface RetentionWords { readonly tenant?: string; readonly policy?: string; readonly apply?: true; readonly json?: boolean }

/** The operator has looked: with `--apply` the brake does not hold. */
async function retention({ tenant, policy: file, apply, json }: RetentionWords): Promise<void> {
  if ((apply || file !== undefined) && tenant === undefined) throw new MainstayError('bad_request', 'Name the tenant whose memories these are: --tenant.');
  if (apply && file !== undefined) throw new MainstayError('bad_request', '`--policy` shows what would be due and changes nothing: set it with `mainstay memories policy set`, then --apply.');
  const [{ dueRetention, retain, settingsOf }, { isBraked }] = await Promise.all([import('../store/engine/retention.ts'), import('../domain/retention.ts')]);
  const { due, done } = await withDatabase(async (pool) => {
    const present = await settingsOf(pool, tenant);
    const [set] = present;
    const asked = file === undefined || tenant === undefined ? present : [{ tenant, version: (set?.version ?? 0) + 1, settings: changedSettings(set?.settings ?? {}, readSettings(file)) }];
    return { due: await dueRetention(pool, tenant, asked), done: apply && tenant !== undefined ? await retain(pool, tenant, 'cli') : undefined };
  });
  const data = due.map((one) => ({ ...one, braked: isBraked(one) }));
  if (json) return printJson({ data, ...(done && { done }) });
  printTable(['tenant', 'memories', 'to roll up', 'to close', 'to delete', 'by', ''], data.map((one) => [one.tenant, one.memories, one.rolls, one.closes, one.deletes, one.takes.map(({ rule, days, memories }) => `${rule} ${days}: ${memories}`).join(', '), one.braked ? 'braked: more than one sweep may take' : '']));
  if (done) printLine(`${done.rolled} rolled up, ${done.closed} closed, ${done.deleted} deleted`);
}

/** As `memories policy set` takes them. */
function readSettings(file: string): MemorySettings {
  const { data, error } = memorySettingsSchema.safeParse(readObject(file));
  if (data) return data;
  throw new MainstayError('bad_request', `${file}: ${issuesOf(error)}. \`mainstay memories policy show\` prints what is set.`);
}
