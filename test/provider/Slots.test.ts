import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Slots from "../../src/provider/Slots.ts"

describe("Slots", () => {
  it.effect("let in as many as there are places, then those that wait in their order, and refuse the rest", () =>
    Effect.gen(function*() {
      const slots = Slots.make(1, 2)
      const order: Array<string> = []
      const wait = (name: string) => Effect.forkChild(Effect.map(Effect.suspend(slots.take), () => order.push(name)), { startImmediately: true })
      yield* slots.take()
      const first = yield* wait("first")
      yield* wait("second")
      assert.strictEqual(yield* Effect.flip(slots.take()), "full")
      yield* Fiber.interrupt(first)
      slots.give()
      yield* Effect.yieldNow
      assert.deepStrictEqual(order, ["second"])
      slots.give()
      assert.strictEqual(slots.take(), Effect.void)
    }))

  it.effect("lose no place where thousands that waited end at once", () =>
    Effect.gen(function*() {
      const slots = Slots.make(1, 5000)
      yield* slots.take()
      const ends = yield* Effect.forEach(
        Array.from({ length: 5000 }),
        () => Effect.forkChild(Effect.map(Effect.suspend(slots.take), slots.give), { startImmediately: true })
      )
      slots.give()
      yield* Effect.forEach(ends, Fiber.join, { discard: true })
      assert.strictEqual(slots.take(), Effect.void)
    }))

  it.effect("give a place that was freed between asking and waiting", () =>
    Effect.gen(function*() {
      const slots = Slots.make(1, 1)
      yield* slots.take()
      const asked = slots.take()
      slots.give()
      yield* asked
      assert.notStrictEqual(slots.take(), Effect.void)
    }))
})
