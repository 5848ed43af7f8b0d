import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { Admission } from "../../src/account/Admission.ts"
import { Budgets } from "../../src/account/Budgets.ts"
import { ClientKeys } from "../../src/account/ClientKeys.ts"
import { Events } from "../../src/account/Events.ts"
import { Ledger } from "../../src/account/Ledger.ts"
import { RateLimits } from "../../src/account/RateLimits.ts"
import type { ClientKey } from "../../src/domain/ClientKey.ts"
import { Settings } from "../../src/Settings.ts"
import { modelCard, usageOf } from "../support/Doubles.ts"
import { memoryClientKeys, memorySettings } from "../support/MemoryStores.ts"

const settings = Settings.layerTest({ TOKENHUB_LIMIT_TPM: "10000" })

const layer = Admission.layer.pipe(
  Layer.provideMerge(Budgets.layer),
  Layer.provideMerge(Layer.mergeAll(RateLimits.layer, ClientKeys.layer)),
  Layer.provide([
    Layer.mock(Events, { alert: () => Effect.void }),
    Layer.mock(Ledger, { spent: () => Effect.succeed(0n), pending: () => 0, onSettle: () => () => {} }),
    memoryClientKeys().layer,
    memorySettings().layer,
    settings
  ]),
  Layer.provideMerge(Logger.layer([]))
)

const model = modelCard("m", { rpm: 2, tpm: 5000 })

/** What every limit and the budget have left. */
const left = Effect.fnUntraced(function*(key: ClientKey) {
  const limits = yield* RateLimits
  const budgets = yield* Budgets
  const remaining = (bucket: string, perMinute: number) => Effect.map(limits.standing([{ bucket, perMinute }]), (standing) => standing?.remaining)
  const budget = yield* budgets.standing(key, 0)
  return {
    key: yield* remaining(`key/${key.id}/tokens`, 3000),
    all: yield* remaining("all//tokens", 10_000),
    model: yield* remaining("model/m/tokens", 5000),
    calls: yield* remaining("model/m/requests", 2),
    spent: budget?.spent,
    reserved: budget?.reserved
  }
})

const full = { key: 3000, all: 10_000, model: 5000, calls: 2, spent: 0n, reserved: 0n }

describe("A call's place", () => {
  it.effect("takes of every limit and of the budget, and is settled with the truth, once", () =>
    Effect.gen(function*() {
      const admission = yield* Admission
      const { key } = yield* (yield* ClientKeys).create({ name: "k", tpm: 3000, budget: { amount: 100n, period: "total" } })
      assert.deepStrictEqual(yield* left(key), full)
      const place = yield* admission.call({ clientKey: key.id, model, tokens: 1000, most: 60n, at: 0 })
      assert.deepStrictEqual(yield* left(key), { key: 2000, all: 9000, model: 4000, calls: 1, spent: 0n, reserved: 60n })
      yield* place.settle(usageOf(100, 150), 7n)
      yield* place.settle(usageOf(100, 150), 7n)
      yield* place.leave
      assert.deepStrictEqual(yield* left(key), { key: 2750, all: 9750, model: 4750, calls: 1, spent: 7n, reserved: 0n })
    }).pipe(Effect.provide(layer, { local: true })))

  it.effect("that is left without a call gives everything back, and so does one that the budget refuses", () =>
    Effect.gen(function*() {
      const admission = yield* Admission
      const { key } = yield* (yield* ClientKeys).create({ name: "k", tpm: 3000, budget: { amount: 100n, period: "total" } })
      const place = yield* admission.call({ clientKey: key.id, model, tokens: 1000, most: 60n, at: 0 })
      yield* place.leave
      yield* place.settle(usageOf(100, 150), 7n)
      assert.deepStrictEqual(yield* left(key), full)
      assert.strictEqual((yield* Effect.flip(admission.call({ clientKey: key.id, model, tokens: 1000, most: 101n, at: 0 })))._tag, "BudgetExceeded")
      assert.deepStrictEqual(yield* left(key), full)
    }).pipe(Effect.provide(layer, { local: true })))

  it.effect("is given under all limits together or none", () =>
    Effect.gen(function*() {
      const admission = yield* Admission
      const { key } = yield* (yield* ClientKeys).create({ name: "k", tpm: 3000, budget: { amount: 100n, period: "total" } })
      yield* admission.call({ clientKey: null, model, tokens: 3000, most: 1n, at: 0 })
      const refused = yield* Effect.flip(admission.call({ clientKey: key.id, model, tokens: 2500, most: 1n, at: 0 }))
      assert.strictEqual(refused._tag, "ModelLimited")
      assert.deepStrictEqual(yield* left(key), { ...full, all: 7000, model: 2000, calls: 1 })
      yield* admission.call({ clientKey: key.id, model, tokens: 2000, most: 1n, at: 0 })
      assert.strictEqual((yield* Effect.flip(admission.call({ clientKey: key.id, model: modelCard("n"), tokens: 1500, most: 1n, at: 0 })))._tag, "TooManyRequests")
    }).pipe(Effect.provide(layer, { local: true })))
})
