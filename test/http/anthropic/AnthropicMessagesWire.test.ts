import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import type { ChatRequest, Delta, Message, Part } from "../../../src/domain/Chat.ts"
import { text } from "../../../src/domain/Chat.ts"
import { ModelName, ProviderName, RequestId } from "../../../src/domain/Ids.ts"
import { zero } from "../../../src/domain/Usage.ts"
import { answer, errorBody } from "../../../src/http/anthropic/AnthropicMessagesAnswer.ts"
import { encoder, hasContent } from "../../../src/http/anthropic/AnthropicMessagesStream.ts"
import { anthropicMessages as door, decodeCount } from "../../../src/http/anthropic/AnthropicMessagesWire.ts"
import type { WireEvent } from "../../../src/http/Door.ts"
import type { RunResult } from "../../../src/orchestrate/Run.ts"
import { anthropicMessages as upstream } from "../../../src/provider/protocols/AnthropicMessages.ts"
import { openAiChat } from "../../../src/provider/protocols/OpenAiChat.ts"
import { openAiQuirks } from "../../../src/provider/protocols/OpenAiQuirks.ts"
import { completion, usageOf } from "../../support/Doubles.ts"
import { callOf } from "../../provider/Harness.ts"

const user = (...content: ReadonlyArray<unknown>) => ({ role: "user", content })
const bodyOf = (content: ReadonlyArray<unknown>, more: object = {}) => ({ model: "m", max_tokens: 100, messages: content, ...more })
const raise = (body: object, headers = {}) => Result.getOrThrow(door.decode({ ...body }, headers))
const partsOf = (...blocks: ReadonlyArray<unknown>) => raise(bodyOf([user(...blocks)])).chat.messages[0]?.content
const refusalOf = (body: object) => {
  const result = door.decode({ ...body }, {})
  return Result.isFailure(result) ? result.failure.param : assert.fail("was taken")
}

