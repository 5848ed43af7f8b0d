import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import type { Part } from "../../../src/domain/Chat.ts"
import { ModelName, ProviderName, RequestId } from "../../../src/domain/Ids.ts"
import { zero } from "../../../src/domain/Usage.ts"
import type { WireEvent } from "../../../src/http/Door.ts"
import { openAiChat } from "../../../src/http/openai/OpenAiChatWire.ts"
import type { RunResult } from "../../../src/orchestrate/Run.ts"

const facts = { requestId: "req_1", created: 7, model: "m" }

const resultOf = (completion: Partial<RunResult["completion"]>): RunResult => ({
  id: RequestId.make("req_1"),
  mode: "simple",
  completion: { content: [], finishReason: "stop", upstreamModel: "m", usage: zero, ...completion },
  model: ModelName.make("m"),
  provider: ProviderName.make("p"),
  usage: zero,
  cost: 0n,
  attempts: [],
  degraded: null,
  details: {}
})

// oxlint-disable-next-line typescript/no-explicit-any
const answer = (completion: Partial<RunResult["completion"]>): any => openAiChat.answer(resultOf(completion), facts, {})

const chunks = (events: ReadonlyArray<WireEvent>) => events.filter(({ data }) => data !== "[DONE]").map(({ data }) => JSON.parse(data))

const thoughts: ReadonlyArray<Part> = [
  { type: "reasoning", text: "First", signature: "s1" },
  { type: "reasoning", text: "", redacted: "r" },
  { type: "tool_call", id: "c", name: "f", arguments: "{}" }
]

describe("OpenAI's chat completions as a door", () => {
  it("takes thoughts back as it gave them, with their signatures", () => {
    const { message } = answer({ content: thoughts, finishReason: "tool_calls" }).choices[0]
    assert.strictEqual(message.content, null)
    const call = Result.getOrThrow(openAiChat.decode({ messages: [{ role: "user", content: "Go" }, message] }, {}))
    assert.deepStrictEqual(call.chat.messages[1], { role: "assistant", content: thoughts })
  })

  it("streams thoughts as words, and with their signature once it is there", () => {
    const encoder = openAiChat.encoder(facts, {})
    const sent = [
      ...encoder.delta({ type: "reasoning", text: "Fi" }),
      ...encoder.delta({ type: "reasoning", text: "rst" }),
      ...encoder.delta({ type: "reasoning", text: "", signature: "s1" }),
      ...encoder.delta({ type: "reasoning", text: "", redacted: "r" })
    ]
    assert.deepStrictEqual(chunks(sent).map(({ choices }) => choices[0].delta), [
      { role: "assistant", content: "" },
      { reasoning_content: "Fi" },
      { reasoning_content: "rst" },
      { reasoning_details: [{ type: "reasoning.text", text: "First", signature: "s1" }] },
      { reasoning_details: [{ type: "reasoning.encrypted", data: "r" }] }
    ])
  })

  it("says why an answer ended in OpenAI's words", () => {
    const reason = (content: ReadonlyArray<Part>, finishReason: "refusal" | "other" | "length") =>
      answer({ content, finishReason }).choices[0].finish_reason
    assert.strictEqual(reason([{ type: "refusal", text: "No" }], "refusal"), "stop")
    assert.strictEqual(reason([], "refusal"), "content_filter")
    assert.strictEqual(reason([], "other"), "stop")
    assert.strictEqual(reason([], "length"), "length")
    const { message } = answer({ content: [{ type: "refusal", text: "No" }] }).choices[0]
    assert.deepStrictEqual([message.content, message.refusal], [null, "No"])
  })

  it("gives every answer where several were asked for, in a stream the others whole", () => {
    const other = { content: [{ type: "text", text: "B" } as const, { type: "tool_call", id: "c", name: "f", arguments: "{}" } as const], finishReason: "tool_calls" as const }
    const completion = { content: [{ type: "text", text: "A" } as const], alternatives: [other] }
    assert.deepStrictEqual(answer(completion).choices.map((choice: { message: { content: string } }) => choice.message.content), ["A", "B"])
    const encoder = openAiChat.encoder(facts, {})
    encoder.delta({ type: "text", text: "A" })
    const choices = chunks(encoder.end(resultOf(completion))).flatMap((chunk) => chunk.choices)
    assert.deepStrictEqual(choices.map(({ finish_reason, index }) => [index, finish_reason]), [[0, "stop"], [1, null], [1, "tool_calls"]])
    assert.strictEqual(choices[1].delta.content, "B")
    assert.strictEqual(choices[1].delta.tool_calls[0].index, 0)
  })

  it("sends nothing for empty pieces", () => {
    const encoder = openAiChat.encoder(facts, {})
    assert.deepStrictEqual(encoder.delta({ type: "text", text: "" }), [])
    assert.deepStrictEqual(encoder.delta({ type: "refusal", text: "" }), [])
  })

  it("sees content in fields that it does not know, and none in an opening", () => {
    const holds = (delta: object) =>
      openAiChat.hasContent({ type: "frame", protocol: "openai-chat", data: JSON.stringify({ choices: [{ index: 0, delta }] }), deltas: [] })
    assert.isFalse(holds({ role: "assistant", content: "", refusal: null, tool_calls: [] }))
    assert.isTrue(holds({ hologram: { x: 1 } }))
    assert.isTrue(holds({ content: "x" }))
    assert.isFalse(openAiChat.hasContent({ type: "frame", protocol: "openai-chat", data: "no JSON", deltas: [] }))
  })
})
