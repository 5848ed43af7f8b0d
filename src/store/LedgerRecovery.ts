import { Effect } from "effect"
import type { SqlClient } from "effect/sql"
import { tokenColumns } from "./LedgerRows.ts"
import type { UsageTally } from "./UsageTally.ts"
import { isUsage } from "./UsageTally.ts"

interface RecoveredAttempt {
  readonly client_key: string | null
  readonly mode: string | null
  readonly model: string
  readonly provider: string
  readonly started_at: bigint
  readonly cost: bigint
}

interface RecoveredRequest {
  readonly client_key: string | null
  readonly mode: string | null
  readonly event: string
  readonly at: bigint
  readonly model: string | null
  readonly provider: string | null
  readonly cost: bigint
  readonly attempts: bigint
}

/**
 * Settles what a dead process left open, inside the caller's transaction: attempts at their reserved maximum as
 * `unknown`, requests at the sum of their attempts, or at their own maximum where they have none. What usage gained
 * goes to the tally; the number of requests comes back.
 */
export const settleUnknown = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, now: number, tally: UsageTally) {
  const attempts = yield* sql<RecoveredAttempt>`
    UPDATE attempts
    SET outcome = 'unknown', reason = 'TokenHub stopped before the call was settled', cost = reserved, estimated = 1,
      duration_ms = max(0, ${now} - started_at)
    WHERE outcome IS NULL
    RETURNING model, provider, started_at, cost,
      (SELECT client_key FROM requests WHERE id = request_id) AS client_key,
      (SELECT mode FROM requests WHERE id = request_id) AS mode`
  for (const row of attempts) {
    tally.add({ ...row, at: Number(row.started_at), clientKey: row.client_key }, { attempts: 1, cost: row.cost })
  }
  const ofAttempts = (column: string) =>
    sql`(SELECT sum(${sql(column)}) FROM attempts WHERE request_id = requests.id)`
  const sums = sql.csv(tokenColumns.map((column) => sql`${sql(column)} = coalesce(${ofAttempts(column)}, 0)`))
  // A request costs what its calls cost. Where no call is known, one may have been lost with a power cut
  // (`synchronous=NORMAL`), so the whole reservation stands, and no other row carries it.
  const requests = yield* sql<RecoveredRequest>`
    UPDATE requests
    SET status = 500, error_code = 'unknown', duration_ms = max(0, ${now} - at),
      cost = coalesce(${ofAttempts("cost")}, reserved), ${sums}
    WHERE status IS NULL
    RETURNING event, at, model, provider, client_key, mode, cost,
      (SELECT count(*) FROM attempts WHERE request_id = requests.id) AS attempts`
  for (const row of requests) {
    tally.add(
      { ...row, at: Number(row.at), clientKey: row.client_key },
      { requests: isUsage(row.event) ? 1 : 0, ...(row.attempts === 0n ? { cost: row.cost } : {}) }
    )
  }
  return requests.length
})