describe("a request to /v1/messages", () => {
  it("says whether thoughts are to be read, and holds others to a schema that they can be held to", () => {
    const asked = (more: object) => raise(bodyOf([user({ type: "text", text: "Hi" })], more)).chat
    assert.deepStrictEqual(asked({ thinking: { type: "adaptive", display: "summarized" } }).reasoning, { thinking: "adaptive", shown: true })
    assert.deepStrictEqual(asked({ thinking: { type: "enabled", budget_tokens: 2048, display: "omitted" } }).reasoning, { budgetTokens: 2048, shown: false })
    const formatted = (schema: object) => asked({ output_config: { format: { type: "json_schema", schema } } }).responseFormat
    const schema = { type: "object", properties: { a: { type: "string" } }, required: ["a"], additionalProperties: false }
    assert.deepStrictEqual(formatted(schema), { type: "json_schema", name: "answer", schema, strict: true })
    assert.notProperty(formatted({ ...schema, required: [] }), "strict")
  })

  it("begins the answer where it ends with the assistant's words", () => {
    const begun = (content: unknown) => raise(bodyOf([user({ type: "text", text: "Hi" }), { role: "assistant", content }])).chat.prefill
    assert.strictEqual(begun("It is ("), true)
    assert.strictEqual(begun([{ type: "text", text: "It is (" }]), true)
    assert.isUndefined(begun(""))
    assert.isUndefined(begun([{ type: "tool_use", id: "t", name: "f", input: {} }]))
  })

  it("is raised field by field", () => {
    const { chat, media, model, stream } = raise(bodyOf([{ role: "user", content: "Hi" }, { role: "assistant", content: "Well," }], {
      system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }],
      stop_sequences: ["END"],
      temperature: 0.5,
      top_p: 0.9,
      top_k: 5,
      metadata: { user_id: "u1" },
      stream: true,
      tools: [{ name: "f", description: "d", input_schema: { type: "object" }, strict: true, cache_control: { type: "ephemeral" } }],
      tool_choice: { type: "tool", name: "f", disable_parallel_tool_use: true },
      thinking: { type: "enabled", budget_tokens: 2048 },
      output_config: { effort: "high", format: { type: "json_schema", schema: { type: "object" } } },
      service_tier: "auto"
    }))
    const { native: _, ...raised } = chat
    assert.deepStrictEqual({ model, stream, media }, { model: "m", stream: true, media: false })
    assert.deepStrictEqual<ChatRequest>(raised, {
      messages: [
        { role: "system", content: [{ ...text("Be brief."), cacheControl: { type: "ephemeral" } }] },
        { role: "user", content: [text("Hi")] },
        { role: "assistant", content: [text("Well,")] }
      ],
      unnumbered: 1,
      prefill: true,
      maxTokens: 100,
      stop: ["END"],
      temperature: 0.5,
      topP: 0.9,
      topK: 5,
      user: "u1",
      tools: [{ name: "f", description: "d", parameters: { type: "object" }, strict: true, cacheControl: { type: "ephemeral" } }],
      toolChoice: { name: "f" },
      parallelToolCalls: false,
      reasoning: { effort: "high", budgetTokens: 2048 },
      responseFormat: { type: "json_schema", name: "answer", schema: { type: "object" } },
      extra: { protocol: "anthropic-messages", fields: { service_tier: "auto" } }
    })
  })

  const hello = Buffer.from("Hello").toString("base64")
  const blocks: ReadonlyArray<readonly [name: string, block: unknown, parts: ReadonlyArray<Part>]> = [
    ["a text with a cache mark", { type: "text", text: "Hi", cache_control: { type: "ephemeral" } }, [{ ...text("Hi"), cacheControl: { type: "ephemeral" } }]],
    ["an image's bytes", { type: "image", source: { type: "base64", media_type: "image/PNG", data: "aa" } }, [
      { type: "image", source: { type: "data", mediaType: "image/png", data: "aa" } }
    ]],
    ["an image's URL", { type: "image", source: { type: "url", url: "https://e.com/a.png" } }, [{ type: "image", source: { type: "url", url: "https://e.com/a.png" } }]],
    ["a PDF document", { type: "document", title: "a.pdf", source: { type: "base64", media_type: "application/pdf", data: "aa" } }, [
      { type: "file", source: { type: "data", mediaType: "application/pdf", data: "aa" }, filename: "a.pdf" }
    ]],
    ["a document's URL", { type: "document", source: { type: "url", url: "https://e.com/a.pdf" } }, [{ type: "file", source: { type: "url", url: "https://e.com/a.pdf" } }]],
    ["a text document", { type: "document", source: { type: "text", media_type: "text/plain", data: "Hello" } }, [
      { type: "file", source: { type: "data", mediaType: "text/plain", data: hello } }
    ]],
    ["a document of texts", { type: "document", source: { type: "content", content: "Hello" } }, [{ type: "file", source: { type: "data", mediaType: "text/plain", data: hello } }]],
    ["a document with a picture", {
      type: "document",
      title: "T",
      source: { type: "content", content: [{ type: "text", text: "a" }, { type: "image", source: { type: "url", url: "https://e.com/a" } }] }
    }, [text("T"), text("a"), { type: "image", source: { type: "url", url: "https://e.com/a" } }]],
    ["a tool's result", { type: "tool_result", tool_use_id: "t1", content: "42", is_error: true }, [{ type: "tool_result", toolCallId: "t1", content: [text("42")], isError: true }]],
    ["a tool's result without content", { type: "tool_result", tool_use_id: "t1" }, [{ type: "tool_result", toolCallId: "t1", content: [] }]],
    ["a tool's result with a picture", { type: "tool_result", tool_use_id: "t1", content: [{ type: "text", text: "a" }, { type: "image", source: { type: "url", url: "https://e.com/a" } }] }, [
      { type: "tool_result", toolCallId: "t1", content: [text("a"), { type: "image", source: { type: "url", url: "https://e.com/a" } }] }
    ]],
    ["a tool call", { type: "tool_use", id: "t1", name: "f", input: { a: [1] } }, [{ type: "tool_call", id: "t1", name: "f", arguments: "{\"a\":[1]}" }]],
    ["a signed thought", { type: "thinking", thinking: "hm", signature: "s" }, [{ type: "reasoning", text: "hm", signature: "s" }]],
    ["an unsigned thought", { type: "thinking", thinking: "hm", signature: "" }, [{ type: "reasoning", text: "hm" }]],
    ["a redacted thought", { type: "redacted_thinking", data: "x" }, [{ type: "reasoning", text: "", redacted: "x" }]]
  ]
  for (const [name, block, parts] of blocks) it(`is raised with ${name}`, () => assert.deepStrictEqual(partsOf(block), parts))

  it("is taken with its bytes' size where it has any", () => {
    const image = { type: "image", source: { type: "base64", media_type: "image/png", data: "aa" } }
    assert.isTrue(raise(bodyOf([user(image)])).media)
    assert.isTrue(raise(bodyOf([user({ type: "tool_result", tool_use_id: "t", content: [image] })])).media)
  })

  const choices: ReadonlyArray<readonly [unknown, Partial<ChatRequest>]> = [
    [{ type: "auto" }, { toolChoice: "auto" }],
    [{ type: "any" }, { toolChoice: "required" }],
    [{ type: "none" }, { toolChoice: "none" }],
    [{ type: "auto", disable_parallel_tool_use: true }, { toolChoice: "auto", parallelToolCalls: false }]
  ]
  for (const [choice, raised] of choices) {
    it(`is raised with the tool choice ${JSON.stringify(choice)}`, () => assert.deepInclude(raise(bodyOf([user({ type: "text", text: "a" })], { tools: [{ name: "f" }], tool_choice: choice })).chat, raised))
  }

  const faults: ReadonlyArray<readonly [param: string, body: object]> = [
    ["max_tokens", { model: "m", messages: [user({ type: "text", text: "a" })] }],
    ["messages", bodyOf([])],
    ["messages[0].role", bodyOf([{ role: "tool", content: "a" }])],
    ["messages[0].content", bodyOf([{ role: "user", content: 7 }])],
    ["messages[0].content[0].type", bodyOf([user({ text: "a" })])],
    ["messages[0].content[1].text", bodyOf([user({ type: "text", text: "a" }, { type: "text", text: 7 })])],
    ["messages[0].content[0].source", bodyOf([user({ type: "image" })])],
    ["messages[0].content[0].source.data", bodyOf([user({ type: "image", source: { type: "base64", media_type: "image/png" } })])],
    ["messages[0].content[0].source.url", bodyOf([user({ type: "image", source: { type: "url", url: "file:///etc/passwd" } })])],
    ["messages[0].content[0].tool_use_id", bodyOf([user({ type: "tool_result", content: "a" })])],
    ["messages[0].content[0].content[0]", bodyOf([user({ type: "tool_result", tool_use_id: "t", content: ["a"] })])],
    ["temperature", bodyOf([user({ type: "text", text: "a" })], { temperature: 1.5 })],
    ["tools[0].name", bodyOf([user({ type: "text", text: "a" })], { tools: [{ input_schema: {} }] })],
    ["tool_choice.name", bodyOf([user({ type: "text", text: "a" })], { tool_choice: { type: "tool" } })],
    ["thinking.budget_tokens", bodyOf([user({ type: "text", text: "a" })], { thinking: { type: "enabled" } })]
  ]
  for (const [param, body] of faults) it(`is refused by the name of ${param}`, () => assert.strictEqual(refusalOf(body), param))

  const only: ReadonlyArray<readonly [path: string, body: object]> = [
    ["messages[0].content[0]", bodyOf([user({ type: "server_tool_use", id: "s", name: "web_search", input: {} })])],
    ["messages[0].content[0].source", bodyOf([user({ type: "image", source: { type: "file", file_id: "f" } })])],
    ["messages[0].content[0].citations", bodyOf([user({ type: "document", citations: { enabled: true }, source: { type: "text", data: "a" } })])],
    ["messages[0].content[0].content[0]", bodyOf([user({ type: "tool_result", tool_use_id: "t", content: [{ type: "search_result" }] })])],
    ["tools[0]", bodyOf([user({ type: "text", text: "a" })], { tools: [{ type: "web_search_20250305", name: "web_search" }] })],
    ["tools[0].input_examples", bodyOf([user({ type: "text", text: "a" })], { tools: [{ name: "f", input_schema: {}, input_examples: [{}] }] })],
    ["output_config.task_budget", bodyOf([user({ type: "text", text: "a" })], { output_config: { task_budget: 1 } })]
  ]
  for (const [path, body] of only) {
    it(`names ${path} as what only Anthropic's protocol has, and keeps it in the client's own JSON`, () => {
      const { chat } = raise(body)
      assert.deepStrictEqual(chat.unraised, [path])
      assert.deepStrictEqual(chat.native?.body, { ...body })
    })
  }

  it("hands fields without a name on to Anthropic, and says which of them are needed", () => {
    const fields = { service_tier: "auto", inference_geo: "eu" }
    assert.deepStrictEqual(raise(bodyOf([user({ type: "text", text: "a" })], fields)).chat.extra, {
      protocol: "anthropic-messages",
      fields,
      needed: ["inference_geo"]
    })
  })

  it("needs no one who forgets thoughts, but one who forgets results of tools", () => {
    const needed = (...types: ReadonlyArray<string>) =>
      raise(bodyOf([user({ type: "text", text: "a" })], { context_management: { edits: types.map((type) => ({ type })) } })).chat.extra?.needed
    assert.isUndefined(needed("clear_thinking_20251015"))
    assert.deepStrictEqual(needed("clear_thinking_20251015", "clear_tool_uses_20250919"), ["context_management"])
  })

  it("keeps its own JSON and the headers that say what it means", () => {
    const body = bodyOf([user({ type: "text", text: "a", future: 1 })], { future: { a: 1 } })
    assert.deepStrictEqual(raise(body, { "anthropic-beta": "b1,b2", "anthropic-version": "2023-06-01", authorization: "secret" }).chat.native, {
      protocol: "anthropic-messages",
      body: { ...body },
      headers: { "anthropic-beta": "b1,b2", "anthropic-version": "2023-06-01" }
    })
  })

  it("leaves out of its own JSON the thoughts of other vendors, which Anthropic would refuse", () => {
    const own = { type: "thinking", thinking: "a", signature: "c2ln" }
    const foreign = [{ type: "thinking", thinking: "b", signature: "" }, { type: "thinking", thinking: "", signature: "gemini:c2ln" }]
    const body = bodyOf([
      user({ type: "text", text: "Hi" }),
      { role: "assistant", content: [own, ...foreign, { type: "text", text: "Hello" }] },
      user({ type: "text", text: "And?" }),
      { role: "assistant", content: foreign },
      user({ type: "text", text: "Go on" })
    ])
    assert.deepNestedPropertyVal(raise(body).chat.native?.body, "messages", [
      body.messages[0],
      { role: "assistant", content: [own, { type: "text", text: "Hello" }] },
      body.messages[2],
      body.messages[4]
    ])
  })

  it("is counted without max_tokens", () => {
    const counted = Result.getOrThrow(decodeCount({ model: "m", system: "s", messages: [{ role: "user", content: "Hi" }] }, {}))
    assert.deepStrictEqual(counted, {
      chat: { messages: [{ role: "system", content: [text("s")] }, { role: "user", content: [text("Hi")] }], unnumbered: 1 },
      model: "m",
      media: false
    })
  })
})

