// Words as Postgres' full text knows them, for the index's search by words: stems without stop words, each as often as it occurs.
// Both sides of a search go through the same statement, so that they meet.

/** SQL: the words of the text that `expression` gives, in one line. */
export const wordsOf = (expression: string): string =>
  `coalesce((SELECT string_agg(repeat(lexeme || ' ', coalesce(cardinality(positions), 1)), '' ORDER BY lexeme) FROM unnest(to_tsvector('english', ${expression}))), '')`;

/** SQL: a query any word of which may match: the lexemes of a plain one, joined by `or`. */
export const anyWordOf = (expression: string): string => `nullif(replace(plainto_tsquery('english', ${expression})::text, '&', '|'), '')::tsquery`;
