import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import type { Scope } from "effect"
import parsePrometheus from "parse-prometheus-text-format"
import { zero } from "../../src/domain/Usage.ts"
import * as Metrics from "../../src/telemetry/Metrics.ts"
import { Prometheus } from "../../src/telemetry/Prometheus.ts"

/** What a scrape shows after the updates, on a registry of its own. */
const scrape = (updates: Effect.Effect<void, never, Scope.Scope>) =>
  Effect.gen(function*() {
    const prometheus = yield* Prometheus
    yield* updates
    return yield* prometheus.render
  }).pipe(Effect.scoped, Effect.provide(Prometheus.layer), Effect.provideService(Metric.MetricRegistry, new Map()))

const everything = Effect.all([
  Metrics.requestFinished({ endpoint: "/v1/chat", status: 200, seconds: 0.02 }),
  Metrics.requestFinished({ endpoint: "/v1/chat", status: 200, seconds: 40 }),
  Metrics.requestFinished({ endpoint: undefined, status: 404, seconds: 0.001 }),
  Metrics.modelCalled({
    model: "large",
    provider: "p",
    outcome: "ok",
    seconds: 0.8,
    timeToFirstTokenSeconds: 0.3,
    usage: { ...zero, promptTokens: 20, cachedTokens: 5, completionTokens: 200 },
    cost: 4_400_000n
  }),
  Metrics.modelCalled({ model: "large", provider: "p", outcome: "rate_limited", seconds: 0.1, usage: zero, cost: 0n }),
  Metrics.escalated({ from: "small", to: "large", fault: "context_overflow" }),
  Metrics.retried({ model: "large", fault: "unavailable" }),
  Metrics.circuit({ model: "large", provider: "p", state: "open" }),
  Metrics.authFailure({ scope: "admin", reason: "wrong" }),
  Metrics.inFlight(() => 1),
  Metrics.vaultUnlocked(true),
  Metrics.vaultGeneration(7n)
], { discard: true })

/** The families by name, with their values by labels; of a histogram, the number of observations. */
const parsed = (text: string) =>
  new Map(parsePrometheus(text).map(({ metrics, name, type }) => {
    const values = type === "HISTOGRAM"
      ? samples(text, `${name}_count`)
      : metrics.map(({ labels, value }) => ({ labels: labels ?? {}, value: Number(value) }))
    return [name, { type, values }]
  }))

const samples = (text: string, name: string) =>
  [...text.matchAll(new RegExp(`^${name}\\{(.*)\\} (.*)$`, "gm"))].map(([, labels = "", value]) => ({
    labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = "", value = ""]) => [label, value])),
    value: Number(value)
  }))