// --- round trips

/** Anthropic refuses blank texts, and those that begin its answer and end in a blank. */
const Word = Schema.String.check(Schema.isPattern(/\S$/))
/** Base64 of UTF-8 has no place for halves of surrogate pairs. */
const wellFormed = (words: string): string => words.toWellFormed()

const Mark = Schema.Boolean
const Input = Schema.Union([Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Int, Schema.Boolean])), Word])
const Call = Schema.Struct({ id: Schema.String, name: Word, input: Input, mark: Mark })
const Said = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("text"), text: Word, mark: Mark }),
  Schema.Struct({ kind: Schema.Literal("image"), url: Mark, mark: Mark }),
  Schema.Struct({ kind: Schema.Literal("pdf"), url: Mark, mark: Mark }),
  Schema.Struct({ kind: Schema.Literal("document"), text: Word, title: Word })
])
const Thought = Schema.Struct({ text: Schema.String, redacted: Schema.Boolean, signature: Word })
const Turn = Schema.Struct({
  results: Schema.Array(Schema.Struct({ id: Schema.String, text: Word, image: Mark, error: Schema.NullOr(Schema.Boolean), mark: Mark })),
  said: Schema.NonEmptyArray(Said),
  thoughts: Schema.Array(Thought),
  answer: Word,
  calls: Schema.Array(Call)
})
const Conversation = Schema.Struct({ system: Schema.Array(Schema.Struct({ text: Word, mark: Mark })), turns: Schema.NonEmptyArray(Turn) })

