/** The statements that run for every request, as texts for the connection. */
import type { SqlClient, Statement } from "effect/sql"
import { attemptColumns, requestColumns, tokenColumns } from "./LedgerRows.ts"

const amountColumns = ["requests", "attempts", "prompt_tokens", "cached_tokens", "completion_tokens", "cost"]

/** The columns in the order of `UsageTally.rows`. */
const usageColumns = ["hour", "model", "provider", "client_key", "mode", ...amountColumns]

/** What is known only at the end; the rest of a row stays as it was opened, and its indexes untouched. */
const settledLater = {
  requests: new Set<string>([
    "mode", "model", "provider", "status", "error_code", "duration_ms", "cost", ...tokenColumns
  ]),
  attempts: new Set<string>(["outcome", "reason", "duration_ms", "first_token_ms", "cost", ...tokenColumns])
}

/** The texts of the hot path, compiled once: effect/sql builds a statement anew at each use. */
export const ledgerStatements = (sql: SqlClient.SqlClient) => {
  const text = (made: Statement.Statement<object>) => made.compile()[0]
  const into = (table: string, columns: ReadonlyArray<string>) =>
    sql`INSERT INTO ${sql(table)} ${sql.insert(Object.fromEntries(columns.map((column) => [column, 0])))}`
  const setting = (table: keyof typeof settledLater, columns: ReadonlyArray<string>) =>
    sql.csv(
      columns.filter((column) => settledLater[table].has(column)).map((column) =>
        sql`${sql(column)} = excluded.${sql(column)}`
      )
    )
  const adding = sql.csv(
    amountColumns.map((column) => sql`${sql(column)} = usage_hourly.${sql(column)} + excluded.${sql(column)}`)
  )
  return {
    open: text(sql`${into("requests", requestColumns)} ON CONFLICT (id) DO NOTHING`),
    settle: text(sql`
      ${into("requests", requestColumns)}
      ON CONFLICT (id) DO UPDATE SET ${setting("requests", requestColumns)} WHERE requests.status IS NULL
      RETURNING 1`),
    attemptOpen: text(sql`${into("attempts", attemptColumns)} ON CONFLICT (request_id, number) DO NOTHING`),
    attemptSettle: text(sql`
      ${into("attempts", attemptColumns)}
      ON CONFLICT (request_id, number) DO UPDATE SET ${setting("attempts", attemptColumns)}
      WHERE attempts.outcome IS NULL
      RETURNING
        (SELECT client_key FROM requests WHERE id = request_id) AS client_key,
        (SELECT mode FROM requests WHERE id = request_id) AS mode`),
    usage: text(sql`
      ${into("usage_hourly", usageColumns)}
      ON CONFLICT (hour, model, provider, client_key, mode) DO UPDATE SET ${adding}`)
  }
}
