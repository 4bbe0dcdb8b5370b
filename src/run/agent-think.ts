// A turn of an agent's model, and what follows from how it stopped. The transcript that is sent is always one the provider
// accepts; a turn that was cut off is never acted on.
import { MainstayError, codeOf } from '../domain/errors.ts';
import type { Move } from '../domain/machine.ts';
import { textOf, type ModelMessage, type ModelTurn } from '../domain/model.ts';
import { repaired, roughTokens, withUserTexts } from '../domain/conversation.ts';
import { agentInput, requestOf, type AgentData, type AgentParts, type AgentStep } from './agent-data.ts';

/** A turn that does not fit gets twice the room, so many times; then what there is must do. */
const MAX_RAISES = 2;

export async function thinkStep(step: AgentStep, agent: AgentParts): Promise<Move> {
  const { turns, raises = 0 } = step.data;
  const { maxTurns, maxTokens, contextTokens } = agent.limits;
  if (turns >= maxTurns) return outOfTurns(step);
  step.progress(Math.min(0.9, (turns + 1) / maxTurns), `turn ${turns + 1}`);
  const data = await heard(step);
  const { messages } = data;
  if (isLong(messages) && tokensOf(data) > contextTokens) return step.next('compact', data);
  let turn: ModelTurn;
  try {
    turn = await step.model(requestOf(step, agent, messages, maxTokens * 2 ** raises), { live: true });
  } catch (error) {
    if (codeOf(error) !== 'context_exceeded' || !isLong(messages)) throw error;
    return step.next('compact', data);
  }
  return afterTurn(step, data, turn);
}

/** The conversation mended, with what the user has said meanwhile. A turn that only paused is resent as it is. */
async function heard(step: AgentStep): Promise<AgentData> {
  const { data } = step;
  const messages = repaired(data.messages);
  if (messages.at(-1)?.role === 'assistant') return { ...data, messages };
  const texts = (await step.steered()).map((input) => agentInput.parse(input).message);
  return texts.length === 0 ? { ...data, messages } : { ...data, messages: withUserTexts(messages, texts), said: [...(data.said ?? []), ...texts] };
}

/** One message is as short as a conversation gets: after a summary. */
const isLong = (messages: readonly ModelMessage[]): boolean => messages.length > 1;

/** What the provider counted, and a guess for what was added since; all of it guessed before the first turn. */
const tokensOf = ({ messages, contextTokens }: AgentData): number => (contextTokens === undefined ? roughTokens(messages) : contextTokens + roughTokens(messages.slice(-1)));

function afterTurn(step: AgentStep, data: AgentData, turn: ModelTurn): Move {
  const { usage, stopReason, content } = turn;
  const contextTokens = usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens + usage.outputTokens;
  const next: AgentData = { ...data, turns: data.turns + 1, contextTokens, raises: 0 };
  const grown: AgentData = { ...next, messages: [...data.messages, { role: 'assistant', content }] };
  switch (stopReason) {
    case 'tool_use': return step.next('act', grown);
    case 'pause_turn': return step.next('think', grown);
    case 'refusal': throw new MainstayError('model_refused', `The model declined to answer${turn.refusal === undefined ? '' : ` (${turn.refusal})`}.`);
    case 'max_tokens': return (data.raises ?? 0) < MAX_RAISES ? step.next('think', { ...next, raises: (data.raises ?? 0) + 1 }) : partly(step, next, turn);
    case 'model_context_window_exceeded': return isLong(data.messages) ? step.next('compact', next) : partly(step, next, turn);
    case 'end_turn': case 'stop_sequence': return step.next('answer', { ...grown, answer: textOf(content) });
  }
}

/** What the model has said by the way is a partial answer, where it has said anything. */
function outOfTurns(step: AgentStep): Move {
  const { messages, turns } = step.data;
  const own = messages.filter(({ role }) => role === 'assistant').slice(-turns); // what stands before is the session's
  const answer = textOf(own.findLast(({ content }) => textOf(content).trim() !== '')?.content ?? []);
  if (answer === '') throw new MainstayError('turns_exhausted', `The agent took ${turns} turns without an answer.`);
  return step.next('answer', { ...step.data, answer, partial: true });
}

/** The words of a turn that was cut off are an answer, marked as a part; calls in it are not carried out. */
function partly(step: AgentStep, data: AgentData, { content, stopReason }: ModelTurn): Move {
  const answer = textOf(content);
  if (answer.trim() === '') throw new MainstayError('turn_too_long', `The model's turn ended with ${stopReason} before it had said anything.`);
  return step.next('answer', { ...data, answer, partial: true });
}
