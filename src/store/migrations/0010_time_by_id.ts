import { Effect } from "effect"
import { SqlClient } from "effect/sql"

/** Ids sort by time: an index of `at` costs every request, and the primary key finds the same rows. */
export default Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`DROP INDEX requests_at`
})
