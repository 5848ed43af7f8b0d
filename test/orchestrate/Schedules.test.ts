import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Schedules from "../../src/orchestrate/Schedules.ts"
import { TryAgain } from "../../src/orchestrate/Schedules.ts"

/** The virtual times at which an effect that always fails is tried, within a minute. */
const triesOf = (times: number, failure: TryAgain, schedule: typeof Schedules.retry) =>
  Effect.gen(function*() {
    const tries: Array<number> = []
    const fiber = yield* Effect.gen(function*() {
      tries.push(yield* Effect.clockWith((clock) => clock.currentTimeMillis))
      return yield* failure
    }).pipe(Effect.retry({ schedule, times }), Effect.exit, Effect.forkChild)
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(fiber)
    return tries
  })

describe("Schedules", () => {
  it.effect("retry doubles its delay, with jitter, up to 8 s", () =>
    Effect.gen(function*() {
      const tries = yield* triesOf(7, new TryAgain({ on: "same_model" }), Schedules.retry)
      const delays = tries.slice(1).map((at, i) => at - tries[i]!)
      assert.strictEqual(delays.length, 7)
      delays.forEach((delay, i) => {
        const middle = Math.min(250 * 2 ** i, 8000)
        assert.isTrue(delay >= middle * 0.75 && delay <= Math.min(middle * 1.25, 8001), `${delay} is not near ${middle}`)
      })
    }))

  it.effect("retry waits as long as the upstream asked, and a little longer, not always the same", () =>
    Effect.gen(function*() {
      const tries = yield* triesOf(5, new TryAgain({ on: "same_model", waitMs: 3000 }), Schedules.retry)
      const delays = tries.slice(1).map((at, i) => at - tries[i]!)
      delays.forEach((delay) => assert.isTrue(delay > 3000 && delay <= 3302, `${delay} is not 3000 and a little`))
      assert.isAbove(new Set(delays).size, 1)
    }))

  it.effect("escalation waits a moment before the next model", () =>
    Effect.gen(function*() {
      const tries = yield* triesOf(3, new TryAgain({ on: "next_model" }), Schedules.escalation)
      assert.isTrue(tries[1]! > 0 && tries.at(-1)! <= 250, String(tries))
    }))

  it.effect("refinement goes on while the verdict blocks, for as many rounds as asked", () =>
    Effect.gen(function*() {
      const rounds = (most: number, verdicts: ReadonlyArray<boolean>) => {
        let done = 0
        return Effect.repeat(Effect.sync(() => ({ blocked: verdicts[done++] ?? true })), Schedules.refinement(most)).pipe(
          Effect.map(() => done)
        )
      }
      assert.strictEqual(yield* rounds(1, []), 1)
      assert.strictEqual(yield* rounds(4, []), 4)
      assert.strictEqual(yield* rounds(10, [true, true, false]), 3)
    }))
})