const cached = (mark: boolean) => (mark ? { cacheControl: { type: "ephemeral" } } : {})
const marked = (signature: string) => /^(gemini|openai):/.test(signature)
/** V8 13.6 (Node 24) reads `{"ab":0,"\r":0}` with a backslash for its second key once it has read an object with such a key there. */
const readable = (input: object) => Object.fromEntries(Object.entries(input).map(([key, value]) => [key.length === 1 ? key.repeat(2) : key, value]))
const argumentsOf = (input: typeof Input.Type): string =>
  typeof input === "object" ? JSON.stringify(readable(input)) : input.trim() === "" || input.trim().startsWith("{") ? "no json" : input

const callPart = ({ id, input, mark, name }: typeof Call.Type): Part => ({ type: "tool_call", id: wellFormed(id), name, arguments: argumentsOf(input), ...cached(mark) })

const thoughtPart = ({ redacted, signature, text }: typeof Thought.Type): Part =>
  redacted
    ? { type: "reasoning", text: "", redacted: signature }
    : { type: "reasoning", text, signature: marked(signature) ? "s" : signature }

const source = (url: boolean, mediaType: string) => url ? { type: "url", url: "https://e.com/a" } as const : { type: "data", mediaType, data: "aGk=" } as const

const saidPart = (said: typeof Said.Type): Part => {
  switch (said.kind) {
    case "text":
      return { ...text(said.text), ...cached(said.mark) }
    case "image":
      return { type: "image", source: source(said.url, "image/png"), ...cached(said.mark) }
    case "pdf":
      return { type: "file", source: source(said.url, "application/pdf"), ...cached(said.mark) }
    case "document":
      return { type: "file", source: { type: "data", mediaType: "text/plain", data: Buffer.from(wellFormed(said.text)).toString("base64") }, filename: said.title }
  }
}

