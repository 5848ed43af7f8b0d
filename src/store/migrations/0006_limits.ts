import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/** A client key's last use and the secret before its last rotation; a model's own limits a minute. */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`ALTER TABLE client_keys ADD COLUMN last_used_at INTEGER`
  yield* sql`ALTER TABLE client_keys ADD COLUMN previous_hash TEXT`
  yield* sql`ALTER TABLE client_keys ADD COLUMN previous_until INTEGER`
  yield* sql`ALTER TABLE models ADD COLUMN rpm INTEGER`
  yield* sql`ALTER TABLE models ADD COLUMN tpm INTEGER`
})
