import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/** Changes by admins, numbered in order. `before_json` and `after_json` hold no secrets. */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    CREATE TABLE audit (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      at INTEGER NOT NULL,
      actor TEXT NOT NULL,
      action TEXT NOT NULL,
      target TEXT NOT NULL,
      before_json TEXT,
      after_json TEXT,
      request_id TEXT
    ) STRICT`
})
