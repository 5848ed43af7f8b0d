import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Schema } from "effect"
import { TestClock } from "effect/testing"
import type { Reservation } from "../../src/account/Budgets.ts"
import { Budgets } from "../../src/account/Budgets.ts"
import { Events } from "../../src/account/Events.ts"
import { Ledger } from "../../src/account/Ledger.ts"
import type { Attempt } from "../../src/domain/Attempt.ts"
import type { Budget, BudgetAlert } from "../../src/domain/Budget.ts"
import { windowOf } from "../../src/domain/Budget.ts"
import type { ClientKey } from "../../src/domain/ClientKey.ts"
import { unlimited } from "../../src/domain/ClientKey.ts"
import { ClientKeyId, ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { zero } from "../../src/domain/Usage.ts"
import { Settings } from "../../src/Settings.ts"
import * as Store from "../../src/store/Store.ts"

const keyWith = (budget: Budget | null, id = "key_1"): ClientKey => ({
  ...unlimited, budget, id: ClientKeyId.make(id), name: id, prefix: "th_", createdAt: 0, revokedAt: null, previousUntil: null, lastUsedAt: null
})

const alertsOf = () => {
  const told: Array<BudgetAlert> = []
  return { told, layer: Layer.mock(Events, { alert: (alert) => Effect.sync(() => void told.push(alert)) }) }
}

/** Budgets over a ledger that has already seen so much spending of each owner, by the window's beginning. */
const over = (spent: (clientKey: string | undefined, since: number) => bigint | Effect.Effect<bigint> = () => 0n, env: Record<string, string> = {}, alerts = alertsOf()) =>
  Effect.provide(
    Budgets.layer.pipe(
      Layer.provide([
        Layer.mock(Ledger, { spent: ({ clientKey, since }) =>
          Effect.suspend(() => {
            const amount = spent(clientKey, since)
            return typeof amount === "bigint" ? Effect.succeed(amount) : amount
          }), pending: () => 0, onSettle: () => () => {} }),
        alerts.layer,
        Settings.layerTest(env)
      ]),
      Layer.provideMerge(Logger.layer([]))
    )
  )

const noon = Date.UTC(2026, 0, 31, 12)
const day = 86_400_000

const outcomes = (reserved: ReadonlyArray<Reservation | string>) => reserved.filter((one) => typeof one !== "string").length

const reserveOr = (budgets: Budgets["Service"], key: ClientKey | null, most: bigint, at = noon) =>
  Effect.catch(budgets.reserve({ key, most, at }), (error) => Effect.succeed(error._tag))

describe("A budget", () => {
  it("has calendar periods in UTC", () => {
    const at = Date.UTC(2028, 1, 29, 23, 59, 59, 999)
    assert.deepStrictEqual(windowOf("day", at), { since: Date.UTC(2028, 1, 29), until: Date.UTC(2028, 2, 1) })
    assert.deepStrictEqual(windowOf("month", at), { since: Date.UTC(2028, 1, 1), until: Date.UTC(2028, 2, 1) })
    assert.deepStrictEqual(windowOf("month", Date.UTC(2026, 11, 31)), { since: Date.UTC(2026, 11, 1), until: Date.UTC(2027, 0, 1) })
    assert.deepStrictEqual(windowOf("total", at), { since: 0, until: Infinity })
  })

  it.effect("lets exactly as many of 200 calls at once leave as it can pay, and more when the first cost less", () =>
    Effect.gen(function*() {
      const budgets = yield* Budgets
      const key = keyWith({ amount: 109n, period: "day" })
      const all = yield* Effect.forEach(Array.from({ length: 200 }), () => reserveOr(budgets, key, 10n), { concurrency: "unbounded" })
      assert.strictEqual(outcomes(all), 10)
      assert.isTrue(all.every((one) => typeof one !== "string" || one === "BudgetExceeded"))
      for (const one of all) if (typeof one !== "string") yield* Effect.andThen(one.settle(4n), one.settle(4n))
      assert.deepStrictEqual(yield* budgets.standing(key, noon), { spent: 40n, reserved: 0n, window: windowOf("day", noon) })
      const more = yield* Effect.forEach(Array.from({ length: 200 }), () => reserveOr(budgets, key, 10n), { concurrency: "unbounded" })
      assert.strictEqual(outcomes(more), 6)
    }).pipe(over()))

  it.effect("of a key and of everyone have to pay both, or neither does", () =>
    Effect.gen(function*() {
      const budgets = yield* Budgets
      const rich = keyWith({ amount: 1_000_000_000_000n, period: "total" }, "key_rich")
      const poor = keyWith({ amount: 1n, period: "total" }, "key_poor")
      assert.isTrue(budgets.applies(null))
      const first = yield* budgets.reserve({ key: rich, most: 900_000_000n, at: noon })
      assert.match((yield* Effect.flip(budgets.reserve({ key: rich, most: 200_000_000n, at: noon }))).message, /all callers/)
      assert.strictEqual((yield* budgets.standing(rich, noon))?.reserved, 900_000_000n)
      assert.match((yield* Effect.flip(budgets.reserve({ key: poor, most: 2n, at: noon }))).message, /this key's budget/)
      yield* first.settle(0n)
      yield* budgets.reserve({ key: null, most: 1_000_000_000n, at: noon })
      assert.strictEqual(yield* reserveOr(budgets, null, 1n), "BudgetExceeded")
    }).pipe(over(() => 0n, { TOKENHUB_BUDGET_USD: "1", TOKENHUB_BUDGET_PERIOD: "total" })))

  it.effect("starts with what the ledger says was spent", () =>
    Effect.gen(function*() {
      const budgets = yield* Budgets
      const key = keyWith({ amount: 100n, period: "month" })
      assert.strictEqual(yield* reserveOr(budgets, key, 26n), "BudgetExceeded")
      assert.isObject(yield* reserveOr(budgets, key, 25n))
    }).pipe(over((clientKey, since) => (clientKey === "key_1" && since === Date.UTC(2026, 0, 1) ? 75n : 0n))))

  it.effect("keeps nobody waiting for a ledger that does not answer, however many ask", () =>
    Effect.gen(function*() {
      const budgets = yield* Budgets
      const asking = Array.from({ length: 20 }, (_, i) => reserveOr(budgets, keyWith({ amount: 100n, period: "month" }, `key_${i}`), 1n))
      const fiber = yield* Effect.forkChild(Effect.all(asking, { concurrency: "unbounded" }))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual([...new Set(yield* Fiber.join(fiber))], ["StoreUnavailable"])
    }).pipe(over(() => Effect.never)))

  it.effect("gives a new period the whole amount, and a clock that jumps back and forth nothing twice", () => {
    const ledger = new Map<number, bigint>()
    return Effect.gen(function*() {
      const budgets = yield* Budgets
      const key = keyWith({ amount: 100n, period: "day" })
      const spend = (at: number, cost: bigint) =>
        Effect.flatMap(budgets.reserve({ key, most: cost, at }), ({ settle }) => {
          const { since } = windowOf("day", at)
          ledger.set(since, (ledger.get(since) ?? 0n) + cost)
          return settle(cost)
        })
      yield* spend(noon, 60n)
      const across = yield* budgets.reserve({ key, most: 30n, at: noon })
      yield* spend(noon + day, 90n)
      // A call of yesterday that ends today is yesterday's.
      yield* across.settle(30n)
      ledger.set(windowOf("day", noon).since, 90n)
      assert.strictEqual((yield* budgets.standing(key, noon + day))?.spent, 90n)
      assert.strictEqual((yield* budgets.standing(key, noon))?.spent, 90n)
      assert.strictEqual(yield* reserveOr(budgets, key, 11n, noon), "BudgetExceeded")
      assert.strictEqual(yield* reserveOr(budgets, key, 11n, noon + day), "BudgetExceeded")
      assert.isObject(yield* reserveOr(budgets, key, 10n, noon))
    }).pipe(over((_, since) => ledger.get(since) ?? 0n))
  })

  it.effect("holds from the next call on when it is changed, for calls that run too", () =>
    Effect.gen(function*() {
      const budgets = yield* Budgets
      const free = keyWith(null)
      assert.isFalse(budgets.applies(free))
      const running = yield* budgets.reserve({ key: free, most: 1_000n, at: noon })
      const limited = keyWith({ amount: 100n, period: "day" })
      assert.isObject(yield* reserveOr(budgets, limited, 10n))
      yield* running.settle(85n)
      assert.deepInclude(yield* budgets.standing(limited, noon), { spent: 85n, reserved: 10n })
      assert.strictEqual(yield* reserveOr(budgets, limited, 10n), "BudgetExceeded")
      assert.isObject(yield* reserveOr(budgets, keyWith({ amount: 105n, period: "day" }), 10n))
    }).pipe(over()))

  it.effect("pays for free calls also when it is used up", () =>
    Effect.gen(function*() {
      const budgets = yield* Budgets
      const key = keyWith({ amount: 0n, period: "total" })
      assert.isObject(yield* reserveOr(budgets, key, 0n))
      assert.strictEqual(yield* reserveOr(budgets, key, 1n), "BudgetExceeded")
    }).pipe(over()))

  it.effect("tells at 80 and at 100 percent, each once, and again when it was raised", () => {
    const alerts = alertsOf()
    const told = () => alerts.told.splice(0).map(({ owner, percent, spent }) => [owner, percent, spent] as const)
    return Effect.gen(function*() {
      const budgets = yield* Budgets
      let key = keyWith({ amount: 100n, period: "day" })
      const spend = (cost: bigint) => Effect.flatMap(budgets.reserve({ key, most: cost, at: noon }), ({ settle }) => settle(cost))
      yield* spend(79n)
      assert.deepStrictEqual(told(), [])
      yield* spend(1n)
      yield* spend(1n)
      assert.deepStrictEqual(told(), [["key_1", 80, 80n]])
      // 19 are left, which can't pay this call: for it the budget is gone.
      yield* reserveOr(budgets, key, 20n)
      yield* reserveOr(budgets, key, 20n)
      yield* spend(19n)
      assert.deepStrictEqual(told(), [["key_1", 100, 81n]])
      key = keyWith({ amount: 200n, period: "day" })
      yield* spend(60n)
      yield* spend(40n)
      assert.deepStrictEqual(told(), [["key_1", 80, 160n], ["key_1", 100, 200n]])
    }).pipe(over(() => 0n, {}, alerts))
  })

  it.effect("tells nothing anew after a restart", () => {
    const alerts = alertsOf()
    return Effect.gen(function*() {
      const budgets = yield* Budgets
      const key = keyWith({ amount: 100n, period: "day" })
      yield* Effect.flatMap(budgets.reserve({ key, most: 1n, at: noon }), ({ settle }) => settle(1n))
      assert.deepStrictEqual(alerts.told, [])
    }).pipe(over(() => 85n, {}, alerts))
  })
})

const Step = Schema.Struct({
  key: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 })),
  hours: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 })),
  most: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400 })),
  part: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4 }))
})

