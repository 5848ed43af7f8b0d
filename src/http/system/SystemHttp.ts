import { createHash, timingSafeEqual } from "node:crypto"
import { Clock, Effect, Layer, Redacted } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApiBuilder, HttpApiScalar, OpenApi } from "effect/http-api"
import manifest from "../../../package.json" with { type: "json" }
import { StoreHealth } from "../../account/StoreHealth.ts"
import { Unauthenticated } from "../../domain/RequestError.ts"
import { Settings } from "../../Settings.ts"
import * as Metrics from "../../telemetry/Metrics.ts"
import { Prometheus } from "../../telemetry/Prometheus.ts"
import { Vault } from "../../vault/Vault.ts"
import { Api, BuiltApi, docsPath, openapiPath } from "../Api.ts"
import { incoming } from "../Authentication.ts"
import * as Credentials from "../Credentials.ts"
import { Drain } from "../Drain.ts"
import * as ErrorEnvelope from "../ErrorEnvelope.ts"
import type { Strain } from "../Overload.ts"
import { Overload } from "../Overload.ts"
import { RequestContext } from "../RequestContext.ts"

type Reason = "vault_locked" | "database_unwritable" | "draining" | Strain

const explained: { readonly [R in Reason]: string } = {
  vault_locked: "the vault is locked",
  database_unwritable: "the database can't be written",
  draining: "TokenHub is shutting down",
  event_loop_lag: "the event loop is late",
  heap_full: "the heap is nearly full"
}

const digest = (text: string) => createHash("sha256").update(text).digest()

export const SystemHttp = HttpApiBuilder.group(
  BuiltApi,
  "system",
  Effect.fnUntraced(function*(handlers) {
    const drain = yield* Drain
    const overload = yield* Overload
    const prometheus = yield* Prometheus
    const { metricsToken } = yield* Settings
    const store = yield* StoreHealth
    const vault = yield* Vault
    const startedAt = yield* Clock.currentTimeMillis
    const token = Redacted.value(metricsToken)
    const expected = token === null ? undefined : digest(token)

    const reasons: Effect.Effect<ReadonlyArray<Reason>> = Effect.gen(function*() {
      const { state } = yield* vault.status
      const writable = yield* store.writable
      return [
        ...(state === "locked" ? ["vault_locked" as const] : []),
        ...(writable ? [] : ["database_unwritable" as const]),
        ...(drain.draining() ? ["draining" as const] : []),
        ...overload.strains()
      ]
    })

    const health = Effect.gen(function*() {
      const why = yield* reasons
      const now = yield* Clock.currentTimeMillis
      return {
        status: "healthy" as const,
        version: manifest.version,
        ready: why.length === 0,
        reasons: why,
        uptime_seconds: Math.max(0, Math.floor((now - startedAt) / 1000))
      }
    })

    const ready = Effect.gen(function*() {
      const why = yield* reasons
      if (why.length === 0) return { ready: true as const }
      const { id } = yield* RequestContext
      const message = `Not ready: ${why.map((reason) => explained[reason]).join("; ")}`
      const failure = ErrorEnvelope.httpFailure(503, "overloaded_error", "not_ready", message)
      return HttpServerResponse.jsonUnsafe(
        { ready: false, reasons: why, ...ErrorEnvelope.bodyOf(failure, id) },
        { status: 503, headers: ErrorEnvelope.headersOf(failure) }
      )
    })

    const scrape = Effect.map(prometheus.render, (text) => HttpServerResponse.text(text, { contentType: Prometheus.contentType }))

    return handlers
      .handle("health", () => health)
      .handle("live", () => Effect.succeed({ status: "alive" as const }))
      .handle("ready", () => ready)
      .handle("metrics", () =>
        Effect.gen(function*() {
          const { headers } = yield* incoming
          if (expected === undefined) return yield* scrape
          const given = Credentials.bearerOf(headers)
          if (given !== undefined && timingSafeEqual(digest(Redacted.value(given)), expected)) return yield* scrape
          const missing = given === undefined
          yield* Metrics.authFailure({ scope: "metrics", reason: missing ? "missing" : "wrong" })
          return yield* new Unauthenticated({ missing })
        }).pipe(Effect.catch(ErrorEnvelope.respond)))
  })
)

let contract: HttpServerResponse.HttpServerResponse | undefined

/** The contract as OpenAPI, made for the first who asks, and as a page; its script is part of the answer, so that it works offline. */
export const docs = Layer.merge(
  HttpRouter.add("GET", openapiPath, Effect.sync(() => contract ??= HttpServerResponse.jsonUnsafe(OpenApi.fromApi(Api)))),
  HttpApiScalar.layer(Api, { path: docsPath, scalar: { withDefaultFonts: false } })
)