const messagesOf = ({ system, turns }: typeof Conversation.Type): ReadonlyArray<Message> => [
  ...(system.length === 0 ? [] : [{ role: "system" as const, content: system.map(({ mark, text: words }) => ({ ...text(words), ...cached(mark) })) }]),
  ...turns.flatMap(({ answer, calls, results, said, thoughts }): ReadonlyArray<Message> => [
    {
      role: "user",
      content: [
        ...results.map(({ error, id, image, mark, text: words }): Part => ({
          type: "tool_result",
          toolCallId: wellFormed(id),
          content: [text(words), ...(image ? [{ type: "image", source: source(false, "image/png") } as const] : [])],
          ...(error === null ? {} : { isError: error }),
          ...cached(mark)
        })),
        ...said.map(saidPart)
      ]
    },
    { role: "assistant", content: [...thoughts.map(thoughtPart), text(answer), ...calls.map(callPart)] }
  ])
]

const Parameters = Schema.Struct({
  tools: Schema.Array(Schema.Struct({ name: Word, description: Schema.optionalKey(Schema.String.check(Schema.isMinLength(1))), strict: Schema.optionalKey(Schema.Boolean), mark: Mark })),
  choice: Schema.Literals(["auto", "none", "required", "tool"]),
  serial: Schema.Boolean,
  effort: Schema.NullOr(Schema.Literals(["low", "max"])),
  thinking: Schema.NullOr(Schema.Literals(["enabled", "adaptive", "disabled", "unset"])),
  shown: Schema.NullOr(Schema.Boolean),
  schema: Schema.Boolean,
  stop: Schema.Array(Schema.String),
  user: Schema.String
})

const requestOf = (messages: ReadonlyArray<Message>, drawn: typeof Parameters.Type): ChatRequest => {
  const effort = drawn.effort === null ? {} : { effort: drawn.effort }
  const thinking = drawn.thinking
  // A conversation with calls has tools.
  const calls = messages.some(({ content }) => content.some(({ type }) => type === "tool_call"))
  const tools = drawn.tools.length === 0 && calls ? [{ name: "f", mark: false }] : drawn.tools
  return {
    messages,
    maxTokens: 4000,
    stop: drawn.stop,
    user: drawn.user,
    temperature: 0.5,
    topP: 0.5,
    topK: 3,
    ...(tools.length === 0 ? {} : {
      tools: tools.map(({ mark, ...tool }) => ({ ...tool, parameters: { type: "object" }, ...cached(mark) })),
      toolChoice: drawn.choice === "tool" ? { name: "f" } : drawn.choice,
      ...(drawn.serial && drawn.choice !== "none" ? { parallelToolCalls: false } : {})
    }),
    ...(thinking === "enabled"
      ? { reasoning: { ...effort, budgetTokens: 2048 } }
      : thinking === null || (thinking === "unset" && drawn.effort === null)
      ? {}
      : { reasoning: { ...effort, thinking, ...(drawn.shown === null || thinking !== "adaptive" ? {} : { shown: drawn.shown }) } }),
    ...(drawn.schema ? { responseFormat: { type: "json_schema", name: "answer", schema: closedSchema, strict: true } as const } : {})
  }
}

/** What the door makes of it: instructions stand apart, and an answer that was begun goes on. */
const asRaised = (request: ChatRequest): ChatRequest => {
  const { messages } = request
  return {
    ...request,
    ...(messages[0]?.role === "system" ? { unnumbered: 1 } : {}),
    ...(messages.at(-1)?.content.at(-1)?.type === "text" ? { prefill: true } : {})
  }
}

const closedSchema = { type: "object", properties: { a: { type: "string" } }, required: ["a"], additionalProperties: false }


/** What a provider would be sent, as a client's body. */
const lowered = (request: ChatRequest): { readonly [name: string]: unknown } => JSON.parse(JSON.stringify(upstream.request(callOf("m", request), false, undefined).body))

// --- answers

const facts = { requestId: "req_1", created: 0, model: "m" }

const resultOf = (content: ReadonlyArray<Part>, given: Partial<RunResult["completion"]> = {}): RunResult => ({
  id: RequestId.make("req_1"),
  mode: "simple",
  completion: { ...completion(""), content, ...given },
  model: ModelName.make("m"),
  provider: ProviderName.make("p"),
  usage: { ...usageOf(30, 7), cachedTokens: 10, cacheWriteTokens: 5, reasoningTokens: 2 },
  cost: 0n,
  attempts: [],
  degraded: null,
  details: {}
})

