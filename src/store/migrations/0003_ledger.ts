import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/**
 * The ledger. Money (`reserved`, `cost`) is nano-dollars. Up to schema 8 a request is open while its status is null, an attempt
 * while its outcome is. Keys that sort by time keep new rows at the end of the tables (`WITHOUT ROWID`), and every index ends
 * with the primary key, so each filter pages by id.
 */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    CREATE TABLE requests (
      id TEXT PRIMARY KEY,
      at INTEGER NOT NULL,
      event TEXT NOT NULL,
      endpoint TEXT NOT NULL,
      mode TEXT,
      model TEXT,
      provider TEXT,
      client_key TEXT,
      status INTEGER,
      error_code TEXT,
      duration_ms INTEGER,
      reserved INTEGER NOT NULL,
      prompt_tokens INTEGER NOT NULL,
      cached_tokens INTEGER NOT NULL,
      cache_write_tokens INTEGER NOT NULL,
      completion_tokens INTEGER NOT NULL,
      reasoning_tokens INTEGER NOT NULL,
      estimated INTEGER NOT NULL,
      cost INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID`
  yield* sql`CREATE INDEX requests_at ON requests (at)`
  // What most rows have is not indexed: such rows are found by walking the table, and their writing costs nothing more.
  yield* sql`CREATE INDEX requests_event ON requests (event) WHERE event <> 'chat'`
  yield* sql`CREATE INDEX requests_status ON requests (status) WHERE status <> 200`
  yield* sql`CREATE INDEX requests_mode ON requests (mode) WHERE mode <> 'simple'`
  yield* sql`CREATE INDEX requests_model ON requests (model) WHERE model IS NOT NULL`
  yield* sql`CREATE INDEX requests_provider ON requests (provider) WHERE provider IS NOT NULL`
  yield* sql`CREATE INDEX requests_client_key ON requests (client_key) WHERE client_key IS NOT NULL`
  // Without a foreign key to requests: one attempt of an unknown request must not keep a whole group from being
  // written.
  yield* sql`
    CREATE TABLE attempts (
      request_id TEXT NOT NULL,
      number INTEGER NOT NULL,
      step TEXT NOT NULL,
      model TEXT NOT NULL,
      provider TEXT NOT NULL,
      outcome TEXT,
      reason TEXT,
      started_at INTEGER NOT NULL,
      duration_ms INTEGER NOT NULL,
      first_token_ms INTEGER,
      reserved INTEGER NOT NULL,
      prompt_tokens INTEGER NOT NULL,
      cached_tokens INTEGER NOT NULL,
      cache_write_tokens INTEGER NOT NULL,
      completion_tokens INTEGER NOT NULL,
      reasoning_tokens INTEGER NOT NULL,
      estimated INTEGER NOT NULL,
      cost INTEGER NOT NULL,
      PRIMARY KEY (request_id, number)
    ) STRICT, WITHOUT ROWID`
  yield* sql`CREATE INDEX attempts_open ON attempts (request_id) WHERE outcome IS NULL`
  yield* sql`
    CREATE TABLE usage_hourly (
      hour INTEGER NOT NULL,
      model TEXT NOT NULL,
      provider TEXT NOT NULL,
      client_key TEXT NOT NULL,
      mode TEXT NOT NULL,
      requests INTEGER NOT NULL,
      attempts INTEGER NOT NULL,
      prompt_tokens INTEGER NOT NULL,
      cached_tokens INTEGER NOT NULL,
      completion_tokens INTEGER NOT NULL,
      cost INTEGER NOT NULL,
      PRIMARY KEY (hour, model, provider, client_key, mode)
    ) STRICT, WITHOUT ROWID`
})
