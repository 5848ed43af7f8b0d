import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import { RetryBudget } from "../../src/orchestrate/RetryBudget.ts"
import { Settings } from "../../src/Settings.ts"
import { fault, modelCard } from "../support/Doubles.ts"
import { runBench } from "../support/RunBench.ts"

const budget = (perSecond: number) => RetryBudget.layer.pipe(Layer.provide(Settings.layerTest({ TOKENHUB_RETRIES_PER_SECOND: String(perSecond) })))

const spendAll = Effect.gen(function*() {
  const { spend } = yield* RetryBudget
  let spent = 0
  while (yield* spend) spent++
  return spent
})

describe("The retry budget", () => {
  it.effect("has some seconds' worth saved up, and fills with time and with first calls", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* spendAll, 50)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* spendAll, 8)
      const { first } = yield* RetryBudget
      for (let i = 0; i < 100; i++) first()
      assert.strictEqual(yield* spendAll, 20)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* spendAll, 50)
    }).pipe(Effect.provide(budget(10))))

  it.effect.prop("over half a minute and more never gives more than a fifth of the first calls and its rate", [Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400 })))], ([bursts]) =>
    Effect.gen(function*() {
      const { first } = yield* RetryBudget
      let firsts = 0
      let spent = 0
      const seconds = Math.max(30, bursts.length)
      for (let second = 0; second < seconds; second++) {
        for (let i = 0; i < (bursts[second] ?? 0); i++, firsts++) first()
        spent += yield* spendAll
        yield* TestClock.adjust("1 second")
      }
      assert.isAtMost(spent, 0.2 * firsts + 10 * seconds)
    }).pipe(Effect.provide(budget(10))))

  it.effect("that is empty ends a run with its first failure, but holds up no larger context window", () =>
    Effect.gen(function*() {
      const models = [modelCard("small", { weight: 10, contextSize: 1000 }), modelCard("large", { weight: 20, contextSize: 100_000 })]
      const script = { small: [fault("server_error")], large: [] }
      const bench = runBench({ models, script, env: { TOKENHUB_RETRIES_PER_SECOND: "0" } })
      yield* Effect.flip(bench.run({ model: "small" }))
      assert.lengthOf(bench.calls, 1)
      const overflow = runBench({ models, script: { small: [fault("context_overflow")], large: [fault("invalid_request")] }, env: { TOKENHUB_RETRIES_PER_SECOND: "0" } })
      const running = yield* Effect.forkChild(Effect.flip(overflow.run({ model: "small" })))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(running)
      assert.deepStrictEqual(overflow.calls.map(({ upstreamModel }) => upstreamModel), ["small", "large"])
    }))
})
