import { assert, describe, it } from "@effect/vitest"
import type { Delta } from "../../src/domain/Chat.ts"
import { makeRequestId, ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { anthropicMessages } from "../../src/http/anthropic/AnthropicMessagesWire.ts"
import { DoorStream } from "../../src/http/DoorStream.ts"
import type { Emission } from "../../src/http/EventStream.ts"
import { internal } from "../../src/http/ErrorEnvelope.ts"
import { openAiChat } from "../../src/http/openai/OpenAiChatWire.ts"
import type { RunEvent, RunResult } from "../../src/orchestrate/Run.ts"
import { completion, usageOf } from "../support/Doubles.ts"

const call = (model: string): RunEvent => ({
  type: "call.started",
  step: "answer",
  model: ModelName.make(model),
  provider: ProviderName.make("p"),
  estimatedPromptTokens: 10
})

const frame = (data: object, content: boolean): RunEvent => ({
  type: "step.frame",
  step: "answer",
  frame: { type: "frame", protocol: "openai-chat", data: JSON.stringify(data), deltas: [] },
  content
})

const result: RunResult = {
  id: makeRequestId(0),
  mode: "simple",
  completion: completion("Hello"),
  model: ModelName.make("a"),
  provider: ProviderName.make("p"),
  usage: usageOf(5, 3),
  cost: 0n,
  attempts: [],
  degraded: null,
  details: {}
}

const delta = (piece: Delta, final = true): RunEvent => ({ type: "step.delta", step: final ? "answer" : "plan", delta: piece, final })

const make = (events = false) =>
  new DoorStream({ door: openAiChat, facts: { requestId: "req_1", created: 1 }, body: {}, model: "auto", events })

const dataOf = (emissions: ReadonlyArray<Emission>) =>
  emissions.map((emission) => ("comment" in emission ? emission.comment.split(" ")[0] : JSON.parse(emission.data)))

describe("the stream of a door", () => {
  it("keeps a provider's opening frames until the first with content, and drops those of a call that did not get there", () => {
    const stream = make()
    assert.deepStrictEqual(stream.event(call("a")), [])
    assert.deepStrictEqual(stream.event(frame({ id: "a" }, false)), [])
    assert.deepStrictEqual(stream.event(call("b")), [])
    assert.deepStrictEqual(stream.event(frame({ id: "b" }, false)), [])
    assert.deepStrictEqual(dataOf(stream.event(frame({ id: "b2" }, true))), [{ id: "b" }, { id: "b2" }])
    assert.deepStrictEqual(dataOf(stream.event(frame({ id: "b3" }, true))), [{ id: "b3" }])
    assert.deepStrictEqual(stream.headers(), { "x-tokenhub-model": "b", "x-tokenhub-provider": "p", "x-tokenhub-attempts": "2" })
  })

  it("ends Anthropic's own stream that closed after its stop reason, and no other", () => {
    const wire = (type: string): RunEvent => ({
      type: "step.frame",
      step: "answer",
      frame: { type: "frame", protocol: anthropicMessages.protocol, event: type, data: JSON.stringify({ type }), deltas: [] },
      content: true
    })
    const ending = (...types: ReadonlyArray<string>) => {
      const stream = new DoorStream({ door: anthropicMessages, facts: { requestId: "req_1", created: 1 }, body: {}, model: "auto", events: false })
      stream.event(call("a"))
      for (const type of types) stream.event(wire(type))
      return dataOf(stream.end(result))
    }
    assert.deepStrictEqual(ending("message_delta"), [{ type: "message_stop" }])
    assert.deepStrictEqual(ending("message_delta", "message_stop"), [])
  })

  it("names the model that answered after others had failed", () => {
    const stream = make()
    stream.event(call("a"))
    stream.event(call("b"))
    const [opening, hello] = dataOf(stream.event(delta({ type: "text", text: "Hello" })))
    assert.strictEqual(opening.model, "b")
    assert.strictEqual(hello.choices[0].delta.content, "Hello")
  })

  it("tells the steps only where the client wants to see them", () => {
    const quiet = make()
    assert.deepStrictEqual(quiet.event({ type: "step.started", step: "plan" }), [])
    assert.deepStrictEqual(quiet.event(delta({ type: "text", text: "A plan" }, false)), [])
    const open = make(true)
    assert.deepStrictEqual(open.event({ type: "step.started", step: "plan" }), [], "nothing is sent before something is there")
    const told = dataOf(open.event(delta({ type: "text", text: "A plan" }, false)))
    assert.strictEqual(told[0], "step.started")
    assert.strictEqual(told.at(-1).choices[0].delta.reasoning_content, "A plan")
  })

  it("ends with the error where a run fails in the middle", () => {
    const stream = make()
    stream.event(call("a"))
    stream.event(delta({ type: "text", text: "Hello" }))
    const [error, ...rest] = dataOf(stream.fail(internal))
    assert.strictEqual(error.error.code, "internal_error")
    assert.deepStrictEqual(rest, [])
  })
})
