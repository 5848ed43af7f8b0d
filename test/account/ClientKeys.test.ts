import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { ClientKeys } from "../../src/account/ClientKeys.ts"
import { TestClock } from "effect/testing"
import { crc32 } from "node:zlib"
import * as Format from "../../src/account/ClientKeyFormat.ts"
import type { MemoryClientKeys, MemorySettings } from "../support/MemoryStores.ts"
import { memoryClientKeys, memorySettings, unavailable } from "../support/MemoryStores.ts"

const on = (keys: MemoryClientKeys, settings: MemorySettings) => Effect.provide(ClientKeys.layer.pipe(Layer.provide([keys.layer, settings.layer])))

const fresh = () => on(memoryClientKeys(), memorySettings())

/** As the format is told, from its other end: what a secret scanner does. */
const isWellFormed = (key: string): boolean => {
  const [, random = "", checksum = ""] = /^th_([0-9A-Za-z]{30})([0-9A-Za-z]{6})$/.exec(key) ?? []
  const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
  return random !== "" && [...checksum].reduce((sum, digit) => sum * 62 + digits.indexOf(digit), 0) === crc32(random)
}

describe("A client key's format", () => {
  it("is th_, 30 random characters and 6 of checksum", () => {
    for (let i = 0; i < 200; i++) {
      const key = Format.generate()
      assert.match(key, /^th_[0-9A-Za-z]{36}$/)
      assert.isTrue(isWellFormed(key))
    }
    assert.strictEqual(new Set(Array.from({ length: 1000 }, Format.generate)).size, 1000)
  })

  it("has the CRC-32 of the 30 characters as its last six, so that others can check it", () => {
    assert.isTrue(isWellFormed("th_0123456789ABCDEFGHIJKLMNOPQRST4PMbyp"))
  })

  it("uses all 62 characters about equally often", () => {
    const seen = new Map<string, number>()
    for (let i = 0; i < 2000; i++) for (const character of Format.generate().slice(3, 33)) seen.set(character, (seen.get(character) ?? 0) + 1)
    assert.strictEqual(seen.size, 62)
    const expected = 60_000 / 62
    const chiSquare = [...seen.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
    // 61 degrees of freedom: the chance of more than 140 is below one in ten million; bytes modulo 62 would give about 600.
    assert.isBelow(chiSquare, 140)
  })
})

const hashOf = (secret: Redacted.Redacted): string => Format.hashOf(Redacted.value(secret))

describe("Client keys", () => {
  it.effect("open what they are made for until they are revoked", () =>
    Effect.gen(function*() {
      const keys = yield* ClientKeys
      const { key, secret } = yield* keys.create({ name: "app" })
      assert.strictEqual(keys.find(hashOf(secret))?.id, key.id)
      assert.isUndefined(keys.find(hashOf(Redacted.make(Format.generate()))))
      assert.isUndefined(keys.find(hashOf(Redacted.make(""))))
      assert.isTrue(Redacted.value(secret).startsWith(key.prefix))
      assert.deepStrictEqual(yield* keys.list, [{ ...key, lastUsedAt: 0 }])
      yield* keys.revoke(key.id)
      assert.isUndefined(keys.find(hashOf(secret)))
      assert.isNotNull((yield* keys.get(key.id)).revokedAt)
    }).pipe(fresh()))

  it.effect("are stored as a hash only", () => {
    const store = memoryClientKeys()
    return Effect.gen(function*() {
      const keys = yield* ClientKeys
      const { secret } = yield* keys.create({ name: "app" })
      const stored = JSON.stringify([...store.rows.values()])
      assert.notInclude(stored, Redacted.value(secret))
      assert.match(stored, /"hash":"[0-9a-f]{64}"/)
      assert.notInclude(JSON.stringify(yield* keys.list), "hash")
    }).pipe(on(store, memorySettings()))
  })

  it.effect("are known again after a restart; a revoked one stays revoked", () => {
    const store = memoryClientKeys()
    const settings = memorySettings()
    return Effect.gen(function*() {
      const made = yield* Effect.gen(function*() {
        const keys = yield* ClientKeys
        const good = yield* keys.create({ name: "good" })
        const bad = yield* keys.create({ name: "bad" })
        yield* keys.change(good.key.id, { name: "better" })
        yield* keys.revoke(bad.key.id)
        return { good, bad }
      }).pipe(on(store, settings))
      yield* Effect.gen(function*() {
        const keys = yield* ClientKeys
        assert.strictEqual(keys.find(hashOf(made.good.secret))?.name, "better")
        assert.isUndefined(keys.find(hashOf(made.bad.secret)))
      }).pipe(on(store, settings))
    })
  })

  it.effect("have existed for good once one was made, also when its row is gone", () => {
    const store = memoryClientKeys()
    const settings = memorySettings()
    const existed = Effect.map(ClientKeys, (keys) => keys.existed()).pipe(on(store, settings))
    return Effect.gen(function*() {
      assert.isFalse(yield* existed)
      yield* Effect.flatMap(ClientKeys, (keys) => keys.create({ name: "app" })).pipe(on(store, settings))
      store.rows.clear()
      assert.isTrue(yield* existed)
    })
  })

  it.effect("change nothing when the database fails", () => {
    const store = memoryClientKeys()
    return Effect.gen(function*() {
      const keys = yield* ClientKeys
      const { key, secret } = yield* keys.create({ name: "app" })
      store.fault = unavailable
      assert.strictEqual((yield* Effect.flip(keys.revoke(key.id)))._tag, "StoreUnavailable")
      assert.strictEqual((yield* Effect.flip(keys.create({ name: "other" })))._tag, "StoreUnavailable")
      assert.strictEqual(keys.find(hashOf(secret))?.id, key.id)
      assert.strictEqual((yield* keys.list).length, 1)
    }).pipe(on(store, memorySettings()))
  })

  it.effect("change nothing for a key that is no longer what the change was made for", () =>
    Effect.gen(function*() {
      const keys = yield* ClientKeys
      const { key } = yield* keys.create({ name: "app", models: ["a"] })
      yield* keys.change(key.id, { rpm: 5 }, key)
      const late = yield* Effect.flip(keys.change(key.id, { tpm: 6 }, key))
      assert.deepInclude({ ...late }, { _tag: "Conflict", code: "changed_meanwhile" })
      assert.deepInclude(yield* keys.get(key.id), { rpm: 5, tpm: null })
    }).pipe(fresh()))

  it.effect("that do not exist can't be renamed or revoked", () =>
    Effect.gen(function*() {
      const keys = yield* ClientKeys
      for (const change of [keys.revoke("key_x"), keys.change("key_x", { name: "y" }), keys.get("key_x")]) {
        assert.strictEqual((yield* Effect.flip(Effect.asVoid(change)))._tag, "NotFound")
      }
    }).pipe(fresh()))

  it.effect("open nothing from their expiry on", () =>
    Effect.gen(function*() {
      const keys = yield* ClientKeys
      const { key, secret } = yield* keys.create({ name: "app", expiresAt: 60_000 })
      yield* TestClock.setTime(59_999)
      assert.strictEqual(keys.find(hashOf(secret))?.id, key.id)
      yield* TestClock.setTime(60_000)
      assert.isUndefined(keys.find(hashOf(secret)))
      yield* keys.change(key.id, { expiresAt: null })
      assert.isDefined(keys.find(hashOf(secret)))
    }).pipe(fresh()))

  it.effect("open by the secret before the last rotation until its grace ends, also after a restart", () => {
    const store = memoryClientKeys()
    const settings = memorySettings()
    return Effect.gen(function*() {
      const { first, second } = yield* Effect.gen(function*() {
        const keys = yield* ClientKeys
        const first = yield* keys.create({ name: "app" })
        return { first, second: yield* keys.rotate(first.key.id, 60_000) }
      }).pipe(on(store, settings))
      yield* Effect.gen(function*() {
        const keys = yield* ClientKeys
        assert.strictEqual(second.key.id, first.key.id)
        yield* TestClock.setTime(59_999)
        assert.isDefined(keys.find(hashOf(first.secret)))
        assert.isDefined(keys.find(hashOf(second.secret)))
        yield* TestClock.setTime(60_000)
        assert.isUndefined(keys.find(hashOf(first.secret)))
        const third = yield* keys.rotate(first.key.id, 60_000)
        const fourth = yield* keys.rotate(first.key.id, 60_000)
        assert.deepStrictEqual([second, third, fourth].map(({ secret }) => keys.find(hashOf(secret)) !== undefined), [false, true, true])
        yield* keys.revoke(first.key.id)
        assert.deepStrictEqual([third, fourth].map(({ secret }) => keys.find(hashOf(secret)) !== undefined), [false, false])
        assert.strictEqual((yield* Effect.flip(keys.rotate(first.key.id, 0)))._tag, "Conflict")
      }).pipe(on(store, settings))
    })
  })

  it.effect("remember when they were last used, written once a minute for all uses and at the end", () => {
    const store = memoryClientKeys()
    return Effect.gen(function*() {
      const id = yield* Effect.gen(function*() {
        const keys = yield* ClientKeys
        const { key, secret } = yield* keys.create({ name: "app" })
        assert.isNull(key.lastUsedAt)
        for (let i = 1; i <= 50; i++) {
          yield* TestClock.setTime(i * 1000)
          keys.find(hashOf(secret))
        }
        assert.strictEqual((yield* keys.get(key.id)).lastUsedAt, 50_000)
        assert.lengthOf(store.usedWrites, 0)
        yield* TestClock.setTime(60_000)
        assert.lengthOf(store.usedWrites, 1)
        yield* TestClock.setTime(600_000)
        assert.lengthOf(store.usedWrites, 1, "nothing is written where nothing was used")
        store.fault = unavailable
        keys.find(hashOf(secret))
        yield* TestClock.adjust("1 minute")
        store.fault = undefined
        return key.id
      }).pipe(on(store, memorySettings()))
      assert.strictEqual(store.rows.get(id)?.lastUsedAt, 600_000)
    })
  })
})
