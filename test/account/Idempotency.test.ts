import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import type { Begun, KeptAnswer, KeyedRequest } from "../../src/account/Idempotency.ts"
import { Idempotency, largestAnswer } from "../../src/account/Idempotency.ts"
import type { Place } from "../../src/account/Sealing.ts"
import { Sealing } from "../../src/account/Sealing.ts"
import { VaultLocked } from "../../src/domain/RequestError.ts"
import { AnswerStore } from "../../src/store/AnswerStore.ts"
import { LedgerSqlClient } from "../../src/store/Database.ts"
import * as Store from "../../src/store/Store.ts"
import { StoreError } from "../../src/store/StoreError.ts"

/** A vault that writes the place in front of the bytes, and may be locked. */
const fakeVault = () => {
  const vault = { locked: false }
  const open = Effect.suspend(() => (vault.locked ? Effect.fail(new VaultLocked({ message: "locked" })) : Effect.void))
  const startOf = (place: Place) => Buffer.from(`${place.join()}\n`)
  const layer = Layer.succeed(
    Sealing,
    Sealing.of({
      seal: (place, bytes) => Effect.as(open, Buffer.concat([startOf(place), bytes])),
      unseal: (place, sealed) =>
        Effect.map(open, () => {
          const start = startOf(place)
          return start.equals(sealed.subarray(0, start.length)) ? sealed.subarray(start.length) : undefined
        })
    })
  )
  return { vault, layer }
}

const request = (given: Partial<Omit<KeyedRequest, "body">> & { readonly body?: string } = {}): KeyedRequest => ({
  clientKey: "key_a",
  route: "/v1/chat",
  key: "k",
  ...given,
  body: Buffer.from(given.body ?? "{}")
})

const answer = (body: string | Buffer = "Forty-two"): KeptAnswer => ({
  requestId: "req_1",
  status: 200,
  headers: { "content-type": "application/json" },
  body: Buffer.from(body)
})

const begin = (given?: Parameters<typeof request>[0]) => Effect.flatMap(Idempotency, (idempotency) => idempotency.begin(request(given)))

const typeOf = (given?: Parameters<typeof request>[0]) => Effect.map(begin(given), ({ type }) => type)

const claimOf = (begun: Begun) => (begun.type === "fresh" ? begun.claim : assert.fail(`it is ${begun.type}`))

const complete = (given?: Parameters<typeof request>[0], kept: KeptAnswer = answer()) =>
  Effect.flatMap(begin(given), (begun) => claimOf(begun).complete(kept))

type Services = Idempotency | AnswerStore | LedgerSqlClient

const test = (name: string, run: (vault: { locked: boolean }) => Effect.Effect<void, unknown, Services>) =>
  it.effect(name, () => {
    const { layer, vault } = fakeVault()
    return Effect.provide(run(vault), Idempotency.layer.pipe(Layer.provideMerge(Store.layerTest), Layer.provide(layer)))
  })

