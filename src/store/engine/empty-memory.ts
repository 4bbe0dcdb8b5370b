// SQL: what an emptied memory looks like: nothing of it can be read or found any more, and its vector is owed a deletion. Its row goes once
// the index has let go of it.

export const EMPTY_MEMORY = `erased_at = now(), valid_to = coalesce(valid_to, now()), superseded_by = NULL, subject = '', attribute = '', value = '', statement = '(erased)', evidence = '[{}]', slot = NULL, user_id = NULL, session_id = NULL,
  scope = 'agent', agent = coalesce(agent, ''), hash = sha256(id::text::bytea), version = version + 1, indexed_generation = NULL`;
