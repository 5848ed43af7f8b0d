import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/** Prompts and answers by their request, encrypted; gone once they have expired. */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    CREATE TABLE prompts (
      request_id TEXT PRIMARY KEY,
      expires_at INTEGER NOT NULL,
      sealed BLOB NOT NULL
    ) STRICT`
  yield* sql`CREATE INDEX prompts_expires_at ON prompts (expires_at)`
})
