import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import type { ChatRequest, Delta, Message, Part } from "../../../src/domain/Chat.ts"
import { text } from "../../../src/domain/Chat.ts"
import { ModelName, ProviderName, RequestId } from "../../../src/domain/Ids.ts"
import type { AnswerFacts, Json, WireEvent } from "../../../src/http/Door.ts"
import { openAiResponses as door } from "../../../src/http/openai/OpenAiResponsesWire.ts"
import type { RunResult } from "../../../src/orchestrate/Run.ts"
import { Collector } from "../../../src/provider/protocols/Collector.ts"
import { openAiResponses as upstream } from "../../../src/provider/protocols/OpenAiResponses.ts"
import { callOf } from "../../provider/Harness.ts"
import { ask, usageOf } from "../../support/Doubles.ts"

// --- conversations at random

const Words = Schema.String
const Id = Schema.String.check(Schema.isPattern(/^[a-z]{1,8}$/))

const DrawnPart = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text"), text: Words }),
  Schema.Struct({ type: Schema.Literal("refusal"), text: Words }),
  Schema.Struct({ type: Schema.Literal("reasoning"), text: Words, encrypted: Id }),
  Schema.Struct({ type: Schema.Literal("tool_call"), id: Id, name: Id, arguments: Words }),
  Schema.Struct({ type: Schema.Literal("image"), data: Id, url: Schema.Boolean }),
  Schema.Struct({ type: Schema.Literal("file"), data: Id, url: Schema.Boolean })
])

const DrawnMessage = Schema.Struct({
  role: Schema.Literals(["system", "developer", "user", "assistant", "tool"]),
  parts: Schema.Array(DrawnPart)
})

const Drawn = Schema.Struct({
  messages: Schema.Array(DrawnMessage),
  maxTokens: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9999 })),
  strict: Schema.Boolean,
  format: Schema.Literals(["text", "json_object", "json_schema"]),
  choice: Schema.Literals(["auto", "none", "required", "named"])
})

const partOf = (part: typeof DrawnPart.Type): Part => {
  switch (part.type) {
    case "reasoning":
      return { type: "reasoning", text: part.text, signature: `openai:rs_${part.encrypted}:${part.encrypted}` }
    case "image":
      return {
        type: "image",
        source: part.url ? { type: "url", url: `https://example.com/${part.data}` } : { type: "data", mediaType: "image/png", data: part.data }
      }
    case "file":
      return {
        type: "file",
        filename: `${part.data}.pdf`,
        source: part.url ? { type: "url", url: `https://example.com/${part.data}` } : { type: "data", mediaType: "application/pdf", data: part.data }
      }
    default:
      return part
  }
}

/** Messages as the protocol can say them: neighbouring assistant's ones are one, a thought leads to something, each tool message is one result. */
const conversation = (drawn: ReadonlyArray<typeof DrawnMessage.Type>): ReadonlyArray<Message> => {
  const messages: Array<{ role: Message["role"]; content: Array<Part> }> = [{ role: "user", content: [text("Hi")] }]
  for (const { parts, role } of drawn) {
    const all = parts.map(partOf)
    const last = messages.at(-1)
    if (role === "assistant") {
      const said = all.filter(({ type }) => type !== "image" && type !== "file")
      if (said.length === 0) continue
      if (last?.role === "assistant") last.content.push(...said)
      else messages.push({ role, content: said })
    } else if (role === "tool") {
      const content = all.filter((part) => part.type === "text" || part.type === "image")
      messages.push({ role, content: [{ type: "tool_result", toolCallId: "call", content: content.length === 0 ? [text("")] : content }] })
    } else {
      messages.push({ role, content: all.filter(({ type }) => type === "text" || type === "image" || type === "file") })
    }
  }
  for (const { content, role } of messages) if (role === "assistant" && content.at(-1)?.type === "reasoning") content.push(text("So"))
  return messages
}

const requestOf = ({ choice, format, maxTokens, messages, strict }: typeof Drawn.Type): ChatRequest => ({
  messages: conversation(messages),
  maxTokens,
  tools: [{ name: "look", description: "Looks", parameters: { type: "object" }, strict }],
  toolChoice: choice === "named" ? { name: "look" } : choice,
  parallelToolCalls: strict,
  responseFormat: format === "json_schema" ? { type: format, name: "s", schema: { type: "object" }, strict } : { type: format },
  reasoning: { effort: "low" },
  user: "u"
})

const decoded = (body: Json) => {
  const call = door.decode(body, {})
  if (Result.isFailure(call)) return assert.fail(call.failure.message)
  return call.success
}

