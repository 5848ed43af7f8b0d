/** The contracts of the request log, usage, the live feed, the audit log and the backup. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { described, Dollars, Moment, optional, strict, struct, Timestamp, wholeBetween } from "./AdminWire.ts"
import { AdminAuth } from "../Authentication.ts"
import { BodyLimit } from "../BodyLimit.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import { exportFormats } from "./LogExport.ts"

const limit = optional(described(wholeBetween(1, 1000), "Default 50"))

const period = {
  since: optional(Moment.annotate({ description: "From then on" })),
  until: optional(Moment.annotate({ description: "Before then" }))
}

const RequestId = Schema.String.check(Schema.isPattern(/^req_[0-9A-Z]{26}$/, { message: "must be a request's id, as req_…" }))

const TokenCounts = {
  prompt_tokens: described(Schema.Int, "All, cached ones included"),
  cached_tokens: Schema.Int,
  completion_tokens: Schema.Int,
  total_tokens: Schema.Int
}

const request = {
  id: Schema.String,
  at: Timestamp,
  event: described(Schema.String, "chat, admin, …"),
  endpoint: Schema.String,
  mode: Schema.NullOr(Schema.String),
  model: Schema.NullOr(Schema.String),
  provider: Schema.NullOr(Schema.String),
  key: described(Schema.NullOr(Schema.String), "The client key's id"),
  status: described(Schema.NullOr(Schema.Int), "Null while it runs; 499: the client left"),
  error_code: Schema.NullOr(Schema.String),
  duration_ms: Schema.NullOr(Schema.Int),
  usage: Schema.Struct({ ...TokenCounts, estimated: Schema.Boolean }),
  reserved_usd: described(Dollars, "The most that it could cost"),
  cost_usd: Dollars
}
const RequestEntry = Schema.Struct(request).annotate({ identifier: "RequestEntry" })

const AttemptEntry = Schema.Struct({
  index: Schema.Int,
  step: Schema.String,
  model: Schema.String,
  provider: Schema.String,
  outcome: described(Schema.String, "ok, cancelled, unknown, or what went wrong"),
  reason: Schema.optionalKey(Schema.String),
  started_at: Timestamp,
  duration_ms: Schema.Int,
  time_to_first_token_ms: Schema.optionalKey(Schema.Int),
  usage: Schema.Struct({ ...TokenCounts, estimated: Schema.Boolean }),
  cost_usd: Dollars
}).annotate({ identifier: "AttemptEntry" })

const UsageSums = { requests: Schema.Int, attempts: Schema.Int, ...TokenCounts, cost_usd: Dollars }

const Change = Schema.Struct({
  id: Schema.Int,
  at: Timestamp,
  actor: Schema.String,
  action: Schema.String,
  target: Schema.String,
  before: described(Schema.Unknown, "Null where there was nothing"),
  after: described(Schema.Unknown, "Null where nothing is left"),
  request_id: Schema.NullOr(Schema.String)
}).annotate({ identifier: "Change" })

const filter = optional(Schema.String)

const Export = described(Schema.String, "With format=csv or format=jsonl: all that match, or as many as limit says, as one file").pipe(
  HttpApiSchema.asText({ contentType: "text/csv" })
)

const Feed = described(
  Schema.String,
  "Events named request, each with one settled request as data, budget.alert ({key, percent, spent_usd, budget_usd, period, since}) "
    + "when 80 and 100 % of a budget are gone, and dropped ({missed}) where the reader was too slow; comment lines meanwhile"
).pipe(HttpApiSchema.asText({ contentType: "text/event-stream" }))

const DatabaseFile = described(Schema.Uint8Array, "A SQLite database").pipe(
  HttpApiSchema.asUint8Array({ contentType: "application/vnd.sqlite3" })
)

export const LogApi = HttpApiGroup.make("log")
  .add(
    HttpApiEndpoint.get("requests", "/requests", {
      query: struct({
        limit,
        before: optional(RequestId.annotate({ description: "The next of the page before" })),
        model: filter,
        provider: filter,
        mode: filter,
        key: filter,
        status: optional(Schema.Int),
        event: filter,
        format: optional(described(Schema.Literals(["json", ...exportFormats]), "Default json, a page; csv and jsonl: a file")),
        ...period
      }),
      success: [
        Schema.Struct({
          requests: Schema.Array(RequestEntry),
          next: described(Schema.NullOr(Schema.String), "What before is for the next page; null: this is the last")
        }),
        Export
      ],
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "The request log, newest first, in pages or as a file"),
    HttpApiEndpoint.get("request", "/requests/:id", {
      params: { id: RequestId },
      success: Schema.Struct({ ...request, attempts: Schema.Array(AttemptEntry) }),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "One request with every upstream call"),
    HttpApiEndpoint.get("prompt", "/requests/:id/prompt", {
      params: { id: RequestId },
      success: Schema.Struct({
        id: Schema.String,
        expires_at: Timestamp,
        messages: described(Schema.Array(Schema.Unknown), "In TokenHub's own form, without the bytes of pictures, files and recordings"),
        left_out: described(Schema.Int, "Older messages that were not kept"),
        answer: described(Schema.NullOr(Schema.Array(Schema.Unknown)), "The parts of the final answer; null where there was none")
      }),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "What was asked and answered, where TOKENHUB_STORE_PROMPTS_HOURS keeps it; each look is in the audit log"),
    HttpApiEndpoint.get("usage", "/usage", {
      query: struct({
        group_by: optional(described(Schema.Literals(["model", "provider", "key", "mode"]), "Default model")),
        bucket: optional(Schema.Literals(["hour", "day"])),
        ...period
      }),
      success: Schema.Struct({
        rows: Schema.Array(
          Schema.Struct({
            group: described(Schema.String, "Empty where there was none"),
            bucket: Schema.optionalKey(described(Schema.String, "Its start, ISO 8601")),
            ...UsageSums
          })
        ),
        totals: Schema.Struct(UsageSums)
      }),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Requests, tokens and cost by model, provider, key or mode; whole hours, at most 500 ms behind"),
    HttpApiEndpoint.get("events", "/events", { success: Feed, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "Live feed of settled requests and alerts, as server-sent events"),
    HttpApiEndpoint.get("audit", "/audit", {
      query: struct({ limit, before: optional(described(wholeBetween(1, Number.MAX_SAFE_INTEGER), "The next of the page before")) }),
      success: Schema.Struct({
        changes: Schema.Array(Change),
        next: described(Schema.NullOr(Schema.Int), "What before is for the next page; null: this is the last")
      }),
      error: ErrorEnvelope.errors
    }).annotate(OpenApi.Summary, "Who changed what, newest first"),
    HttpApiEndpoint.post("backup", "/backup", { success: DatabaseFile, error: ErrorEnvelope.errors })
      .annotate(OpenApi.Summary, "A consistent copy of the database as a file")
  )
  .middleware(BodyLimit)
  .middleware(AdminAuth)
  .prefix("/admin")
  .annotateMerge(strict)
  .annotateMerge(OpenApi.annotations({ title: "Log", description: "What happened, what it cost, who changed what" }))
