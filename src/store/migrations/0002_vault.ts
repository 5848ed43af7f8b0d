import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/** The vault: one row of header, manifest and generation, and one row a secret. */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    CREATE TABLE vault (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      header BLOB NOT NULL,
      manifest BLOB NOT NULL,
      generation INTEGER NOT NULL
    ) STRICT`
  yield* sql`CREATE TABLE vault_secrets (name TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT`
})
