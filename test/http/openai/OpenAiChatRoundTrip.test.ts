import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import type { ChatRequest, Delta, Message, Part } from "../../../src/domain/Chat.ts"
import { text } from "../../../src/domain/Chat.ts"
import { ModelName, ProviderName, RequestId } from "../../../src/domain/Ids.ts"
import type { AnswerFacts, Json } from "../../../src/http/Door.ts"
import { openAiChat as door } from "../../../src/http/openai/OpenAiChatWire.ts"
import type { RunResult } from "../../../src/orchestrate/Run.ts"
import { anthropicMessages } from "../../../src/provider/protocols/AnthropicMessages.ts"
import { Collector } from "../../../src/provider/protocols/Collector.ts"
import { gemini } from "../../../src/provider/protocols/Gemini.ts"
import { openAiChat } from "../../../src/provider/protocols/OpenAiChat.ts"
import { openAiQuirks } from "../../../src/provider/protocols/OpenAiQuirks.ts"
import { openAiResponses } from "../../../src/provider/protocols/OpenAiResponses.ts"
import type { Protocol } from "../../../src/provider/protocols/Protocol.ts"
import { callOf } from "../../provider/Harness.ts"
import { usageOf } from "../../support/Doubles.ts"

// --- conversations at random

const Words = Schema.String
const Word = Schema.String.check(Schema.isMinLength(1))
const Id = Schema.String.check(Schema.isPattern(/^[a-z]{1,8}$/))
const Flag = Schema.Boolean

const Said = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("text"), text: Words, mark: Flag }),
  Schema.Struct({ kind: Schema.Literal("image"), url: Flag, detail: Schema.NullOr(Schema.Literals(["low", "high"])), mark: Flag }),
  Schema.Struct({ kind: Schema.Literal("file"), name: Id, mark: Flag }),
  Schema.Struct({ kind: Schema.Literal("audio"), format: Schema.Literals(["wav", "mp3"]) })
])

const Thought = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("signed"), text: Word, signature: Id }),
  Schema.Struct({ kind: Schema.Literal("redacted"), data: Id }),
  Schema.Struct({ kind: Schema.Literal("sealed"), vendor: Schema.Literals(["gemini", "openai"]), data: Id })
])

const Turn = Schema.Struct({
  instructions: Schema.NullOr(Schema.Struct({ role: Schema.Literals(["system", "developer"]), texts: Schema.NonEmptyArray(Words) })),
  said: Schema.NonEmptyArray(Said),
  name: Schema.NullOr(Id),
  thoughts: Schema.Array(Thought),
  answers: Schema.Array(Words),
  refusal: Schema.NullOr(Word),
  calls: Schema.Array(Schema.Struct({ name: Id, arguments: Words, results: Schema.NonEmptyArray(Words), mark: Flag }))
})

const Drawn = Schema.Struct({
  turns: Schema.NonEmptyArray(Turn),
  maxTokens: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9999 })),
  stop: Schema.Array(Word),
  strict: Schema.NullOr(Flag),
  format: Schema.Literals(["text", "json_object", "json_schema"]),
  choice: Schema.Literals(["auto", "none", "required", "named"]),
  effort: Schema.NullOr(Schema.Literals(["none", "minimal", "low", "high", "max"])),
  n: Schema.Literals([1, 3]),
  logprobs: Flag
})

const marked = (mark: boolean) => (mark ? { cacheControl: { type: "ephemeral" } } : {})

const saidPart = (said: typeof Said.Type): Part => {
  switch (said.kind) {
    case "text":
      return { ...text(said.text), ...marked(said.mark) }
    case "image":
      return {
        type: "image",
        source: said.url ? { type: "url", url: "https://e.com/a" } : { type: "data", mediaType: "image/png", data: "aGk=" },
        ...(said.detail === null ? {} : { detail: said.detail }),
        ...marked(said.mark)
      }
    case "file":
      return {
        type: "file",
        source: { type: "data", mediaType: "application/pdf", data: "aGk=" },
        filename: `${said.name}.pdf`,
        ...marked(said.mark)
      }
    case "audio":
      return { type: "audio", data: "aGk=", format: said.format }
  }
}

