import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Turns from "../../src/http/Turns.ts"

/** What has begun when this turn of the event loop is over. */
const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

describe("Turns", () => {
  it.effect("let so many begin in a turn, the others in their order in the next ones, and forget who left", () =>
    Effect.gen(function*() {
      const myTurn = Turns.make(2)
      const begun: Array<number> = []
      const fibers = yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6], (n) =>
        Effect.forkChild(Effect.uninterruptible(Effect.map(Effect.suspend(myTurn), () => begun.push(n))), { startImmediately: true }))
      assert.deepStrictEqual(begun, [0, 1])
      yield* Fiber.interrupt(fibers[3] as Fiber.Fiber<number>)
      yield* turn
      assert.deepStrictEqual(begun, [0, 1, 2, 4])
      yield* turn
      assert.deepStrictEqual(begun, [0, 1, 2, 4, 5, 6])
      yield* turn
      yield* turn
      yield* myTurn()
      yield* myTurn()
    }))

  it.effect("keep the order where one comes while others wait", () =>
    Effect.gen(function*() {
      const myTurn = Turns.make(1)
      const begun: Array<string> = []
      const begin = (name: string) => Effect.forkChild(Effect.map(Effect.suspend(myTurn), () => begun.push(name)), { startImmediately: true })
      yield* begin("first")
      yield* begin("second")
      yield* begin("third")
      yield* turn
      yield* begin("fourth")
      assert.deepStrictEqual(begun, ["first", "second"])
      yield* turn
      assert.deepStrictEqual(begun, ["first", "second", "third"])
      yield* turn
      assert.deepStrictEqual(begun, ["first", "second", "third", "fourth"])
    }))
})
