/** The contract of `/admin/keys`. */
import { Schema, SchemaGetter } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { budgetPeriods } from "../../domain/Budget.ts"
import { scopes } from "../../domain/ClientKey.ts"
import { parseUsd } from "../../domain/Money.ts"
import { described, Dollars, Moment, nullable, optional, perMinute, strict, struct, Timestamp, wholeBetween } from "./AdminWire.ts"
import { AdminAuth } from "../Authentication.ts"
import { BodyLimit } from "../BodyLimit.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"

const keyName = Schema.String.check(
  Schema.isPattern(/^(?=.*\S)[^\p{Cc}]{1,200}$/u, { message: "must have 1 to 200 characters, and no control characters" })
)

const modelPattern = Schema.String.check(
  Schema.isPattern(/^(?:[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127})?(?<=.)\*?$|^\*$/, {
    message: "must be a model's name or alias, or the beginning of one and a *"
  })
)

/** Dollars as a number, or as the text that answers have. */
const Amount = Schema.Union([
  Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 999_999_999 })),
  Schema.String.check(Schema.makeFilter((text) => parseUsd(text) !== undefined || "must be dollars, with at most nine decimals"))
]).annotate({ description: "The most that it may spend in a period, dollars; models without a price are refused then. Null: no limit" }).pipe(
  Schema.decodeTo(Schema.BigInt, {
    decode: SchemaGetter.transform((amount) => (typeof amount === "number" ? BigInt(Math.round(amount * 1e9)) : parseUsd(amount) ?? 0n)),
    encode: SchemaGetter.transform((amount) => Number(amount) / 1e9)
  })
)

const limits = {
  scopes: nullable(
    described(
      Schema.Array(Schema.Literals(scopes)).check(Schema.isMinLength(1)),
      "chat: every route that asks a model for an answer or counts tokens; embeddings; models: the list of models. Null: all"
    )
  ),
  models: nullable(
    described(
      Schema.Array(modelPattern).check(Schema.isMinLength(1), Schema.isMaxLength(1000)),
      "Models that it may ask: names, aliases, or the beginning of such a name and a *. Null: all"
    )
  ),
  budget_usd: nullable(Amount),
  budget_period: optional(described(Schema.Literals(budgetPeriods), "Calendar day or month in UTC, or for good; default month")),
  rpm: nullable(described(perMinute, "Requests a minute; null: no limit")),
  tpm: nullable(described(perMinute, "Tokens a minute, prompt and completion; null: no limit")),
  expires_at: nullable(Moment)
}

const NewKey = struct({ name: keyName, ...limits }).annotate({ identifier: "NewClientKey" })

const KeyChanges = struct({ name: optional(keyName), ...limits }).annotate({ identifier: "ClientKeyChanges" })
export type KeyChanges = typeof KeyChanges.Type

/** Thirty days. */
const longestGrace = 2_592_000
export const defaultGrace = 86_400

const Rotation = struct({
  grace_seconds: optional(described(wholeBetween(0, longestGrace), `How long the key before still opens what it did; default ${defaultGrace}`))
}).annotate({ identifier: "ClientKeyRotation" })

const key = {
  id: Schema.String,
  name: Schema.String,
  prefix: described(Schema.String, "The key's first characters, to recognise it by"),
  created_at: Timestamp,
  revoked_at: Schema.NullOr(Timestamp),
  expires_at: Schema.NullOr(Timestamp),
  last_used_at: Schema.NullOr(Timestamp),
  previous_key_until: described(Schema.NullOr(Timestamp), "When the key before the last rotation ends, or ended"),
  scopes: described(Schema.NullOr(Schema.Array(Schema.Literals(scopes))), "Null: all"),
  models: described(Schema.NullOr(Schema.Array(Schema.String)), "Null: all"),
  budget_usd: Schema.NullOr(Dollars),
  budget_period: Schema.NullOr(Schema.Literals(budgetPeriods)),
  spent_usd: described(Schema.NullOr(Dollars), "In the present period; null without a budget"),
  reserved_usd: described(Schema.NullOr(Dollars), "The most that the calls which run now can cost; null without a budget"),
  rpm: Schema.NullOr(Schema.Int),
  tpm: Schema.NullOr(Schema.Int)
}
const ClientKey = Schema.Struct(key).annotate({ identifier: "ClientKey" })

const withSecret = Schema.Struct({ ...key, key: described(Schema.String, "The key itself, in this answer only") })

const id = { id: Schema.String }

export const KeysApi = HttpApiGroup.make("keys")
  .add(
    HttpApiEndpoint.post("create", "/keys", {
      payload: NewKey,
      success: withSecret.pipe(HttpApiSchema.status(201)),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Makes a client key for /v1"),
    HttpApiEndpoint.get("list", "/keys", { success: Schema.Struct({ keys: Schema.Array(ClientKey) }), error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "All client keys, revoked ones too"),
    HttpApiEndpoint.get("get", "/keys/:id", { params: id, success: ClientKey, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "One client key"),
    HttpApiEndpoint.patch("change", "/keys/:id", {
      params: id,
      payload: KeyChanges,
      success: ClientKey,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Changes the given fields of a client key, from the next request on"),
    HttpApiEndpoint.post("rotate", "/keys/:id/rotate", {
      params: id,
      payload: Rotation,
      success: withSecret,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Makes a new secret for a client key; the one before works until its grace ends, one of an earlier rotation no more"),
    HttpApiEndpoint.delete("revoke", "/keys/:id", { params: id, success: HttpApiSchema.NoContent, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Revokes a client key, from the next request on")
  )
  .middleware(BodyLimit)
  .middleware(AdminAuth)
  .prefix("/admin")
  .annotateMerge(strict)
  .annotateMerge(OpenApi.annotations({ title: "Client keys", description: "Who may call /v1, and how much of it" }))
