import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import type { Fault } from "../../src/domain/ProviderError.ts"
import type { CallOutcome } from "../../src/route/HealthBoard.ts"
import { HealthBoard } from "../../src/route/HealthBoard.ts"
import { Settings } from "../../src/Settings.ts"
import { modelCard } from "../support/Doubles.ts"

const board = HealthBoard.layer.pipe(
  Layer.provide(Settings.layerTest({ TOKENHUB_BREAKER_FAILURES: "3", TOKENHUB_BREAKER_OPEN_MS: "30000" }))
)

const model = modelCard("m")
const good: CallOutcome = { ok: true, breaks: false, coolDownMs: 0, durationMs: 100 }
const broken: CallOutcome = { ok: false, fault: "server_error", breaks: true, coolDownMs: 0, durationMs: 100 }
const left: CallOutcome = { ok: false, breaks: false, coolDownMs: 0, durationMs: 100 }
const cooled = (fault: Fault, coolDownMs: number): CallOutcome => ({ ok: false, fault, breaks: false, coolDownMs, durationMs: 100 })

const times = (count: number, outcome: CallOutcome) =>
  Effect.gen(function*() {
    const health = yield* HealthBoard
    for (let i = 0; i < count; i++) {
      yield* health.admit(model)
      yield* health.record(model, outcome)
    }
  })

const on = <A, E>(effect: Effect.Effect<A, E, HealthBoard>) => Effect.provide(effect, board)

describe("HealthBoard", () => {
  it.effect("opens the circuit after failures in a row, not after as many with a success between them", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* times(2, broken)
      yield* times(1, good)
      yield* times(2, broken)
      assert.strictEqual(health.of(model).circuit, "closed")
      yield* times(1, broken)
      assert.deepInclude(health.of(model), { circuit: "open", retryAfterMs: 30_000, reason: "circuit_open", rateLimited: false })
      assert.isFalse(yield* health.admit(model))
    })))

  it.effect("lets one probe at a time through when the circuit is half open, and closes it on success", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* times(3, broken)
      yield* TestClock.adjust("29 seconds")
      assert.isFalse(yield* health.admit(model))
      yield* TestClock.adjust("1 second")
      assert.deepInclude(health.of(model), { circuit: "half_open", retryAfterMs: 0 })
      const admitted = yield* Effect.all(Array.from({ length: 20 }, () => health.admit(model)), { concurrency: "unbounded" })
      assert.strictEqual(admitted.filter(Boolean).length, 1)
      assert.strictEqual(health.of(model).reason, "circuit_open")
      yield* health.record(model, good)
      assert.deepInclude(health.of(model), { circuit: "closed", retryAfterMs: 0 })
    })))

  it.effect("stays open longer with every failed probe, at most five minutes", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* times(3, broken)
      const waits: Array<number> = []
      for (let i = 0; i < 12; i++) {
        waits.push(health.of(model).retryAfterMs)
        yield* TestClock.adjust(health.of(model).retryAfterMs)
        yield* times(1, broken)
      }
      assert.deepStrictEqual(waits.slice(0, 3), [30_000, 60_000, 90_000])
      assert.strictEqual(Math.max(...waits), 300_000)
    })))

  it.effect("gives a probe's place back when its caller leaves, or when it never reports", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* times(3, broken)
      yield* TestClock.adjust("30 seconds")
      assert.isTrue(yield* health.admit(model))
      yield* health.record(model, left)
      assert.isTrue(yield* health.admit(model))
      assert.isFalse(yield* health.admit(model))
      yield* TestClock.adjust("10 minutes")
      assert.isTrue(yield* health.admit(model))
    })))

  it.effect("ignores calls that began before the circuit opened", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* times(3, broken)
      yield* health.record(model, broken)
      assert.strictEqual(health.of(model).retryAfterMs, 30_000)
      yield* TestClock.adjust("30 seconds")
      yield* health.record(model, { ...good, durationMs: 60_000 })
      assert.strictEqual(health.of(model).circuit, "half_open")
    })))

  it.effect("cools a model down for as long as asked, the longest of several", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* times(1, cooled("rate_limited", 5000))
      yield* times(1, cooled("rate_limited", 2000))
      assert.deepInclude(health.of(model), { circuit: "closed", retryAfterMs: 5000, reason: "cooling_down", rateLimited: true })
      assert.isFalse(yield* health.admit(model))
      yield* TestClock.adjust("5 seconds")
      assert.deepInclude(health.of(model), { retryAfterMs: 0, rateLimited: false })
      assert.isUndefined(health.of(model).reason)
      assert.isTrue(yield* health.admit(model))
    })))

  it.effect("leaves every model of a provider alone whose key was refused, until an admin changes it", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      const sister = modelCard("sister")
      yield* health.record(model, cooled("authentication", 60_000))
      assert.deepInclude(health.of(sister), { retryAfterMs: 60_000, rateLimited: false })
      assert.strictEqual(health.of(modelCard("stranger", { provider: "q" })).retryAfterMs, 0)
      yield* health.forget("p")
      assert.strictEqual(health.of(sister).retryAfterMs, 0)
      assert.strictEqual(health.of(model).retryAfterMs, 0)
    })))

  it.effect("forgets a circuit with its provider's credential, and a model that moved to another provider", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* times(3, broken)
      assert.strictEqual(health.of(modelCard("m", { provider: "q" })).circuit, "closed")
      assert.strictEqual(health.of({ ...model, upstreamName: "renamed" }).circuit, "closed")
      yield* health.forget("q")
      assert.strictEqual(health.of(model).circuit, "open")
      yield* health.forget("p")
      assert.strictEqual(health.of(model).circuit, "closed")
    })))

  it.effect("averages the latency of successes and the share of failures, which fades with time", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* times(1, good)
      yield* times(1, { ...good, durationMs: 200 })
      assert.closeTo(health.of(model).latencyMs, 120, 1e-9)
      yield* times(1, cooled("rate_limited", 1))
      assert.closeTo(health.of(model).errorRate, 0.1, 1e-9)
      yield* times(1, { ok: false, fault: "invalid_request", breaks: false, coolDownMs: 0, durationMs: 1 })
      assert.closeTo(health.of(model).errorRate, 0.1, 1e-9)
      yield* TestClock.adjust("5 minutes")
      assert.closeTo(health.of(model).errorRate, 0.05, 1e-9)
    })))

  it.effect("closes on time although the wall clock is set back by an hour meanwhile", () =>
    on(Effect.gen(function*() {
      const health = yield* HealthBoard
      yield* TestClock.adjust("1 hour")
      yield* times(3, broken)
      yield* times(1, cooled("rate_limited", 5000))
      yield* TestClock.setTime(0)
      assert.strictEqual(health.of(model).retryAfterMs, 30_000)
      yield* TestClock.adjust("30 seconds")
      assert.deepInclude(health.of(model), { circuit: "half_open", retryAfterMs: 0 })
    })))
})
