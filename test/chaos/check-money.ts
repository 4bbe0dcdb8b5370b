// Looks at what was spent and said: the ledger of model calls against the model's own log, budgets, and the transcripts.
import { costMicroUsd } from '../../src/domain/prices.ts';
import { wallMs } from '../../src/clock.ts';
import type { StubCall, WireUsage } from '../../src/dev/model-stub/wire.ts';
import type { Evidence } from './check-runs.ts';
import type { Look } from './invariants.ts';
import type { Stand } from './stand.ts';

interface Call {
  run: string; model: string; lane: 'live' | 'batch'; status: string; requestId: string | null; cost: number; reserved: number;
  input: number; write5m: number; write1h: number; read: number; output: number; ended: boolean;
}

const CALLS = `SELECT m.run_id AS run, m.model, m.lane, m.status::text AS status, m.request_id AS "requestId", m.cost_micro_usd::float8 AS cost, m.reserved_micro_usd::float8 AS reserved, m.input_tokens AS input,
  m.cache_write_5m_tokens AS write5m, m.cache_write_1h_tokens AS write1h, m.cache_read_tokens AS read, m.output_tokens AS output, r.finished_at IS NOT NULL AS ended
  FROM model_calls m JOIN agent_runs r ON r.tenant_id = m.tenant_id AND r.id = m.run_id`;

/** Answers that were given whole: what they used is known to the model, and learnt unless the asker was cut off. */
const isWhole = ({ status, fault }: StubCall): boolean => status === 200 && (fault === undefined || fault === 'slow');

export async function ledgerOfModel({ stand: { rows, model } }: Evidence): Promise<Look> {
  const calls = await rows<Call>(CALLS);
  const said = new Map(model.calls().filter(isWhole).map((call) => [call.requestId ?? '', call]));
  const live = calls.filter(({ lane }) => lane === 'live');
  const settled = live.filter(({ status }) => status === 'settled');
  const booked = live.filter(({ status }) => status === 'booked');
  const batched = batchesLearnt(calls.filter(({ lane }) => lane === 'batch'), model.batches.all());
  const unlearnt = said.size - new Set(settled.map(({ requestId }) => requestId)).size;
  const totals = await rows<{ subject: string; spent: number; calls: number; reserved: number; open: number }>(`
    SELECT b.tenant_id || '/' || b.subject AS subject, b.spent_micro_usd::float8 AS spent, b.reserved_micro_usd::float8 AS reserved, coalesce(sum(m.cost_micro_usd), 0)::float8 AS calls, coalesce(sum(m.reserved_micro_usd) FILTER (WHERE m.status = 'open'), 0)::float8 AS open
    FROM budgets b LEFT JOIN model_calls m ON m.tenant_id = b.tenant_id AND b.key = ANY (m.budgets) GROUP BY b.tenant_id, b.subject, b.spent_micro_usd, b.reserved_micro_usd`);
  return {
    evidence: calls.length,
    wrong: [
      ...settled.flatMap((call) => { const wrong = differs(call, said.get(call.requestId ?? '')); return wrong === undefined ? [] : [`run ${call.run}, request ${call.requestId}: ${wrong}`]; }),
      ...twice(settled.map(({ requestId }) => requestId ?? '')).map((id) => `request ${id} is settled twice`),
      ...batched.wrong,
      ...calls.filter(({ status, cost, reserved }) => status === 'booked' && cost !== reserved).map(({ run, cost, reserved }) => `run ${run}: an unknown attempt is booked at ${cost}, not at its reserve ${reserved}`),
      ...calls.filter(({ status, cost }) => status === 'failed' && cost !== 0).map(({ run, cost }) => `run ${run}: an attempt that was refused cost ${cost}`),
      ...(unlearnt > booked.length + live.filter(({ status }) => status === 'open').length ? [`${unlearnt} answers were never learnt, ${booked.length} attempts are booked`] : []),
      ...totals.filter(({ spent, calls: sum }) => spent !== sum).map(({ subject, spent, calls: sum }) => `budget ${subject} has spent ${spent}, its calls cost ${sum}`),
      ...totals.filter(({ reserved, open }) => reserved !== open).map(({ subject, reserved, open }) => `budget ${subject} holds reserves of ${reserved}, open calls have ${open}`),
    ],
    note: `${settled.length} settled, ${booked.length} booked, ${unlearnt} answers never learnt; ${batched.note}`,
  };
}

