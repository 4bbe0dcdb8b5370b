// A support agent: looks for the customer's tickets, opens one for a problem that has none, and answers with its id. What the
// prompt says it remembers is used where it fits and cited as `[m:<id>]`.
import type { StubReply, StubScript, WireRequest } from '../wire.ts';
import { callsSoFar, fillArguments, headline, instructionsOf, jsonOf, memoriesOf, relevantMemories, toolOf, userWordsOf, type CallSoFar } from './read-request.ts';

const PROBLEM = /\b(problem|issue|error|errors|broken|break|breaks|fail|fails|failed|failing|crash\w*|bug|stuck|stopped|wrong|missing|lost|down|slow|refund|cannot|can't|won't|unable|doesn't|isn't|does not|not work\w*|no longer|again)\b/i;

export const supportAgent: StubScript = {
  name: 'support-agent',
  matches: (request) => !request.output_config?.format && (toolOf(request, 'find_tickets') !== undefined || /\bsupport\b/i.test(instructionsOf(request))),
  reply(request) {
    const calls = callsSoFar(request);
    const search = calls.find((call) => call.name === 'find_tickets');
    const opened = calls.find((call) => call.name === 'open_ticket');
    const findTool = toolOf(request, 'find_tickets');
    if (findTool && !search) return { text: 'Let me look at your tickets.', toolUses: [{ name: 'find_tickets', input: fillArguments(findTool, factsOf(request)) }] };
    const openTool = toolOf(request, 'open_ticket');
    const found = search && !search.isError ? ticketsIn(search.output) : [];
    if (openTool && !opened && !search?.isError && found.length === 0 && PROBLEM.test(userWordsOf(request))) return { toolUses: [{ name: 'open_ticket', input: fillArguments(openTool, factsOf(request)) }] };
    return answer(request, found, opened);
  },
};

function factsOf(request: WireRequest): Parameters<typeof fillArguments>[1] {
  const words = userWordsOf(request);
  return [
    { names: ['query', 'q', 'text', 'words', 'search', 'description', 'body', 'message', 'details'], value: words },
    { names: ['subject', 'title', 'summary'], value: headline(words, 80) },
    { names: ['customer', 'customer_id', 'customerId', 'user', 'user_id', 'userId', 'requester', 'email'], value: customerOf(request) },
  ];
}

/** Who is asking: named in the instructions (`customer: ada`, `user = ada`), else by the user. */
function customerOf(request: WireRequest): string {
  const named = /\b(?:customer|user)(?:[ _-]?id)?\s*[:=]\s*"?([\w.@+-]+)/i.exec(instructionsOf(request));
  const said = /\b(?:[Mm]y name is|[Tt]his is|[Cc]all me)\s+(\p{Lu}[\p{L}'-]+)/u.exec(userWordsOf(request));
  return named?.[1] ?? said?.[1] ?? 'customer';
}

interface Ticket { readonly id: string; readonly subject: string; readonly status: string }

/** Tickets in a result, wherever its JSON keeps them. */
function ticketsIn(output: string): Ticket[] {
  const json = jsonOf(output);
  const rows = Array.isArray(json) ? json : json !== null && typeof json === 'object' ? Object.values(json).find(Array.isArray) ?? [json] : [];
  return (rows as (Record<string, string | number> | null)[]).flatMap((row) => {
    const id = row?.['id'] ?? row?.['ticket'] ?? row?.['ticket_id'] ?? row?.['ticketId'];
    return id === undefined ? [] : [{ id: String(id), subject: String(row?.['subject'] ?? row?.['title'] ?? ''), status: String(row?.['status'] ?? 'open') }];
  });
}

function answer(request: WireRequest, found: readonly Ticket[], opened: CallSoFar | undefined): StubReply {
  const memories = relevantMemories(request);
  const [ticket] = opened && !opened.isError ? ticketsIn(opened.output) : [];
  const [known] = found;
  const news = opened?.isError ? `I could not open a ticket: ${headline(opened.output, 160)}.`
    : ticket ? `I have opened ticket ${ticket.id} for you: ${headline(userWordsOf(request), 100)}.`
      : known ? `Your ticket ${known.id}${known.subject && ` (${known.subject})`} is ${known.status}; I have looked at it for you.`
        : memoriesOf(request).length > 0 ? 'Here is what I know.' : 'Thank you for your message; tell me what does not work and I will open a ticket.';
  const remembered = memories.map((memory) => `I kept in mind: ${memory.statement.replace(/\.?$/, '.')} [m:${memory.id}]`);
  return { text: [news, ...remembered].join(' ') };
}