// oxlint-disable-next-line typescript/no-explicit-any
const dataOf = ({ data }: WireEvent): any => JSON.parse(data)

/** Checks the order that Anthropic documents: one block open at a time, indices counted up, each frame once. */
const checkOrder = (events: ReadonlyArray<WireEvent>): void => {
  let open: number | undefined
  let next = 0
  for (const [at, wire] of events.entries()) {
    const data = dataOf(wire)
    assert.strictEqual(data.type, wire.event)
    assert.strictEqual(at === 0, wire.event === "message_start")
    assert.strictEqual(at === events.length - 2, wire.event === "message_delta")
    assert.strictEqual(at === events.length - 1, wire.event === "message_stop")
    if (wire.event === "content_block_start") {
      assert.isUndefined(open)
      assert.strictEqual(data.index, next++)
      open = data.index
    } else if (wire.event === "content_block_delta") assert.strictEqual(data.index, open)
    else if (wire.event === "content_block_stop") {
      assert.strictEqual(data.index, open)
      open = undefined
    }
  }
  assert.isUndefined(open)
}

/** Encodes deltas and reads the events as a provider's stream. */
const through = (deltas: ReadonlyArray<Delta>, content: ReadonlyArray<Part>) => {
  const lower = encoder(facts)
  const events = [...deltas.flatMap((delta) => lower.delta(delta)), ...lower.end(resultOf(content))]
  checkOrder(events)
  const reader = upstream.reader(callOf("m"))()
  const read = events.flatMap((wire) => {
    const made = reader.event({ event: wire.event ?? "", data: dataOf(wire) })
    return "fault" in made ? assert.fail(made.message) : made
  })
  const end = read.at(-1)
  return { events, content: end?.type === "end" ? end.completion.content : assert.fail("no end") }
}

const pieces = (words: string, size: number): ReadonlyArray<string> => words.match(new RegExp(`[^]{1,${size}}`, "gu")) ?? [""]

const deltasOf = (content: ReadonlyArray<Part>, size: number): ReadonlyArray<Delta> => {
  let tools = 0
  return content.flatMap((part): ReadonlyArray<Delta> => {
    switch (part.type) {
      case "text":
        return pieces(part.text, size).map(text)
      case "reasoning":
        return part.redacted === undefined
          ? [...pieces(part.text, size).map((words) => ({ type: "reasoning", text: words }) as const), { ...part, text: "" }]
          : [part]
      case "tool_call": {
        const index = tools++
        return [
          { type: "tool_call", index, id: part.id, name: part.name, arguments: "" },
          ...pieces(part.arguments, size).map((json) => ({ type: "tool_call", index, arguments: json }) as const)
        ]
      }
      default:
        return []
    }
  })
}

const Content = Schema.Struct({ thoughts: Schema.Array(Thought), answer: Word, calls: Schema.Array(Call), size: Schema.Literals([1, 3, 1000]) })

const contentOf = ({ answer, calls, thoughts }: typeof Content.Type): ReadonlyArray<Part> => [
  ...thoughts.map(thoughtPart),
  text(answer),
  // Anthropic has no call without an id.
  ...calls.map((call, i) => callPart({ ...call, id: call.id === "" ? `t${i}` : call.id, mark: false }))
]

/** What a client sends back of an answer. */
const echoed = (content: unknown): ReadonlyArray<Part> | undefined => raise(bodyOf([{ role: "assistant", content }])).chat.messages[0]?.content

