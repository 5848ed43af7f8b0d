import { Context, Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { budgetPeriods } from "../domain/Budget.ts"
import type { ClientKey } from "../domain/ClientKey.ts"
import { scopes } from "../domain/ClientKey.ts"
import { ClientKeyId } from "../domain/Ids.ts"
import type { StoreError } from "./StoreError.ts"
import { statement, transaction } from "./Transaction.ts"

/** A client key as stored: the key itself is not, only its SHA-256, 64 hexadecimal digits. */
export interface ClientKeyRow extends ClientKey {
  readonly hash: string
  /** That of the secret before the last rotation. */
  readonly previousHash: string | null
}

const Row = Schema.Struct({
  id: ClientKeyId,
  name: Schema.String,
  hash: Schema.String,
  prefix: Schema.String,
  created_at: Schema.Number,
  revoked_at: Schema.NullOr(Schema.Number),
  expires_at: Schema.NullOr(Schema.Number),
  scopes: Schema.NullOr(Schema.fromJsonString(Schema.Array(Schema.Literals(scopes)))),
  models: Schema.NullOr(Schema.fromJsonString(Schema.Array(Schema.String))),
  // As a text: it may lie beyond what a JavaScript number holds.
  budget_nanos: Schema.NullOr(Schema.BigIntFromString),
  budget_period: Schema.NullOr(Schema.Literals(budgetPeriods)),
  rpm: Schema.NullOr(Schema.Number),
  tpm: Schema.NullOr(Schema.Number),
  last_used_at: Schema.NullOr(Schema.Number),
  previous_hash: Schema.NullOr(Schema.String),
  previous_until: Schema.NullOr(Schema.Number)
})

const decode = Schema.decodeUnknownEffect(Schema.Array(Row))
const encode = Schema.encodeEffect(Row)

const fromRow = (row: typeof Row.Type): ClientKeyRow => ({
  id: row.id,
  name: row.name,
  hash: row.hash,
  prefix: row.prefix,
  createdAt: row.created_at,
  revokedAt: row.revoked_at,
  expiresAt: row.expires_at,
  scopes: row.scopes,
  models: row.models,
  budget: row.budget_nanos === null ? null : { amount: row.budget_nanos, period: row.budget_period ?? "total" },
  rpm: row.rpm,
  tpm: row.tpm,
  lastUsedAt: row.last_used_at,
  previousHash: row.previous_hash,
  previousUntil: row.previous_until
})

const toRow = (key: ClientKeyRow): typeof Row.Type => ({
  id: key.id,
  name: key.name,
  hash: key.hash,
  prefix: key.prefix,
  created_at: key.createdAt,
  revoked_at: key.revokedAt,
  expires_at: key.expiresAt,
  scopes: key.scopes,
  models: key.models,
  budget_nanos: key.budget?.amount ?? null,
  budget_period: key.budget?.period ?? null,
  rpm: key.rpm,
  tpm: key.tpm,
  last_used_at: key.lastUsedAt,
  previous_hash: key.previousHash,
  previous_until: key.previousUntil
})

/** The rows of `client_keys`. */
export class ClientKeyStore extends Context.Service<ClientKeyStore, {
  /** In the order of their ids, which is that of their making. */
  readonly all: Effect.Effect<ReadonlyArray<ClientKeyRow>, StoreError>
  /** Inserts the row or changes that of the same id, its last use aside; a `conflict` if another row has the same hash. */
  readonly put: (row: ClientKeyRow) => Effect.Effect<void, StoreError>
  /** Notes when keys were last used (Unix milliseconds), in one transaction; a later use that is known stays. */
  readonly used: (times: ReadonlyMap<ClientKeyId, number>) => Effect.Effect<void, StoreError>
  readonly remove: (id: ClientKeyId) => Effect.Effect<void, StoreError>
}>()("tokenhub/ClientKeyStore") {
  static readonly layer: Layer.Layer<ClientKeyStore, never, SqlClient.SqlClient> = Layer.effect(
    ClientKeyStore,
    Effect.map(SqlClient.SqlClient, (sql) =>
      ClientKeyStore.of({
        all: statement(
          Effect.flatMap(
            sql`
              SELECT id, name, hash, prefix, created_at, revoked_at, expires_at, scopes, models,
                CAST(budget_nanos AS TEXT) AS budget_nanos, budget_period, rpm, tpm, last_used_at, previous_hash, previous_until
              FROM client_keys ORDER BY id`,
            decode
          )
        ).pipe(Effect.map((rows) => rows.map(fromRow))),
        put: (key) =>
          statement(Effect.flatMap(Effect.orDie(encode(toRow(key))), (row) =>
            sql`
              INSERT INTO client_keys ${sql.insert({ ...row, budget_nanos: key.budget?.amount ?? null })}
              ON CONFLICT (id) DO UPDATE SET name = excluded.name, hash = excluded.hash, prefix = excluded.prefix,
                created_at = excluded.created_at, revoked_at = excluded.revoked_at, expires_at = excluded.expires_at,
                scopes = excluded.scopes, models = excluded.models, budget_nanos = excluded.budget_nanos,
                budget_period = excluded.budget_period, rpm = excluded.rpm, tpm = excluded.tpm,
                previous_hash = excluded.previous_hash, previous_until = excluded.previous_until`)).pipe(
            Effect.asVoid
          ),
        used: (times) =>
          transaction(sql)(
            Effect.forEach(
              times,
              ([id, at]) => sql`UPDATE client_keys SET last_used_at = max(coalesce(last_used_at, 0), ${at}) WHERE id = ${id}`,
              { discard: true }
            )
          ),
        remove: (id) => statement(Effect.asVoid(sql`DELETE FROM client_keys WHERE id = ${id}`))
      }))
  )
}
