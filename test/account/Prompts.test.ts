import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { Prompts } from "../../src/account/Prompts.ts"
import { Settings } from "../../src/Settings.ts"
import { LedgerSqlClient } from "../../src/store/Database.ts"
import { PromptStore } from "../../src/store/PromptStore.ts"
import * as Store from "../../src/store/Store.ts"
import { unavailable } from "../support/MemoryStores.ts"

const settings = Settings.layerTest({ TOKENHUB_STORE_PROMPTS_HOURS: "2" })

const real = Prompts.layer.pipe(Layer.provideMerge(Store.layerTest), Layer.provide(settings), Layer.provideMerge(Logger.layer([])))

/** Asks until it is there: it is written by a fiber of its own. */
const written = (prompts: Prompts["Service"], id: string): ReturnType<Prompts["Service"]["get"]> =>
  Effect.flatMap(prompts.get(id), (found) => (found === undefined ? Effect.andThen(Effect.promise(() => new Promise(setImmediate)), written(prompts, id)) : Effect.succeed(found)))

describe("Sealed prompts", () => {
  it.effect("are kept for their time, and their rows are deleted when it is over", () =>
    Effect.gen(function*() {
      const prompts = yield* Prompts
      const sql = yield* LedgerSqlClient
      const rows = Effect.map(sql<{ count: number }>`SELECT count(*) AS count FROM prompts`, ([row]) => row?.count)
      assert.isTrue(prompts.wanted)
      yield* prompts.keep("req_1", Buffer.from("one"))
      const found = yield* written(prompts, "req_1")
      assert.deepStrictEqual([Buffer.from(found?.sealed ?? []).toString(), found?.expiresAt], ["one", 7_200_000])
      yield* TestClock.adjust("119 minutes")
      assert.isDefined(yield* prompts.get("req_1"))
      for (let i = 2; i < 122; i++) yield* prompts.keep(`req_${i}`, Buffer.from("later"))
      yield* written(prompts, "req_121")
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(yield* prompts.get("req_1"))
      assert.strictEqual(yield* rows, 120)
      yield* TestClock.adjust("2 hours")
      assert.strictEqual(yield* rows, 0)
    }).pipe(Effect.provide(real, { local: true })))

  it.effect("are lost, and hold nobody up, where the database can't be written; not too many wait for it", () => {
    const groups: Array<number> = []
    const store = Layer.mock(PromptStore, {
      prune: () => Effect.succeed(0),
      put: (rows) => Effect.suspend(() => (groups.push(rows.length), Effect.fail(unavailable)))
    })
    return Effect.gen(function*() {
      const prompts = yield* Prompts
      for (let i = 0; i < 40; i++) yield* prompts.keep(`req_${i}`, Buffer.alloc(1024 * 1024))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(groups[0], 16)
      assert.isBelow(groups.length, 20, "they are not tried for good")
    }).pipe(Effect.provide(Prompts.layer.pipe(Layer.provide([store, settings]), Layer.provideMerge(Logger.layer([]))), { local: true }))
  })
})
