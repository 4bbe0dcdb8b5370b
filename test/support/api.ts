// The API over the test's stack, inside the test's process and built as its root builds it, with a fleet behind it (its
// worker is started by `api.fleet.worker()`). `call` speaks HTTP to its port; `makeKey` makes what `mainstay keys create` would.
import type { Config } from '../../src/config.ts';
import type { Machine } from '../../src/domain/machine.ts';
import { SCOPES, type Scope } from '../../src/domain/status.ts';
import type { Recaller } from '../../src/run/recaller.ts';
import { startAll } from '../../src/service.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { assembleApi, type Api } from '../../workers/assemble-api.ts';
import { startFleet, type Fleet } from './fleet.ts';
import { atFileEnd, type TestStack } from './stack.ts';

export interface Answer<Body = Record<string, unknown>> {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed where it is JSON; else its text. */
  readonly body: Body;
}

export interface CallOptions {
  readonly key?: string;
  /** Sent as JSON; a string or bytes as they are. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface KeyOptions { readonly tenant?: string; readonly user?: string; readonly scopes?: readonly Scope[]; readonly expiresAt?: Date }

export interface TestApi {
  readonly url: string;
  readonly fleet: Fleet;
  readonly store: Api['store'];
  call<Body = Record<string, never>>(method: string, path: string, options?: CallOptions): Promise<Answer<Body>>;
  /** Defaults: tenant `acme`, no user, every scope. */
  makeKey(options?: KeyOptions): Promise<string>;
  /** Stops the server, as SIGTERM does. Also done at the end of the file. */
  stop(): Promise<void>;
}

export interface ApiChange { readonly config?: Partial<Record<keyof Config, string>>; readonly heartbeatMs?: number; readonly recaller?: Recaller }

export async function startApi(stack: TestStack, machines: readonly Machine[], { config = {}, heartbeatMs, recaller }: ApiChange = {}): Promise<TestApi> {
  const fleet = await startFleet(stack, machines, { PORT: '0', ...config }, recaller);
  const api = assembleApi(fleet.base, heartbeatMs === undefined ? {} : { heartbeatMs });
  const stop = await startAll(api.services, fleet.base.log);
  atFileEnd(async () => { await stop(); await api.close(); });
  const url = `http://127.0.0.1:${api.server.port}`;
  return {
    url, fleet, store: api.store, stop,
    call: (method, path, options) => call(url + path, method, options),
    makeKey: async ({ tenant = 'acme', user, scopes = SCOPES, expiresAt } = {}) => {
      await createTenant(fleet.base.engine.pool, tenant);
      return (await createKey(fleet.base.engine.pool, { tenant, user, name: 'test', scopes, expiresAt }, 'test')).key;
    },
  };
}

async function call<Body>(url: string, method: string, { key, body, headers = {}, signal }: CallOptions = {}): Promise<Answer<Body>> {
  const raw = body === undefined || typeof body === 'string' || body instanceof Uint8Array;
  const answer = await fetch(url, {
    method, ...(signal ? { signal } : {}),
    headers: { ...(key === undefined ? {} : { authorization: `Bearer ${key}` }), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: raw ? (body as string | Uint8Array<ArrayBuffer>) : JSON.stringify(body) }),
  });
  const text = await answer.text();
  const isJson = /json/.test(answer.headers.get('content-type') ?? '');
  return { status: answer.status, headers: answer.headers, body: (isJson && text !== '' ? JSON.parse(text) : text) as Body };
}
