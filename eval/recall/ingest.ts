// Brings the turns of a set into the real stores as memories, past the gate: each session is a run, each turn one memory of the
// conversation's user with its run and its words as evidence; a long turn is cut into statements that fit. Ids of the set stay here:
// what the stores see of them are numbers. Then the product's own indexer embeds and indexes them.
import { createHash } from 'node:crypto';
import { newId } from '../../src/ids.ts';
import { embedded, indexPending, type IndexDeps } from '../../src/memory/index-rows.ts';
import { embedAhead } from './embed-ahead.ts';
import type { Conversation, RecallSet, Turn } from './format.ts';
import { withClient } from '../../src/dev/servers/migrate.ts';

export const TENANT = 'eval';
export const AGENT = 'eval';
/** Longest statement of a memory. */
const STATEMENT = 300;
const ROWS = 2_000;
/** Rows embedded and indexed at a time: progress is shown in between. */
const INDEXED = 256;

interface Row { id: string; user: string; statement: string; hash: string; run: string; session: string; evidence: unknown; at: string }
type Run = Conversation['sessions'][number] & { readonly run: string; readonly name: string };

/** Of each memory, the turn it is of. */
export type Turns = ReadonlyMap<string, string>;

export const userOf = (conversation: Pick<Conversation, 'id'>): string => `c-${createHash('sha256').update(conversation.id).digest('hex').slice(0, 16)}`;

export async function ingest(set: RecallSet, databaseUrl: string, deps: IndexDeps, say: (line: string) => void): Promise<Turns> {
  const turns = new Map<string, string>();
  const statements: string[] = [];
  await withClient(databaseUrl, async (client) => {
    await client.query(`INSERT INTO tenants (id) VALUES ($1) ON CONFLICT DO NOTHING`, [TENANT]);
    for (const conversation of set.conversations) {
      const runs = conversation.sessions.map((session, at): Run => ({ ...session, run: newId(), name: `s${at + 1}` }));
      await client.query(
        `INSERT INTO agent_runs (tenant_id, id, agent, version, pool, user_id, session_id, session_seq, status, request_hash, input, next_step, created_at, finished_at)
         SELECT $1, r.run, $2, 1, 'agent', $3, r.id, r.seq, 'completed', '\\x00', '{}', 'done', r.at, r.at FROM json_to_recordset($4::json) AS r(run uuid, id text, seq bigint, at timestamptz)`,
        [TENANT, AGENT, userOf(conversation), JSON.stringify(runs.map(({ run, name, date }, at) => ({ run, id: name, seq: at + 1, at: date })))]);
      const rows = runs.flatMap((session) => session.turns.flatMap((turn) => rowsOf(conversation, session, turn, turns)));
      for (const { statement } of rows) statements.push(embedded(statement));
      for (let at = 0; at < rows.length; at += ROWS) {
        await client.query(
          `INSERT INTO memories (tenant_id, id, scope, user_id, agent, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, session_id, gate_version, valid_from, last_seen_at)
           SELECT $1, m.id, 'user', m."user", $2, 'fact', '', '', '', m.statement, decode(m.hash, 'hex'), 'user', 0.8, m.evidence, m.run, m.session, 1, m.at, m.at
           FROM json_to_recordset($3::json) AS m(id uuid, "user" text, statement text, hash text, evidence json, run uuid, session text, at timestamptz)`, [TENANT, AGENT, JSON.stringify(rows.slice(at, at + ROWS))]);
      }
    }
  });
  const vectorOf = embedAhead(deps.embedder, statements, 'document');
  const indexing: IndexDeps = { ...deps, embedder: { ...deps.embedder, embed: (texts) => Promise.all(texts.map(vectorOf)) } };
  for (let done = 0, more = -1; more !== 0;) {
    more = await indexPending(indexing, INDEXED);
    done += more;
    say(`indexed ${done} of ${turns.size}`);
  }
  await deps.index.flush();
  return turns;
}

function rowsOf(conversation: Conversation, session: Run, turn: Turn, turns: Map<string, string>): Row[] {
  const who = turn.speaker.trim() === '' ? '' : `${turn.speaker.trim().slice(0, 60).toWellFormed()}: `;
  return piecesOf(turn.text, STATEMENT - who.length).map((text, at) => {
    const id = newId(); // rises, so that turns keep their order
    turns.set(id, turn.id);
    return {
      id, user: userOf(conversation), statement: who + text, run: session.run, session: session.name, at: session.date, evidence: [{ run_id: session.run, event_id: `e${turns.size}`, quote: text }],
      hash: createHash('sha256').update(JSON.stringify([TENANT, conversation.id, turn.id, at])).digest('hex'),
    };
  });
}

/** Whole sentences where they fit, else whole words, else characters; nothing of a blank text. */
export function piecesOf(text: string, most: number): string[] {
  const pieces: string[] = [];
  for (let rest = text.trim(); rest !== '';) {
    if (rest.length <= most) { pieces.push(rest); break; }
    const head = rest.slice(0, most + 1);
    const sentence = Math.max(...['. ', '! ', '? ', '\n'].map((end) => head.lastIndexOf(end)));
    const word = head.search(/\s\S*$/);
    const end = sentence > most / 2 ? sentence + 1 : word > most / 2 ? word : most;
    pieces.push(rest.slice(0, end).toWellFormed().trim());
    rest = rest.slice(end).trim();
  }
  return pieces;
}
