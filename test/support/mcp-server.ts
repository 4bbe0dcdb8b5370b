// An MCP server made with its SDK, for stdio (run as a program) and for HTTP: adds numbers, notes lines, fails, and can be told to die.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

export const notes: { line: string; key: unknown }[] = [];

export function makeServer(words = 'Adds two numbers.'): McpServer {
  const server = new McpServer({ name: 'sums', version: '1.0.0' });
  server.registerTool('add', { description: words, inputSchema: { a: z.number(), b: z.number() } }, ({ a, b }) => ({ content: [{ type: 'text', text: String(a + b) }] }));
  server.registerTool('note-line', { description: 'Notes a line.', inputSchema: { line: z.string() } }, ({ line }, { _meta }) => { notes.push({ line, key: _meta?.['idempotencyKey'] }); return { content: [{ type: 'text', text: 'noted' }] }; });
  server.registerTool('fail', { description: 'Fails.', inputSchema: {} }, () => ({ isError: true, content: [{ type: 'text', text: 'it did not work' }] }));
  server.registerTool('die', { description: 'Ends the server.', inputSchema: {} }, () => process.exit(1));
  return server;
}

/** One session per client, as the SDK's transport has it. */
export async function serveHttp(make: () => McpServer = makeServer, port = 0): Promise<{ url: string; port: number; stop(): Promise<void> }> {
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  const http = createServer((request, response) => {
    void (async () => {
      const id = request.headers['mcp-session-id'];
      let transport = typeof id === 'string' ? sessions.get(id) : undefined;
      if (!transport) {
        const made = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (session) => { sessions.set(session, made); } });
        transport = made;
        await make().connect(made);
      }
      await transport.handleRequest(request, response);
    })();
  });
  await new Promise<void>((listening) => { http.listen(port, '127.0.0.1', listening); });
  const { port: taken } = http.address() as AddressInfo;
  return { url: `http://127.0.0.1:${taken}/mcp`, port: taken, stop: () => new Promise((stopped) => { http.close(() => stopped()); http.closeAllConnections(); }) };
}

if (process.argv[1] === import.meta.filename) await makeServer().connect(new StdioServerTransport());
