import { Context, Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"
import type { ProviderCard } from "../domain/Catalog.ts"
import { ProviderName } from "../domain/Ids.ts"
import { StoreError } from "./StoreError.ts"
import { statement, transaction } from "./Transaction.ts"

const Milliseconds = Schema.optionalKey(Schema.Number)

const Row = Schema.Struct({
  name: ProviderName,
  provider_type: Schema.String,
  base_url: Schema.NullOr(Schema.String),
  api_key_env: Schema.NullOr(Schema.String),
  timeouts: Schema.fromJsonString(Schema.Struct({
    connectMs: Milliseconds,
    firstByteMs: Milliseconds,
    streamIdleMs: Milliseconds,
    wholeCallMs: Milliseconds
  })),
  max_concurrency: Schema.NullOr(Schema.Number),
  allow_private: Schema.BooleanFromBit,
  enabled: Schema.BooleanFromBit,
  source: Schema.Literals(["admin", "environment", "mock"])
})

const decode = Schema.decodeUnknownEffect(Schema.Array(Row))
const encode = Schema.encodeEffect(Row)

const fromRow = (row: typeof Row.Type): ProviderCard => ({
  name: row.name,
  providerType: row.provider_type,
  baseUrl: row.base_url,
  apiKeyEnv: row.api_key_env,
  timeouts: row.timeouts,
  maxConcurrency: row.max_concurrency,
  allowPrivate: row.allow_private,
  enabled: row.enabled,
  source: row.source
})

const toRow = (card: ProviderCard): typeof Row.Type => ({
  name: card.name,
  provider_type: card.providerType,
  base_url: card.baseUrl,
  api_key_env: card.apiKeyEnv,
  timeouts: card.timeouts,
  max_concurrency: card.maxConcurrency,
  allow_private: card.allowPrivate,
  enabled: card.enabled,
  source: card.source
})

/** The rows of `providers`. */
export class ProviderStore extends Context.Service<ProviderStore, {
  /** Sorted by name. */
  readonly all: Effect.Effect<ReadonlyArray<ProviderCard>, StoreError>
  /** Inserts or replaces the row of that name. */
  readonly put: (card: ProviderCard) => Effect.Effect<void, StoreError>
  /**
   * Removes the row and, if asked, the models that use it, in one transaction; a `conflict` if not asked and there are
   * any.
   */
  readonly remove: (name: ProviderName, options: { readonly cascade: boolean }) => Effect.Effect<void, StoreError>
}>()("tokenhub/ProviderStore") {
  static readonly layer: Layer.Layer<ProviderStore, never, SqlClient.SqlClient> = Layer.effect(
    ProviderStore,
    Effect.map(SqlClient.SqlClient, (sql) => {
      const remove = Effect.fnUntraced(function*(name: ProviderName, cascade: boolean) {
        if (cascade) {
          yield* sql`DELETE FROM models WHERE provider = ${name}`
        } else {
          const users = yield* sql`SELECT name FROM models WHERE provider = ${name} LIMIT 1`
          if (users.length > 0) {
            return yield* new StoreError({ kind: "conflict", message: `Models still use the provider '${name}'` })
          }
        }
        yield* sql`DELETE FROM providers WHERE name = ${name}`
      })
      return ProviderStore.of({
        all: statement(Effect.flatMap(sql`SELECT * FROM providers ORDER BY name`, decode)).pipe(
          Effect.map((rows) => rows.map(fromRow))
        ),
        put: (card) =>
          statement(Effect.flatMap(Effect.orDie(encode(toRow(card))), (row) =>
            sql`
              INSERT INTO providers ${sql.insert(row)}
              ON CONFLICT (name) DO UPDATE SET provider_type = excluded.provider_type, base_url = excluded.base_url,
                api_key_env = excluded.api_key_env, timeouts = excluded.timeouts,
                max_concurrency = excluded.max_concurrency, allow_private = excluded.allow_private,
                enabled = excluded.enabled, source = excluded.source`)).pipe(
            Effect.asVoid
          ),
        remove: (name, { cascade }) => transaction(sql)(remove(name, cascade))
      })
    })
  )
}
