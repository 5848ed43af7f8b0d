/** The contract of `/admin/vault`. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { described, optional, slashedName, strict, struct } from "./AdminWire.ts"
import { AdminAuth } from "../Authentication.ts"
import { BodyLimit } from "../BodyLimit.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"

const secret = Schema.RedactedFromValue(Schema.String)

const Status = Schema.Struct({
  state: Schema.Literals(["unlocked", "locked", "uninitialised"]),
  generation: described(Schema.Int, "Counts up with every change"),
  secrets: described(Schema.Array(Schema.String), "Names, sorted"),
  iterations: described(Schema.Int, "PBKDF2 iterations of the present password"),
  corrupt: described(Schema.Array(Schema.String), "Secrets that do not open; known while unlocked")
}).annotate({ identifier: "VaultStatus" })

const ImportCounts = Schema.Struct({
  added: Schema.Int,
  replaced: Schema.Int,
  unchanged: Schema.Int,
  dry_run: Schema.Boolean
}).annotate({ identifier: "ImportCounts" })

const ExportFile = described(Schema.Uint8Array, "The file").pipe(HttpApiSchema.asUint8Array({ contentType: "application/octet-stream" }))

export const VaultApi = HttpApiGroup.make("vault")
  .add(
    HttpApiEndpoint.get("status", "/vault", { success: Status, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Whether the vault is open, and the names of its secrets"),
    HttpApiEndpoint.post("lock", "/vault/lock", { success: HttpApiSchema.NoContent, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Forgets the keys; vault-keyed providers answer 503 until unlock"),
    HttpApiEndpoint.post("unlock", "/vault/unlock", {
      payload: struct({ password: secret }),
      success: HttpApiSchema.NoContent,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Opens the vault with the password that it was last given"),
    HttpApiEndpoint.post("rotate", "/vault/rotate", {
      payload: struct({
        old_password: secret,
        new_password: secret,
        rekey: optional(described(Schema.Boolean, "Makes a new root key too"))
      }),
      success: described(HttpApiSchema.NoContent, "Changed; the header x-tokenhub-notice says what else must be changed"),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Changes the admin password; the environment must be changed too"),
    HttpApiEndpoint.post("export", "/vault/export", {
      payload: struct({ passphrase: secret }),
      success: ExportFile,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "All secrets as one file under a passphrase of its own"),
    HttpApiEndpoint.post("import", "/vault/import", {
      payload: struct({
        passphrase: secret,
        data: described(
          Schema.Union([Schema.String, Schema.Record(Schema.String, Schema.Unknown)]),
          "An exported file, as its text or base64; or a vault of the Python generation, as JSON or its text"
        ),
        dry_run: optional(described(Schema.Boolean, "Counts only"))
      }),
      success: ImportCounts,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Takes over the secrets of a file, all or none"),
    HttpApiEndpoint.put("putSecret", "/vault/secrets/:name/*", {
      params: slashedName,
      payload: struct({ value: described(secret, "Any text up to 64 KiB") }),
      success: HttpApiSchema.NoContent,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Stores a secret"),
    HttpApiEndpoint.delete("removeSecret", "/vault/secrets/:name/*", {
      params: slashedName,
      success: HttpApiSchema.NoContent,
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Removes a secret")
  )
  .middleware(BodyLimit)
  .middleware(AdminAuth)
  .prefix("/admin")
  .annotateMerge(strict)
  .annotateMerge(OpenApi.annotations({ title: "Vault", description: "The encrypted store of keys, and the admin password" }))
