import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Metric, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { RequestRow } from "../../src/account/Ledger.ts"
import { Ledger } from "../../src/account/Ledger.ts"
import type { Attempt } from "../../src/domain/Attempt.ts"
import { makeRequestId, ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { zero } from "../../src/domain/Usage.ts"
import { Settings } from "../../src/Settings.ts"
import * as Store from "../../src/store/Store.ts"
import type { MemoryLedgerStore } from "../support/MemoryStores.ts"
import { memoryLedgerStore, unavailable } from "../support/MemoryStores.ts"

const rowOf = (id: string, given: Partial<RequestRow> = {}): RequestRow => ({
  id,
  at: 1_700_000_000_000,
  event: "chat",
  endpoint: "/v1/chat",
  mode: "simple",
  model: "large",
  provider: "p",
  clientKey: null,
  status: null,
  errorCode: null,
  durationMs: null,
  reserved: 50n,
  usage: zero,
  cost: 0n,
  ...given
})

const attemptOf = (given: Partial<Attempt> = {}): Attempt => ({
  index: 0,
  step: "answer",
  model: ModelName.make("large"),
  provider: ProviderName.make("p"),
  outcome: "unknown",
  startedAt: 1_700_000_000_000,
  durationMs: 0,
  usage: zero,
  cost: 0n,
  ...given
})

const layerOn = (store: MemoryLedgerStore) => Ledger.layer.pipe(Layer.provide([store.layer, Settings.layerTest({ TOKENHUB_RETENTION_DAYS: "30" })]))

/** Lets the event loop turn until the condition holds; the ledger arms its writes by `setImmediate`, not by the clock. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const look = () => condition() ? resume(Effect.void) : void setImmediate(look)
    look()
  })

const payer = { clientKey: null, mode: "simple" }

/** Opens a request with its first call. */
const open = (ledger: Ledger["Service"], id: string) => ledger.open(rowOf(id), attemptOf(), 50n)

const idsOf = (store: MemoryLedgerStore) => store.groups.flat().map((write) => ("row" in write ? `${write.type} ${write.row.id}` : `${write.type} ${write.requestId}`))

/** The ledger once it has looked for an unclean stop, which it does on its own. */
const recovered = Effect.gen(function*() {
  const ledger = yield* Ledger
  yield* TestClock.adjust("1 millis")
  return ledger
})

const silent = Effect.provide(Logger.layer([]))

describe("The ledger", () => {
  it.effect("commits a thousand requests at once in few small transactions, and none is missing", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const ledger = yield* Ledger
      const ids = Array.from({ length: 1000 }, (_, i) => `req_${i}`)
      yield* Effect.forEach(ids, (id) => open(ledger, id), { concurrency: "unbounded", discard: true })
      assert.sameMembers(idsOf(store), ids.map((id) => `open ${id}`))
      assert.isAtMost(store.groups.length, 10)
      assert.isAtMost(Math.max(...store.groups.map((group) => group.length)), 200)
      assert.strictEqual(ledger.pending(), 0)
    }).pipe(Effect.provide(layerOn(store)))
  })

  it.effect("lets no call leave before its row is committed", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const ledger = yield* Ledger
      yield* open(ledger, "a")
      assert.deepStrictEqual(idsOf(store), ["open a"])
      yield* ledger.settleAttempt("a", attemptOf({ outcome: "ok" }), payer)
      yield* ledger.settle(rowOf("a", { status: 200 }))
      yield* ledger.flush
      assert.deepStrictEqual(idsOf(store).slice(1), ["settle_attempt a", "settle a"])
    }).pipe(Effect.provide(layerOn(store)))
  })

  it.effect("keeps settlements while the database is unavailable, and writes them in order when it is back", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const ledger = yield* Ledger
      yield* open(ledger, "a")
      store.fault = unavailable
      yield* ledger.settleAttempt("a", attemptOf({ outcome: "ok" }), payer)
      yield* ledger.settle(rowOf("a", { status: 200 }))
      const flushed = yield* Effect.forkChild(ledger.flush)
      yield* until(() => store.tries > 1)
      yield* TestClock.adjust("1 minute")
      assert.isAtLeast(ledger.pending(), 2)
      assert.isAbove(store.tries, 30)
      assert.isBelow(store.tries, 80)
      store.fault = undefined
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(flushed)
      assert.deepStrictEqual(idsOf(store), ["open a", "settle_attempt a", "settle a"])
      assert.strictEqual(ledger.pending(), 0)
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("rides out a short lock without an error", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const ledger = yield* recovered
      store.fault = unavailable
      const opening = yield* Effect.forkChild(open(ledger, "a"))
      yield* until(() => store.tries > 0)
      yield* TestClock.adjust("1 second")
      store.fault = undefined
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(opening)
      assert.deepStrictEqual(idsOf(store), ["open a"])
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("says so when the database stays unavailable, at once after the first seconds, and opens again when it is back", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const ledger = yield* recovered
      store.fault = unavailable
      yield* ledger.settle(rowOf("event", { status: 400 }))
      const opening = yield* Effect.forkChild(Effect.flip(open(ledger, "a")))
      yield* until(() => store.tries > 0)
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(opening)
      assert.strictEqual(error._tag, "StoreUnavailable")
      assert.include(error.message, "busy")
      // The clock stands still here.
      assert.strictEqual((yield* Effect.flip(open(ledger, "b")))._tag, "StoreUnavailable")
      store.fault = undefined
      yield* TestClock.adjust("1 second")
      yield* open(ledger, "c")
      yield* ledger.flush
      assert.sameMembers(idsOf(store), ["settle event", "open c"])
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("bounds its queue: new calls and events are refused, settlements of open calls get in", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const ledger = yield* Ledger
      yield* open(ledger, "a")
      store.fault = unavailable
      yield* Effect.forEach(Array.from({ length: 11_000 }), (_, i) => ledger.settle(rowOf(`event${i}`, { status: 400 })), { discard: true })
      assert.strictEqual(ledger.pending(), 10_000)
      const error = yield* Effect.flip(open(ledger, "b"))
      assert.strictEqual(error._tag, "StoreUnavailable")
      yield* ledger.settle(rowOf("a", { status: 200 }))
      assert.strictEqual(ledger.pending(), 10_001)
      store.fault = undefined
      yield* TestClock.adjust("2 seconds")
      yield* ledger.flush
      assert.strictEqual(idsOf(store).at(-1), "settle a")
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("does not let one impossible row hold up the others", () => {
    const store = memoryLedgerStore()
    store.poison = (write) => "row" in write && write.row.id.startsWith("bad")
    return Effect.gen(function*() {
      const ledger = yield* Ledger
      yield* ledger.settle(rowOf("bad1", { status: 400 }))
      const results = yield* Effect.forEach(["a", "bad2", "b"], (id) => Effect.result(open(ledger, id)), { concurrency: "unbounded" })
      assert.deepStrictEqual(results.map((result) => result._tag), ["Success", "Failure", "Success"])
      const flushed = yield* Effect.forkChild(ledger.flush)
      yield* until(() => store.tries > 5)
      const opening = yield* Effect.forkChild(open(ledger, "c"))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(flushed)
      yield* Fiber.join(opening)
      assert.deepStrictEqual(idsOf(store), ["open a", "open b", "open c"])
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("outlives a defect of the store: who waited is told, and the next write goes on", () => {
    const store = memoryLedgerStore()
    store.poison = () => {
      throw new Error("unforeseen")
    }
    return Effect.gen(function*() {
      const ledger = yield* Ledger
      assert.strictEqual((yield* Effect.flip(open(ledger, "a"))).message, "The database failed unexpectedly")
      store.poison = () => false
      yield* open(ledger, "b")
      assert.deepStrictEqual(idsOf(store), ["open b"])
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("does not let who asks what was spent wait for a database without end", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const ledger = yield* recovered
      store.fault = unavailable
      yield* ledger.settle(rowOf("a", { status: 200 }))
      const asking = yield* Effect.forkChild(Effect.flip(ledger.spent({ since: 0, until: Infinity })), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(asking)).message, "What was spent can't be read now")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(ledger.pending(), 1)
      store.fault = undefined
      yield* TestClock.adjust("2 seconds")
      yield* ledger.flush
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("writes what is left when it closes", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const scope = yield* Scope.make()
      const ledger = yield* Effect.provide(Ledger, yield* Layer.buildWithScope(layerOn(store), scope))
      yield* Effect.forEach(Array.from({ length: 500 }), (_, i) => ledger.settle(rowOf(`r${i}`, { status: 200 })), { discard: true })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(idsOf(store).length, 500)
    })
  })

  it.effect("closes in two seconds though the database is unavailable", () => {
    const store = memoryLedgerStore()
    store.fault = unavailable
    return Effect.gen(function*() {
      const scope = yield* Scope.make()
      const ledger = yield* Effect.provide(Ledger, yield* Layer.buildWithScope(layerOn(store), scope))
      yield* ledger.settle(rowOf("a", { status: 200 }))
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.strictEqual(ledger.pending(), 1)
    }).pipe(silent)
  })

  it.effect("does not write a request whose client left before the write began", () => {
    const store = memoryLedgerStore()
    return Effect.gen(function*() {
      const ledger = yield* recovered
      store.fault = unavailable
      const opening = yield* Effect.forkChild(open(ledger, "a"))
      yield* until(() => store.tries > 0)
      yield* Fiber.interrupt(opening)
      store.fault = undefined
      yield* TestClock.adjust("1 second")
      yield* ledger.flush
      assert.deepStrictEqual(idsOf(store), [])
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("recovers an unclean stop before it writes anything new, also when the database is not there yet", () => {
    const store = memoryLedgerStore()
    store.fault = unavailable
    return Effect.gen(function*() {
      const ledger = yield* Ledger
      yield* ledger.settle(rowOf("a", { status: 200 }))
      yield* TestClock.adjust("1 minute")
      store.fault = undefined
      yield* TestClock.adjust("1 minute")
      yield* ledger.flush
      assert.deepStrictEqual(store.calls.filter((call) => !call.startsWith("prune")), ["recover", "write"])
    }).pipe(Effect.provide(layerOn(store)), silent)
  })

  it.effect("deletes rows past their retention in batches, every hour", () => {
    const store = memoryLedgerStore()
    store.old = 450
    return Effect.gen(function*() {
      const now = 100 * 86_400_000
      yield* TestClock.setTime(now)
      yield* Effect.gen(function*() {
        yield* Ledger
        yield* TestClock.adjust("1 second")
        assert.strictEqual(store.old, 0)
        const prunes = () => store.calls.filter((call) => call.startsWith("prune")).length
        assert.strictEqual(prunes(), 3)
        assert.include(store.calls, `prune ${now - 30 * 86_400_000}`)
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(prunes(), 4)
      }).pipe(Effect.provide(layerOn(store)))
    })
  })

  it.effect("shows how many writes wait as a metric", () => {
    const store = memoryLedgerStore()
    const shown = Effect.map(Metric.snapshot, (all) => all.find(({ id }) => id === "tokenhub_ledger_pending")?.state)
    return Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const ledger = yield* Ledger
        yield* ledger.settle(rowOf("a", { status: 200 }))
        yield* ledger.settle(rowOf("b", { status: 200 }))
        assert.deepStrictEqual(yield* shown, { value: 2 })
        yield* ledger.flush
        assert.deepStrictEqual(yield* shown, { value: 0 })
      }).pipe(Effect.provide(layerOn(store)))
      assert.isUndefined(yield* shown)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  })
})

const database = Ledger.layer.pipe(Layer.provide([Store.layerTest, Settings.layerTest()]))

describe("The ledger on its database", () => {
  it.live("keeps a request with its calls, and sums what was used", () =>
    Effect.gen(function*() {
      const ledger = yield* Ledger
      const now = Date.now()
      const id = makeRequestId(now)
      const usage = { ...zero, promptTokens: 20, cachedTokens: 5, completionTokens: 200 }
      const row = rowOf(id, { at: now })
      yield* ledger.open(row, attemptOf({ startedAt: now }), 50n)
      yield* ledger.settleAttempt(id, attemptOf({ startedAt: now, outcome: "ok", durationMs: 12, usage, cost: 44n }), payer)
      const settled = { ...row, status: 200, durationMs: 15, usage, cost: 44n }
      yield* ledger.settle(settled)
      yield* ledger.settle(settled)
      yield* ledger.flush
      const found = yield* ledger.request(id)
      assert.deepStrictEqual(found?.row, settled)
      assert.deepStrictEqual(found?.attempts.map(({ cost, outcome }) => ({ cost, outcome })), [{ outcome: "ok", cost: 44n }])
      assert.deepStrictEqual(yield* ledger.usage({ groupBy: "model" }), [
        { group: "large", requests: 1, attempts: 1, promptTokens: 20, cachedTokens: 5, completionTokens: 200, cost: 44n }
      ])
      assert.deepStrictEqual((yield* ledger.requests({ limit: 10 })).map((row) => row.id), [id])
    }).pipe(Effect.provide(database)))
})
