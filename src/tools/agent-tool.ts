// An agent offered to another as a tool: the call is a child run of the same tenant and user, paid from the same budgets, and its
// answer is the tool's result. The engine spawns it; nothing is called here.
import { z } from 'zod';
import type { Tool } from '../domain/tool.ts';
import { defineTool } from './define-tool.ts';

export interface AgentToolOptions {
  /** Name of the agent to ask; it must be among the fleet's machines. */
  readonly agent: string;
  /** What the model calls it by; the agent's name with `_` for what a tool's name may not hold, unless told. */
  readonly name?: string;
  /** What the asking model is told: when to ask this agent, and for what. */
  readonly description: string;
}

export function agentTool({ agent, name = `ask_${agent.replaceAll(/[^a-z0-9]+/g, '_')}`, description }: AgentToolOptions): Tool {
  const tool = defineTool({
    name, description, effect: 'read', input: z.strictObject({ message: z.string().min(1).describe('What you want of it, with all it needs to know: it does not see this conversation.') }),
    run: () => Promise.reject(new Error('an agent is spawned, not called')),
  });
  return { ...tool, agent };
}
