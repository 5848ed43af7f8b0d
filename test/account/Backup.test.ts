import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Backup } from "../../src/account/Backup.ts"
import { Ledger } from "../../src/account/Ledger.ts"
import { Database } from "../../src/store/Database.ts"
import { StoreError } from "../../src/store/StoreError.ts"

/** What a backup does, in order, with a ledger whose flush is this one. */
const backedUp = (flush: (done: Array<string>) => Effect.Effect<void>, copied: Effect.Effect<void, StoreError> = Effect.void) =>
  Effect.suspend(() => {
    const done: Array<string> = []
    const ledger = Layer.mock(Ledger, { flush: flush(done), onSettle: () => () => {}, pending: () => 0 })
    const database = Layer.mock(Database, {
      backup: Effect.as(Effect.andThen(copied, Effect.sync(() => done.push("copied"))), { bytes: 0, content: Stream.empty }),
      location: "none"
    })
    return Effect.flatMap(Backup, ({ file }) => Effect.scoped(file)).pipe(
      Effect.as(done),
      Effect.provide(Backup.layer.pipe(Layer.provide([ledger, database])))
    )
  })

describe("a backup", () => {
  it.effect("has what the ledger still held when it was asked for", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* backedUp((done) => Effect.sync(() => void done.push("flushed"))), ["flushed", "copied"])
    }))

  it.effect("is made without it where the database takes no writes", () =>
    Effect.gen(function*() {
      const asked = yield* Effect.forkChild(backedUp(() => Effect.never), { startImmediately: true })
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(asked.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(asked), ["copied"])
    }))

  it.effect("that can't be made says why", () =>
    Effect.gen(function*() {
      const fault = new StoreError({ kind: "unavailable", message: "The database or its disk is full" })
      const error = yield* Effect.flip(backedUp(() => Effect.void, Effect.fail(fault)))
      assert.deepStrictEqual([error._tag, error.message], ["StoreUnavailable", "The database or its disk is full"])
    }))
})