/** Items of batches have no id that both sides keep: each settled one is set against an answer with the same numbers. */
function batchesLearnt(calls: readonly Call[], batches: ReturnType<Stand['model']['batches']['all']>): { wrong: string[]; note: string } {
  const given = batches.flatMap(({ results }) => results.flatMap(({ result }) => (result.type === 'succeeded' ? [tokensOf((result.message as { usage: WireUsage }).usage)] : [])));
  const left = [...given];
  const settled = calls.filter(({ status }) => status === 'settled');
  const ofNoAnswer = settled.filter((call) => { const at = left.indexOf(tokensIn(call)); if (at >= 0) left.splice(at, 1); return at < 0; });
  const mispriced = settled.filter((call) => Number(costMicroUsd(call.model, usageIn(call), wallMs(), 'batch')) !== call.cost);
  const booked = calls.filter(({ status }) => status === 'booked').length;
  return {
    wrong: [
      ...ofNoAnswer.map((call) => `run ${call.run}: no batch gave the answer of ${tokensIn(call)} tokens that is settled`),
      ...mispriced.map(({ run, cost }) => `run ${run}: a call of a batch is booked at ${cost}`),
      ...(left.length > booked + calls.filter(({ status }) => status === 'open').length ? [`${left.length} answers of batches were never learnt, ${booked} of their calls are booked`] : []),
    ],
    note: `by batch ${settled.length} settled, ${booked} booked, ${left.length} never learnt`,
  };
}

function differs(call: Call, said: StubCall | undefined): string | undefined {
  const usage = said?.usage;
  if (!usage) return 'the model never gave this answer';
  const [mine, theirs] = [tokensIn(call), tokensOf(usage)];
  if (mine !== theirs) return `${mine} tokens in the ledger, ${theirs} in the answer`;
  const cost = Number(costMicroUsd(call.model, asUsage(usage), wallMs()));
  return cost === call.cost ? undefined : `it cost ${cost} and is booked at ${call.cost}`;
}

const tokensIn = (call: Call): string => [call.input, call.write5m, call.write1h, call.read, call.output].join('/');
const tokensOf = (usage: WireUsage): string => [usage.input_tokens, usage.cache_creation.ephemeral_5m_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens, usage.cache_read_input_tokens, usage.output_tokens].join('/');
const usageIn = (call: Call): Parameters<typeof costMicroUsd>[1] => ({ inputTokens: call.input, cacheWrite5mTokens: call.write5m, cacheWrite1hTokens: call.write1h, cacheReadTokens: call.read, outputTokens: call.output });
const asUsage = (usage: WireUsage): Parameters<typeof costMicroUsd>[1] => ({
  inputTokens: usage.input_tokens, cacheWrite5mTokens: usage.cache_creation.ephemeral_5m_input_tokens, cacheWrite1hTokens: usage.cache_creation.ephemeral_1h_input_tokens, cacheReadTokens: usage.cache_read_input_tokens, outputTokens: usage.output_tokens,
});

const twice = (values: readonly string[]): string[] => [...new Set(values.filter((value, at) => values.indexOf(value) !== at))];

