/** The statements that run for every request, as texts for the connection. */
import type { SqlClient, Statement } from "effect/sql"
import { attemptColumns, openColumns, requestColumns } from "./LedgerRows.ts"

const amountColumns = ["requests", "attempts", "prompt_tokens", "cached_tokens", "completion_tokens", "cost"]

/** The columns in the order of `UsageTally.rows`. */
const usageColumns = ["hour", "model", "provider", "client_key", "mode", ...amountColumns]

/** The texts of the hot path, compiled once: effect/sql builds a statement anew at each use. */
export const ledgerStatements = (sql: SqlClient.SqlClient) => {
  const text = (made: Statement.Statement<object>) => made.compile()[0]
  const into = (table: string, columns: ReadonlyArray<string>) =>
    sql`INSERT INTO ${sql(table)} ${sql.insert(Object.fromEntries(columns.map((column) => [column, 0])))}`
  const adding = sql.csv(
    amountColumns.map((column) => sql`${sql(column)} = usage_hourly.${sql(column)} + excluded.${sql(column)}`)
  )
  return {
    open: text(sql`${into("open_calls", openColumns)} ON CONFLICT (request_id, number) DO NOTHING`),
    close: text(sql`DELETE FROM open_calls WHERE request_id = ${""}`),
    settle: text(sql`${into("requests", requestColumns)} ON CONFLICT (id) DO NOTHING`),
    settleAttempt: text(sql`${into("attempts", attemptColumns)} ON CONFLICT (request_id, number) DO NOTHING`),
    usage: text(sql`
      ${into("usage_hourly", usageColumns)}
      ON CONFLICT (hour, model, provider, client_key, mode) DO UPDATE SET ${adding}`)
  }
}
