// Tools of an MCP server, over stdio or HTTP. What a call does is declared here, by us, and `unkeyed` where nothing is: what a server
// says of its own tools is advice from outside. They are listed when the process starts and stay what they were; one whose words or
// schema are not those that were pinned stops the start. The connection is made again when it breaks; a server that is away
// opens the tool's breaker, and the run waits without a worker.
import { createHash } from 'node:crypto';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { z } from 'zod';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { canonicalJson } from '../domain/json.ts';
import type { ToolEffect } from '../domain/status.ts';
import type { Tool } from '../domain/tool.ts';
import { defineTool, type ToolOptions } from './define-tool.ts';
import { NotSent } from './outbound.ts';

export interface McpServer {
  /** First part of the tools' names: `github` makes `github_create_issue`. Lower case letters and digits. */
  readonly name: string;
  /** `env` is all the process gets besides PATH, HOME and the like. */
  readonly transport: { readonly command: string; readonly args?: readonly string[]; readonly env?: Readonly<Record<string, string>>; readonly cwd?: string }
    | { readonly url: string; readonly headers?: Readonly<Record<string, string>> };
  /** What a second call with the same arguments would do, by the server's name of the tool. `keyed`: it honours `_meta.idempotencyKey`. */
  readonly effects?: Readonly<Record<string, ToolEffect>>;
  /** Only these; all unless told. */
  readonly only?: readonly string[];
  /** By the server's name of a tool, the first 16 digits of what `pinOf` makes of it. */
  readonly pins?: Readonly<Record<string, string>>;
  readonly options?: Pick<ToolOptions<Record<string, unknown>, unknown>, 'timeoutMs' | 'scopes' | 'approval' | 'keyTtlMs' | 'mayRepeat'>;
}

export interface McpConnection {
  /** For `tools` of an agent. */
  readonly tools: readonly Tool[];
  close(): Promise<void>;
}

type Listed = Awaited<ReturnType<Client['listTools']>>['tools'][number];

const CONNECT_MS = 10_000;
/** A server's own limit may be shorter; ours is the tool's. */
const NO_LIMIT_MS = 3_600_000;
const VERSION = 1;

/** Hash of a tool's words and schema, 16 hexadecimal digits. */
export const pinOf = ({ description = '', inputSchema }: Pick<Listed, 'description' | 'inputSchema'>): string => createHash('sha256').update(canonicalJson({ description, inputSchema })).digest('hex').slice(0, 16);

/** Connects and lists the tools. Throws `unavailable` where the server does not answer, `bad_request` for a tool that is not there or not as pinned. */
export async function connectMcp(server: McpServer): Promise<McpConnection> {
  const line = new Line(server);
  try {
    const listed = await line.list().catch((error: unknown) => { throw new MainstayError('unavailable', `The MCP server ${server.name} does not answer: ${messageOf(error)}`); });
    const wanted = server.only === undefined ? listed : server.only.map((name) => listed.find((tool) => tool.name === name) ?? missing(server, name, listed));
    for (const tool of wanted) checkPin(server, tool);
    return { tools: wanted.map((tool) => asTool(server, line, tool)), close: () => line.close() };
  } catch (error) {
    await line.close();
    throw error;
  }
}

function missing({ name }: McpServer, tool: string, listed: readonly Listed[]): never {
  throw new MainstayError('bad_request', `The MCP server ${name} has no tool "${tool}"; it has ${listed.map((one) => one.name).join(', ')}.`);
}

function checkPin({ name, pins }: McpServer, tool: Listed): void {
  const [pinned, is] = [pins?.[tool.name], pinOf(tool)];
  if (pins !== undefined && pinned !== is) throw new MainstayError('bad_request', `The tool "${tool.name}" of the MCP server ${name} is ${pinned === undefined ? 'not pinned' : 'not what was pinned'}: look at its words and schema, then pin it as ${is}.`);
}

function asTool({ name, effects, options }: McpServer, line: Line, { name: theirs, description = '', inputSchema }: Listed): Tool {
  return defineTool<Record<string, unknown>, unknown>({
    ...options, name: `${name}_${theirs.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_')}`.slice(0, 63), version: VERSION, description, input: schemaOf(inputSchema), inputSchema,
    effect: effects?.[theirs] ?? 'unkeyed', notApplied: (error) => error instanceof NotSent,
    run: (args, { key, signal }) => line.call(theirs, args, key, signal),
  });
}

/** Arguments are checked before a call by the server's own schema; one that zod cannot read is left to the server. */
function schemaOf(inputSchema: Listed['inputSchema']): z.ZodType<Record<string, unknown>> {
  try { return z.fromJSONSchema(inputSchema as Parameters<typeof z.fromJSONSchema>[0]) as z.ZodType<Record<string, unknown>>; } catch { return z.record(z.string(), z.unknown()); }
}

/** One connection at a time, made when it is needed. */
class Line {
  readonly #server: McpServer;
  #client: Promise<Client> | undefined;

  constructor(server: McpServer) { this.#server = server; }

  async list(): Promise<Listed[]> {
    const client = await this.#connected();
    const all: Listed[] = [];
    for (let cursor: string | undefined; ;) {
      const page = await client.listTools(cursor === undefined ? {} : { cursor }, { timeout: CONNECT_MS });
      all.push(...page.tools);
      if ((cursor = page.nextCursor) === undefined) return all;
    }
  }

  async call(name: string, args: Record<string, unknown>, key: string, signal: AbortSignal): Promise<unknown> {
    const client = await this.#connected().catch((error: unknown) => { throw new NotSent('tool_failed', `The MCP server ${this.#server.name} is not reached: ${messageOf(error)}`); });
    const result = await client.callTool({ name, arguments: args, _meta: { idempotencyKey: key } }, undefined, { signal, timeout: NO_LIMIT_MS });
    const content = (result.content ?? []) as readonly { type: string; text?: string }[];
    const text = content.map((block) => (block.type === 'text' ? block.text ?? '' : JSON.stringify(block))).join('\n');
    if (result.isError === true) throw new MainstayError('tool_failed', text.slice(0, 1_000) || `${name} failed.`);
    return result.structuredContent ?? text;
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    this.#client = undefined;
    await client?.close().catch(() => undefined);
  }

  #connected(): Promise<Client> {
    if (!this.#client) {
      const connection = open(this.#server.transport, () => { if (this.#client === connection) this.#client = undefined; });
      this.#client = connection;
    }
    return this.#client;
  }
}

/** The SDK is loaded by those who have a server: it is half of what a worker loads otherwise. */
async function open(transport: McpServer['transport'], closed: () => void): Promise<Client> {
  let client: Client | undefined;
  try {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    client = new Client({ name: 'mainstay', version: '1' });
    client.onclose = closed;
    await client.connect(await transportOf(transport), { timeout: CONNECT_MS });
    return client;
  } catch (error) {
    closed();
    await client?.close().catch(() => undefined);
    throw error;
  }
}

async function transportOf(transport: McpServer['transport']): Promise<Transport> {
  if ('url' in transport) {
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    return new StreamableHTTPClientTransport(new URL(transport.url), { requestInit: { headers: { ...transport.headers } }, redirectPolicy: 'same-origin' });
  }
  const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
  const { command, args = [], env, cwd } = transport;
  return new StdioClientTransport({ command, args: [...args], stderr: 'ignore', ...(env === undefined ? {} : { env: { ...env } }), ...(cwd === undefined ? {} : { cwd }) });
}
