// A small ticket desk over HTTP, the kind of service a support agent works with: `node examples/ticket-desk.ts [port] [file]`.
// It honours an Idempotency-Key: the same key brings the same ticket, however often it is sent, and /stats counts both, so
// that a repeated call can be seen. Tickets live in memory, or also in a JSON file when one is named.
//
//   POST /tickets                       { customer, subject, description }, header Idempotency-Key: 201, or 200 when known
//   GET  /tickets?customer=&query=      tickets of a customer, newest first; query: words, one of which must fit
//   GET  /stats                         { tickets, requests, replayed }
//   GET  /healthz
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mainOf, serveJson, type Answer, type Asked, type JsonServer } from './json-server.ts';

export interface Ticket {
  readonly id: string;
  readonly customer: string;
  readonly subject: string;
  readonly description: string;
  readonly status: 'open' | 'closed';
}
interface Kept { readonly key: string; readonly ticket: Ticket }

/** `port` 0 or none: a free one. `file`: where tickets outlive the process. */
export function startTicketDesk(options: { port?: number; file?: string } = {}): Promise<JsonServer> {
  const desk = new TicketDesk(options.file);
  return serveJson(options.port ?? 0, (asked) => desk.answer(asked));
}

class TicketDesk {
  readonly #file: string | undefined;
  readonly #kept: Kept[];
  #requests = 0;
  #replayed = 0;

  constructor(file: string | undefined) {
    this.#file = file;
    this.#kept = file !== undefined && existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) as Kept[] : [];
  }

  answer(asked: Asked): Answer {
    switch (asked.route) {
      case 'POST /tickets': return this.#open(asked);
      case 'GET /tickets': return this.#find(asked);
      case 'GET /stats': return { status: 200, body: { tickets: this.#kept.length, requests: this.#requests, replayed: this.#replayed } };
      case 'GET /healthz': return { status: 200, body: { ok: true } };
      default: return { status: 404, body: { error: `no such path: ${asked.route}` } };
    }
  }

  #open({ body, headers }: Asked): Answer {
    const { customer, subject, description } = body;
    if (![customer, subject, description].every((text) => typeof text === 'string' && text.trim() !== '')) return { status: 400, body: { error: 'customer, subject and description are needed' } };
    this.#requests++;
    const key = headers['idempotency-key'];
    const known = this.#kept.find((one) => one.key === key);
    if (known) {
      this.#replayed++;
      return { status: 200, body: known.ticket };
    }
    const ticket: Ticket = { id: `T-${1001 + this.#kept.length}`, customer: String(customer), subject: String(subject), description: String(description), status: 'open' };
    this.#kept.push({ key: typeof key === 'string' ? key : randomUUID(), ticket });
    this.#save();
    return { status: 201, body: ticket };
  }

  #find({ query }: Asked): Answer {
    const customer = query.get('customer');
    if (!customer) return { status: 400, body: { error: 'customer is needed' } };
    const words = wordsOf(query.get('query') ?? '');
    const tickets = this.#kept.map(({ ticket }) => ticket).filter((ticket) => ticket.customer === customer && (words.size === 0 || fits(ticket, words)));
    return { status: 200, body: { tickets: tickets.reverse().slice(0, 20) } };
  }

  #save(): void {
    if (this.#file === undefined) return;
    writeFileSync(`${this.#file}.next`, JSON.stringify(this.#kept, null, 2), { mode: 0o600 });
    renameSync(`${this.#file}.next`, this.#file); // whole or not at all
  }
}

/** Words of five letters and more: shorter ones fit everything. */
const wordsOf = (text: string): Set<string> => new Set(text.toLowerCase().match(/\p{L}{5,}/gu) ?? []);
const fits = (ticket: Ticket, words: ReadonlySet<string>): boolean => [...wordsOf(`${ticket.subject} ${ticket.description}`)].some((word) => words.has(word));

await mainOf(import.meta.url, (port) => startTicketDesk({ port, ...(process.argv[3] === undefined ? {} : { file: process.argv[3] }) }));
