// The OpenAPI document, made from the same zod schemas that check requests and answers, so that it cannot say anything else.
// Shapes that a reader meets often get a name in `components`; each operation says which scope it needs.
import swagger from '@fastify/swagger';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import * as wire from '../domain/wire.ts';
import { documentSchema, newDocumentSchema, passageSchema } from '../domain/wire-documents.ts';
import type { ApiApp } from './api-deps.ts';

/** Of the interface, not of the product: it changes when a route or a shape does. */
const API_VERSION = '1.0.0';

const NAMED = {
  Run: wire.runSchema, RunItem: wire.runItemSchema, NewRun: wire.newRunSchema, NewRuns: wire.newRunsSchema, SubmittedRuns: wire.submittedRunsSchema, RunEvent: wire.eventSchema, RunStep: wire.stepSchema, ToolCall: wire.toolCallSchema,
  ModelCall: wire.modelCallSchema, Verdict: wire.verdictSchema, RunMemories: wire.runMemoriesSchema, Memory: wire.memorySchema, RetrievalTrace: wire.traceSchema,
  CancelledRun: wire.cancelledRunSchema, UnsettledCall: wire.unsettledSchema, NewSignal: wire.newSignalSchema, Outcome: wire.outcomeSchema, Bulk: wire.bulkSchema, BulkAnswer: wire.bulkAnswerSchema,
  Approval: wire.approvalSchema, Decision: wire.decisionSchema, Session: wire.sessionSchema, Message: wire.messageSchema, Agent: wire.agentSchema, Usage: wire.usageSchema, AuditLine: wire.auditSchema, ApiKey: wire.keySchema,
  NewKey: wire.newKeySchema, CreatedKey: wire.createdKeySchema, Permission: wire.permissionSchema, NewPermission: wire.newPermissionSchema, Limits: wire.limitsSchema, Document: documentSchema, NewDocument: newDocumentSchema, Passage: passageSchema, Problem: wire.problemSchema,
};

const PROBLEM = { description: 'What went wrong, with a stable code (RFC 9457)', content: { 'application/problem+json': { schema: wire.problemSchema } } };

/** The `response` of a route: what it answers by status, and the problem it may answer instead. */
export const answers = <const Shapes extends Record<number, unknown>>(shapes: Shapes): Shapes & { default: typeof PROBLEM } => ({ ...shapes, default: PROBLEM });

/** The query of a route that has none: an unknown key is refused there too. */
export const noQuery = z.strictObject({});

/** Before any route: the document is gathered while they are added. */
export async function registerOpenApi(app: ApiApp): Promise<void> {
  for (const [id, schema] of Object.entries<z.ZodType>(NAMED)) z.globalRegistry.add(schema, { ...z.globalRegistry.get(schema), id });
  const shapes = createJsonSchemaTransform({ zodToJsonConfig: { unrepresentable: 'any' } });
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Mainstay', version: API_VERSION, description: 'Submit runs of agents, follow them, and read what they remember. Ids are prefixed, times are ISO 8601 in UTC, money is in millionths of a US dollar.' },
      components: { securitySchemes: { apiKey: { type: 'http', scheme: 'bearer', description: '`mainstay keys create` makes one' } } },
    },
    transform: (document) => {
      const { schema, url } = shapes(document);
      const needs = document.route.config?.needs;
      if (needs === undefined) return { schema, url };
      return { schema: { ...schema, security: [{ apiKey: [] }], description: needs === 'any' ? 'Any living key.' : `Needs the scope \`${needs}\`.` }, url };
    },
    transformObject: createJsonSchemaTransformObject({ zodToJsonConfig: { unrepresentable: 'any' } }),
  });
}
