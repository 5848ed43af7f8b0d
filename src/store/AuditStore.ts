import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import type { StoreError } from "./StoreError.ts"
import { statement } from "./Transaction.ts"

/** One change by an admin. `before` and `after` are JSON texts without secrets, or null. */
export interface AuditRow {
  readonly at: number
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly before: string | null
  readonly after: string | null
  readonly requestId: string | null
}

interface Row {
  readonly id: number
  readonly at: number
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly before_json: string | null
  readonly after_json: string | null
  readonly request_id: string | null
}

const fromRow = ({ after_json, before_json, request_id, ...row }: Row): AuditRow & { readonly id: number } => ({
  ...row,
  before: before_json,
  after: after_json,
  requestId: request_id
})

/** The rows of `audit`. */
export class AuditStore extends Context.Service<AuditStore, {
  readonly append: (row: AuditRow) => Effect.Effect<void, StoreError>
  /** Newest first; `before` is the id to go on from. */
  readonly page: (
    options: { readonly limit: number; readonly before?: number }
  ) => Effect.Effect<ReadonlyArray<AuditRow & { readonly id: number }>, StoreError>
}>()("tokenhub/AuditStore") {
  static readonly layer: Layer.Layer<AuditStore, never, SqlClient.SqlClient> = Layer.effect(
    AuditStore,
    Effect.map(SqlClient.SqlClient, (sql) =>
      AuditStore.of({
        append: (row) =>
          statement(Effect.asVoid(sql`INSERT INTO audit ${
            sql.insert({
              at: row.at,
              actor: row.actor,
              action: row.action,
              target: row.target,
              before_json: row.before,
              after_json: row.after,
              request_id: row.requestId
            })
          }`)),
        page: ({ before = Number.MAX_SAFE_INTEGER, limit }) =>
          statement(Effect.map(
            sql<Row>`SELECT * FROM audit WHERE id < ${before} ORDER BY id DESC LIMIT ${limit}`,
            (rows) => rows.map(fromRow)
          ))
      }))
  )
}
