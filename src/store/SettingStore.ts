import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import type { StoreError } from "./StoreError.ts"
import { statement } from "./Transaction.ts"

interface Row {
  readonly name: string
  readonly value: string
}

/** Sorts after every name that starts with the prefix. */
const after = (prefix: string) => `${prefix}\u{10FFFF}`

/**
 * The rows of `settings`: facts that must outlive the process (`client_key_existed`, guess counters, token calibration,
 * …).
 */
export class SettingStore extends Context.Service<SettingStore, {
  readonly get: (name: string) => Effect.Effect<string | undefined, StoreError>
  readonly set: (name: string, value: string) => Effect.Effect<void, StoreError>
  readonly remove: (name: string) => Effect.Effect<void, StoreError>
  /** Every row whose name starts with the prefix. */
  readonly withPrefix: (prefix: string) => Effect.Effect<ReadonlyMap<string, string>, StoreError>
}>()("tokenhub/SettingStore") {
  static readonly layer: Layer.Layer<SettingStore, never, SqlClient.SqlClient> = Layer.effect(
    SettingStore,
    Effect.map(SqlClient.SqlClient, (sql) =>
      SettingStore.of({
        get: (name) =>
          statement(Effect.map(
            sql<Row>`SELECT name, value FROM settings WHERE name = ${name}`,
            (rows) => rows[0]?.value
          )),
        set: (name, value) =>
          statement(Effect.asVoid(
            sql`
              INSERT INTO settings ${sql.insert({ name, value })}
              ON CONFLICT (name) DO UPDATE SET value = excluded.value`
          )),
        remove: (name) => statement(Effect.asVoid(sql`DELETE FROM settings WHERE name = ${name}`)),
        withPrefix: (prefix) =>
          statement(Effect.map(
            sql<Row>`
              SELECT name, value FROM settings WHERE name >= ${prefix} AND name < ${after(prefix)} ORDER BY name`,
            (rows) => new Map(rows.map((row) => [row.name, row.value]))
          ))
      }))
  )
}
