/** The contract of `/admin/keys`. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { described, strict, struct, Timestamp } from "./AdminWire.ts"
import { AdminAuth } from "./Authentication.ts"
import { BodyLimit } from "./BodyLimit.ts"
import * as ErrorEnvelope from "./ErrorEnvelope.ts"

const keyName = Schema.String.check(
  Schema.isPattern(/^(?=.*\S)[^\p{Cc}]{1,200}$/u, { message: "must have 1 to 200 characters, and no control characters" })
)

/** A limit that is not enforced is refused rather than ignored. */
const unsupported = Schema.optionalKey(Schema.Never.annotate({ message: "is not supported yet; a client key has a name only" }))

const NewKey = struct({
  name: keyName,
  scopes: unsupported,
  models: unsupported,
  budget_usd: unsupported,
  budget_period: unsupported,
  rpm: unsupported,
  tpm: unsupported,
  expires_at: unsupported
}).annotate({ identifier: "NewClientKey" })

const key = {
  id: Schema.String,
  name: Schema.String,
  prefix: described(Schema.String, "The key's first characters, to recognise it by"),
  created_at: Timestamp,
  revoked_at: Schema.NullOr(Timestamp)
}
const ClientKey = Schema.Struct(key).annotate({ identifier: "ClientKey" })

const id = { id: Schema.String }

export const KeysApi = HttpApiGroup.make("keys")
  .add(
    HttpApiEndpoint.post("create", "/keys", {
      payload: NewKey,
      success: Schema.Struct({ ...key, key: described(Schema.String, "The key itself, in this answer only") }).pipe(
        HttpApiSchema.status(201)
      ),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Makes a client key for /v1"),
    HttpApiEndpoint.get("list", "/keys", { success: Schema.Struct({ keys: Schema.Array(ClientKey) }), error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "All client keys, revoked ones too"),
    HttpApiEndpoint.get("get", "/keys/:id", { params: id, success: ClientKey, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "One client key"),
    HttpApiEndpoint.patch("rename", "/keys/:id", {
      params: id,
      payload: struct({ name: keyName }),
      success: ClientKey,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Renames a client key"),
    HttpApiEndpoint.delete("revoke", "/keys/:id", { params: id, success: HttpApiSchema.NoContent, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Revokes a client key, from the next request on")
  )
  .middleware(BodyLimit)
  .middleware(AdminAuth)
  .prefix("/admin")
  .annotateMerge(strict)
  .annotateMerge(OpenApi.annotations({ title: "Client keys", description: "Who may call /v1" }))
