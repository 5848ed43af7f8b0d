import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Money from "../../src/domain/Money.ts"
import { zero } from "../../src/domain/Usage.ts"

const price: Money.Price = { input: 2_500_000_000n, output: 10_000_000_000n, cachedInput: 1_250_000_000n }
const usage = (promptTokens: number, completionTokens: number, cachedTokens = 0) => ({ ...zero, promptTokens, completionTokens, cachedTokens })
const tokens = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000_000 }))

describe("Money", () => {
  it("prices each kind of token at its own rate", () => {
    // 800 uncached at 2.50 $, 200 cached at 1.25 $ and 100 completion tokens at 10 $ per million.
    assert.strictEqual(Money.costOf(price, usage(1000, 100, 200)), 3_250_000n)
  })

  it("rounds a call's cost up once, to a whole nano-dollar", () => {
    assert.strictEqual(Money.costOf({ input: 1n, output: 1n }, usage(1, 1)), 1n)
    assert.strictEqual(Money.costOf({ input: 1n, output: 1n }, usage(0, 0)), 0n)
  })

  it("prices a long prompt by its tier", () => {
    const tiered = { ...price, tiers: [{ fromPromptTokens: 200_000, input: 5_000_000_000n, output: 15_000_000_000n }] }
    assert.strictEqual(Money.costOf(tiered, usage(199_999, 0)), 499_997_500n)
    assert.strictEqual(Money.costOf(tiered, usage(200_000, 0)), 1_000_000_000n)
  })

  it("costs nothing without a price", () => {
    assert.strictEqual(Money.costOf(null, usage(1000, 1000)), 0n)
  })

  it.prop("never costs more than its ceiling", [tokens, tokens, tokens], ([prompt, completion, cached]) => {
    const cost = Money.costOf(price, usage(prompt, completion, Math.min(cached, prompt)))
    assert.isTrue(cost <= Money.ceilingOf(price, prompt, completion))
  })

  it("shows dollars with nine decimals", () => {
    assert.strictEqual(Money.formatUsd(4_400_000n), "0.004400000")
    assert.strictEqual(Money.formatUsd(12_000_000_001n), "12.000000001")
    assert.strictEqual(Money.formatUsd(-1n), "-0.000000001")
  })

  it.prop("reads dollars as it shows them", [Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))], ([nanos]) => {
    assert.strictEqual(Money.parseUsd(Money.formatUsd(BigInt(nanos))), BigInt(nanos))
  })

  it("reads nothing but dollars", () => {
    assert.deepStrictEqual(["5", "0.1", "12.500"].map(Money.parseUsd), [5_000_000_000n, 100_000_000n, 12_500_000_000n])
    for (const text of ["", "-1", "1.", ".5", "1e3", "0.0000000001", "1,5", "1234567890"]) assert.isUndefined(Money.parseUsd(text), text)
  })

  it("takes dollars per 1,000 tokens to a rate and back", () => {
    assert.strictEqual(Money.rateFromDollarsPer1k(0.01), 10_000_000_000n)
    assert.strictEqual(Money.dollarsPer1k(10_000_000_000n), 0.01)
  })

  it("routes by the blended rate, else by the dearer side", () => {
    assert.strictEqual(Money.routingRate(price), 10_000_000_000n)
    assert.strictEqual(Money.routingRate({ ...price, blended: 3_000_000_000n }), 3_000_000_000n)
  })
})
