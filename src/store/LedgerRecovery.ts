import { Effect } from "effect"
import type { SqlClient } from "effect/sql"
import { attemptColumns, requestColumns, tokenColumns } from "./LedgerRows.ts"
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
}

/**
 * Settles what a dead process left open, inside the caller's transaction: calls at their reserved maximum as `unknown`, unless
 * they were settled, and their requests at the sum of their calls. What usage gained goes to the tally; the number of requests
 * comes back.
 */
export const settleUnknown = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, now: number, tally: UsageTally) {
  const names = (columns: ReadonlyArray<string>) => sql.csv(columns.map((column) => sql`${sql(column)}`))
  const nothing = sql.csv(tokenColumns.map((column) => (column === "estimated" ? sql`1` : sql`0`)))
  const attempts = yield* sql<RecoveredAttempt>`
    INSERT INTO attempts (${names(attemptColumns)})
    SELECT request_id, number, step, model, provider, 'unknown', 'TokenHub stopped before the call was settled', started_at,
      max(0, ${now} - started_at), NULL, reserved, reserved, ${nothing}
    FROM open_calls WHERE true
    ON CONFLICT (request_id, number) DO NOTHING
    RETURNING model, provider, started_at, cost,
      (SELECT of_client_key FROM open_calls WHERE request_id = attempts.request_id) AS client_key,
      (SELECT of_mode FROM open_calls WHERE request_id = attempts.request_id) AS mode`
  for (const row of attempts) {
    tally.add({ ...row, at: Number(row.started_at), clientKey: row.client_key }, { attempts: 1, cost: row.cost })
  }
  const ofAttempts = (column: string) => sql`(SELECT sum(${sql(column)}) FROM attempts WHERE request_id = first.request_id)`
  const requests = yield* sql<RecoveredRequest>`
    INSERT INTO requests (${names(requestColumns)})
    SELECT request_id, of_at, of_event, of_endpoint, of_mode, of_model, of_provider, of_client_key, 500, 'unknown',
      max(0, ${now} - of_at), of_reserved, ${ofAttempts("cost")}, ${sql.csv(tokenColumns.map(ofAttempts))}
    FROM open_calls AS first
    WHERE number = (SELECT min(number) FROM open_calls WHERE request_id = first.request_id)
    ON CONFLICT (id) DO NOTHING
    RETURNING event, at, model, provider, client_key, mode`
  for (const row of requests) {
    tally.add({ ...row, at: Number(row.at), clientKey: row.client_key }, { requests: isUsage(row.event) ? 1 : 0 })
  }
  yield* sql`DELETE FROM open_calls`
  return requests.length
})