const facts: AnswerFacts = { requestId: "req_01ABC", created: 1_700_000_000, model: "m" }

const resultOf = (content: ReadonlyArray<Part>, more: Partial<RunResult["completion"]> = {}): RunResult => ({
  id: RequestId.make("req_01ABC"),
  mode: "simple",
  completion: { content, finishReason: "stop", upstreamModel: "m", usage: usageOf(1, 2), ...more },
  model: ModelName.make("m"),
  provider: ProviderName.make("p"),
  usage: usageOf(1, 2),
  cost: 0n,
  attempts: [],
  degraded: null,
  details: {}
})

// --- streams at random

const DrawnDelta = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text"), text: Words }),
  Schema.Struct({ type: Schema.Literal("refusal"), text: Words }),
  Schema.Struct({ type: Schema.Literal("reasoning"), text: Words, signed: Schema.Boolean }),
  Schema.Struct({ type: Schema.Literal("tool_call"), index: Schema.Literals([0, 1, 2]), arguments: Words })
])

const deltasOf = (drawn: ReadonlyArray<typeof DrawnDelta.Type>): ReadonlyArray<Delta> => {
  const known = new Set<number>()
  return drawn.map((delta): Delta => {
    if (delta.type === "reasoning") {
      const { signed, ...rest } = delta
      return signed ? { ...rest, signature: "c2ln" } : rest
    }
    if (delta.type !== "tool_call" || known.has(delta.index)) return delta
    known.add(delta.index)
    return { ...delta, id: `call_${delta.index}`, name: "look" }
  })
}

const isEmpty = (delta: Delta): boolean => delta.type !== "tool_call" && delta.text === "" && !("signature" in delta)

interface Event {
  readonly type: string
  readonly sequence_number: number
  readonly output_index?: number
  readonly item?: Json
  readonly response?: Json
}

const parsed = (events: ReadonlyArray<WireEvent>): ReadonlyArray<Event> =>
  events.map(({ data, event }) => {
    const made: Event = JSON.parse(data)
    assert.strictEqual(made.type, event)
    return made
  })