describe("Idempotency", () => {
  test("runs a key once at a time, then gives its answer again as it was", () =>
    Effect.gen(function*() {
      const claim = claimOf(yield* begin())
      yield* TestClock.adjust("7 seconds")
      assert.deepStrictEqual(yield* begin(), { type: "running", sinceMs: 7000 })
      yield* claim.complete(answer())
      assert.deepStrictEqual(yield* begin(), { type: "replay", answer: answer() })
      assert.deepStrictEqual(yield* begin(), { type: "replay", answer: answer() })
    }))

  test("refuses another body under the key, while the first runs and afterwards", () =>
    Effect.gen(function*() {
      const claim = claimOf(yield* begin())
      assert.deepStrictEqual(yield* begin({ body: "{ }" }), { type: "other_body" })
      yield* claim.complete(answer())
      assert.deepStrictEqual(yield* begin({ body: "{ }" }), { type: "other_body" })
      assert.strictEqual(yield* typeOf(), "replay")
    }))

  test("knows a key by its client key and route", () =>
    Effect.gen(function*() {
      yield* complete()
      for (const other of [{ clientKey: "key_b" }, { clientKey: null }, { route: "/v1/messages" }, { key: "l" }]) {
        yield* complete(other, answer("another"))
        assert.deepStrictEqual(yield* begin(other), { type: "replay", answer: answer("another") })
      }
      assert.deepStrictEqual(yield* begin(), { type: "replay", answer: answer() })
    }))

  test("frees a key without an answer, once, and not one that another request has taken since", () =>
    Effect.gen(function*() {
      const first = claimOf(yield* begin())
      yield* first.free
      const second = claimOf(yield* begin({ body: "[]" }))
      yield* first.free
      assert.strictEqual(yield* typeOf({ body: "[]" }), "running")
      yield* second.free
      assert.strictEqual(yield* typeOf(), "fresh")
    }))

  test("keeps an answer of a mebibyte, and frees the key of a larger one", () =>
    Effect.gen(function*() {
      yield* complete({ key: "large" }, answer(Buffer.alloc(largestAnswer)))
      assert.strictEqual(yield* typeOf({ key: "large" }), "replay")
      yield* complete({ key: "larger" }, answer(Buffer.alloc(largestAnswer + 1)))
      assert.strictEqual(yield* typeOf({ key: "larger" }), "fresh")
    }))

  test("lets an answer go after 24 hours, its row too", () =>
    Effect.gen(function*() {
      yield* complete()
      yield* TestClock.adjust("23 hours")
      assert.strictEqual(yield* typeOf(), "replay")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* typeOf(), "fresh")
      const sql = yield* LedgerSqlClient
      yield* TestClock.adjust("1 hour")
      yield* Effect.yieldNow.pipe(Effect.repeat({ until: () => Effect.map(sql`SELECT 1 FROM answers`, (rows) => rows.length === 0), times: 1000 }))
      assert.lengthOf(yield* sql`SELECT 1 FROM answers`, 0)
    }))

  test("while the vault is locked keeps nothing and finds nothing, but still runs a key once at a time", (vault) =>
    Effect.gen(function*() {
      yield* complete({ key: "before" })
      vault.locked = true
      assert.strictEqual(yield* typeOf({ key: "before" }), "fresh")
      const claim = claimOf(yield* begin())
      assert.strictEqual(yield* typeOf(), "running")
      yield* claim.complete(answer())
      vault.locked = false
      assert.strictEqual(yield* typeOf(), "fresh")
    }))

  test("takes a record that does not open, or is none, for gone, and replaces it", () =>
    Effect.gen(function*() {
      const sql = yield* LedgerSqlClient
      for (const damaged of ["?", "", "answer,key_a,/v1/chat,k\nno answer"].map((text) => Buffer.from(text))) {
        yield* complete()
        yield* sql`UPDATE answers SET sealed = ${damaged}`
        const claim = claimOf(yield* begin())
        yield* claim.complete(answer("anew"))
        assert.deepStrictEqual(yield* begin(), { type: "replay", answer: answer("anew") })
        yield* sql`DELETE FROM answers`
      }
    }))
})

describe("Idempotency, on a store that", () => {
  /** A store in which a test has its hand. */
  const on = (store: Partial<AnswerStore["Service"]>) =>
    Idempotency.layer.pipe(
      Layer.provide([Layer.mock(AnswerStore, { prune: () => Effect.succeed(0), ...store }), fakeVault().layer])
    )

  const failing = (kind: StoreError["kind"]) => Effect.fail(new StoreError({ kind, message: "no" }))

  it.effect("can't be read now does nothing that may have been done", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(begin())
      assert.strictEqual(error._tag, "StoreUnavailable")
      assert.strictEqual((yield* Effect.flip(begin()))._tag, "StoreUnavailable", "and leaves no key taken")
    }).pipe(Effect.provide(on({ get: () => failing("unavailable") }))))

  it.effect("is damaged there takes the record for gone", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* typeOf(), "fresh")
    }).pipe(Effect.provide(on({ get: () => failing("corrupt") }))))

  it.effect("can't be written frees the key", () =>
    Effect.gen(function*() {
      yield* complete()
      assert.strictEqual(yield* typeOf(), "fresh")
    }).pipe(Effect.provide(on({ get: () => Effect.succeed(undefined), put: () => failing("unavailable") }))))

  it.effect("is slow lets one of many through, and gives all others what was kept while they looked", () =>
    Effect.gen(function*() {
      const looked = yield* Deferred.make<void>()
      let kept: Uint8Array | undefined
      const slow = on({
        get: () => {
          const seen = kept
          return Effect.as(Deferred.await(looked), seen)
        },
        put: ({ sealed }) => Effect.sync(() => void (kept = sealed))
      })
      yield* Effect.gen(function*() {
        const idempotency = yield* Idempotency
        const both = Effect.flatMap(idempotency.begin(request()), (begun) =>
          begun.type === "fresh" ? Effect.as(begun.claim.complete(answer()), "fresh") : Effect.succeed(begun.type))
        const fibers = yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.forkChild(both, { startImmediately: true }))
        yield* Deferred.succeed(looked, undefined)
        const types = yield* Effect.forEach(fibers, Fiber.join)
        assert.lengthOf(types.filter((type) => type === "fresh"), 1)
        assert.lengthOf(types.filter((type) => type === "replay"), 19)
      }).pipe(Effect.provide(slow))
    }))
})