describe("The metrics", () => {
  it.effect("have the names, types and labels of the HTTP contract", () =>
    Effect.gen(function*() {
      const families = parsed(yield* scrape(everything))
      const labels = (values: ReadonlyArray<{ readonly labels: object }>) => Object.keys(values[0]?.labels ?? {}).join(",")
      const shown = [...families].map(([name, { type, values }]) => `${name} ${type} ${labels(values)}`.trim())
      assert.sameMembers(shown, [
        "tokenhub_requests_total COUNTER endpoint,status",
        "tokenhub_request_duration_seconds HISTOGRAM endpoint",
        "tokenhub_tokens_used_total COUNTER model,kind",
        "tokenhub_model_calls_total COUNTER model,status",
        "tokenhub_cost_usd_total COUNTER model,provider",
        "tokenhub_upstream_duration_seconds HISTOGRAM model,provider",
        "tokenhub_time_to_first_token_seconds HISTOGRAM model,provider",
        "tokenhub_escalations_total COUNTER model,reason",
        "tokenhub_retries_total COUNTER model,reason",
        "tokenhub_circuit_state GAUGE model,provider",
        "tokenhub_in_flight GAUGE",
        "tokenhub_ledger_pending GAUGE",
        "tokenhub_vault_unlocked GAUGE",
        "tokenhub_vault_generation GAUGE",
        "tokenhub_auth_failures_total COUNTER scope,reason"
      ])
    }))

  it.effect("count what happened; the kinds of tokens are disjoint", () =>
    Effect.gen(function*() {
      const text = yield* scrape(everything)
      const families = parsed(text)
      const values = (name: string) =>
        Object.fromEntries((families.get(name)?.values ?? []).map(({ labels, value }) => [Object.values(labels).join(" "), value]))
      assert.deepStrictEqual(values("tokenhub_requests_total"), { "/v1/chat 200": 2, "other 404": 1 })
      assert.deepStrictEqual(values("tokenhub_tokens_used_total"), { "large prompt": 15, "large cached": 5, "large completion": 200 })
      assert.deepStrictEqual(values("tokenhub_model_calls_total"), { "large ok": 1, "large rate_limited": 1 })
      assert.deepStrictEqual(values("tokenhub_cost_usd_total"), { "large p": 0.0044 })
      assert.deepStrictEqual(values("tokenhub_request_duration_seconds"), { "/v1/chat": 2, other: 1 })
      assert.closeTo(samples(text, "tokenhub_request_duration_seconds_sum")[0]?.value ?? 0, 40.02, 1e-9)
      assert.include(text, `tokenhub_request_duration_seconds_bucket{endpoint="/v1/chat",le="0.025"} 1\n`)
      assert.include(text, `tokenhub_request_duration_seconds_bucket{endpoint="/v1/chat",le="+Inf"} 2\n`)
      assert.deepStrictEqual(values("tokenhub_circuit_state"), { "large p": 2 })
      assert.deepStrictEqual(values("tokenhub_in_flight"), { "": 1 })
      assert.deepStrictEqual(values("tokenhub_vault_generation"), { "": 7 })
    }))

  it.effect("show the gauges from the first scrape, before anything happened", () =>
    Effect.gen(function*() {
      const families = parsed(yield* scrape(Effect.void))
      assert.sameMembers(
        [...families.keys()],
        ["tokenhub_in_flight", "tokenhub_ledger_pending", "tokenhub_vault_unlocked", "tokenhub_vault_generation"]
      )
      assert.isTrue([...families.values()].every(({ values }) => values[0]?.value === 0))
    }))

  it.effect("keep a gauge that was set before the first scrape", () =>
    Effect.gen(function*() {
      yield* Metrics.vaultUnlocked(true)
      const text = yield* Effect.flatMap(Prometheus, ({ render }) => render).pipe(Effect.provide(Prometheus.layer))
      assert.include(text, "tokenhub_vault_unlocked 1\n")
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("are Prometheus' text format without timestamps, units, scopes and target_info", () =>
    Effect.gen(function*() {
      const text = yield* scrape(everything)
      for (const line of text.trimEnd().split("\n")) {
        assert.match(line, /^(# (HELP|TYPE) tokenhub_\w+ .+|tokenhub_\w+(\{.*\})? [0-9.e+-]+)$/)
      }
      assert.notMatch(text, /otel_scope|target_info|description missing/)
    }))

  it.effect("quote what a label may hold", () =>
    Effect.gen(function*() {
      const text = yield* scrape(Metrics.requestFinished({ endpoint: "/odd\"\\\n", status: 200, seconds: 1 }))
      assert.include(text, "endpoint=\"/odd\\\"\\\\\\n\"")
    }))

  it.effect("name what is one value too many `other`, so that no caller can make series without end", () =>
    Effect.gen(function*() {
      const text = yield* scrape(Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => i),
        (i) => Metrics.circuit({ model: "m", provider: `provider${i}`, state: "open" }),
        { discard: true }
      ))
      const series = parsed(text).get("tokenhub_circuit_state")?.values ?? []
      assert.isAtMost(series.length, 201)
      assert.include(series.map(({ labels }) => labels["provider"]), "other")
    }))
})
