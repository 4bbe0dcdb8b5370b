// What a tenant has set for its memory, and memories that stay whatever is set.
import { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import { canonicalJson } from '../domain/json.ts';
import { memoryPolicySchema, memorySchema, newMemoryPolicySchema, pinSchema } from '../domain/wire.ts';
import { publicId } from '../ids.ts';
import { audit } from '../store/audit.ts';
import { memoryPolicy, pinMemory, setMemoryPolicy } from '../store/memory-policies.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { theMemory } from './routes-feedback.ts';
import * as views from './views.ts';

const memoryParams = z.object({ memory: z.string().describe('mem_…') });

export function addMemoryPolicyRoutes(app: ApiApp, { store }: RouteDeps): void {
  app.get('/v1/memory-policy', {
    config: { needs: 'memories:read' }, schema: { summary: 'Read what the tenant has set for its memory, and what holds by it', tags: ['memories'], querystring: noQuery, response: answers({ 200: memoryPolicySchema }) },
  }, (request) => store.withTenant({ tenant: bearerOf(request).tenant }, async (tx) => views.memoryPolicy(await memoryPolicy(tx))));

  app.patch('/v1/memory-policy', {
    config: { needs: 'keys:write' }, schema: { summary: 'Change what the tenant has set for its memory; null goes back to what holds for everybody', tags: ['memories'], querystring: noQuery, body: newMemoryPolicySchema, response: answers({ 200: memoryPolicySchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    if (bearer.user !== undefined) throw new MainstayError('forbidden', 'A key that is bound to a user may not change what holds for the tenant.');
    return store.withTenant({ tenant: bearer.tenant }, async (tx) => {
      const { changed, policy } = await setMemoryPolicy(tx, request.body, actorOf(bearer));
      if (changed) await audit(tx, { actor: actorOf(bearer), action: 'memory_policy.changed', objectType: 'memory_policy', objectId: String(policy.version), allowed: true, details: { change: canonicalJson(request.body) } });
      return views.memoryPolicy(policy);
    });
  });

  app.put('/v1/memories/:memory/pin', {
    config: { needs: 'memories:write' }, schema: { summary: 'Pin a memory, or let go of it: what is pinned is closed by no cap and by no rule of retention', tags: ['memories'], params: memoryParams, querystring: noQuery, body: pinSchema, response: answers({ 200: memorySchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const memory = await theMemory(tx, request.params.memory);
      if (bearer.user !== undefined && memory.scope !== 'user') throw new MainstayError('forbidden', 'A key that is bound to a user pins that user’s own memories.');
      const { pinned } = request.body;
      await pinMemory(tx, memory.id, pinned);
      await audit(tx, { actor: actorOf(bearer), userId: memory.userId, action: 'memory.pinned', objectType: 'memory', objectId: publicId('memory', memory.id), allowed: true, details: { pinned } });
      return views.memory(await theMemory(tx, request.params.memory));
    });
  });
}
