import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import type { Claim } from "../../src/account/RateLimits.ts"
import { RateLimits } from "../../src/account/RateLimits.ts"
import * as TokenBucket from "../../src/account/TokenBucket.ts"

const claim = (bucket: string, perMinute: number, amount = 1): Claim => ({ bucket, perMinute, amount })

const withLimits = Effect.provide(RateLimits.layer)

describe("A limit a minute", () => {
  it.effect("lets a burst of one minute's worth pass, and then the even rate", () =>
    Effect.gen(function*() {
      const limits = yield* RateLimits
      const one = claim("key", 60)
      for (let i = 0; i < 60; i++) assert.isUndefined(yield* limits.take([one]))
      assert.deepStrictEqual(yield* limits.take([one]), { claim: one, retryAfterMs: 1000 })
      yield* TestClock.adjust("999 millis")
      assert.strictEqual((yield* limits.take([one]))?.retryAfterMs, 1)
      yield* TestClock.adjust("1 millis")
      assert.isUndefined(yield* limits.take([one]))
      assert.strictEqual((yield* limits.take([one]))?.retryAfterMs, 1000)
      yield* TestClock.adjust("1 hour")
      for (let i = 0; i < 60; i++) assert.isUndefined(yield* limits.take([one]))
      assert.isDefined(yield* limits.take([one]))
    }).pipe(withLimits))

  it.effect("takes all claims or none, and names the one that waits longest", () =>
    Effect.gen(function*() {
      const limits = yield* RateLimits
      const [wide, narrow, slow] = [claim("wide", 100), claim("narrow", 2), claim("slow", 1)]
      assert.isUndefined(yield* limits.take([wide, narrow]))
      assert.isUndefined(yield* limits.take([wide, narrow, slow]))
      assert.deepStrictEqual(yield* limits.take([wide, narrow, slow]), { claim: slow, retryAfterMs: 60_000 })
      assert.strictEqual((yield* limits.standing([wide]))?.remaining, 98)
      assert.deepStrictEqual(yield* limits.standing([wide, slow]), { limit: 1, remaining: 0, resetMs: 60_000 })
      assert.deepStrictEqual(yield* limits.standing([slow, wide]), yield* limits.standing([wide, slow]))
      assert.isUndefined(yield* limits.standing([]))
      assert.strictEqual(limits.wait([wide, narrow]), 30_000)
      assert.strictEqual(limits.wait([wide]), 0)
    }).pipe(withLimits))

  it.effect("is settled with the truth: too much comes back, too little is owed", () =>
    Effect.gen(function*() {
      const limits = yield* RateLimits
      const of = (amount: number) => claim("tokens", 600, amount)
      assert.isUndefined(yield* limits.take([of(600)]))
      yield* limits.give([of(500)])
      assert.deepStrictEqual(yield* limits.standing([of(0)]), { limit: 600, remaining: 500, resetMs: 10_000 })
      yield* limits.give([of(-700)])
      assert.deepStrictEqual(yield* limits.standing([of(0)]), { limit: 600, remaining: 0, resetMs: 80_000 })
      assert.strictEqual((yield* limits.take([of(10)]))?.retryAfterMs, 21_000)
      yield* TestClock.adjust("21 seconds")
      assert.isUndefined(yield* limits.take([of(10)]))
      yield* limits.give([of(1_000_000)])
      assert.strictEqual((yield* limits.standing([of(0)]))?.remaining, 600)
    }).pipe(withLimits))

  it.effect("lets what no bucket can hold pass with a full one", () =>
    Effect.gen(function*() {
      const limits = yield* RateLimits
      const large = claim("tokens", 100, 5000)
      assert.isUndefined(yield* limits.take([large]))
      assert.strictEqual((yield* limits.take([large]))?.retryAfterMs, 60_000)
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(yield* limits.take([large]))
    }).pipe(withLimits))

  it.effect("that is changed holds at once", () =>
    Effect.gen(function*() {
      const limits = yield* RateLimits
      assert.isUndefined(yield* limits.take([claim("key", 100)]))
      assert.strictEqual((yield* limits.standing([claim("key", 10)]))?.remaining, 10)
      for (let i = 0; i < 10; i++) assert.isUndefined(yield* limits.take([claim("key", 10)]))
      assert.isDefined(yield* limits.take([claim("key", 10)]))
    }).pipe(withLimits))

  const perMinute = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100_000 }))
  const gaps = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20_000 })))

  it.prop("never lets more pass than one burst and the even rate, and the wait it names is long enough", [perMinute, gaps], ([rate, waits]) => {
    let now = 0
    const bucket = TokenBucket.full(rate, now)
    let passed = 0
    for (const wait of waits) {
      now += wait
      TokenBucket.fill(bucket, rate, now)
      const later = TokenBucket.waitFor(bucket, 1, rate)
      assert.strictEqual(TokenBucket.waitFor(TokenBucket.fill(Object.assign({}, bucket), rate, now + later), 1, rate), 0)
      if (later > 0) continue
      bucket.level--
      passed++
    }
    assert.isAtMost(passed, rate + now * rate / 60_000 + 1e-6 * rate)
  })
})
