// Use case 1: a support agent that remembers prior issues. It looks for the customer's tickets, opens one for a new
// problem, and brings what it learned in earlier sessions into its answers, citing it.
import { z } from 'zod';
import type { ToolContext } from '../src/domain/tool.ts';
import { defineAgent } from '../src/run/define-agent.ts';
import { defineTool } from '../src/tools/define-tool.ts';
import { callService } from './call-service.ts';
import type { Ticket } from './ticket-desk.ts';

export const supportAgent = (ticketDeskUrl: string) => defineAgent({
  name: 'support-agent',
  version: 1,
  description: 'Answers customers, knows their earlier issues, opens tickets.',
  instructions: `You are the support agent of a software company.
First look for the customer's tickets with find_tickets. Open a ticket with open_ticket only for a problem that has none.
Use what you know of the customer from earlier conversations, and cite it. Answer shortly and name the ticket.`,
  tools: [findTickets(ticketDeskUrl), openTicket(ticketDeskUrl)],
  limits: { maxTurns: 8, budgetMicroUsd: 500_000n },
});

const findTickets = (ticketDeskUrl: string) => defineTool({
  name: 'find_tickets',
  description: "Finds the customer's own tickets, newest first. `query`: words of the problem; leave it out for all tickets.",
  input: z.strictObject({ query: z.string().max(2_000).optional() }),
  effect: 'read',
  run: ({ query }, context) => {
    const url = new URL('/tickets', ticketDeskUrl);
    url.searchParams.set('customer', customerOf(context));
    if (query !== undefined) url.searchParams.set('query', query);
    return callService<{ tickets: Ticket[] }>(url, context);
  },
});

/** `keyed`: the desk honours an Idempotency-Key, so after a crash the engine may call again and one ticket is opened. */
const openTicket = (ticketDeskUrl: string) => defineTool({
  name: 'open_ticket',
  description: 'Opens a ticket for the customer and returns its id.',
  input: z.strictObject({ subject: z.string().min(1).max(200), description: z.string().min(1).max(4_000) }),
  effect: 'keyed',
  run: (ticket, context) => callService<Ticket>(new URL('/tickets', ticketDeskUrl), context, { ...ticket, customer: customerOf(context) }),
});

/** Never an argument of the model: it could name somebody else. The tenant is part of it, since two may have an `ada`. */
const customerOf = ({ tenant, user }: ToolContext): string => `${tenant}/${user ?? 'nobody'}`;
