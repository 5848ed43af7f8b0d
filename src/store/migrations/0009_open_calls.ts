import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/**
 * Calls that run, in a table of their own without indexes, so that what is written before a call leaves is one small row; the rows of
 * `requests` and `attempts` are written once, when they are settled. Each has the facts of its request too (`of_…`), so that one row
 * is enough to settle both after an unclean stop.
 */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    CREATE TABLE open_calls (
      request_id TEXT NOT NULL,
      number INTEGER NOT NULL,
      step TEXT NOT NULL,
      model TEXT NOT NULL,
      provider TEXT NOT NULL,
      started_at INTEGER NOT NULL,
      reserved INTEGER NOT NULL,
      of_at INTEGER NOT NULL,
      of_event TEXT NOT NULL,
      of_endpoint TEXT NOT NULL,
      of_mode TEXT,
      of_model TEXT,
      of_provider TEXT,
      of_client_key TEXT,
      of_reserved INTEGER NOT NULL,
      PRIMARY KEY (request_id, number)
    ) STRICT, WITHOUT ROWID`
  // What an unclean stop of an earlier version left open.
  yield* sql`
    INSERT INTO open_calls
    SELECT request_id, number, step, a.model, a.provider, started_at, a.reserved, at, event, endpoint, mode, r.model, r.provider, client_key,
      r.reserved
    FROM attempts a JOIN requests r ON r.id = request_id
    WHERE outcome IS NULL AND status IS NULL`
  yield* sql`
    INSERT INTO open_calls
    SELECT id, 0, 'unknown', coalesce(model, ''), coalesce(provider, ''), at, reserved, at, event, endpoint, mode, model, provider, client_key,
      reserved
    FROM requests WHERE status IS NULL AND NOT EXISTS (SELECT 1 FROM attempts WHERE request_id = id)`
  yield* sql`DELETE FROM attempts WHERE outcome IS NULL`
  yield* sql`DELETE FROM requests WHERE status IS NULL AND id IN (SELECT request_id FROM open_calls)`
  // All calls of these were settled before the process died; the requests were not.
  yield* sql`
    INSERT INTO usage_hourly
    SELECT at - at % 3600000, iif(provider IS NULL, '', coalesce(model, '')), coalesce(provider, ''), coalesce(client_key, ''),
      coalesce(mode, ''), count(*), 0, 0, 0, 0, 0
    FROM requests WHERE status IS NULL AND event NOT IN ('admin', 'unauthenticated') GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT DO UPDATE SET requests = usage_hourly.requests + excluded.requests`
  yield* sql`
    UPDATE requests SET status = 500, error_code = 'unknown', duration_ms = 0, (prompt_tokens, cached_tokens, cache_write_tokens,
        completion_tokens, reasoning_tokens, estimated, cost) = (
      SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(cache_write_tokens), 0),
        coalesce(sum(completion_tokens), 0), coalesce(sum(reasoning_tokens), 0), coalesce(max(estimated), 0), coalesce(sum(cost), 0)
      FROM attempts WHERE request_id = requests.id)
    WHERE status IS NULL`
  yield* sql`DROP INDEX attempts_open`
})
