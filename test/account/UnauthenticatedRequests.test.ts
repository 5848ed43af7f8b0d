import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { UnauthenticatedRequests } from "../../src/account/UnauthenticatedRequests.ts"
import { memoryLedger } from "../support/Doubles.ts"

const on = (ledger: ReturnType<typeof memoryLedger>) => Effect.provide(UnauthenticatedRequests.layer.pipe(Layer.provide(ledger.layer)))

const count = (address: string, times = 1) =>
  Effect.gen(function*() {
    const unauthenticated = yield* UnauthenticatedRequests
    for (let i = 0; i < times; i++) yield* unauthenticated.count(address)
  })

describe("Requests without a good credential", () => {
  it.effect("become one event row a minute, by address", () => {
    const ledger = memoryLedger()
    return Effect.gen(function*() {
      yield* TestClock.adjust("10 seconds")
      yield* count("203.0.113.7", 3)
      yield* count("2001:db8::1")
      yield* count("2001:db8::2")
      yield* TestClock.adjust("1 minute")
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(ledger.settled.length, 1)
      assert.deepInclude(ledger.settled[0], {
        event: "unauthenticated",
        status: 401,
        at: 10_000,
        endpoint: "203.0.113.7 3, 2001:db8:0:0::/64 2"
      })
      yield* count("203.0.113.7")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(ledger.settled[1]?.endpoint, "203.0.113.7 1")
    }).pipe(on(ledger))
  })

  it.effect("of a flood from many addresses make one short row, and none is missing from its sum", () => {
    const ledger = memoryLedger()
    return Effect.gen(function*() {
      yield* count("203.0.113.7", 50)
      for (let i = 0; i < 5000; i++) yield* count(`198.18.${i >> 8}.${i & 255}`)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(ledger.settled.length, 1)
      const summary = ledger.settled[0]?.endpoint ?? ""
      assert.isBelow(summary.length, 400)
      assert.isTrue(summary.startsWith("203.0.113.7 50, "))
      assert.strictEqual(summary.split(", ").reduce((sum, part) => sum + Number(part.split(" ")[1]), 0), 5050)
    }).pipe(on(ledger))
  })

  it.effect("are written down when TokenHub stops", () => {
    const ledger = memoryLedger()
    return Effect.gen(function*() {
      yield* count("203.0.113.7").pipe(on(ledger))
      assert.strictEqual(ledger.settled.length, 1)
    })
  })
})
