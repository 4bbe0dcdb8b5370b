// Reads a stream of server-sent events as a browser does, event by event, over the test's own fetch.
export interface SseEvent { readonly id: number; readonly event: string; readonly data: { seq: number; type: string; data: unknown } }

export interface SseStream {
  readonly status: number;
  readonly headers: Headers;
  /** The next event, or undefined once the stream has ended. */
  next(): Promise<SseEvent | undefined>;
  /** All that come until the stream ends. */
  rest(): Promise<SseEvent[]>;
  /** Comments seen so far. */
  readonly comments: readonly string[];
  /** Breaks the connection. */
  leave(): void;
}

export async function openSse(url: string, key: string, headers: Readonly<Record<string, string>> = {}): Promise<SseStream> {
  const leaving = new AbortController();
  const answer = await fetch(url, { headers: { authorization: `Bearer ${key}`, accept: 'text/event-stream', ...headers }, signal: leaving.signal });
  const comments: string[] = [];
  const events = readEvents(answer, comments);
  const next = async (): Promise<SseEvent | undefined> => {
    const { value, done } = await events.next();
    return done ? undefined : value;
  };
  return {
    status: answer.status, headers: answer.headers, comments, next, leave: () => leaving.abort(),
    rest: async () => { const all: SseEvent[] = []; for (let event = await next(); event; event = await next()) all.push(event); return all; },
  };
}

async function* readEvents(answer: Response, comments: string[]): AsyncGenerator<SseEvent, void> {
  let text = '';
  for await (const bytes of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += bytes;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      comments.push(...lines.filter((line) => line.startsWith(':')));
      const field = (name: string): string | undefined => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field('data') !== undefined) yield { id: Number(field('id')), event: field('event') ?? '', data: JSON.parse(field('data')!) as SseEvent['data'] };
    }
  }
}