describe("OpenAI's Responses API as a door", () => {
  it.prop("raises what the upstream protocol lowered, with nothing lost", [Drawn], ([drawn]) => {
    const request = requestOf(drawn)
    const { body } = upstream.request(callOf("gpt-4o", request), false, undefined)
    const { chat } = decoded(Object(JSON.parse(JSON.stringify(body))))
    const { extra: _extra, native: _native, unraised, ...raised } = chat
    assert.deepStrictEqual({ ...raised }, { ...request })
    assert.deepStrictEqual(unraised, [])
  })

  it.prop("a stream's items are numbered, opened and closed once, and are the plain answer's", [Schema.Array(DrawnDelta)], ([drawn]) => {
    const deltas = deltasOf(drawn)
    const parts = new Collector()
    const encoder = door.encoder(facts, {})
    const wire: Array<WireEvent> = []
    for (const delta of deltas) {
      if (!isEmpty(delta)) parts.push(delta)
      wire.push(...encoder.delta(delta))
    }
    // Frames that only open the message come with its first content.
    if (deltas.every(isEmpty)) assert.strictEqual(wire.length, 0)
    const result = resultOf(parts.parts())
    const events = parsed([...wire, ...encoder.end(result)])
    assert.deepStrictEqual(events.map((event) => event.sequence_number), events.map((_, i) => i))
    const opened = events.flatMap((event) => (event.type === "response.output_item.added" ? [event.output_index] : []))
    const closed = events.flatMap((event) => (event.type === "response.output_item.done" ? [event.output_index] : []))
    assert.deepStrictEqual(opened, opened.map((_, i) => i))
    assert.deepStrictEqual(closed.toSorted(), opened)
    const last = events.at(-1)
    assert.strictEqual(last?.type, "response.completed")
    const meaning = (response: Json | undefined) => decoded({ input: response?.["output"] ?? [], prompt: {} }).chat.messages
    assert.deepStrictEqual(meaning(last?.response), meaning(door.answer(result, facts, {})))
  })

  it.prop("a stream is read by OpenAI's reader as the answer that it was", [Schema.Array(DrawnDelta)], ([drawn]) => {
    const deltas = deltasOf(drawn).filter((delta) => !isEmpty(delta))
    const parts = new Collector()
    for (const delta of deltas) parts.push(delta)
    const encoder = door.encoder(facts, {})
    const wire = [...deltas.flatMap((delta) => encoder.delta(delta)), ...encoder.end(resultOf(parts.parts()))]
    const reader = upstream.reader(callOf("m"))()
    const read = wire.flatMap(({ data, event = "" }) => {
      const made = reader.event({ event, data: JSON.parse(data) })
      return "fault" in made ? (deltas.length === 0 ? [] : assert.fail(made.message)) : made
    })
    if (deltas.length === 0) return
    const end = read.at(-1)
    const content = end?.type === "end" ? end.completion.content : assert.fail("no end")
    const words = (all: ReadonlyArray<Part>, type: Part["type"]) => all.flatMap((part) => (part.type === type && "text" in part ? [part.text] : [])).join("")
    for (const type of ["text", "refusal", "reasoning"] as const) assert.strictEqual(words(content, type), words(parts.parts(), type))
    const calls = (all: ReadonlyArray<Part>) => all.flatMap((part) => (part.type === "tool_call" ? [[part.id, part.name, part.arguments || "{}"]] : []))
    assert.deepStrictEqual(calls(content), calls(parts.parts()))
  })

  it("an answer that comes only at the end still has delta events, for arguments too", () => {
    const content: ReadonlyArray<Part> = [text("Well"), { type: "tool_call", id: "call_1", name: "look", arguments: "" }]
    const events = parsed(door.encoder(facts, {}).end(resultOf(content, { finishReason: "tool_calls" })))
    const types = events.map(({ type }) => type)
    assert.includeMembers(types, ["response.output_text.delta", "response.function_call_arguments.delta", "response.function_call_arguments.done"])
    const { arguments: json } = Object(events.at(-1)?.response)["output"][1]
    assert.strictEqual(json, "{}")
  })

  it("an answer that was cut is incomplete in its last item too, whole or streamed", () => {
    const content: ReadonlyArray<Part> = [
      { type: "reasoning", text: "hm" },
      text("Once upon a"),
      { type: "tool_call", id: "call_1", name: "look", arguments: "{\"a\":" }
    ]
    for (const parts of [content, content.slice(0, 2), content.slice(0, 1)]) {
      const result = resultOf(parts, { finishReason: "length" })
      const expected = parts.map((_, i) => (i === parts.length - 1 ? "incomplete" : "completed"))
      const streamed = parsed(door.encoder(facts, {}).end(result)).at(-1)?.response
      for (const response of [door.answer(result, facts, {}), streamed ?? assert.fail()]) {
        assert.deepInclude(response, { status: "incomplete", incomplete_details: { reason: "max_output_tokens" } })
        assert.deepStrictEqual(Object(response["output"]).map(({ status }: Json) => status), expected)
      }
    }
  })

  it("what a function gives back beside texts and pictures goes to OpenAI as it came, and is named for the others", () => {
    const output = [{ type: "input_text", text: "a" }, { type: "input_file", file_id: "file_1" }, { type: "input_image", image_url: "https://e.com/a" }]
    const call = { type: "function_call", call_id: "c", name: "f", arguments: "{}" }
    const body = { input: [call, { type: "function_call_output", call_id: "c", output }] }
    const { chat } = decoded(body)
    assert.deepStrictEqual(chat.unraised, ["input[1].output[1]"])
    assert.deepStrictEqual(chat.native?.body, body)
    assert.deepStrictEqual(chat.messages[1]?.content, [{
      type: "tool_result",
      toolCallId: "c",
      content: [text("a"), { type: "image", source: { type: "url", url: "https://e.com/a" } }]
    }])
    const programs = { input: [{ type: "function_call_output", caller: { type: "program" }, output: "x" }] }
    assert.deepStrictEqual(decoded({ ...programs, prompt: {} }).chat.unraised, ["input[0]"])
  })

  it("marks for a cache are raised, and whether thoughts are to be read", () => {
    const mark = { mode: "explicit" }
    const { chat } = decoded({
      input: [{ role: "user", content: [{ type: "input_text", text: "a", prompt_cache_breakpoint: mark }] }],
      reasoning: { summary: "auto" },
      top_logprobs: 3
    })
    assert.deepStrictEqual(chat.messages[0]?.content, [{ ...text("a"), cacheControl: mark }])
    assert.deepStrictEqual(chat.reasoning, { shown: true })
    assert.notProperty(chat, "topLogprobs")
    assert.deepStrictEqual(decoded({ input: "a", reasoning: { effort: "low" } }).chat.reasoning, { effort: "low" })
  })

  it("a function that says nothing of strict is kept to its schema where that can be kept to", () => {
    const strictOf = (tool: object) => decoded({ input: "Hi", tools: [{ type: "function", name: "f", ...tool }] }).chat.tools?.[0]?.strict
    const schema = { type: "object", properties: { a: { type: "string" } }, required: ["a"], additionalProperties: false }
    assert.strictEqual(strictOf({ parameters: schema }), true)
    assert.strictEqual(strictOf({ parameters: schema, strict: null }), true)
    assert.strictEqual(strictOf({ parameters: schema, strict: false }), false)
    assert.isUndefined(strictOf({ parameters: { ...schema, required: [] } }))
  })

  it("an event of the provider's own has content by its name, or by its data where it has none", () => {
    const holds = (type: string, event?: string) =>
      door.hasContent({ type: "frame", protocol: door.protocol, data: JSON.stringify({ type, sequence_number: 1 }), deltas: [], ...(event === undefined ? {} : { event }) })
    for (const name of ["response.created", "response.output_item.added", "response.failed"]) assert.deepStrictEqual([holds(name, name), holds(name)], [false, false])
    for (const name of ["response.output_text.delta", "response.completed", "response.new_kind.delta"]) assert.deepStrictEqual([holds(name, name), holds(name)], [true, true])
  })

  it("thoughts of any vendor go to the client and come back as they were", () => {
    const thoughts: ReadonlyArray<Part> = [
      { type: "reasoning", text: "a", signature: "anthropic+signature==" },
      { type: "reasoning", text: "", redacted: "hidden" },
      { type: "reasoning", text: "b", signature: "gemini:sig" },
      { type: "reasoning", text: "c", signature: "openai:rs_1:gAAA" },
      text("Yes")
    ]
    const answer = door.answer(resultOf(thoughts), facts, {})
    const { chat } = decoded({ input: answer["output"] })
    assert.deepStrictEqual(chat.messages, [{ role: "assistant", content: thoughts }])
    const native = Object(chat.native?.body)["input"]
    assert.deepStrictEqual(native.map((item: Json) => [item["type"], item["id"], item["encrypted_content"]]), [
      ["reasoning", "rs_1", "gAAA"],
      ["message", "msg_01ABC_4", undefined]
    ])
  })

  it("a failure after the provider's own events goes on with their response and numbers", () => {
    const encoder = door.encoder(facts, {})
    const created = { type: "response.created", sequence_number: 0, response: { id: "resp_up", status: "in_progress", output: [] } }
    const delta = { type: "response.output_text.delta", sequence_number: 4, delta: "Hi" }
    for (const event of [created, delta]) encoder.passed?.({ type: "frame", protocol: door.protocol, event: event.type, data: JSON.stringify(event), deltas: [] })
    const events = parsed(encoder.fail({ status: 502, type: "upstream_error", code: "upstream_reset", retryable: true, message: "gone" }))
    assert.deepStrictEqual(events.map(({ sequence_number, type }) => [type, sequence_number]), [["response.failed", 5]])
    assert.deepStrictEqual(events[0]?.response, {
      id: "resp_up",
      output: [],
      status: "failed",
      error: { code: "server_error", message: "gone" }
    })
  })

  it("log probabilities are asked for by include and stand at their text", () => {
    const { chat } = decoded({ input: "Hi", include: ["message.output_text.logprobs"], top_logprobs: 3 })
    assert.deepInclude(chat, { logprobs: true, topLogprobs: 3 })
    const logprobs = [{ token: "Hi", logprob: -0.1, bytes: [72, 105], top_logprobs: [] }]
    const answer = door.answer(resultOf([text("Hi")], { logprobs: { content: logprobs, refusal: null } }), facts, {})
    assert.deepStrictEqual(Object(answer["output"])[0].content[0].logprobs, logprobs)
  })

  it("what the canonical form can't say is named, and goes to OpenAI as it came", () => {
    const body = {
      input: [{ role: "user", content: [{ type: "input_text", text: "Hi" }, { type: "input_file", file_id: "file_1" }] }, { type: "compaction" }],
      tools: [{ type: "function", name: "f", parameters: null, strict: null }, { type: "mcp", server_label: "x" }],
      tool_choice: { type: "mcp" },
      text: { verbosity: "high" },
      max_tool_calls: 3,
      stop: ["END"],
      service_tier: "flex"
    }
    const { chat } = decoded(body)
    assert.deepStrictEqual(chat.unraised, ["input[0].content[1]", "input[1]", "tools[1]", "tool_choice", "text.verbosity"])
    assert.deepStrictEqual(chat.extra?.needed, ["max_tool_calls", "stop"])
    assert.deepStrictEqual(chat.native?.body, body)
    assert.deepStrictEqual(chat.messages, ask("Hi").messages)
  })
})
