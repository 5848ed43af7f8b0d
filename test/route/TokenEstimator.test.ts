import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { countTokens } from "gpt-tokenizer/encoding/o200k_base"
import type { ChatRequest, Part } from "../../src/domain/Chat.ts"
import { text } from "../../src/domain/Chat.ts"
import { makeCalibration, mostEmbeddingTokens, mostPromptTokens, promptTokens, textTokens } from "../../src/route/TokenEstimator.ts"

const request = (...content: ReadonlyArray<Part>): ChatRequest => ({ messages: [{ role: "user", content }] })

const english = "Routing looks at what a request needs: its prompt, the answer's length, and the tools that it brings along. "

describe("TokenEstimator", () => {
  it("comes within a third of the counts that OpenAI's cookbook gives", () => {
    // cl100k_base, from "How to count tokens with tiktoken".
    const known: ReadonlyArray<readonly [string, number]> = [
      ["antidisestablishmentarianism", 6],
      ["2 + 2 = 4", 7],
      ["お誕生日おめでとう", 9],
      ["tiktoken is great!", 6]
    ]
    for (const [sample, tokens] of known) {
      assert.isAtLeast(textTokens(sample), tokens * 0.66, sample)
      assert.isAtMost(textTokens(sample), tokens * 1.34, sample)
    }
  })

  it("takes English prose for about 100 tokens per 75 words", () => {
    const words = english.trim().split(" ").length
    const tokens = textTokens(english)
    assert.isAtLeast(tokens / words, 1.1)
    assert.isAtMost(tokens / words, 1.5)
  })

  it.prop("has an upper bound that a real tokenizer keeps to, whatever the text", [Schema.String], ([sample]) => {
    for (const hard of [sample, `${sample}\u{1F468}\u200D\u{1F469}${sample}`, "\u{10FFFF}~^".repeat(20)]) {
      const counted = countTokens(hard)
      assert.isAtMost(counted, mostPromptTokens(request(text(hard))))
      assert.isAtMost(counted, mostEmbeddingTokens({ inputs: [hard], encoding: "float" }))
    }
  })

  it.prop("is never negative, and 0 for nothing only", [Schema.String], ([sample]) => {
    const tokens = textTokens(sample)
    assert.isTrue(Number.isInteger(tokens) && tokens >= 0)
    if (/\S/.test(sample)) assert.isAbove(tokens, 0)
  })

  it("grows in proportion to the text", () => {
    const tokens = textTokens(english.repeat(100))
    for (const times of [10, 100]) {
      const ratio = textTokens(english.repeat(100 * times)) / (tokens * times)
      assert.isAtLeast(ratio, 0.97)
      assert.isAtMost(ratio, 1.03)
    }
  })

  it("judges a long text by samples as it would judge all of it", () => {
    for (const sample of [english, "^", "お誕生日", "aB3+/xY9", "\n\t ", "😀"]) {
      const times = Math.ceil(65_536 / sample.length)
      const whole = textTokens(sample.repeat(times))
      assert.closeTo(textTokens(sample.repeat(times * 16)) / (whole * 16), 1, 0.05, JSON.stringify(sample))
    }
  })

  it("counts images, files and audio by size, not by their base64 text", () => {
    const data = "A".repeat(400_000)
    const image = (detail?: string): Part => ({
      type: "image",
      source: { type: "data", mediaType: "image/png", data },
      ...(detail === undefined ? {} : { detail })
    })
    const alone = promptTokens(request())
    assert.strictEqual(promptTokens(request(image())) - alone, 1600)
    assert.strictEqual(promptTokens(request(image("low"))) - alone, 85)
    const pdf: Part = { type: "file", source: { type: "data", mediaType: "application/pdf", data } }
    assert.strictEqual(promptTokens(request(pdf)) - alone, 8 * 2250)
    assert.strictEqual(promptTokens(request({ type: "audio", data, format: "mp3" })) - alone, 19 * 32)
  })

  it("counts tools, tool calls, their results and the answer's schema", () => {
    const base = request(text("hi"))
    const parameters = { type: "object", properties: { city: { type: "string", description: english } } }
    assert.isAbove(promptTokens({ ...base, tools: [{ name: "weather", parameters }] }), promptTokens(base) + 30)
    const responseFormat = { type: "json_schema" as const, name: "answer", schema: parameters }
    assert.isAbove(promptTokens({ ...base, responseFormat }), promptTokens(base) + 30)
    const call: Part = { type: "tool_call", id: "1", name: "weather", arguments: english }
    const result: Part = { type: "tool_result", toolCallId: "1", content: [text(english)] }
    assert.isAbove(promptTokens(request(call)), textTokens(english))
    assert.isAbove(promptTokens(request(result)), textTokens(english))
  })

  describe("Calibration", () => {
    it("learns the factor between counted and estimated tokens per model", () => {
      const calibration = makeCalibration([])
      for (let i = 0; i < 60; i++) calibration.learn("dense", 1000, 1500)
      assert.closeTo(calibration.ratio("dense"), 1.5, 0.01)
      assert.strictEqual(calibration.ratio("other"), 1)
    })

    it("moves little by one odd report, and never beyond a factor of three", () => {
      const calibration = makeCalibration([])
      calibration.learn("m", 100, 1e9)
      assert.closeTo(calibration.ratio("m"), 1.2, 1e-9)
      for (let i = 0; i < 200; i++) calibration.learn("m", 100, 1e9)
      assert.isAtMost(calibration.ratio("m"), 3)
      for (let i = 0; i < 200; i++) calibration.learn("m", 1e6, 1)
      assert.isAtLeast(calibration.ratio("m"), 1 / 3)
    })

    it("learns nothing from tiny prompts and from reports without a count", () => {
      const calibration = makeCalibration([])
      calibration.learn("m", 10, 30)
      calibration.learn("m", 1000, 0)
      assert.strictEqual(calibration.ratio("m"), 1)
      assert.strictEqual(calibration.changes().size, 0)
    })

    it("knows no ratio below its least", () => {
      const calibration = makeCalibration([["a", 0.5], ["b", 2], ["broken", Number.NaN]])
      assert.strictEqual(calibration.least(), 0.5)
      assert.strictEqual(calibration.ratio("broken"), 1)
      for (let i = 0; i < 100; i++) calibration.learn("b", 1000, 400)
      assert.isAtMost(calibration.least(), calibration.ratio("b"))
    })

    it("hands out each change once", () => {
      const calibration = makeCalibration([["known", 2]])
      calibration.learn("m", 1000, 1100)
      assert.deepStrictEqual([...calibration.changes().keys()], ["m"])
      assert.strictEqual(calibration.changes().size, 0)
    })
  })
})
