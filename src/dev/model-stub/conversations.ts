// A conversation told beforehand, as a script: which turn is due is read from the request itself, so that a turn asked for again
// is answered the same, in whatever order other conversations are asked.
import type { StubConversation, StubScript, WireRequest } from './wire.ts';

export function scriptOf({ when, turns }: StubConversation): StubScript {
  const faults = turns.map((turn) => [...(turn.faults ?? [])]);
  return {
    name: `conversation ${when}`,
    matches: (request) => startOf(request, when) >= 0,
    reply(request) {
      const since = request.messages.slice(startOf(request, when));
      const due = Math.min(since.filter(({ role }) => role === 'assistant').length, turns.length - 1);
      const fault = faults[due]?.shift();
      return fault ? { fault } : turns[due] ?? { text: '' };
    },
  };
}

const startOf = (request: WireRequest, when: string): number => request.messages.findIndex((message) => message.role === 'user' && JSON.stringify(message.content).includes(JSON.stringify(when).slice(1, -1)));
