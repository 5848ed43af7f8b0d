import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { ClientKeyId } from "../domain/Ids.ts"
import type { StoreError } from "./StoreError.ts"
import { statement } from "./Transaction.ts"

/** A client key as stored: the key itself is not, only its SHA-256. Times are Unix milliseconds. */
export interface ClientKeyRow {
  readonly id: ClientKeyId
  readonly name: string
  /** SHA-256 of the whole key, 64 hexadecimal digits. */
  readonly hash: string
  /** The first characters of the key, to recognise it by. */
  readonly prefix: string
  readonly createdAt: number
  readonly revokedAt: number | null
}

interface Row {
  readonly id: string
  readonly name: string
  readonly hash: string
  readonly prefix: string
  readonly created_at: number
  readonly revoked_at: number | null
}

const fromRow = (row: Row): ClientKeyRow => ({
  id: ClientKeyId.make(row.id),
  name: row.name,
  hash: row.hash,
  prefix: row.prefix,
  createdAt: row.created_at,
  revokedAt: row.revoked_at
})

const toRow = (key: ClientKeyRow): Row => ({
  id: key.id,
  name: key.name,
  hash: key.hash,
  prefix: key.prefix,
  created_at: key.createdAt,
  revoked_at: key.revokedAt
})

/** The rows of `client_keys`. */
export class ClientKeyStore extends Context.Service<ClientKeyStore, {
  /** In the order of their ids, which is that of their making. */
  readonly all: Effect.Effect<ReadonlyArray<ClientKeyRow>, StoreError>
  /** Inserts the row or changes that of the same id; a `conflict` if another row has the same hash. */
  readonly put: (row: ClientKeyRow) => Effect.Effect<void, StoreError>
  readonly remove: (id: ClientKeyId) => Effect.Effect<void, StoreError>
}>()("tokenhub/ClientKeyStore") {
  static readonly layer: Layer.Layer<ClientKeyStore, never, SqlClient.SqlClient> = Layer.effect(
    ClientKeyStore,
    Effect.map(SqlClient.SqlClient, (sql) =>
      ClientKeyStore.of({
        all: statement(Effect.map(
          sql<Row>`SELECT id, name, hash, prefix, created_at, revoked_at FROM client_keys ORDER BY id`,
          (rows) => rows.map(fromRow)
        )),
        put: (key) =>
          statement(Effect.asVoid(sql`
            INSERT INTO client_keys ${sql.insert({ ...toRow(key) })}
            ON CONFLICT (id) DO UPDATE SET name = excluded.name, hash = excluded.hash, prefix = excluded.prefix,
              created_at = excluded.created_at, revoked_at = excluded.revoked_at`)),
        remove: (id) => statement(Effect.asVoid(sql`DELETE FROM client_keys WHERE id = ${id}`))
      }))
  )
}
