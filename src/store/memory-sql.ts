// SQL that is said of a row of `memories` in more than one place.

/** SET: it holds no more, from now on; the index is owed that. */
export const CLOSED = `valid_to = greatest(valid_from, now()), version = version + 1, indexed_generation = NULL`;

/** Of `memories m`: the runs whose words bear it out. */
export const RUNS_OF = `coalesce((SELECT array_agg(DISTINCT (e ->> 'run_id')::uuid) FROM json_array_elements(m.evidence) e WHERE e ->> 'run_id' IS NOT NULL), ARRAY[m.run_id])`;

/** A row like that of tenant $1 and id $2, but for the columns of the JSON object $3, and for `computed`: names and expressions by turns. Nobody was shown it. */
export const COPY = (computed: string): string =>
  `INSERT INTO memories SELECT (jsonb_populate_record(NULL::memories, to_jsonb(m) || '{"unused": false}' || $3::jsonb || jsonb_build_object(${computed}))).* FROM memories m WHERE m.tenant_id = $1 AND m.id = $2::uuid`;
