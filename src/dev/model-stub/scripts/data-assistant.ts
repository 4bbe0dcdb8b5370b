// A data assistant: describes the dataset in question, runs one query, and answers with its result. A refused dataset is said
// plainly and never tried by another way. A sentence that only defines something is taken note of, without a query.
import type { StubReply, StubScript, WireRequest } from '../wire.ts';
import { callsSoFar, fillArguments, headline, instructionsOf, jsonOf, memoriesOf, relevantMemories, toolOf, userWordsOf } from './read-request.ts';

const QUESTION = /\?|\b(how many|how much|count|show|list|what|which|who|total|sum|average|compare|report|query|give me)\b/i;

export const dataAssistant: StubScript = {
  name: 'data-assistant',
  matches: (request) => !request.output_config?.format && (['run_query', 'describe_dataset'].some((name) => toolOf(request, name)) || /\bdata (assistant|analyst)\b/i.test(instructionsOf(request))),
  reply(request) {
    const calls = callsSoFar(request);
    const failed = calls.find((call) => call.isError);
    if (failed) return { text: `I could not read that data: ${headline(failed.output, 200)}. I have not tried another way.` };
    if (!QUESTION.test(userWordsOf(request))) return { text: `Noted: ${headline(userWordsOf(request), 200)}.${citations(request)}` };
    for (const name of ['describe_dataset', 'run_query']) {
      const tool = toolOf(request, name);
      if (tool && !calls.some((call) => call.name === name)) return { toolUses: [{ name, input: fillArguments(tool, factsOf(request)) }] };
    }
    const result = calls.findLast((call) => call.name === 'run_query') ?? calls.at(-1);
    return { text: `${result ? `The result is ${result.output.slice(0, 400)}.` : 'I have no data to answer this from.'}${citations(request)}` } satisfies StubReply;
  },
};

function factsOf(request: WireRequest): Parameters<typeof fillArguments>[1] {
  const dataset = datasetOf(request);
  const words = userWordsOf(request);
  return [
    { names: ['dataset', 'dataset_id', 'table', 'name', 'source'], value: dataset },
    { names: ['sql', 'query', 'statement'], value: sqlOf(request, dataset) },
    { names: ['question', 'text', 'description'], value: words },
  ];
}

/** The dataset the user names: one that the instructions or a tool list, else `dataset x` / `from x` / `in x` in the words. */
function datasetOf(request: WireRequest): string {
  const words = userWordsOf(request);
  const listed: readonly string[] = [instructionsOf(request), ...(request.tools ?? []).map((tool) => JSON.stringify(tool))].join('\n').match(/\b[a-z]\w{2,}\b/g) ?? [];
  const named = /\b(?:dataset|table|from|in)\s+(?:the\s+)?[`"']?([a-z]\w+)/i.exec(words)?.[1];
  const plain: readonly string[] = words.toLowerCase().match(/[a-z]\w{3,}/g) ?? [];
  const offered = datasetsOffered(request);
  return plain.find((word) => offered.includes(word)) ?? named ?? plain.find((word) => listed.includes(word)) ?? offered[0] ?? 'unknown';
}

/** Datasets named in an enum of a tool, or after `datasets:` in the instructions. */
function datasetsOffered(request: WireRequest): string[] {
  const enums = (request.tools ?? []).flatMap((tool) => {
    const properties = (tool.input_schema['properties'] ?? {}) as Record<string, { enum?: readonly string[] }>;
    return properties['dataset']?.enum ?? [];
  });
  const said = /\bdatasets?\s*:\s*([\w ,]+)/i.exec(instructionsOf(request))?.[1]?.split(/[ ,]+/).filter(Boolean) ?? [];
  return [...enums, ...said];
}

/** A query a person would expect for these words; a remembered definition that shares a word becomes its condition. */
function sqlOf(request: WireRequest, dataset: string): string {
  const words = userWordsOf(request).toLowerCase();
  const described = callsSoFar(request).find((call) => call.name === 'describe_dataset');
  const columns = columnsIn(described?.output ?? '');
  const column = columns.find((name) => words.includes(name.toLowerCase()));
  const wanted = /how many|count|number of/.test(words) ? 'count(*)' : /total|sum|revenue/.test(words) && column ? `sum(${column})` : /average|mean/.test(words) && column ? `avg(${column})` : '*';
  const definition = relevantMemories(request).map((memory) => /\b(\w+)\s*(>=|<=|=|>|<)\s*('[^']*'|[\w.]+)/.exec(memory.statement)?.[0]).find(Boolean);
  return `SELECT ${wanted} FROM ${dataset}${definition ? ` WHERE ${definition}` : ''}${wanted === '*' ? ' LIMIT 20' : ''}`;
}

function columnsIn(output: string): string[] {
  const json = jsonOf(output);
  const columns = json !== null && typeof json === 'object' ? (json as { columns?: unknown }).columns : undefined;
  return Array.isArray(columns) ? (columns as readonly (string | { name?: string } | null)[]).map((column) => (typeof column === 'string' ? column : column?.name ?? '')) : [];
}

const citations = (request: WireRequest): string =>
  memoriesOf(request).length === 0 ? '' : relevantMemories(request).map((memory) => ` I used: ${memory.statement.replace(/\.?$/, '.')} [m:${memory.id}]`).join('');