const thoughtPart = (thought: typeof Thought.Type): Part => {
  switch (thought.kind) {
    case "signed":
      return { type: "reasoning", text: thought.text, signature: thought.signature }
    case "redacted":
      return { type: "reasoning", text: "", redacted: thought.data }
    case "sealed":
      return { type: "reasoning", text: "", signature: thought.vendor === "openai" ? `openai:rs_1:${thought.data}` : `gemini:${thought.data}` }
  }
}

/** Messages as the protocol can say them: an assistant thinks, speaks, then calls, and each result is a message of its own. */
const messagesOf = (turns: ReadonlyArray<typeof Turn.Type>): ReadonlyArray<Message> =>
  turns.flatMap(({ answers, calls, instructions, name, refusal, said, thoughts }, at): ReadonlyArray<Message> => {
    const made = calls.map((call, i) => ({ ...call, id: `call_${at}_${i}` }))
    const spoken = answers.length === 0 && refusal === null && calls.length === 0 ? [""] : answers
    return [
      ...(instructions === null ? [] : [{ role: instructions.role, content: instructions.texts.map(text) }]),
      { role: "user", content: said.map(saidPart), ...(name === null ? {} : { name }) },
      {
        role: "assistant",
        content: [
          ...thoughts.map(thoughtPart),
          ...spoken.map(text),
          ...(refusal === null ? [] : [{ type: "refusal", text: refusal } as const]),
          ...made.map((call) => ({ type: "tool_call", id: call.id, name: call.name, arguments: call.arguments }) as const)
        ]
      },
      ...made.map((call): Message => ({
        role: "tool",
        content: [{ type: "tool_result", toolCallId: call.id, content: call.results.map(text), ...marked(call.mark) }]
      }))
    ]
  })

const requestOf = (drawn: typeof Drawn.Type): ChatRequest => ({
  messages: messagesOf(drawn.turns),
  maxTokens: drawn.maxTokens,
  temperature: 0.5,
  topP: 0.9,
  seed: 7,
  frequencyPenalty: 0.1,
  presencePenalty: -0.1,
  ...(drawn.stop.length === 0 ? {} : { stop: drawn.stop }),
  n: drawn.n,
  ...(drawn.logprobs ? { logprobs: true, topLogprobs: 3 } : {}),
  tools: [{ name: "look", description: "Looks", parameters: { type: "object" }, ...(drawn.strict === null ? {} : { strict: drawn.strict }) }],
  toolChoice: drawn.choice === "named" ? { name: "look" } : drawn.choice,
  parallelToolCalls: drawn.strict === true,
  responseFormat: drawn.format === "json_schema"
    ? { type: drawn.format, name: "s", schema: { type: "object" }, ...(drawn.strict === null ? {} : { strict: drawn.strict }) }
    : { type: drawn.format },
  ...(drawn.effort === null ? {} : { reasoning: { effort: drawn.effort } }),
  user: "u"
})

/** A vendor that takes back all that the protocol has a place for. */
const upstream = openAiChat("a vendor", { ...openAiQuirks, cacheMark: "cache_control", reasoningBack: "reasoning_details" })

const sent = (protocol: Protocol, request: ChatRequest, model = "m"): Json =>
  Object(JSON.parse(JSON.stringify(protocol.request(callOf(model, request), false, undefined).body)))

const raised = (body: Json): ChatRequest => {
  const { extra: _, native: __, ...chat } = Result.getOrThrow(door.decode(body, {})).chat
  return chat
}

// --- answers

const facts: AnswerFacts = { requestId: "req_1", created: 7, model: "m" }

const resultOf = (content: ReadonlyArray<Part>): RunResult => ({
  id: RequestId.make("req_1"),
  mode: "simple",
  completion: { content, finishReason: "stop", upstreamModel: "m", usage: usageOf(1, 2) },
  model: ModelName.make("m"),
  provider: ProviderName.make("p"),
  usage: usageOf(1, 2),
  cost: 0n,
  attempts: [],
  degraded: null,
  details: {}
})

const Content = Schema.Struct({
  thoughts: Schema.Array(Thought),
  answer: Word,
  calls: Schema.Array(Schema.Struct({ name: Id, arguments: Word })),
  size: Schema.Literals([1, 3, 1000])
})

const contentOf = ({ answer, calls, thoughts }: typeof Content.Type): ReadonlyArray<Part> => [
  ...thoughts.map(thoughtPart),
  text(answer),
  ...calls.map((call, i) => ({ type: "tool_call", id: `call_${i}`, name: call.name, arguments: call.arguments }) as const)
]

