// What a tool answered at length is found again: in passages that name run, step, call and tool, by the run's user and agent alone, without
// the secrets that were in it. Only so much of a run is kept, nothing that was given under a permission, and it goes with the run.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Config } from '../../src/config.ts';
import { parseId, publicId } from '../../src/ids.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { documentTool } from '../../src/tools/document-tool.ts';
import { conversation } from '../support/agents.ts';
import { eventually } from '../support/agent-process.ts';
import { startDocuments } from '../support/documents.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const SECRET = 'sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789';
const long = (says: string): string => [`${says} The key is ${SECRET}.`, ...Array.from({ length: 720 }, (_, n) => `Line ${n} of ${says.slice(0, 12)} says nothing of interest.`)].join('\n');
const reading = (name: string, over: { scopes?: readonly string[] } = {}) => defineTool({ name, description: 'Reads.', effect: 'read', input: z.strictObject({ says: z.string() }), ...over, run: ({ says }) => Promise.resolve(long(says)) });
const uses = (...calls: readonly (readonly [name: string, input: object])[]) => [{ toolUses: calls.map(([name, input]) => ({ name, input })) }, { text: 'Done.' }];
const stack = await useStack();
/** Words find what is looked for here, and long texts are no work for them. */
const change = { TOOL_OUTPUTS: '2', TOOL_OUTPUT_BYTES: '40000', EMBEDDER: 'lexical' } satisfies Partial<Record<keyof Config, string>>;
const fleet = await startMemoryFleet(stack, ['reader', 'other'].map((name) => defineAgent({ name, version: 1, instructions: 'Answer.', tools: [reading('read_log'), reading('read_ledger', { scopes: ['ledger:read'] }), documentTool()] })), {
  change,
  scripts: [
    conversation('the first report', uses(['read_log', { says: 'The pump of hall seven leaks.' }])), conversation('what was it', uses(['search_documents', { query: 'Which pump leaks?', kind: 'tool_output' }])),
    conversation('under a permission', uses(['read_ledger', { says: 'The ledger is short of nine euros.' }])), conversation('for nobody', uses(['read_log', { says: 'The roof of nobody is open.' }])),
    conversation('four at once', uses(...[1, 2, 3, 4].map((n) => ['read_log', { says: `Number ${n} of four speaks of turbines.` }] as const))),
  ],
});
const documents = await startDocuments(stack, { ...change, REDIS_PREFIX: `${stack.redisPrefix}-api` });

/** The run, after what remembers it has ended. */
async function remembered(words: string, { agent = 'reader', user = 'ada' }: { agent?: string; user?: string | null } = {}): Promise<string> {
  const { id } = await fleet.base.submit({ door: 'test', tenant: 'acme', agent, user: user ?? undefined, session: user === null ? undefined : words, input: { message: words } });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  await eventually('it is remembered', async () => (await fleet.rows(`SELECT FROM agent_runs WHERE idempotency_key LIKE 'remember:' || $1 || ':%' AND status = 'completed'`, [id])).length === 1);
  return id;
}
const keptOf = (run: string) => fleet.rows<{ id: string; bytes: number; text: string }>(`SELECT id, bytes, (SELECT string_agg(text, '' ORDER BY ordinal) FROM document_chunks c WHERE c.document_id = d.id) AS text FROM documents d WHERE run_id = $1 AND erased_at IS NULL ORDER BY created_at, path`, [run]);

let first = '';
test('a passage names run, step, call and tool, and the characters of the answer; a secret in it is gone', async () => {
  first = await remembered('Read the first report');
  await documents.add({ title: 'Pumps', text: 'A pump that leaks is replaced.' });
  await documents.index();
  const { data: [best, ...rest] } = await documents.search('Which pump leaks?', { user: 'ada', kind: 'tool_output' });
  expect(best).toMatchObject({ kind: 'tool_output', run: publicId('run', first), stepSeq: 3, path: '0.0.0', tool: 'read_log', title: 'read_log', source: null, user: 'ada', agent: 'reader', start: 0 });
  expect(best?.text).toContain('The pump of hall seven leaks.');
  expect(rest.filter(({ kind }) => kind !== 'tool_output')).toEqual([]);
  expect((await documents.search('Which pump leaks?', { user: 'ada', kind: 'document' })).data.map(({ title }) => title)).toEqual(['Pumps']);
  expect(JSON.stringify(await keptOf(first))).not.toContain(SECRET.slice(8));
  expect((await documents.list(`?run=${publicId('run', first)}`)).map(({ kind, tool, stepSeq }) => [kind, tool, stepSeq])).toEqual([['tool_output', 'read_log', 3]]);
});

test('the same agent finds it for the same user in a later run, which is not kept in turn; nobody else does', async () => {
  const told = async (over: Parameters<typeof remembered>[1]): Promise<string> => {
    const run = await remembered(`And what was it, ${JSON.stringify(over)}?`, over);
    expect(await keptOf(run)).toEqual([]);
    return JSON.stringify((await fleet.rows<{ response: unknown }>(`SELECT response FROM tool_calls WHERE run_id = $1`, [run]))[0]?.response);
  };
  const own = await told({});
  for (const word of ['The pump of hall seven leaks.', publicId('run', first), '"step":3', '"tool":"read_log"']) expect(own).toContain(word);
  for (const over of [{ user: 'bob' }, { agent: 'other' }, { user: null }]) expect(await told(over)).toBe('{"passages":[]}');
});

test('what was given under a permission is not kept, nor what a run without a user was told', async () => {
  await fleet.rows(`INSERT INTO permissions (tenant_id, user_id, scopes, datasets, epoch) VALUES ('acme', 'ada', '{ledger:read}', '{}', 1)`);
  const run = await remembered('Read under a permission');
  expect(await fleet.rows(`SELECT status::text, response_blob IS NOT NULL AS large FROM tool_calls WHERE run_id = $1`, [run])).toEqual([{ status: 'succeeded', large: true }]);
  expect([await keptOf(run), await keptOf(await remembered('Read for nobody', { user: null }))]).toEqual([[], []]);
});

test('of many answers the first are kept, as far as there is room', async () => {
  const kept = await keptOf(await remembered('Read four at once'));
  expect(kept.map(({ text }) => /Number (\d) of four/.exec(text)?.[1])).toEqual(['1', '2']);
  expect(kept.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(40_000);
});

test('erased with its run it is found no more and in no store', async () => {
  await fleet.base.pool.query(`INSERT INTO erasures (tenant_id, id, kind, subject, requested_by) VALUES ('acme', gen_random_uuid(), 'run', $1, 'test')`, [first]);
  const eraser = fleet.memory.eraser(fleet.base);
  await eraser.start();
  await eventually('the erasure', async () => (await fleet.rows(`SELECT FROM erasures WHERE finished_at IS NOT NULL`)).length === 1);
  await eraser.stop();
  expect(await fleet.rows(`SELECT FROM documents WHERE run_id = $1`, [first])).toEqual([]);
  expect((await documents.search('Which pump leaks?', { user: 'ada', kind: 'tool_output' })).data.filter(({ run }) => parseId('run', run ?? '') === first)).toEqual([]);
});
