// A person corrects what a memory says: another row takes its place from now on, made of theirs, and the old one stays as what held until
// then. Only who has seen the present version may. Secrets stay out and personal data goes by the tenant's rule, as at the gate.
import { MainstayError } from '../domain/errors.ts';
import { attributeOf, hashOf, propertyOf, slotOf, subjectOf } from '../domain/gate-identity.ts';
import { fold } from '../domain/gate-words.ts';
import { MAX_STATEMENT } from '../domain/memory.ts';
import { gatePolicyOf } from '../domain/memory-settings.ts';
import { piiIn, redact, type PiiRules } from '../domain/pii.ts';
import { scrubSecrets } from '../domain/secrets.ts';
import { newId } from '../ids.ts';
import type { TenantTx } from '../store/app-store.ts';
import { heldLike, lockMemory, replaceMemory, type LockedMemory } from '../store/correct-memory.ts';
import { memoryPolicy, pinMemory } from '../store/memory-policies.ts';
import { lockOwners } from '../store/remember-run.ts';
import type { Memory } from '../store/read-memories.ts';

export interface Correction {
  /** As the caller has seen it. */
  readonly version: number;
  readonly statement?: string | undefined;
  readonly value?: string | undefined;
  readonly pinned?: boolean | undefined;
}

/** In a transaction of the caller's, who has seen the row. Answers the uuid of what holds now: the same where nothing but the pin changed. */
export async function correctMemory(tx: TenantTx, { id, userId, agent }: Pick<Memory, 'id' | 'userId' | 'agent'>, change: Correction, by: string): Promise<string> {
  await lockOwners(tx, userId, agent ?? '');
  const old = await lockMemory(tx, id);
  if (!old || old.version !== change.version) throw new MainstayError('memory_changed', `Its version is ${old?.version ?? 'gone'}, not ${change.version}.`);
  if (!old.live) throw new MainstayError('memory_closed', 'It holds no more.');
  const { pii } = gatePolicyOf(await memoryPolicy(tx));
  const [statement, value] = [change.statement === undefined ? old.statement : checked('statement', change.statement, pii), change.value === undefined ? old.value : checked('value', change.value, pii)];
  const pinned = change.pinned ?? old.pinned;
  if (statement === old.statement && value === old.value) {
    if (pinned !== old.pinned) await pinMemory(tx, id, pinned);
    return id;
  }
  if (old.rollsUp) throw refused('statement', 'a roll-up says what its outcomes say: correct or erase those');
  if (value === old.value && !fold(statement).includes(fold(value))) throw refused('value', `the statement no longer says ${JSON.stringify(value)}: give the value it says now`);
  return replace(tx, old, { statement, value, pinned }, by);
}

async function replace(tx: TenantTx, old: LockedMemory, { statement, value, pinned }: { readonly statement: string; readonly value: string; readonly pinned: boolean }, by: string): Promise<string> {
  const owner = { scope: old.scope, user: old.user, agent: old.agent };
  const hash = hashOf(tx.scope.tenant, owner, old.type, statement);
  const slot = slotOf(owner, old.type, subjectOf(old.subject), propertyOf(attributeOf(old.attribute), value));
  if (await heldLike(tx, old.id, hash, slot)) throw new MainstayError('memory_exists', 'Another memory that holds says this already, or has its place.');
  const id = newId();
  await replaceMemory(tx, { old: old.id, id, statement, value, hash, slot, pinned, by });
  return id;
}

/** One line, without secrets, and with what the tenant lets memory hold. Throws `bad_request`. */
function checked(field: string, text: string, rules: PiiRules): string {
  const line = text.replace(/[\s\u0085\u2028\u2029]+/g, ' ').trim();
  if (/[\u00ad\u200b-\u200f\u2060\ufeff]/.test(line) || !line.isWellFormed()) throw refused(field, 'holds characters nobody can see');
  if (scrubSecrets(line) !== line) throw refused(field, 'holds what looks like a secret');
  const kept = redact(line, rules);
  const refusedClass = piiIn(line).find((of) => rules[of] === 'reject');
  if (refusedClass) throw refused(field, `holds personal data (${refusedClass}), which the tenant's rules reject`);
  if (kept.length > MAX_STATEMENT && field === 'statement') throw refused(field, `is longer than ${MAX_STATEMENT} characters`);
  return kept;
}

const refused = (path: string, message: string): MainstayError => new MainstayError('bad_request', `\`${path}\`: ${message}.`, { fields: [{ path, message }] });
