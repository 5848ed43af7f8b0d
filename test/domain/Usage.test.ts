import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Usage from "../../src/domain/Usage.ts"

const estimate = { promptTokens: 10, completionTokens: 20 }

describe("Usage", () => {
  it("believes sensible figures", () => {
    const usage = Usage.believe({ promptTokens: 7, completionTokens: 3, cachedTokens: 5 }, estimate)
    assert.deepStrictEqual(usage, { ...Usage.zero, promptTokens: 7, completionTokens: 3, cachedTokens: 5 })
  })

  it.each([
    ["missing", undefined],
    ["zero", { promptTokens: 0, completionTokens: 0 }],
    ["negative", { promptTokens: -5, completionTokens: -1 }],
    ["not a number", { promptTokens: Number.NaN, completionTokens: Number.NaN }],
    ["infinite", { promptTokens: Number.POSITIVE_INFINITY, completionTokens: Number.POSITIVE_INFINITY }],
    ["huge", { promptTokens: 1e18, completionTokens: 1e18 }],
    ["text", { promptTokens: "7", completionTokens: "3" }]
  ])("puts its own estimate, marked, in place of usage that is %s", (_, reported) => {
    assert.deepStrictEqual(Usage.believe(reported, estimate), { ...Usage.zero, ...estimate, estimated: true })
  })

  it("takes zero completion tokens for the truth where nothing was written", () => {
    assert.isFalse(Usage.believe({ promptTokens: 7, completionTokens: 0 }, { promptTokens: 7, completionTokens: 0 }).estimated)
  })

  it.prop("never gives a part that is larger than its whole, nor a negative count", [Schema.Unknown, Schema.Unknown, Schema.Unknown, Schema.Unknown], ([promptTokens, completionTokens, cachedTokens, cacheWriteTokens]) => {
    const usage = Usage.believe({ promptTokens, completionTokens, cachedTokens, cacheWriteTokens, reasoningTokens: cachedTokens }, estimate)
    assert.isTrue(usage.cachedTokens + usage.cacheWriteTokens <= usage.promptTokens)
    assert.isTrue(usage.reasoningTokens <= usage.completionTokens)
    assert.isTrue([usage.promptTokens, usage.completionTokens, usage.cachedTokens, usage.cacheWriteTokens, usage.reasoningTokens].every((n) => Number.isInteger(n) && n >= 0))
  })
})