describe("a conversation", () => {
  it.prop("lowered to Anthropic's request and raised again is the same", [Conversation, Parameters], ([conversation, parameters]) => {
    const request = requestOf(messagesOf(conversation), parameters)
    const { native: _, ...raised } = raise(lowered(request)).chat
    assert.deepStrictEqual(raised, asRaised(request))
  })

  it.prop("raised and lowered for OpenAI loses no word", [Conversation], ([conversation]) => {
    const { chat } = raise(lowered({ messages: messagesOf(conversation), maxTokens: 10 }))
    const sent = JSON.stringify(openAiChat("OpenAI", openAiQuirks).request(callOf("m", chat), false, undefined).body)
    for (const { answer, results } of conversation.turns) {
      for (const words of [answer, ...results.map(({ text }) => text)]) assert.include(sent, JSON.stringify(words).slice(1, -1))
    }
  })

  it.prop("takes an answer back as it was given, whole or streamed", [Content], ([drawn]) => {
    const content = contentOf(drawn)
    const given = answer(resultOf(content), facts)
    assert.deepStrictEqual(echoed(given["content"]), content)
    const read = upstream.answerIn(callOf("m"), given)
    assert.deepStrictEqual("fault" in read ? read.message : read.content.map((part) => part.type), content.map((part) => part.type))
    const streamed = through(deltasOf(content, drawn.size), content)
    assert.deepStrictEqual(streamed.content.map((part) => ("id" in part ? { ...part, id: "" } : part)), content.map((part) => ("id" in part ? { ...part, id: "" } : part)))
  })

  it("keeps arguments that are no JSON, and ids that Anthropic would refuse", () => {
    const content: ReadonlyArray<Part> = [{ type: "tool_call", id: "functions.f:0", name: "f", arguments: "{\"a\": 1" }]
    const { content: blocks } = answer(resultOf(content), facts)
    assert.deepNestedPropertyVal({ blocks }, "blocks[0].input", { INVALID_JSON: "{\"a\": 1" })
    assert.match(Array.isArray(blocks) ? blocks[0].id : "", /^[\w-]+$/)
    assert.deepStrictEqual(echoed(blocks), content)
  })
})

describe("an answer", () => {
  it("counts what a cache gave and took apart", () => {
    const given = answer(resultOf([text("Hello")]), facts)
    assert.deepInclude(given, { id: "msg_1", type: "message", role: "assistant", model: "m", stop_reason: "end_turn", stop_sequence: null })
    assert.deepInclude(given["usage"], {
      input_tokens: 15,
      cache_read_input_tokens: 10,
      cache_creation_input_tokens: 5,
      output_tokens: 7,
      output_tokens_details: { thinking_tokens: 2 }
    })
  })

  const reasons = [
    [{ finishReason: "stop" }, "end_turn"],
    [{ finishReason: "stop", stopSequence: "END" }, "stop_sequence"],
    [{ finishReason: "length" }, "max_tokens"],
    [{ finishReason: "tool_calls" }, "tool_use"],
    [{ finishReason: "refusal" }, "refusal"],
    [{ finishReason: "content_filter" }, "refusal"],
    [{ finishReason: "other" }, "end_turn"]
  ] as const
  for (const [given, stop_reason] of reasons) {
    it(`that ended by ${JSON.stringify(given)} says ${stop_reason}`, () => {
      const made = answer(resultOf([text("Hi")], given), facts)
      assert.deepInclude(made, { stop_reason, stop_sequence: "stopSequence" in given ? given.stopSequence : null })
    })
  }
})

