import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import type { Price } from "../../../src/domain/Money.ts"
import { priceOf } from "../../../src/http/admin/ModelWire.ts"

const rate = (dollarsPer1k: number) => BigInt(Math.round(dollarsPer1k * 1e12))

const catalogue: Price = {
  input: rate(0.002),
  output: rate(0.008),
  cachedInput: rate(0.0005),
  tiers: [{ fromPromptTokens: 200_000, input: rate(0.004), output: rate(0.016) }]
}

const priced = (given: Parameters<typeof priceOf>[0], base: Price | null = null) => Result.getOrThrow(priceOf(given, base))

describe("the price of a model", () => {
  it("is the one price on both sides where only that is given", () => {
    const expected = { blended: rate(0.01), input: rate(0.01), output: rate(0.01) }
    assert.deepEqual(priced({ cost_per_1k_tokens: 0.01 }), expected)
    assert.deepEqual(priced({ cost_per_1k_tokens: 0.01 }, catalogue), expected)
  })

  it("is billed by side where the sides are given beside the one price", () => {
    assert.deepEqual(priced({ cost_per_1k_tokens: 0.01, input_cost_per_1k: 0.002 }), {
      blended: rate(0.01),
      input: rate(0.002),
      output: rate(0.01)
    })
  })

  it("is the catalogue's where nothing is given, and null without either", () => {
    assert.strictEqual(priced({}, catalogue), catalogue)
    assert.isNull(priced({}))
    assert.isNull(priced({ cost_per_1k_tokens: null }, catalogue))
  })

  it("drops the catalogue's tiers and cache price with the side that it replaces", () => {
    assert.deepEqual(priced({ input_cost_per_1k: 0.001 }, catalogue), { input: rate(0.001), output: rate(0.008) })
    assert.deepEqual(priced({ cached_input_cost_per_1k: 0.0001 }, catalogue), { ...catalogue, cachedInput: rate(0.0001) })
  })

  it("0 is a price", () => {
    assert.deepEqual(priced({ cost_per_1k_tokens: 0 }), { blended: 0n, input: 0n, output: 0n })
    assert.deepEqual(priced({ input_cost_per_1k: 0, output_cost_per_1k: 0 }), { input: 0n, output: 0n })
  })

  it("needs the other side where no price is known", () => {
    const param = (given: Parameters<typeof priceOf>[0]) =>
      Result.match(priceOf(given, null), { onFailure: (error) => error.param, onSuccess: () => undefined })
    assert.strictEqual(param({ input_cost_per_1k: 1 }), "output_cost_per_1k")
    assert.strictEqual(param({ output_cost_per_1k: 1 }), "input_cost_per_1k")
    assert.strictEqual(param({ cached_input_cost_per_1k: 1 }), "input_cost_per_1k")
  })
})
