/** The contracts of `/admin/models` and `/admin/routing/explain`. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { dropReasons } from "../../domain/Candidate.ts"
import { capabilities } from "../../domain/Catalog.ts"
import { ModelName, ProviderName } from "../../domain/Ids.ts"
import { described, nullable, optional, perMinute, slashedName, strict, struct, wholeBetween } from "./AdminWire.ts"
import { AdminAuth } from "../Authentication.ts"
import { BodyLimit } from "../BodyLimit.ts"
import { ChatRequest } from "../chat/ChatApi.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { Health } from "./ProvidersApi.ts"

const rate = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))
const tokens = wholeBetween(1, 1_000_000_000)
const weight = described(Schema.Int, "Higher is preferred")
const contextSize = described(tokens, "Tokens that prompt and completion may have together")

const settings = {
  cost_per_1k_tokens: nullable(described(rate, "Dollars per 1,000 tokens of either kind; null: unpriced")),
  upstream_name: optional(
    described(Schema.NonEmptyString.check(Schema.isMaxLength(512)), "What the provider calls the model; absent: its name")
  ),
  input_cost_per_1k: optional(described(rate, "Dollars per 1,000 prompt tokens")),
  output_cost_per_1k: optional(described(rate, "Dollars per 1,000 completion tokens")),
  cached_input_cost_per_1k: optional(described(rate, "Dollars per 1,000 prompt tokens that the provider's cache had; absent: as input")),
  max_output_tokens: nullable(described(tokens, "Null: unknown")),
  capabilities: optional(Schema.Array(Schema.Literals(capabilities))),
  aliases: optional(Schema.Array(ModelName).check(Schema.isMaxLength(100))),
  rpm: nullable(described(perMinute, "Calls a minute that all callers together may make of it; null: no limit")),
  tpm: nullable(described(perMinute, "Tokens a minute likewise, prompt and completion")),
  enabled: optional(Schema.Boolean)
}

const NewModel = struct({
  name: ModelName,
  provider: ProviderName,
  context_size: contextSize,
  weight,
  ...settings
}).annotate({ identifier: "NewModel" })
export type NewModel = typeof NewModel.Type

const ModelChanges = struct({
  provider: optional(ProviderName),
  context_size: optional(contextSize),
  weight: optional(weight),
  ...settings
}).annotate({ identifier: "ModelChanges" })
export type ModelChanges = typeof ModelChanges.Type

const shownRate = Schema.NullOr(Schema.Finite)

const Model = Schema.Struct({
  name: Schema.String,
  provider: Schema.String,
  upstream_name: Schema.String,
  context_size: Schema.Int,
  max_output_tokens: Schema.NullOr(Schema.Int),
  weight: Schema.Int,
  cost_per_1k_tokens: described(shownRate, "What the router compares: the one price, else the dearer side; null: unpriced"),
  input_cost_per_1k: shownRate,
  output_cost_per_1k: shownRate,
  cached_input_cost_per_1k: shownRate,
  capabilities: Schema.Array(Schema.Literals(capabilities)),
  aliases: Schema.Array(Schema.String),
  rpm: described(Schema.NullOr(Schema.Int), "Calls a minute; null: no limit"),
  tpm: described(Schema.NullOr(Schema.Int), "Tokens a minute; null: no limit"),
  enabled: Schema.Boolean,
  source: described(Schema.Literals(["admin", "catalogue", "mock"]), "Who set it")
}).annotate({ identifier: "Model" })

const name = slashedName.pipe(Schema.decodeTo(Schema.Struct({ name: ModelName })))

export const ModelsApi = HttpApiGroup.make("models")
  .add(
    HttpApiEndpoint.post("put", "/models", {
      payload: NewModel,
      success: [
        Schema.Struct({ message: Schema.Literal("Model added successfully"), model: Model }).pipe(HttpApiSchema.status(201)),
        Schema.Struct({ message: Schema.Literal("Model updated successfully"), model: Model })
      ],
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Adds a model, or sets the one of that name anew"),
    HttpApiEndpoint.get("list", "/models", {
      success: Schema.Struct({ models: Schema.Array(Model) }),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "All models, sorted by name; the catalogue's too"),
    HttpApiEndpoint.get("get", "/models/:name/*", { params: name, success: Model, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "One model"),
    HttpApiEndpoint.patch("patch", "/models/:name/*", { params: name, payload: ModelChanges, success: Model, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Changes the given fields; a catalogue model becomes the admin's"),
    HttpApiEndpoint.delete("remove", "/models/:name/*", { params: name, success: HttpApiSchema.NoContent, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Removes an admin's model; a catalogue model of that name shows again")
  )
  .middleware(BodyLimit)
  .middleware(AdminAuth)
  .prefix("/admin")
  .annotateMerge(strict)
  .annotateMerge(OpenApi.annotations({ title: "Models", description: "Which models there are, and what they cost" }))

const Drop = Schema.Struct({
  model: Schema.String,
  reason: Schema.Literals(dropReasons),
  detail: described(Schema.String, "One sentence with the figures"),
  retry_after_ms: Schema.optionalKey(Schema.Int)
})

const Candidate = Schema.Struct({
  model: Schema.String,
  provider: Schema.String,
  cost_per_1k_tokens: described(shownRate, "Dollars; null: unpriced"),
  weight: Schema.Int,
  context_size: Schema.Int,
  health: Health
})

const Explicit = Schema.Struct({
  requested: described(Schema.String, "As the request names it"),
  model: Candidate,
  callable: Schema.Boolean,
  obstacle: described(Schema.NullOr(Drop), "Why it may not be called now"),
  escalates_to: described(Schema.NullOr(Schema.String), "Who would be asked if it can't be called or fails; null: nobody")
})

const Explanation = Schema.Struct({
  need: Schema.Struct({
    prompt_tokens: described(Schema.Int, "Estimated"),
    max_tokens: described(Schema.NullOr(Schema.Int), "As the request says; null: each model's own default"),
    capabilities: Schema.Array(Schema.String)
  }),
  candidates: described(Schema.Array(Candidate), "Best first; the first is the router's choice"),
  drops: described(Schema.Array(Drop), "Every model that was left out"),
  explicit: Schema.optionalKey(described(Explicit, "Where the request names a model"))
}).annotate({ identifier: "Explanation" })

export const RoutingApi = HttpApiGroup.make("routing")
  .add(
    HttpApiEndpoint.post("explain", "/routing/explain", { payload: ChatRequest, success: Explanation, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Which models would serve this chat request, in order, and why the others would not; calls nobody")
  )
  .middleware(AdminAuth)
  .prefix("/admin")
  .annotateMerge(OpenApi.annotations({ title: "Routing", description: "How the router decides" }))
