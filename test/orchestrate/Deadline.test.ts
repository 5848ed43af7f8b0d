import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { within } from "../../src/orchestrate/Deadline.ts"

const late = within(20, () => "late" as const)

describe("a deadline", () => {
  it.live("changes nothing for work that ends before it, well or not, at once or later", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* late(Effect.succeed(1)), 1)
      assert.strictEqual(yield* within(10_000, () => "late")(Effect.as(Effect.sleep(1), 2)), 2)
      assert.strictEqual(yield* Effect.flip(late(Effect.fail("broken"))), "broken")
      assert.isTrue(Exit.hasDies(yield* Effect.exit(late(Effect.die("a defect")))))
    }))

  it.live("interrupts work that takes longer, and fails once that has ended", () =>
    Effect.gen(function*() {
      const told: Array<string> = []
      const work = Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep(20), Effect.sync(() => void told.push("ended"))))
      const error = yield* Effect.flip(late(work))
      assert.deepStrictEqual([...told, error], ["ended", "late"])
    }))

  it.live("waits for work that can't be interrupted", () =>
    Effect.gen(function*() {
      let ended = false
      const work = Effect.uninterruptible(Effect.andThen(Effect.sleep(60), Effect.sync(() => void (ended = true))))
      assert.strictEqual(yield* Effect.flip(late(work)), "late")
      assert.isTrue(ended)
    }))

  it.live("goes with whoever waits: the work is interrupted, and has ended, with its caller", () =>
    Effect.gen(function*() {
      let ended = false
      const work = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (ended = true)))
      const fiber = yield* Effect.forkChild(within(10_000, () => "late")(work), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.isTrue(ended)
    }))

  it.live("is cut before it: work is interrupted, and what cut it is the error once it has ended", () =>
    Effect.gen(function*() {
      const told: Array<string> = []
      let listening = 0
      let end: (error: string) => void = () => {}
      const cut = within(10_000, () => "late", (listener: (error: string) => void) => {
        listening++
        end = listener
        return () => void listening--
      })
      const work = Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep(20), Effect.sync(() => void told.push("ended"))))
      const fiber = yield* Effect.forkChild(Effect.flip(cut(work)), { startImmediately: true })
      end("cut")
      end("cut again")
      assert.strictEqual(yield* Fiber.join(fiber), "cut")
      assert.deepStrictEqual([...told, listening], ["ended", 0])
      assert.strictEqual(yield* cut(Effect.succeed(1)), 1)
      assert.strictEqual(listening, 0)
    }))

  it.live("is cut already: work ends as it begins", () =>
    Effect.gen(function*() {
      const cut = within(10_000, () => "late", (end: (error: string) => void) => {
        end("cut")
        return () => {}
      })
      assert.strictEqual(yield* Effect.flip(cut(Effect.never)), "cut")
    }))

  it.live("holds also where it is longer than any timer", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* within(Number.MAX_SAFE_INTEGER, () => "late")(Effect.as(Effect.sleep(5), "done")), "done")
    }))
})
