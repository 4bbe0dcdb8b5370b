// The two services of the examples keep what the examples rely on: one ticket per key, and datasets that cannot reach one
// another.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startDataSource } from '../examples/data-source.ts';
import type { JsonServer } from '../examples/json-server.ts';
import { startTicketDesk } from '../examples/ticket-desk.ts';

const scratch = mkdtempSync(join(tmpdir(), 'mainstay-desk-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function call(url: string, body?: unknown, key?: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(url, { ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }), headers: key === undefined ? {} : { 'idempotency-key': key } });
  return { status: response.status, body: await response.json() as Record<string, unknown> };
}

describe('the ticket desk', () => {
  const ticket = { customer: 'acme/ada', subject: 'Export fails', description: 'The invoice export fails.' };

  test('opens one ticket per key, also after a restart, and counts the repeats', async () => {
    const file = join(scratch, 'tickets.json');
    const desk = await startTicketDesk({ file });
    const first = await call(`${desk.url}/tickets`, ticket, 'k1');
    expect([first.status, (await call(`${desk.url}/tickets`, ticket, 'k1')).status]).toEqual([201, 200]);
    expect((await call(`${desk.url}/stats`)).body).toEqual({ tickets: 1, requests: 2, replayed: 1 });
    await desk.stop();

    const again = await startTicketDesk({ file });
    expect(await call(`${again.url}/tickets`, ticket, 'k1')).toEqual({ status: 200, body: first.body });
    expect((await call(`${again.url}/tickets`, ticket, 'k2')).body['id']).not.toBe(first.body['id']);
    await again.stop();
  });

  test('shows a customer their own tickets only', async () => {
    const desk = await startTicketDesk();
    await call(`${desk.url}/tickets`, ticket, 'k1');
    expect((await call(`${desk.url}/tickets?customer=acme%2Fada&query=my%20invoice`)).body).toMatchObject({ tickets: [{ subject: 'Export fails' }] });
    expect((await call(`${desk.url}/tickets?customer=acme%2Fada&query=printer`)).body).toEqual({ tickets: [] });
    expect((await call(`${desk.url}/tickets?customer=globex%2Fada`)).body).toEqual({ tickets: [] });
    expect((await call(`${desk.url}/tickets`)).status).toBe(400);
    await desk.stop();
  });
});

describe('the data source', () => {
  let source: JsonServer;
  beforeAll(async () => { source = await startDataSource(); });
  afterAll(() => source.stop());

  test('answers a query with real SQL', async () => {
    expect((await call(`${source.url}/query`, { dataset: 'sales', sql: "SELECT count(*) AS n FROM sales WHERE customer_status = 'active'" })).body).toEqual({ columns: ['n'], rows: [{ n: 72 }] });
  });

  test.each([
    ['another dataset', 'SELECT * FROM payroll'],
    ['a write', 'DELETE FROM sales'],
    ['a write behind WITH', 'WITH x AS (SELECT 1) DELETE FROM sales'],
    ['a second statement', 'SELECT nothing FROM sales; DROP TABLE sales'],
    ['a file', "ATTACH '/etc/passwd' AS p"],
  ])('refuses %s', async (_what, sql) => {
    expect((await call(`${source.url}/query`, { dataset: 'sales', sql })).status).toBe(400);
    expect((await call(`${source.url}/describe?dataset=sales`)).body).toMatchObject({ rows: 120 });
    expect((await call(`${source.url}/query`, { dataset: 'sales', sql: 'SELECT count(*) AS n FROM sales' })).body).toMatchObject({ rows: [{ n: 120 }] });
  });
});
