/** The contract of `/admin/providers`. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { ProviderName } from "../../domain/Ids.ts"
import { described, nullable, optional, strict, struct, Timestamp, wholeBetween } from "./AdminWire.ts"
import { AdminAuth } from "../Authentication.ts"
import { BodyLimit } from "../BodyLimit.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"

const milliseconds = wholeBetween(1, 86_400_000)

const Timeouts = struct({
  connect_ms: optional(milliseconds),
  first_byte_ms: optional(milliseconds),
  stream_idle_ms: optional(milliseconds),
  whole_call_ms: optional(milliseconds)
})

const settings = {
  api_key: optional(
    described(Schema.RedactedFromValue(Schema.NonEmptyString), "Goes to the vault as provider/<name> and is never shown again")
  ),
  base_url: nullable(described(Schema.NonEmptyString, "As the vendor's own SDK takes it; null: the vendor's own")),
  api_key_env: nullable(described(Schema.NonEmptyString, "An environment variable that holds the key")),
  timeouts: optional(described(Timeouts, "Milliseconds; absent ones: the defaults")),
  max_concurrency: nullable(described(wholeBetween(1, 65_536), "Calls at once; null: the default")),
  allow_private: optional(described(Schema.Boolean, "Whether the address may be private or loopback")),
  enabled: optional(Schema.Boolean)
}

const NewProvider = struct({
  name: ProviderName,
  provider_type: described(Schema.NonEmptyString, "A vendor's type, as openai or openai-compatible"),
  ...settings
}).annotate({ identifier: "NewProvider" })
export type NewProvider = typeof NewProvider.Type

const ProviderChanges = struct({ provider_type: optional(Schema.NonEmptyString), ...settings }).annotate({ identifier: "ProviderChanges" })
export type ProviderChanges = typeof ProviderChanges.Type

export const Health = Schema.Struct({
  circuit: Schema.Literals(["closed", "open", "half_open"]),
  reason: Schema.optionalKey(described(Schema.Literals(["circuit_open", "cooling_down"]), "Why it may not be called now")),
  retry_after_ms: described(Schema.Int, "Until it may be called again; 0: now"),
  latency_ms: described(Schema.Int, "Moving average"),
  error_rate: described(Schema.Finite, "Moving average, 0 to 1")
}).annotate({ identifier: "ModelHealth" })

const HealthCheck = Schema.Struct({
  at: Timestamp,
  ok: Schema.Boolean,
  message: Schema.optionalKey(described(Schema.String, "Why not"))
}).annotate({ identifier: "HealthCheck" })

const Provider = Schema.Struct({
  name: Schema.String,
  provider_type: Schema.String,
  base_url: Schema.NullOr(Schema.String),
  credential: described(Schema.String, "Where its key comes from: vault, env:NAME, none, or locked with the vault"),
  api_key_env: Schema.NullOr(Schema.String),
  timeouts: Timeouts,
  max_concurrency: Schema.NullOr(Schema.Int),
  allow_private: Schema.Boolean,
  enabled: Schema.Boolean,
  source: described(Schema.Literals(["admin", "environment", "mock"]), "Who made it"),
  health: described(Schema.Record(Schema.String, Health), "By model"),
  last_check: optional(described(HealthCheck, "What the last background check found; see TOKENHUB_HEALTH_CHECK_SECONDS")),
  models: described(Schema.Array(Schema.String), "Names of its models")
}).annotate({ identifier: "Provider" })

const Validation = Schema.Struct({
  valid: Schema.Boolean,
  message: Schema.optionalKey(described(Schema.String, "Why not")),
  models: described(Schema.Array(Schema.String), "What the provider offers to this key, by its own names")
}).annotate({ identifier: "Validation" })

const name = { name: ProviderName }

export const ProvidersApi = HttpApiGroup.make("providers")
  .add(
    HttpApiEndpoint.post("put", "/providers", {
      payload: NewProvider,
      success: [
        Schema.Struct({ message: Schema.Literal("Provider added successfully"), provider: Provider }).pipe(HttpApiSchema.status(201)),
        Schema.Struct({ message: Schema.Literal("Provider replaced successfully"), provider: Provider })
      ],
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Adds a provider instance, or replaces the one of that name; calls nobody"),
    HttpApiEndpoint.get("list", "/providers", {
      success: Schema.Struct({ providers: Schema.Array(Provider) }),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "All provider instances, sorted by name"),
    HttpApiEndpoint.get("get", "/providers/:name", { params: name, success: Provider, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "One provider instance"),
    HttpApiEndpoint.patch("patch", "/providers/:name", {
      params: name,
      payload: ProviderChanges,
      success: Provider,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Changes the given fields; a changed origin wants the key again"),
    HttpApiEndpoint.delete("remove", "/providers/:name", {
      params: name,
      query: struct({ cascade: optional(described(Schema.Literals(["true", "false"]), "true: its models go too")) }),
      success: HttpApiSchema.NoContent,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Removes an instance and its key; 409 while models use it, unless cascade=true"),
    HttpApiEndpoint.post("validate", "/providers/:name/validate", { params: name, success: Validation, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Asks the provider whether the key works, and lists its models")
  )
  .middleware(BodyLimit)
  .middleware(AdminAuth)
  .prefix("/admin")
  .annotateMerge(strict)
  .annotateMerge(OpenApi.annotations({ title: "Providers", description: "Provider instances and their keys" }))
