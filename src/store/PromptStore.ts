import { Context, Effect, Layer } from "effect"
import { LedgerSqlClient } from "./Database.ts"
import type { StoreError } from "./StoreError.ts"
import { statement, transaction } from "./Transaction.ts"

/** What a request said and was answered, sealed. Times are Unix milliseconds. */
export interface PromptRow {
  readonly requestId: string
  readonly expiresAt: number
  readonly sealed: Uint8Array
}

/** The rows of `prompts`. What has expired counts as gone. */
export class PromptStore extends Context.Service<PromptStore, {
  /** All rows in one transaction. */
  readonly put: (rows: ReadonlyArray<PromptRow>) => Effect.Effect<void, StoreError>
  readonly get: (requestId: string, now: number) => Effect.Effect<PromptRow | undefined, StoreError>
  /** Deletes at most `most` that have expired; returns how many. */
  readonly prune: (now: number, most: number) => Effect.Effect<number, StoreError>
}>()("tokenhub/PromptStore") {
  static readonly layer: Layer.Layer<PromptStore, never, LedgerSqlClient> = Layer.effect(
    PromptStore,
    Effect.map(LedgerSqlClient, (sql) =>
      PromptStore.of({
        put: (rows) =>
          transaction(sql)(
            Effect.forEach(rows, ({ expiresAt, requestId, sealed }) =>
              sql`
                INSERT INTO prompts ${sql.insert({ request_id: requestId, expires_at: expiresAt, sealed })}
                ON CONFLICT DO NOTHING`, { discard: true })
          ),
        get: (requestId, now) =>
          statement(Effect.map(
            sql<{ readonly expires_at: number; readonly sealed: Uint8Array }>`
              SELECT expires_at, sealed FROM prompts WHERE request_id = ${requestId} AND expires_at > ${now}`,
            ([row]) => row && { requestId, expiresAt: row.expires_at, sealed: row.sealed }
          )),
        prune: (now, most) =>
          statement(Effect.map(
            sql`
              DELETE FROM prompts WHERE request_id IN (
                SELECT request_id FROM prompts WHERE expires_at <= ${now} ORDER BY expires_at LIMIT ${most})
              RETURNING 1`,
            (rows) => rows.length
          ))
      }))
  )
}
