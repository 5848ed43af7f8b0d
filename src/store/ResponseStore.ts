import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import type { StoreError } from "./StoreError.ts"
import { statement, transaction } from "./Transaction.ts"

/** A kept response. Times are Unix milliseconds; `response` and `items` are JSON texts. */
export interface ResponseRow {
  /** Empty for callers without a key. */
  readonly clientKey: string
  readonly id: string
  readonly createdAt: number
  readonly expiresAt: number
  readonly response: string
  /** The conversation up to and with the answer. */
  readonly items: string
  /** Ids of the answer's own items. */
  readonly itemIds: ReadonlyArray<string>
}

/** How much of one client key is kept; the oldest go first. */
export interface ResponseBounds {
  readonly rows: number
  readonly bytes: number
}

interface Row {
  readonly response: string
  readonly items: string
}

/** The rows of `responses` and `response_items`. What has expired counts as gone. */
export class ResponseStore extends Context.Service<ResponseStore, {
  /** Keeps a response, unless one of that id is there, and lets the key's oldest go where it passes the bounds. */
  readonly put: (row: ResponseRow, bounds: ResponseBounds) => Effect.Effect<void, StoreError>
  readonly get: (clientKey: string, id: string, now: number) => Effect.Effect<Row | undefined, StoreError>
  /** The response with an output item of that id. */
  readonly withItem: (clientKey: string, itemId: string, now: number) => Effect.Effect<Row | undefined, StoreError>
  /** Whether there was one. */
  readonly remove: (clientKey: string, id: string, now: number) => Effect.Effect<boolean, StoreError>
  /** Deletes at most `most` that have expired; returns how many. */
  readonly prune: (now: number, most: number) => Effect.Effect<number, StoreError>
}>()("tokenhub/ResponseStore") {
  static readonly layer: Layer.Layer<ResponseStore, never, SqlClient.SqlClient> = Layer.effect(
    ResponseStore,
    Effect.map(SqlClient.SqlClient, (sql) => {
      const write = transaction(sql)

      const put = (row: ResponseRow, bounds: ResponseBounds) =>
        write(Effect.gen(function*() {
          const { clientKey, createdAt, expiresAt, id, itemIds, items, response } = row
          const bytes = Buffer.byteLength(response) + Buffer.byteLength(items)
          const inserted = yield* sql`
            INSERT INTO responses ${
            sql.insert({ client_key: clientKey, id, created_at: createdAt, expires_at: expiresAt, bytes, response, items })
          } ON CONFLICT DO NOTHING RETURNING id`
          if (inserted.length === 0) return
          for (const itemId of itemIds) {
            yield* sql`
              INSERT INTO response_items ${sql.insert({ client_key: clientKey, item_id: itemId, response_id: id })}
              ON CONFLICT DO NOTHING`
          }
          yield* sql`
            DELETE FROM responses WHERE client_key = ${clientKey} AND id IN (
              SELECT id FROM (
                SELECT id,
                  sum(bytes) OVER newest AS held,
                  row_number() OVER newest AS place
                FROM responses WHERE client_key = ${clientKey}
                WINDOW newest AS (ORDER BY created_at DESC, id DESC)
              ) AS kept WHERE held > ${bounds.bytes} OR place > ${bounds.rows})`
        }))

      return ResponseStore.of({
        put,
        get: (clientKey, id, now) =>
          statement(Effect.map(
            sql<Row>`
              SELECT response, items FROM responses
              WHERE client_key = ${clientKey} AND id = ${id} AND expires_at > ${now}`,
            (rows) => rows[0]
          )),
        withItem: (clientKey, itemId, now) =>
          statement(Effect.map(
            sql<Row>`
              SELECT response, items FROM responses
              WHERE client_key = ${clientKey} AND expires_at > ${now} AND id = (
                SELECT response_id FROM response_items WHERE client_key = ${clientKey} AND item_id = ${itemId})`,
            (rows) => rows[0]
          )),
        remove: (clientKey, id, now) =>
          statement(Effect.map(
            sql`
              DELETE FROM responses
              WHERE client_key = ${clientKey} AND id = ${id} AND expires_at > ${now} RETURNING id`,
            (rows) => rows.length > 0
          )),
        prune: (now, most) =>
          statement(Effect.map(
            sql`
              DELETE FROM responses WHERE (client_key, id) IN (
                SELECT client_key, id FROM responses WHERE expires_at <= ${now} ORDER BY expires_at LIMIT ${most})
              RETURNING id`,
            (rows) => rows.length
          ))
      })
    })
  )
}
