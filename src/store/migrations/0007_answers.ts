import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/**
 * Answers that are given again to the same `Idempotency-Key`, sealed by the vault. `client_key` is empty for callers without one;
 * `key_hash` is the SHA-256 of the header's value. `place` counts a client key's answers, and `bytes_before` is what its earlier
 * ones came to in bytes, so that the bounds of a client key are found without a sum over its rows.
 */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    CREATE TABLE answers (
      client_key TEXT NOT NULL,
      route TEXT NOT NULL,
      key_hash TEXT NOT NULL,
      place INTEGER NOT NULL,
      bytes_before INTEGER NOT NULL,
      bytes INTEGER NOT NULL,
      expires_at INTEGER NOT NULL,
      sealed BLOB NOT NULL,
      PRIMARY KEY (client_key, route, key_hash)
    ) STRICT`
  yield* sql`CREATE UNIQUE INDEX answers_place ON answers (client_key, place, bytes_before)`
  yield* sql`CREATE INDEX answers_expires_at ON answers (expires_at)`
})
