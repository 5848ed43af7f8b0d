import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { text, textOf } from "../../../src/domain/Chat.ts"
import { accepts, critique, makeFence, refine } from "../../../src/orchestrate/Prompts.ts"
import { mock } from "../../../src/provider/protocols/Mock.ts"
import { ask } from "../../support/Doubles.ts"
import { callOf, collect } from "../Harness.ts"

describe("the mock provider", () => {
  it.effect("says what it is and what it was asked, always alike", () =>
    Effect.gen(function*() {
      const first = yield* mock.complete(callOf("mock-small", "What is a vault?"))
      assert.include(textOf(first.content), "mock provider")
      assert.include(textOf(first.content), "What is a vault?")
      assert.deepStrictEqual(yield* mock.complete(callOf("mock-small", "What is a vault?")), first)
      assert.isAbove(first.usage.completionTokens, 10)
      assert.isFalse(first.usage.estimated)
    }))

  it.effect("streams its answer word by word", () =>
    Effect.gen(function*() {
      const whole = yield* mock.complete(callOf("mock-small"))
      const { completion, deltas } = yield* collect(mock, callOf("mock-small"))
      assert.deepStrictEqual(completion, whole)
      assert.strictEqual(deltas.map((delta) => (delta.type === "text" ? delta.text : "")).join(""), textOf(whole.content))
      assert.isTrue(deltas.every((delta) => delta.type === "text" && /^\S+\s*$/.test(delta.text)))
    }))

  it.effect("as a critic asks for a change first, and accepts the changed draft", () =>
    Effect.gen(function*() {
      const request = ask("What is a vault?")
      const draft = (yield* mock.complete(callOf("mock-small", request))).content
      const first = textOf((yield* mock.complete(callOf("mock-large", critique(request, draft, makeFence())))).content)
      assert.isFalse(accepts(first))
      const better = (yield* mock.complete(callOf("mock-small", refine(request, draft, first, makeFence())))).content
      assert.include(textOf(better), "What is a vault?")
      assert.notDeepEqual(better, draft)
      assert.isTrue(accepts(textOf((yield* mock.complete(callOf("mock-large", critique(request, better, makeFence())))).content)))
    }))

  it.effect("keeps to the output limit, to stop texts, to n and to JSON mode", () =>
    Effect.gen(function*() {
      const short = yield* mock.complete(callOf("mock-small", { ...ask("Hi"), maxTokens: 3 }))
      assert.strictEqual(short.finishReason, "length")
      assert.isAtMost(short.usage.completionTokens, 3)
      const stopped = yield* mock.complete(callOf("mock-small", { ...ask("Hi"), stop: [" is "] }))
      assert.deepStrictEqual(stopped.content, [text("This")])
      assert.strictEqual((yield* mock.complete(callOf("mock-small", { ...ask("Hi"), n: 3 }))).alternatives?.length, 2)
      const json = yield* mock.complete(callOf("mock-small", { ...ask("Hi"), responseFormat: { type: "json_object" } }))
      assert.propertyVal(JSON.parse(textOf(json.content)), "provider", "mock")
      const refused = yield* Effect.flip(mock.complete(callOf("mock-small", { ...ask("Hi"), logprobs: true })))
      assert.deepInclude({ ...refused }, { fault: "unsupported", param: "logprobs" })
    }))
})
