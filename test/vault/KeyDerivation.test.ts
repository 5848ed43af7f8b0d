import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Result, Schema } from "effect"
import { pbkdf2Sync } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { hkdf, KeyDerivation, passwordSlot, pbkdf2 } from "../../src/vault/KeyDerivation.ts"

const vectors = new URL("../../../shared/vectors/pbkdf2_hmacsha256_test.json", import.meta.url)

const Vectors = Schema.Struct({
  testGroups: Schema.Array(Schema.Struct({
    tests: Schema.Array(Schema.Struct({
      tcId: Schema.Int,
      password: Schema.String,
      salt: Schema.String,
      iterationCount: Schema.Int,
      dkLen: Schema.Int,
      dk: Schema.String
    }))
  }))
})

const salt = Buffer.alloc(32, 7)
const password = Redacted.make("correct horse battery")

describe("PBKDF2-HMAC-SHA256", () => {
  it.effect.skipIf(!existsSync(vectors))("agrees with all 60 published vectors", () =>
    Effect.gen(function*() {
      const { testGroups } = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(Vectors))(readFileSync(vectors, "utf8"))
      const tests = testGroups.flatMap((group) => group.tests)
      assert.strictEqual(tests.length, 60)
      for (const test of tests) {
        const key = yield* pbkdf2(Buffer.from(test.password, "hex"), Buffer.from(test.salt, "hex"), test.iterationCount, test.dkLen)
        assert.strictEqual(key.toString("hex"), test.dk, `vector ${test.tcId}`)
      }
    }))
})

describe("HKDF-SHA256", () => {
  it("agrees with the example of RFC 5869 that has no salt and no info", () => {
    assert.strictEqual(
      hkdf(Buffer.alloc(22, 0x0b), "", 42).toString("hex"),
      "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
  })
})

layer(KeyDerivation.layer)("KeyDerivation", (it) => {
  it.effect("derives from the composed form of a password, so that every form of it gives the same key", () =>
    Effect.gen(function*() {
      const { derive } = yield* KeyDerivation
      const composed = yield* derive(Redacted.make("pássword-é"), salt, 100_000)
      const decomposed = yield* derive(Redacted.make("pássword-é".normalize("NFD")), salt, 100_000)
      assert.deepStrictEqual(decomposed, composed)
      assert.deepStrictEqual(composed, pbkdf2Sync("pássword-é".normalize("NFC"), salt, 100_000, 32, "sha256"))
    }))

  it.effect("refuses counts outside 100,000 to 10,000,000 before any derivation", () =>
    Effect.gen(function*() {
      const { derive } = yield* KeyDerivation
      for (const iterations of [0, 99_999, 10_000_001, 4_294_967_295, 100_000.5, Number.NaN]) {
        const error = yield* Effect.flip(derive(password, salt, iterations))
        assert.strictEqual(error._tag, "IterationsOutOfRange")
      }
    }))

  it.effect("lets one run and five wait, refuses more, and has room again afterwards", () =>
    Effect.gen(function*() {
      const { derive } = yield* KeyDerivation
      const attempts = yield* Effect.all(Array.from({ length: 8 }, () => Effect.result(derive(password, salt, 100_000))), {
        concurrency: "unbounded"
      })
      assert.strictEqual(attempts.filter(Result.isSuccess).length, 6)
      for (const error of attempts.filter(Result.isFailure)) assert.strictEqual(error.failure._tag, "DerivationBusy")
      yield* derive(password, salt, 100_000)
    }))

  it.effect("runs one at a time, in the order of their coming", () =>
    Effect.gen(function*() {
      const { derive } = yield* KeyDerivation
      const ended: Array<number> = []
      const run = (iterations: number) => Effect.andThen(derive(password, salt, iterations), Effect.sync(() => ended.push(iterations)))
      yield* Effect.all([run(800_000), run(100_001), run(100_000)], { concurrency: "unbounded" })
      assert.deepStrictEqual(ended, [800_000, 100_001, 100_000])
    }))

  it.effect("keeps the turn of whoever gives up until the thread is done", () =>
    Effect.gen(function*() {
      const { derive } = yield* KeyDerivation
      const running = yield* Effect.forkChild(derive(password, salt, 2_000_000), { startImmediately: true })
      const leaving = yield* Effect.forkChild(Fiber.interrupt(running), { startImmediately: true })
      for (let i = 0; i < 20; i++) yield* Effect.yieldNow
      assert.isUndefined(running.pollUnsafe(), "it waits for its thread")
      yield* Fiber.join(leaving)
      assert.isDefined(running.pollUnsafe())
    }))

  it.effect("gives back the place of whoever stops waiting", () =>
    Effect.gen(function*() {
      const { derive } = yield* KeyDerivation
      const running = yield* Effect.forkChild(derive(password, salt, 100_000), { startImmediately: true })
      const waiting = yield* Effect.forEach(Array.from({ length: 5 }), () =>
        Effect.forkChild(derive(password, salt, 100_000), { startImmediately: true }))
      assert.strictEqual((yield* Effect.flip(derive(password, salt, 100_000)))._tag, "DerivationBusy")
      yield* Fiber.interruptAll(waiting)
      const late = yield* Effect.forkChild(derive(password, salt, 100_000), { startImmediately: true })
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(running)))
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(late)))
    }))

  it.effect("makes the key of the header and the proof of the password from one master key", () =>
    Effect.gen(function*() {
      const derivation = yield* KeyDerivation
      const slot = yield* passwordSlot(derivation, password, { salt, iterations: 100_000 })
      const masterKey = pbkdf2Sync("correct horse battery", salt, 100_000, 32, "sha256")
      assert.deepStrictEqual(slot.kek, hkdf(masterKey, "tokenhub/v1/kek", 64))
      assert.strictEqual(slot.verifier.length, 32)
      assert.notDeepEqual(slot.verifier, hkdf(masterKey, "tokenhub/v1/auth", 32), "the header has the proof's hash, not the proof")
    }))
})