/** Budgets on a real ledger. */
const whole = () =>
  Budgets.layer.pipe(
    Layer.provide(alertsOf().layer),
    Layer.provideMerge(Ledger.layer),
    Layer.provide([Store.layerTest, Settings.layerTest({ TOKENHUB_BUDGET_USD: "0.000002", TOKENHUB_BUDGET_PERIOD: "month" })]),
    Layer.provideMerge(Logger.layer([]))
  )

describe("The ledger's sums", () => {
  it.effect.prop("are what the budgets say was spent, and no budget is ever passed", [Schema.Array(Step)], ([steps]) =>
    Effect.gen(function*() {
      const budgets = yield* Budgets
      const ledger = yield* Ledger
      const keys = [0, 1, 2].map((i) => keyWith(i === 2 ? null : { amount: 700n, period: i === 0 ? "day" : "total" }, `key_${i}`))
      let number = 0
      for (const { hours, key: which, most, part } of steps) {
        const key = keys[which] ?? null
        const startedAt = noon + hours * 3_600_000
        const reservation = yield* Effect.option(budgets.reserve({ key, most: BigInt(most), at: startedAt }))
        if (reservation._tag === "None") continue
        const id = `req_${number++}`
        const cost = BigInt(Math.floor(most * part / 4))
        const attempt: Attempt = {
          index: 0, step: "answer", model: ModelName.make("m"), provider: ProviderName.make("p"), outcome: "ok", startedAt, durationMs: 1, usage: zero, cost
        }
        const row = {
          id, at: startedAt, event: "chat", endpoint: "/v1/chat", mode: "simple", model: "m", provider: "p", clientKey: key?.id ?? null,
          status: null, errorCode: null, durationMs: null, reserved: BigInt(most), usage: zero, cost: 0n
        }
        yield* ledger.open(row, attempt, BigInt(most))
        yield* ledger.settleAttempt(id, attempt, row)
        yield* reservation.value.settle(cost)
      }
      for (const key of keys) {
        if (key.budget === null) continue
        for (const at of [noon, noon + day, noon + 2 * day]) {
          const standing = yield* budgets.standing(key, at)
          const window = windowOf(key.budget.period, at)
          assert.strictEqual(standing?.spent, yield* ledger.spent({ ...window, clientKey: key.id }))
          assert.isTrue((standing?.spent ?? 0n) <= key.budget.amount && standing?.reserved === 0n)
        }
      }
      for (const at of [noon, noon + 2 * day]) assert.isTrue((yield* ledger.spent(windowOf("month", at))) <= 2000n)
    }).pipe(Effect.provide(whole(), { local: true })), { arbitrary: { runs: 15 } })
})
