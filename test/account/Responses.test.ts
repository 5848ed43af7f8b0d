import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { Responses } from "../../src/account/Responses.ts"
import { ResponseStore } from "../../src/store/ResponseStore.ts"
import { StoreError } from "../../src/store/StoreError.ts"
import * as Store from "../../src/store/Store.ts"

const live = Responses.layer.pipe(Layer.provideMerge(Store.layerTest))

const response = (id: string) => ({ id, output: [{ id: `msg_${id}`, type: "message" }] })

const kept = (id: string) => ({ response: response(id), items: [{ role: "user", content: "Hi" }, ...response(id).output] })

describe("Responses", () => {
  it.effect("a response and its items are found by the key that kept them, and by nobody else", () =>
    Effect.gen(function*() {
      const responses = yield* Responses
      yield* responses.keep("key_a", kept("r1"))
      yield* responses.keep(null, kept("r2"))
      assert.deepStrictEqual(yield* responses.get("key_a", "r1"), kept("r1"))
      assert.deepStrictEqual(yield* responses.item("key_a", "msg_r1"), { id: "msg_r1", type: "message" })
      assert.deepStrictEqual(yield* responses.get(null, "r2"), kept("r2"))
      for (const [key, id] of [["key_b", "r1"], [null, "r1"], ["key_a", "r2"]] as const) {
        assert.isUndefined(yield* responses.get(key, id))
        assert.isUndefined(yield* responses.item(key, `msg_${id}`))
        assert.isFalse(yield* responses.remove(key, id))
      }
      assert.isTrue(yield* responses.remove("key_a", "r1"))
      assert.isUndefined(yield* responses.get("key_a", "r1"))
      assert.isUndefined(yield* responses.item("key_a", "msg_r1"))
    }).pipe(Effect.provide(live)))

  it.effect("a second response of the same id does not replace the first", () =>
    Effect.gen(function*() {
      const responses = yield* Responses
      yield* responses.keep("key_a", kept("r1"))
      yield* responses.keep("key_a", { ...kept("r1"), items: [] })
      assert.deepStrictEqual(yield* responses.get("key_a", "r1"), kept("r1"))
    }).pipe(Effect.provide(live)))

  it.effect("after 30 days a response counts as gone, and its row goes too", () =>
    Effect.gen(function*() {
      const responses = yield* Responses
      const store = yield* ResponseStore
      yield* responses.keep("key_a", kept("r1"))
      yield* TestClock.adjust("29 days")
      assert.isDefined(yield* responses.get("key_a", "r1"))
      yield* TestClock.adjust("1 day")
      assert.isUndefined(yield* responses.get("key_a", "r1"))
      assert.isFalse(yield* responses.remove("key_a", "r1"))
      // What the hourly turn had not taken by now is taken here.
      yield* store.prune(Number.MAX_SAFE_INTEGER, 10)
      assert.isUndefined(yield* store.get("key_a", "r1", 0))
    }).pipe(Effect.provide(live)))

  it.effect("expired rows are pruned in batches", () =>
    Effect.gen(function*() {
      const store = yield* ResponseStore
      const row = (id: string, expiresAt: number) => ({
        clientKey: "k",
        id,
        createdAt: 1,
        expiresAt,
        response: "{}",
        items: "[]",
        itemIds: [id]
      })
      const bounds = { rows: 100, bytes: 1e6 }
      for (const [id, expiresAt] of [["a", 5], ["b", 6], ["c", 7], ["d", 99]] as const) yield* store.put(row(id, expiresAt), bounds)
      assert.strictEqual(yield* store.prune(10, 2), 2)
      assert.strictEqual(yield* store.prune(10, 2), 1)
      assert.isDefined(yield* store.get("k", "d", 10))
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("a database that can't be pruned is told of, and pruned at the next turn", () => {
    const logged: Array<string> = []
    let turns = 0
    const store = Layer.mock(ResponseStore, {
      prune: () => Effect.suspend(() => (++turns === 1 ? Effect.fail(new StoreError({ kind: "unavailable", message: "the disk is full" })) : Effect.succeed(0)))
    })
    return Effect.gen(function*() {
      yield* Responses
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(turns, 2)
      assert.lengthOf(logged, 1)
      assert.include(logged[0], "could not be deleted")
    }).pipe(Effect.provide(Layer.provideMerge(
      Responses.layer.pipe(Layer.provide(store)),
      Logger.layer([Logger.make(({ message }) => { logged.push(String(message)) })])
    )))
  })

  it.effect("what one key keeps is bounded in rows and bytes; its oldest go, other keys' stay", () =>
    Effect.gen(function*() {
      const store = yield* ResponseStore
      const put = (clientKey: string, id: string, createdAt: number, size: number, bounds: { rows: number; bytes: number }) =>
        store.put({ clientKey, id, createdAt, expiresAt: 1e6, response: "x".repeat(size), items: "", itemIds: [] }, bounds)
      const left = (clientKey: string) =>
        Effect.filter(["a", "b", "c", "d"], (id) => Effect.map(store.get(clientKey, id, 0), (row) => row !== undefined))
      yield* put("other", "a", 0, 10, { rows: 9, bytes: 1000 })
      for (const [i, id] of ["a", "b", "c"].entries()) yield* put("k", id, i, 10, { rows: 2, bytes: 1000 })
      assert.deepStrictEqual(yield* left("k"), ["b", "c"])
      yield* put("k", "d", 9, 15, { rows: 9, bytes: 30 })
      assert.deepStrictEqual(yield* left("k"), ["c", "d"])
      assert.deepStrictEqual(yield* left("other"), ["a"])
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("a conversation that is too large is refused before anything is asked", () =>
    Effect.gen(function*() {
      const responses = yield* Responses
      const error = yield* Effect.flip(responses.checkSize([{ role: "user", content: "x".repeat(9 * 1024 * 1024) }]))
      assert.strictEqual(error.param, "store")
      yield* responses.checkSize([{ role: "user", content: "Hi" }])
    }).pipe(Effect.provide(live)))
})
