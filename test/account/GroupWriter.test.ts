import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as GroupWriter from "../../src/account/GroupWriter.ts"
import { inStage } from "../../src/domain/Stages.ts"

/** The groups in which a writer writes these, of which each comes in a turn of its own. */
const groupsOf = (writes: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const groups: Array<ReadonlyArray<string>> = []
    const { commit } = yield* GroupWriter.make<string>((writes) => Effect.sync(() => void groups.push(writes)))
    yield* commit("the first, after which the writer waits for more")
    groups.length = 0
    const fibers = yield* Effect.callback<ReadonlyArray<Fiber.Fiber<void, unknown>>>((resume) => {
      const begun: Array<Fiber.Fiber<void, unknown>> = []
      const begin = ([write, ...others]: ReadonlyArray<string>) => {
        if (write === undefined) return resume(Effect.succeed(begun))
        begun.push(Effect.runFork(commit(write)))
        inStage("requests", () => begin(others))
      }
      inStage("requests", () => begin(writes))
    })
    yield* Fiber.joinAll(fibers)
    return groups
  })

describe("What somebody waits for", () => {
  it.live("is written together with what the next turns bring", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* groupsOf(["a", "b", "c"]), [["a", "b", "c"]])
    }))

  it.live("waits for nothing where a turn brings nothing more", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* groupsOf(["a"]), [["a"]])
    }))

  it.live("waits for a few turns at most, however many bring more", () =>
    Effect.gen(function*() {
      const groups = yield* groupsOf(Array.from({ length: 20 }, (_, i) => String(i)))
      assert.strictEqual(groups.flat().length, 20)
      for (const group of groups) assert.isAtMost(group.length, 5)
    }))
})