export async function budgetsKept({ stand: { rows, slots } }: Evidence): Promise<Look> {
  const runs = await rows<{ id: string; budget: number; spent: number; reserve: number; open: number; total: number }>(`
    SELECT r.id, coalesce((SELECT b.limit_micro_usd FROM budgets b WHERE b.tenant_id = r.tenant_id AND b.subject = 'run:' || r.id), r.budget_micro_usd)::float8 AS budget, r.cost_micro_usd::float8 AS total, coalesce(sum(m.cost_micro_usd), 0)::float8 AS spent, coalesce(max(m.reserved_micro_usd), 0)::float8 AS reserve, count(*) FILTER (WHERE m.status = 'open')::int AS open
    FROM agent_runs r LEFT JOIN model_calls m ON m.tenant_id = r.tenant_id AND m.run_id = r.id WHERE r.budget_micro_usd IS NOT NULL GROUP BY r.tenant_id, r.id`);
  const places = slots.filter(({ role }) => role === 'agent' || role === 'memory').length * 8;
  const budgets = await rows<{ subject: string; limit: number; spent: number; reserve: number }>(`
    SELECT b.tenant_id || '/' || b.subject AS subject, b.limit_micro_usd::float8 AS limit, b.spent_micro_usd::float8 AS spent, coalesce((SELECT max(reserved_micro_usd) FROM model_calls m WHERE m.tenant_id = b.tenant_id), 0)::float8 AS reserve FROM budgets b`);
  const open = await rows<{ run: string }>(`SELECT m.run_id AS run FROM model_calls m JOIN agent_runs r ON r.tenant_id = m.tenant_id AND r.id = m.run_id WHERE m.status = 'open' AND r.finished_at IS NOT NULL LIMIT 20`);
  return {
    evidence: runs.length + budgets.length,
    wrong: [
      ...runs.filter(({ budget, spent, reserve }) => spent > budget + reserve).map(({ id, budget, spent }) => `run ${id} spent ${spent} of ${budget}`),
      ...budgets.filter(({ limit, spent, reserve }) => spent > limit + places * reserve).map(({ subject, spent, limit }) => `${subject} spent ${spent} of ${limit}`),
      ...open.map(({ run }) => `run ${run} has ended and holds a reserve`),
    ],
  };
}

interface Block { readonly type: string; readonly id?: string; readonly tool_use_id?: string }
interface Said { readonly role: string; readonly content: readonly Block[] }

export async function validTranscripts({ stand: { rows, model } }: Evidence): Promise<Look> {
  const transcripts = await rows<{ run: string; seq: number; messages: Said[] }>(`SELECT run_id AS run, seq, data -> 'messages' AS messages FROM run_steps WHERE data IS NOT NULL AND json_typeof(data -> 'messages') = 'array'`);
  const partial = await rows<{ run: string }>(`SELECT run_id AS run FROM tool_calls WHERE request::text LIKE '%half a sent%'`);
  const refused = model.calls().filter(({ status, fault }) => status === 400 && fault === undefined).length;
  return {
    evidence: transcripts.length,
    wrong: [
      ...transcripts.flatMap(({ run, seq, messages }) => { const wrong = orphanIn(messages); return wrong === undefined ? [] : [`run ${run} step ${seq}: ${wrong}`]; }),
      ...partial.map(({ run }) => `run ${run} carried out half of a tool call`),
      ...(refused > 0 ? [`the model refused ${refused} requests as malformed`] : []),
    ],
  };
}

/** The last message may still be unanswered. */
function orphanIn(messages: readonly Said[]): string | undefined {
  for (const [at, { content }] of messages.entries()) {
    const asked = content.flatMap(({ type, id }) => (type === 'tool_use' ? [id] : []));
    const next = messages[at + 1];
    if (asked.length === 0 || !next) continue;
    const answered = next.content.flatMap(({ type, tool_use_id: id }) => (type === 'tool_result' ? [id] : []));
    if (asked.some((id) => !answered.includes(id)) || answered.length !== asked.length) return `message ${at} asks for ${asked.join(', ')}, answered are ${answered.join(', ') || 'none'}`;
  }
  return undefined;
}
