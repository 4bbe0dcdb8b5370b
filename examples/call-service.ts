// How the tools of the examples call a service: JSON both ways, the run's key as Idempotency-Key, the run's signal obeyed.
import { MainstayError } from '../src/domain/errors.ts';
import type { ToolContext } from '../src/domain/tool.ts';

/** The answer's JSON. A refusal (4xx) proves that nothing was done and would be no other next time: the model is told. */
export async function callService<T>(url: URL, context: ToolContext, body?: unknown): Promise<T> {
  const response = await fetch(url, {
    signal: context.signal,
    headers: { 'content-type': 'application/json', 'idempotency-key': context.key },
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
  });
  const answer = await response.json() as T & { error?: string };
  if (response.ok) return answer;
  const said = `${url.pathname} answered ${response.status}: ${answer.error ?? ''}`;
  throw response.status < 500 ? new MainstayError('tool_input_invalid', said) : new MainstayError('tool_failed', said);
}