describe("a stream", () => {
  it("opens blocks one after the other, though the parts come mixed", () => {
    const call = (index: number, json: string, named = false): Delta => ({ type: "tool_call", index, arguments: json, ...(named ? { id: `t${index}`, name: `f${index}` } : {}) })
    const { content, events } = through([
      { type: "reasoning", text: "hm" },
      { type: "reasoning", text: "", signature: "s" },
      text(""),
      text("Hel"),
      text("lo"),
      call(0, "", true),
      call(1, "{\"b\"", true),
      call(0, "{\"a\":"),
      call(1, ":2}"),
      call(0, "1}"),
      call(2, "{}", true)
    ], [text("")])
    assert.deepStrictEqual(content, [
      { type: "reasoning", text: "hm", signature: "s" },
      text("Hello"),
      { type: "tool_call", id: "t0", name: "f0", arguments: "{\"a\":1}" },
      { type: "tool_call", id: "t1", name: "f1", arguments: "{\"b\":2}" },
      { type: "tool_call", id: "t2", name: "f2", arguments: "{}" }
    ])
    assert.deepStrictEqual(events.map(({ event }) => event).filter((name) => name === "message_stop"), ["message_stop"])
  })

  it("closes a tool's block as soon as the next begins, and sends arguments that came whole as a delta", () => {
    const lower = encoder(facts)
    const first = lower.delta({ type: "tool_call", index: 0, id: "t0", name: "f", arguments: "{\"a\":1}" })
    assert.deepStrictEqual(first.map(({ event }) => event), ["message_start", "content_block_start", "content_block_delta"])
    assert.deepStrictEqual(dataOf(first[2] ?? assert.fail()).delta, { type: "input_json_delta", partial_json: "{\"a\":1}" })
    const second = lower.delta({ type: "tool_call", index: 1, id: "t1", name: "g", arguments: "" })
    assert.deepStrictEqual(second.map(({ event }) => event), ["content_block_stop", "content_block_start"])
  })

  it("sends nothing before content", () => {
    const lower = encoder(facts)
    assert.deepStrictEqual([...lower.delta(text("")), ...lower.delta({ type: "reasoning", text: "" })], [])
  })

  it("is a whole message without any content too", () => {
    const events = encoder(facts).end(resultOf([]))
    checkOrder(events)
    assert.deepStrictEqual(events.map(({ event }) => event), ["message_start", "message_delta", "message_stop"])
  })

  it("tells the estimated prompt at its beginning and the counted one at its end", () => {
    const lower = encoder({ ...facts, promptTokens: 12 })
    const [start] = lower.delta(text("Hi"))
    assert.strictEqual(dataOf(start ?? assert.fail()).message.usage.input_tokens, 12)
    const [, last] = lower.end(resultOf([text("Hi")]))
    assert.deepInclude(dataOf(last ?? assert.fail()).usage, { input_tokens: 15, output_tokens: 7 })
  })

  it("shows steps as thoughts, apart from the answer's own", () => {
    const lower = encoder(facts)
    const step = (name: string, words: string) => lower.step({ type: "step.delta", step: name, delta: text(words), final: false })
    const events = [
      ...step("plan", "Dra"),
      ...step("plan", "ft"),
      ...step("critique", "Bad"),
      ...lower.delta({ type: "reasoning", text: "own" }),
      ...lower.delta(text("Hi")),
      ...lower.end(resultOf([text("Hi")]))
    ]
    checkOrder(events)
    const thoughts = events.map(dataOf).flatMap(({ delta, index }) => (delta?.thinking === undefined ? [] : [[index, delta.thinking]]))
    assert.deepStrictEqual(thoughts, [[0, "[plan]\nDra"], [0, "ft"], [0, "\n\n[critique]\nBad"], [1, "own"]])
  })

  it("that fails ends in an error event", () => {
    const lower = encoder(facts)
    lower.delta(text("Hi"))
    const [event, ...more] = lower.fail({ status: 502, type: "upstream_error", code: "upstream_reset", retryable: true, message: "gone" })
    assert.deepStrictEqual(more, [])
    assert.strictEqual(event?.event, "error")
    assert.deepStrictEqual(dataOf(event ?? assert.fail()), {
      type: "error",
      error: { type: "api_error", message: "gone", code: "upstream_reset", param: null, retryable: true },
      request_id: "req_1"
    })
  })

  const frames = [
    ["message_start", "{}", false],
    ["ping", "{}", false],
    ["content_block_start", "{\"content_block\":{\"type\": \"text\",\"text\":\"\"}}", false],
    ["content_block_start", "{\"content_block\":{\"type\":\"tool_use\"}}", true],
    ["content_block_delta", "{}", true],
    ["message_delta", "{}", true],
    ["message_stop", "{}", true],
    [undefined, "{\"type\":\"message_start\"}", false],
    [undefined, "{\"type\": \"content_block_start\",\"content_block\":{\"type\":\"text\"}}", false],
    [undefined, "{\"type\":\"content_block_delta\"}", true]
  ] as const
  for (const [event, data, content] of frames) {
    it(`of the provider's has ${content ? "" : "no "}content in ${event} ${data}`, () => {
      assert.strictEqual(hasContent({ type: "frame", protocol: "anthropic-messages", data, deltas: [], ...(event === undefined ? {} : { event }) }), content)
    })
  }
})

describe("an error", () => {
  const types = [
    [400, "invalid_request_error", "invalid_request_error"],
    [401, "authentication_error", "authentication_error"],
    [402, "budget_error", "billing_error"],
    [403, "permission_error", "permission_error"],
    [404, "not_found_error", "not_found_error"],
    [409, "conflict_error", "conflict_error"],
    [413, "invalid_request_error", "request_too_large"],
    [422, "invalid_request_error", "invalid_request_error"],
    [429, "rate_limit_error", "rate_limit_error"],
    [500, "internal_error", "api_error"],
    [502, "upstream_error", "api_error"],
    [503, "overloaded_error", "overloaded_error"],
    [503, "vault_error", "api_error"],
    [504, "upstream_error", "timeout_error"]
  ] as const
  for (const [status, type, anthropic] of types) {
    it(`of status ${status} and type ${type} is Anthropic's ${anthropic}`, () => {
      assert.deepInclude(errorBody({ status, type, code: "c", retryable: false, message: "m" }, "req_1"), {
        error: { type: anthropic, message: "m", code: "c", param: null, retryable: false },
        request_id: "req_1"
      })
    })
  }
})

describe("usage of nothing", () => {
  it("is zero", () => assert.deepInclude(answer({ ...resultOf([]), usage: zero }, facts)["usage"], { input_tokens: 0, output_tokens: 0 }))
})
