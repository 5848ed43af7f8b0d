import { Context, Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"
import type { ModelCard } from "../domain/Catalog.ts"
import { capabilities } from "../domain/Catalog.ts"
import { ModelName, ProviderName } from "../domain/Ids.ts"
import type { StoreError } from "./StoreError.ts"
import { statement } from "./Transaction.ts"

/** Rates are nano-dollars per million tokens, as texts, since JSON numbers are not exact. */
const rates = {
  input: Schema.BigIntFromString,
  output: Schema.BigIntFromString,
  cachedInput: Schema.optionalKey(Schema.BigIntFromString),
  cacheWrite: Schema.optionalKey(Schema.BigIntFromString)
}

const Price = Schema.Struct({
  ...rates,
  blended: Schema.optionalKey(Schema.BigIntFromString),
  tiers: Schema.optionalKey(Schema.Array(Schema.Struct({ ...rates, fromPromptTokens: Schema.Number })))
})

const Row = Schema.Struct({
  name: ModelName,
  provider: ProviderName,
  upstream_name: Schema.String,
  context_size: Schema.Number,
  max_output_tokens: Schema.NullOr(Schema.Number),
  weight: Schema.Number,
  price: Schema.NullOr(Schema.fromJsonString(Price)),
  capabilities: Schema.fromJsonString(Schema.Array(Schema.Literals(capabilities))),
  aliases: Schema.fromJsonString(Schema.Array(ModelName)),
  rpm: Schema.NullOr(Schema.Number),
  tpm: Schema.NullOr(Schema.Number),
  enabled: Schema.BooleanFromBit,
  source: Schema.Literals(["admin", "catalogue", "mock"])
})

const decode = Schema.decodeUnknownEffect(Schema.Array(Row))
const encode = Schema.encodeEffect(Row)

const fromRow = (row: typeof Row.Type): ModelCard => ({
  name: row.name,
  provider: row.provider,
  upstreamName: row.upstream_name,
  contextSize: row.context_size,
  maxOutputTokens: row.max_output_tokens,
  weight: row.weight,
  price: row.price,
  capabilities: new Set(row.capabilities),
  aliases: row.aliases,
  ...(row.rpm === null ? {} : { rpm: row.rpm }),
  ...(row.tpm === null ? {} : { tpm: row.tpm }),
  enabled: row.enabled,
  source: row.source
})

const toRow = (card: ModelCard): typeof Row.Type => ({
  name: card.name,
  provider: card.provider,
  upstream_name: card.upstreamName,
  context_size: card.contextSize,
  max_output_tokens: card.maxOutputTokens,
  weight: card.weight,
  price: card.price,
  capabilities: [...card.capabilities],
  aliases: card.aliases,
  rpm: card.rpm ?? null,
  tpm: card.tpm ?? null,
  enabled: card.enabled,
  source: card.source
})

/** The rows of `models`: those that an admin set, and the mock's; the catalogue's are not stored. */
export class ModelStore extends Context.Service<ModelStore, {
  /** Sorted by name. */
  readonly all: Effect.Effect<ReadonlyArray<ModelCard>, StoreError>
  /** Inserts or replaces the row of that name. */
  readonly put: (card: ModelCard) => Effect.Effect<void, StoreError>
  readonly remove: (name: ModelName) => Effect.Effect<void, StoreError>
}>()("tokenhub/ModelStore") {
  static readonly layer: Layer.Layer<ModelStore, never, SqlClient.SqlClient> = Layer.effect(
    ModelStore,
    Effect.map(SqlClient.SqlClient, (sql) =>
      ModelStore.of({
        all: statement(Effect.flatMap(sql`SELECT * FROM models ORDER BY name`, decode)).pipe(
          Effect.map((rows) => rows.map(fromRow))
        ),
        put: (card) =>
          statement(Effect.flatMap(Effect.orDie(encode(toRow(card))), (row) =>
            sql`
              INSERT INTO models ${sql.insert(row)}
              ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, upstream_name = excluded.upstream_name,
                context_size = excluded.context_size, max_output_tokens = excluded.max_output_tokens,
                weight = excluded.weight, price = excluded.price, capabilities = excluded.capabilities,
                aliases = excluded.aliases, rpm = excluded.rpm, tpm = excluded.tpm, enabled = excluded.enabled, source = excluded.source`)).pipe(
            Effect.asVoid
          ),
        remove: (name) => statement(Effect.asVoid(sql`DELETE FROM models WHERE name = ${name}`))
      }))
  )
}
