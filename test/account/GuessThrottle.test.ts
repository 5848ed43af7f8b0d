import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { GuessThrottle } from "../../src/account/GuessThrottle.ts"
import type { MemorySettings } from "../support/MemoryStores.ts"
import { memorySettings, unavailable } from "../support/MemoryStores.ts"

const on = (settings: MemorySettings) => Effect.provide(GuessThrottle.layer.pipe(Layer.provide(settings.layer)))

const stranger = "203.0.113.7"

/** Milliseconds until the address may guess again; 0: now. */
const waitOf = (address: string) =>
  Effect.gen(function*() {
    const throttle = yield* GuessThrottle
    return yield* Effect.match(throttle.check(address), { onSuccess: () => 0, onFailure: ({ retryAfterMs }) => retryAfterMs })
  })

const guess = (address: string, times: number) =>
  Effect.gen(function*() {
    const throttle = yield* GuessThrottle
    for (let i = 0; i < times; i++) yield* throttle.wrong(address)
  })

describe("Wrong admin passwords", () => {
  it.effect("are free four times; the fifth locks the address for a second, each further one twice as long, up to five minutes", () =>
    Effect.gen(function*() {
      yield* guess(stranger, 4)
      assert.strictEqual(yield* waitOf(stranger), 0)
      const waits: Array<number> = []
      for (let i = 0; i < 11; i++) {
        yield* guess(stranger, 1)
        const wait = yield* waitOf(stranger)
        waits.push(wait)
        yield* TestClock.adjust(wait - 1)
        assert.strictEqual(yield* waitOf(stranger), 1)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* waitOf(stranger), 0)
      }
      assert.deepStrictEqual(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map((seconds) => seconds * 1000))
    }).pipe(on(memorySettings())))

  it.effect("lock loopback and private addresses for five seconds at most", () =>
    Effect.gen(function*() {
      for (const address of ["127.0.0.1", "::1", "192.168.1.20", "fd00::1"]) {
        yield* guess(address, 30)
        assert.strictEqual(yield* waitOf(address), 5000)
      }
    }).pipe(on(memorySettings())))

  it.effect("lock their own address only, an IPv6 caller's whole /64", () =>
    Effect.gen(function*() {
      yield* guess("2001:db8:0:1::1", 3)
      yield* guess("2001:db8:0:1:ffff::2", 2)
      assert.strictEqual(yield* waitOf("2001:db8:0:1::3"), 1000)
      assert.strictEqual(yield* waitOf("2001:db8:0:2::1"), 0)
      assert.strictEqual(yield* waitOf(stranger), 0)
    }).pipe(on(memorySettings())))

  it.effect("are forgotten after the right one", () => {
    const settings = memorySettings()
    return Effect.gen(function*() {
      const throttle = yield* GuessThrottle
      yield* guess(stranger, 7)
      yield* TestClock.adjust("1 minute")
      yield* throttle.right(stranger)
      assert.strictEqual(settings.rows.size, 0)
      yield* guess(stranger, 4)
      assert.strictEqual(yield* waitOf(stranger), 0)
    }).pipe(on(settings))
  })

  it.effect("are remembered over a restart, and a clock that jumps resets no lock", () => {
    const settings = memorySettings()
    return Effect.gen(function*() {
      yield* guess(stranger, 8).pipe(on(settings))
      for (const jump of [3_600_000, -3_600_000, 0]) {
        yield* TestClock.setTime(10_000_000 + jump)
        assert.strictEqual(yield* waitOf(stranger).pipe(on(settings)), 8000)
      }
    })
  })

  it.effect("count from nothing where what was stored is no count", () => {
    const settings = memorySettings()
    settings.rows.set(`guess/${stranger}`, "many")
    settings.rows.set("guess/198.51.100.1", "-3")
    return Effect.gen(function*() {
      assert.deepStrictEqual([yield* waitOf(stranger), yield* waitOf("198.51.100.1")], [0, 0])
      yield* guess(stranger, 4)
      assert.strictEqual(yield* waitOf(stranger), 0)
    }).pipe(on(settings))
  })

  it.effect("still lock when the counter can't be stored", () => {
    const settings = memorySettings()
    return Effect.gen(function*() {
      settings.fault = unavailable
      yield* guess(stranger, 5)
      assert.strictEqual(yield* waitOf(stranger), 1000)
    }).pipe(on(settings), Effect.provide(Logger.layer([])))
  })

  it.effect("of ever new addresses take bounded memory", () => {
    const settings = memorySettings()
    return Effect.gen(function*() {
      yield* guess(stranger, 5)
      for (let i = 0; i < 10_050; i++) yield* guess(`198.${18 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`, 1)
      assert.strictEqual(settings.rows.size, 10_000)
      assert.strictEqual(yield* waitOf(stranger), 0)
    }).pipe(on(settings))
  })
})
