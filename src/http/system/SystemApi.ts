/** The contract of the routes that need no credential. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"

const Reasons = Schema.Array(Schema.Literals(["vault_locked", "database_unwritable", "draining", "event_loop_lag", "heap_full"]))

const Health = Schema.Struct({
  status: Schema.Literal("healthy"),
  version: Schema.String,
  ready: Schema.Boolean,
  reasons: Reasons.annotate({ description: "Why it is not ready; empty when it is" }),
  uptime_seconds: Schema.Int
}).annotate({ identifier: "Health" })

const Live = Schema.Struct({ status: Schema.Literal("alive") })

const Ready = Schema.Struct({ ready: Schema.Literal(true) })

const NotReady = Schema.Struct({
  ready: Schema.Literal(false),
  reasons: Reasons,
  error: ErrorEnvelope.ErrorBody.fields.error
}).pipe(HttpApiSchema.status(503))

const Text = Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/plain" }))

export const SystemApi = HttpApiGroup.make("system")
  .add(
    HttpApiEndpoint.get("health", "/health", { success: Health })
      .annotateMerge(OpenApi.annotations({ summary: "200 whatever the upstreams do" })),
    HttpApiEndpoint.get("live", "/health/live", { success: Live })
      .annotateMerge(OpenApi.annotations({ summary: "200 while the process lives" })),
    HttpApiEndpoint.get("ready", "/health/ready", { success: Ready, error: NotReady })
      .annotateMerge(OpenApi.annotations({ summary: "Whether new work is welcome" })),
    HttpApiEndpoint.get("metrics", "/metrics", { success: Text, error: ErrorEnvelope.errors })
      .annotateMerge(OpenApi.annotations({ summary: "Metrics as Prometheus text; TOKENHUB_METRICS_TOKEN closes it" }))
  )
  .annotateMerge(OpenApi.annotations({ title: "System", description: "Health and metrics" }))

/** Whether a URL is one of the routes that answer also while TokenHub is full or stopping, and wait for no turn. */
export const isSystem = (url: string): boolean => /^\/(?:health|metrics)(?:[/?]|$)/.test(url)
