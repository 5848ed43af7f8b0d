import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as Purses from "../../src/orchestrate/RetryBudget.ts"
import { RetryBudget } from "../../src/orchestrate/RetryBudget.ts"
import { Settings } from "../../src/Settings.ts"

const budget = RetryBudget.layer.pipe(Layer.provide(Settings.layerTest()))

/** Spends until nothing is left. */
const spendAll = Effect.gen(function*() {
  const { spend } = yield* RetryBudget
  let spent = 0
  while (yield* spend) spent++
  return spent
})

describe("RetryBudget", () => {
  it.effect("lets a fifth of the first calls follow, beside what time brings", () =>
    Effect.gen(function*() {
      const { first } = yield* RetryBudget
      yield* spendAll
      yield* Effect.replicateEffect(first, 100)
      assert.approximately(yield* spendAll, 20, 1)
      yield* TestClock.adjust("1 second")
      const second = yield* spendAll
      assert.isTrue(second > 0 && second <= 10, String(second))
    }).pipe(Effect.provide(budget)))

  it.effect("allows at most ten a second beside the fifth over half a minute", () =>
    Effect.gen(function*() {
      let calls = yield* spendAll
      for (let second = 0; second < 30; second++) {
        yield* TestClock.adjust("1 second")
        calls += yield* spendAll
      }
      assert.isAtMost(calls, 300)
    }).pipe(Effect.provide(budget)))

  it("saves up no more than a burst, and a clock that stands still adds nothing", () => {
    const full = Purses.fullPurse(10, 0)
    assert.strictEqual(Purses.filled(full, 10, 1e9, 1000).level, full.level)
    assert.strictEqual(Purses.filled({ level: 0, at: 5000 }, 10, 5000).level, 0)
    assert.strictEqual(Purses.filled({ level: 0, at: 5000 }, 10, 4000).level, 0)
  })
})
