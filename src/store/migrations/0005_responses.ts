import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/**
 * Responses that clients asked to keep (`store: true`), by the key that asked; `client_key` is empty for callers without one.
 * `response` is the answer and `items` the conversation up to and with it, both JSON.
 */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    CREATE TABLE responses (
      client_key TEXT NOT NULL,
      id TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      expires_at INTEGER NOT NULL,
      bytes INTEGER NOT NULL,
      response TEXT NOT NULL,
      items TEXT NOT NULL,
      PRIMARY KEY (client_key, id)
    ) STRICT`
  yield* sql`CREATE INDEX responses_expires_at ON responses (expires_at)`
  // Holds all that the bound on a key's rows looks at.
  yield* sql`CREATE INDEX responses_age ON responses (client_key, created_at, id, bytes)`
  // Output items by their ids, so that a later request can refer to one.
  yield* sql`
    CREATE TABLE response_items (
      client_key TEXT NOT NULL,
      item_id TEXT NOT NULL,
      response_id TEXT NOT NULL,
      PRIMARY KEY (client_key, item_id),
      FOREIGN KEY (client_key, response_id) REFERENCES responses (client_key, id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID`
  yield* sql`CREATE INDEX response_items_response ON response_items (client_key, response_id)`
})
