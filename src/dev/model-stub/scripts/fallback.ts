// Answers whatever no other script knows: a short echo, or the smallest value its schema allows.
import type { Json, StubScript } from '../wire.ts';
import { headline, userWordsOf } from './read-request.ts';

interface Schema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly Json[];
  readonly const?: Json;
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

export const fallback: StubScript = {
  name: 'fallback',
  matches: () => true,
  reply(request) {
    const schema = request.output_config?.format?.schema as Schema | undefined;
    const words = headline(userWordsOf(request), 120);
    return schema ? { json: smallest(schema, words) } : { text: `You said: ${words}` };
  },
};

/** The smallest value of a schema; a text is the user's words. */
function smallest(schema: Schema, words: string): Json {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0] ?? null;
  if (schema.anyOf) return smallest(schema.anyOf[0] ?? {}, words);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case 'object': return Object.fromEntries(Object.entries(schema.properties ?? {}).filter(([name]) => schema.required?.includes(name)).map(([name, inner]) => [name, smallest(inner, words)]));
    case 'array': return [];
    case 'number': case 'integer': return 0;
    case 'boolean': return false;
    case 'null': return null;
    default: return words;
  }
}