const pieces = (words: string, size: number): ReadonlyArray<string> => words.match(new RegExp(`[^]{1,${size}}`, "gu")) ?? [""]

/** The deltas in which a content comes, empty ones among them; the calls' pieces take turns. */
const deltasOf = (content: ReadonlyArray<Part>, size: number): ReadonlyArray<Delta> => {
  const calls: Array<ReadonlyArray<Delta>> = []
  const before = content.flatMap((part): ReadonlyArray<Delta> => {
    switch (part.type) {
      case "text":
        return [text(""), ...pieces(part.text, size).map(text)]
      case "reasoning":
        return part.redacted === undefined
          ? [...pieces(part.text, size).map((words) => ({ type: "reasoning", text: words }) as const), { ...part, text: "" }]
          : [part]
      case "tool_call": {
        const index = calls.length
        calls.push([
          { type: "tool_call", index, id: part.id, name: part.name, arguments: "" },
          ...pieces(part.arguments, size).map((json) => ({ type: "tool_call", index, arguments: json }) as const)
        ])
        return []
      }
      default:
        return []
    }
  })
  const most = Math.max(0, ...calls.map(({ length }) => length))
  return [...before, ...Array.from({ length: most }, (_, i) => calls.flatMap((call) => call[i] ?? [])).flat()]
}

/** What the door's stream means to a reader of the protocol. */
const streamed = (content: ReadonlyArray<Part>, size: number) => {
  const encoder = door.encoder(facts, {})
  const parts = new Collector()
  const deltas = deltasOf(content, size)
  for (const delta of deltas) parts.push(delta)
  const events = [...deltas.flatMap((delta) => encoder.delta(delta)), ...encoder.end(resultOf(parts.parts()))]
  assert.deepStrictEqual(events.filter(({ data }) => data === "[DONE]").length, 1)
  const reader = upstream.reader(callOf("m"))()
  for (const { data, event = "message" } of events.slice(0, -1)) {
    const made = reader.event({ event, data: JSON.parse(data) })
    if ("fault" in made) assert.fail(made.message)
  }
  const end = reader.end(true)
  return "type" in end && end.type === "end" ? end.completion.content : assert.fail("no end")
}

describe("a conversation of OpenAI's chat completions", () => {
  it.prop("lowered to the vendor's request and raised again is the same", [Drawn], ([drawn]) => {
    const request = requestOf(drawn)
    assert.deepStrictEqual<ChatRequest>(raised(sent(upstream, request)), request)
  })

  const others = [
    ["Anthropic", anthropicMessages, "claude-opus-4-5"],
    ["OpenAI's responses", openAiResponses, "gpt-4o"],
    ["Gemini", gemini, "gemini-2.5-pro"]
  ] as const
  for (const [name, protocol, model] of others) {
    it.prop(`loses no word on its way to ${name}`, [Drawn], ([drawn]) => {
      const body = JSON.stringify(sent(protocol, raised(sent(upstream, requestOf(drawn))), model))
      for (const { answers, calls, instructions, refusal, said } of drawn.turns) {
        const words = [
          ...(instructions?.texts ?? []),
          ...said.flatMap((part) => (part.kind === "text" ? [part.text] : [])),
          ...answers,
          ...(refusal === null ? [] : [refusal]),
          ...calls.flatMap(({ name }) => [name])
        ]
        for (const spoken of words) if (spoken.trim() !== "") assert.include(body, JSON.stringify(spoken.trimEnd()).slice(1, -1))
      }
    })
  }

  it.prop("takes an answer back as it was given, whole or streamed", [Content], ([drawn]) => {
    const content = contentOf(drawn)
    const { message } = Object(door.answer(resultOf(content), facts, {}))["choices"][0]
    const [, echoed] = raised({ messages: [{ role: "user", content: "Go" }, message] }).messages
    assert.deepStrictEqual(echoed?.content, content)
    assert.deepStrictEqual(streamed(content, drawn.size).filter(({ type }) => type !== "reasoning"), content.filter(({ type }) => type !== "reasoning"))
  })

  it("comes back of a stream with the signatures of its thoughts", () => {
    const content: ReadonlyArray<Part> = [
      { type: "reasoning", text: "First", signature: "s1" },
      { type: "reasoning", text: "", redacted: "r" },
      text("Yes")
    ]
    assert.deepStrictEqual(streamed(content, 2), content)
  })
})
