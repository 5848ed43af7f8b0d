import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { LedgerSqlClient } from "../../src/store/Database.ts"
import { AnswerStore } from "../../src/store/AnswerStore.ts"
import * as Store from "../../src/store/Store.ts"

const wide = { rows: 1000, bytes: 1e9 }

const keyOf = (key: string, clientKey = "k", route = "/v1/chat") => ({ clientKey, route, key })

const put = (key: ReturnType<typeof keyOf>, text: string, bounds = wide, expiresAt = 1e6) =>
  Effect.flatMap(AnswerStore, (store) => store.put({ ...key, expiresAt, sealed: Buffer.from(text) }, bounds))

const get = (key: ReturnType<typeof keyOf>, now = 0) =>
  Effect.flatMap(AnswerStore, (store) => Effect.map(store.get(key, now), (sealed) => sealed && Buffer.from(sealed).toString()))

const left = (names: string, clientKey = "k") =>
  Effect.filter([...names], (name) => Effect.map(get(keyOf(name, clientKey)), (found) => found !== undefined))

const test = (name: string, run: Effect.Effect<void, unknown, AnswerStore | LedgerSqlClient>) =>
  it.effect(name, () => Effect.provide(run, Store.layerTest))

describe("AnswerStore", () => {
  test("finds an answer by its client key, route and key together, until it expires", Effect.gen(function*() {
    yield* put(keyOf("a"), "one", wide, 50)
    yield* put(keyOf("a", "k", "/v1/messages"), "two")
    yield* put(keyOf("a", ""), "three")
    assert.strictEqual(yield* get(keyOf("a")), "one")
    assert.strictEqual(yield* get(keyOf("a", "k", "/v1/messages")), "two")
    assert.strictEqual(yield* get(keyOf("a", "")), "three")
    for (const other of [keyOf("b"), keyOf("a", "other"), keyOf("a", "k", "/v1/embeddings")]) assert.isUndefined(yield* get(other))
    assert.strictEqual(yield* get(keyOf("a"), 49), "one")
    assert.isUndefined(yield* get(keyOf("a"), 50))
  }))

  test("keeps the newest answer of a key, and the hash of the key only", Effect.gen(function*() {
    yield* put(keyOf("order-4711"), "one")
    yield* put(keyOf("order-4711"), "two")
    assert.strictEqual(yield* get(keyOf("order-4711")), "two")
    const sql = yield* LedgerSqlClient
    const rows = yield* sql<{ key_hash: string }>`SELECT key_hash FROM answers`
    assert.lengthOf(rows, 1)
    assert.match(rows[0]?.key_hash ?? "", /^[0-9a-f]{64}$/)
  }))

  test("lets a client key's oldest go beyond so many rows, whatever was replaced or pruned in between", Effect.gen(function*() {
    const store = yield* AnswerStore
    const bounds = { rows: 3, bytes: 1e9 }
    yield* put(keyOf("a", "other"), "x")
    for (const name of "abcd") yield* put(keyOf(name), "x", bounds)
    assert.deepStrictEqual(yield* left("abcd"), ["b", "c", "d"])
    yield* put(keyOf("b"), "y", bounds)
    assert.deepStrictEqual(yield* left("abcd"), ["b", "c", "d"])
    yield* put(keyOf("e"), "x", bounds, 5)
    assert.deepStrictEqual(yield* left("abcde"), ["b", "d", "e"])
    assert.strictEqual(yield* store.prune(5, 10), 1)
    yield* put(keyOf("f"), "x", bounds)
    assert.deepStrictEqual(yield* left("abcdef"), ["b", "d", "f"])
    assert.deepStrictEqual(yield* left("a", "other"), ["a"])
  }))

  test("lets a client key's oldest go beyond so many bytes, and never the newest", Effect.gen(function*() {
    const bounds = { rows: 1000, bytes: 10 }
    for (const name of "abc") yield* put(keyOf(name), "xxxx", bounds)
    assert.deepStrictEqual(yield* left("abc"), ["b", "c"])
    yield* put(keyOf("d"), "xx", bounds)
    assert.deepStrictEqual(yield* left("abcd"), ["b", "c", "d"])
    yield* put(keyOf("e"), "xxxxxxxxxx", bounds)
    assert.deepStrictEqual(yield* left("abcde"), ["e"])
    yield* put(keyOf("f"), "x".repeat(11), bounds)
    assert.deepStrictEqual(yield* left("abcdef"), ["f"])
    yield* put(keyOf("g"), "x", bounds)
    assert.deepStrictEqual(yield* left("abcdefg"), ["g"])
  }))

  test("deletes what has expired in batches", Effect.gen(function*() {
    const store = yield* AnswerStore
    for (const [name, expiresAt] of [["a", 5], ["b", 6], ["c", 7], ["d", 99]] as const) yield* put(keyOf(name), "x", wide, expiresAt)
    assert.strictEqual(yield* store.prune(10, 2), 2)
    assert.deepStrictEqual(yield* left("abcd"), ["c", "d"])
    assert.strictEqual(yield* store.prune(10, 2), 1)
    assert.deepStrictEqual(yield* left("abcd"), ["d"])
  }))
})
