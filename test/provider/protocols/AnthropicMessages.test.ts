import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { ChatRequest, Message } from "../../../src/domain/Chat.ts"
import { text, textOf } from "../../../src/domain/Chat.ts"
import { ask } from "../../support/Doubles.ts"
import { afterTools, asJson, png, schema, weather, withImages, withTools } from "../Conversation.ts"
import { callOf, collect, Fake, fakeAdapter, key, layer as harness, run } from "../Harness.ts"

layer(harness, { excludeTestServices: true })("Anthropic's messages", (it) => {
  const model = "claude-sonnet-4-5"
  const start = Effect.gen(function*() {
    const fake = yield* Fake
    fake.reset()
    const lastBody = () => fake.calls.at(-1)?.body
    return { fake, adapter: yield* fakeAdapter("anthropic"), lastBody }
  })

  it.effect("a plain answer comes with its text, model, id and usage, cached tokens counted as prompt", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      fake.script(model, { text: "Hello there", usage: { prompt: 20, completion: 7, cached: 5, cacheWrite: 3 } })
      const completion = yield* adapter.complete(callOf(model))
      assert.deepInclude(completion, { content: [text("Hello there")], finishReason: "stop", upstreamModel: model })
      assert.deepInclude(completion.usage, { promptTokens: 20, cachedTokens: 5, cacheWriteTokens: 3, completionTokens: 7, estimated: false })
      assert.match(completion.upstreamId ?? "", /^msg_/)
    }).pipe(Effect.scoped))

  it.effect("a stream's deltas are the plain answer's, thoughts come with their signature", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const parts = [{ type: "reasoning", text: "Let me think about it", signature: "c2ln" }, { type: "text", text: "Hello there, how are you?" }] as const
      fake.script(model, { parts, usage: { prompt: 20, completion: 17 } }, { parts, usage: { prompt: 20, completion: 17 } })
      const { completion, deltas } = yield* collect(adapter, callOf(model))
      assert.isAbove(deltas.length, 3)
      assert.deepStrictEqual(completion.content, parts)
      assert.deepStrictEqual(completion.content, (yield* adapter.complete(callOf(model))).content)
      assert.deepInclude(completion.usage, { promptTokens: 20, completionTokens: 17, estimated: false })
    }).pipe(Effect.scoped))

  it.effect("an answer that does not say why it ended is a malformed one", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const body = { id: "msg_1", type: "message", role: "assistant", model, content: [{ type: "text", text: "Hello" }], usage: { input_tokens: 5, output_tokens: 3 } }
      fake.script(model, { raw: { headers: { "content-type": "application/json" }, body: JSON.stringify(body) } })
      assert.strictEqual((yield* Effect.flip(adapter.complete(callOf(model)))).fault, "malformed_response")
    }).pipe(Effect.scoped))

  it.effect("every parameter goes out under Anthropic's name, the key in its own header", () =>
    Effect.gen(function*() {
      const { adapter, fake, lastBody } = yield* start
      yield* adapter.complete(callOf(model, {
        messages: [
          { role: "system", content: [{ ...text("Be brief."), cacheControl: { type: "ephemeral" } }] },
          { role: "developer", content: [text("Be kind.")] },
          { role: "user", content: [text("Hi")] },
          { role: "user", content: [text("there")] }
        ],
        maxTokens: 5000,
        topP: 0.95,
        stop: ["END"],
        n: 1,
        frequencyPenalty: 0,
        tools: [{ ...weather, strict: true }, { name: "bare" }],
        toolChoice: "auto",
        parallelToolCalls: false,
        reasoning: { budgetTokens: 2048 },
        user: "u1",
        extra: { protocol: "anthropic-messages", fields: { service_tier: "auto", container: null } }
      }))
      assert.deepStrictEqual(lastBody(), {
        service_tier: "auto",
        model,
        max_tokens: 5000,
        system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }, { type: "text", text: "Be kind." }],
        messages: [{ role: "user", content: [{ type: "text", text: "Hi" }, { type: "text", text: "there" }] }],
        top_p: 0.95,
        stop_sequences: ["END"],
        tools: [
          { name: "weather", description: weather.description, input_schema: weather.parameters, strict: true },
          { name: "bare", input_schema: { type: "object", properties: {} } }
        ],
        tool_choice: { type: "auto", disable_parallel_tool_use: true },
        thinking: { type: "enabled", budget_tokens: 2048 },
        metadata: { user_id: "u1" }
      })
      assert.deepInclude(fake.calls.at(-1)?.headers, { "x-api-key": key, "anthropic-version": "2023-06-01" })
      assert.notProperty(fake.calls.at(-1)?.headers, "authorization")
    }).pipe(Effect.scoped))

  it.effect("max_tokens, which must be there, is the room that routing left where the request names none", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, "Hi", { maxOutputTokens: 321 }))
      assert.deepInclude(lastBody(), { max_tokens: 321 })
      yield* adapter.complete(callOf(model, { ...ask("Hi"), reasoning: { effort: "high" } }, { maxOutputTokens: 3000 }))
      assert.deepInclude(lastBody(), { max_tokens: 3000, thinking: { type: "enabled", budget_tokens: 2250 } })
      yield* adapter.complete(callOf(model, { ...ask("Hi"), reasoning: { effort: "high" } }, { maxOutputTokens: 1100 }))
      assert.deepInclude(lastBody(), { thinking: { type: "enabled", budget_tokens: 1024 } })
      yield* adapter.complete(callOf(model, { ...ask("Hi"), reasoning: { effort: "high" } }, { maxOutputTokens: 1024 }))
      assert.notProperty(lastBody(), "thinking")
    }).pipe(Effect.scoped))

  for (const stream of [false, true]) {
    it.effect(`parallel tool calls come in order, one without arguments as {} (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter } = yield* start
        const asked = "use tool weather {\"city\":\"Oslo\"} and use tool clock"
        const { content, finishReason } = yield* run(adapter, callOf(model, withTools(asked)), stream)
        assert.strictEqual(finishReason, "tool_calls")
        const calls = content.filter((part) => part.type === "tool_call")
        assert.deepStrictEqual(calls.map((call) => [call.name, JSON.parse(call.arguments)]), [["weather", { city: "Oslo" }], ["clock", {}]])
        assert.isTrue(calls.every(({ id }) => id.startsWith("toolu_")))
      }).pipe(Effect.scoped))

    it.effect(`a schema's answer is JSON (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, lastBody } = yield* start
        const { content } = yield* run(adapter, callOf(model, asJson("Oslo")), stream)
        assert.deepStrictEqual(JSON.parse(textOf(content)), { city: "Oslo" })
        assert.deepInclude(lastBody(), { output_config: { format: { type: "json_schema", schema } } })
      }).pipe(Effect.scoped))
  }

  it.effect("tool calls and results go back as blocks, all results in one message", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const { content } = yield* adapter.complete(callOf(model, afterTools))
      assert.include(textOf(content), "got from the tool")
      assert.deepInclude(lastBody(), {
        system: "Be brief.",
        messages: [
          { role: "user", content: "Weather and time in Oslo?" },
          {
            role: "assistant",
            content: [
              { type: "text", text: "Let me look." },
              { type: "tool_use", id: "call_1", name: "weather", input: { city: "Oslo" } },
              { type: "tool_use", id: "call_2", name: "clock", input: { city: "Oslo" } }
            ]
          },
          {
            role: "user",
            content: [
              { type: "tool_result", tool_use_id: "call_1", content: [{ type: "text", text: "{\"sky\":\"clear\"}" }] },
              { type: "tool_result", tool_use_id: "call_2", content: [{ type: "text", text: "no such city" }], is_error: true }
            ]
          }
        ]
      })
    }).pipe(Effect.scoped))

  it.effect("thinking is asked for as the model's generation wants it", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const rows = [
        ["claude-haiku-4-5", "high", { type: "enabled", budget_tokens: 22_500 }, undefined],
        ["claude-haiku-4-5", "none", undefined, undefined],
        ["claude-opus-4-6", "xhigh", { type: "adaptive" }, { effort: "high" }],
        ["claude-opus-4-7", "xhigh", { type: "adaptive", display: "summarized" }, { effort: "xhigh" }],
        ["claude-opus-5", "minimal", { type: "adaptive", display: "summarized" }, { effort: "low" }],
        ["claude-opus-5", "none", { type: "disabled" }, undefined],
        ["claude-sonnet-5-5", "none", { type: "between_tools" }, undefined],
        ["claude-opus-5-5", "none", undefined, { effort: "low" }]
      ] as const
      for (const [model, effort, thinking, output_config] of rows) {
        yield* adapter.complete(callOf(model, { ...ask("Hi"), maxTokens: 30_000, reasoning: { effort } }))
        assert.deepStrictEqual([Object(lastBody()).thinking, Object(lastBody()).output_config], [thinking, output_config], `${model}, ${effort}`)
      }
      const asked = (model: string, reasoning: NonNullable<ChatRequest["reasoning"]>) => adapter.complete(callOf(model, { ...ask("Hi"), maxTokens: 30_000, reasoning }))
      yield* asked("claude-opus-5", { budgetTokens: 9000 })
      assert.deepInclude(lastBody(), { thinking: { type: "adaptive", display: "summarized" }, output_config: { effort: "medium" } })
      yield* asked("claude-opus-5", { thinking: "adaptive", shown: false, effort: "high" })
      assert.deepInclude(lastBody(), { thinking: { type: "adaptive", display: "omitted" }, output_config: { effort: "high" } })
      yield* asked("claude-opus-5", { shown: true })
      assert.deepInclude(lastBody(), { thinking: { type: "adaptive", display: "summarized" } })
      yield* asked("claude-haiku-4-5", { thinking: "adaptive", effort: "low" })
      assert.deepInclude(lastBody(), { thinking: { type: "enabled", budget_tokens: 2048 } })
    }).pipe(Effect.scoped))

  it.effect("instructions in the middle stay there where the model takes them, and go to the top elsewhere", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const say = (role: Message["role"], words: string): Message => ({ role, content: [text(words)] })
      const messages = [
        say("system", "One"),
        say("user", "a"),
        say("system", "Two"),
        say("developer", "Three"),
        say("assistant", "b"),
        say("system", "Four"),
        say("user", "c"),
        say("system", "Five")
      ]
      yield* adapter.complete(callOf("claude-opus-5", { messages }))
      assert.deepInclude(lastBody(), {
        system: "One",
        messages: [
          { role: "user", content: "a" },
          { role: "system", content: [{ type: "text", text: "Two" }, { type: "text", text: "Three" }] },
          { role: "assistant", content: "b" },
          { role: "user", content: "c" },
          { role: "system", content: [{ type: "text", text: "Four" }, { type: "text", text: "Five" }] }
        ]
      })
      yield* adapter.complete(callOf(model, { messages }))
      assert.deepInclude(lastBody(), {
        system: ["One", "Two", "Three", "Four", "Five"].map(text),
        messages: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }, { role: "user", content: "c" }]
      })
    }).pipe(Effect.scoped))

  it.effect("instructions alone are the question", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, { messages: [{ role: "system", content: [text("Tell a joke")] }] }))
      assert.deepStrictEqual(lastBody(), { model, max_tokens: 1024, messages: [{ role: "user", content: "Tell a joke" }] })
    }).pipe(Effect.scoped))

  it.effect("blank texts are left out, and the beginning of an answer ends in no blank", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, {
        messages: [
          { role: "user", content: [text(""), text("Hi"), text(" \n")] },
          { role: "assistant", content: [text("\n")] },
          { role: "user", content: [text("there")] },
          { role: "assistant", content: [text("Well, ")] }
        ]
      }))
      assert.deepNestedPropertyVal(lastBody(), "messages", [
        { role: "user", content: [{ type: "text", text: "Hi" }, { type: "text", text: "there" }] },
        { role: "assistant", content: "Well," }
      ])
    }).pipe(Effect.scoped))

  it.effect("a conversation with calls names their tools, also where none may be called any more", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const { tools: _, ...rest } = afterTools
      yield* adapter.complete(callOf(model, rest))
      assert.deepInclude(lastBody(), {
        tools: ["weather", "clock"].map((name) => ({ name, input_schema: { type: "object", properties: {} } })),
        tool_choice: { type: "none" }
      })
    }).pipe(Effect.scoped))

  it.effect("a schema is closed, an input an object, and OpenAI's marks are Anthropic's latest four", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const parts = Array.from({ length: 6 }, (_, i) => ({ ...text(String(i)), cacheControl: { mode: "explicit", ttl: i === 5 ? "12h" : "30m" } }))
      yield* adapter.complete(callOf(model, {
        messages: [{ role: "user", content: parts }],
        tools: [{ name: "f", parameters: {} }],
        responseFormat: { type: "json_schema", name: "s", schema: { type: "object", properties: { a: { type: "object" } } }, strict: false }
      }))
      assert.deepNestedPropertyVal(lastBody(), "output_config.format.schema", {
        type: "object",
        properties: { a: { type: "object", additionalProperties: false } },
        additionalProperties: false
      })
      assert.deepNestedPropertyVal(lastBody(), "tools[0].input_schema", { type: "object" })
      const { messages: [{ content }] } = Object(lastBody())
      assert.deepStrictEqual(content.map(({ cache_control: mark }: { cache_control?: { ttl?: string } }) => mark && (mark.ttl ?? "5m")), [
        undefined,
        undefined,
        "5m",
        "5m",
        "5m",
        "1h"
      ])
    }).pipe(Effect.scoped))

  it.effect("what a model of its own refuses is left out where the client wants it so, and its refusal names the field elsewhere", () =>
    Effect.gen(function*() {
      const { adapter, fake, lastBody } = yield* start
      const sampled = { ...ask("Hi"), temperature: 0.2, topP: 0.5, topK: 5 }
      yield* adapter.complete(callOf("claude-opus-5", { ...sampled, dropUnsupported: true }))
      assert.deepStrictEqual(lastBody(), { model: "claude-opus-5", max_tokens: 1024, messages: [{ role: "user", content: "Hi" }] })
      yield* adapter.complete(callOf("claude-opus-4-5", { ...sampled, dropUnsupported: true }))
      assert.deepInclude(lastBody(), { temperature: 0.2, top_k: 5 })
      assert.notProperty(lastBody(), "top_p")
      yield* adapter.complete(callOf("claude-opus-4-6", { ...sampled, maxTokens: 9000, reasoning: { effort: "low" }, dropUnsupported: true }))
      assert.notProperty(lastBody(), "temperature")
      assert.deepNestedPropertyVal(lastBody(), "thinking", { type: "adaptive" })
      const forced = withTools("Hi", { toolChoice: "required", reasoning: { effort: "low" }, maxTokens: 9000, dropUnsupported: true })
      yield* adapter.complete(callOf("claude-opus-4-6", forced))
      assert.deepNestedPropertyVal(lastBody(), "tool_choice", { type: "any" })
      assert.notProperty(lastBody(), "thinking")
      yield* adapter.complete(callOf("claude-opus-5-5", forced))
      assert.notProperty(lastBody(), "tool_choice")
      const calls = fake.calls.length
      const refused = yield* Effect.flip(adapter.complete(callOf("claude-opus-5", sampled)))
      assert.deepInclude({ ...refused }, { fault: "invalid_request", param: "temperature", status: 400 })
      assert.strictEqual(fake.calls.length, calls + 1)
    }).pipe(Effect.scoped))

  it.effect("a field that Anthropic complains of has the name that other protocols have for it", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const rows = [
        ["stop_sequences: too many", "stop"],
        ["messages.3.content.0.image.source: bad", "messages"],
        ["system: text content blocks must be non-empty", "messages"],
        ["tools.2.custom.name: String should match pattern", "tools[2]"],
        ["tool_choice.name: unknown", "tool_choice"],
        ["thinking.enabled.budget_tokens: too small", "reasoning_effort"],
        ["output_config.format.schema: no", "response_format"],
        ["metadata.user_id: too long", "user"],
        ["`temperature` and `top_p` cannot both be specified", "temperature"],
        ["\"thinking.type.enabled\" is not supported for this model.", "reasoning_effort"],
        ["Something is wrong", undefined]
      ] as const
      for (const [message, param] of rows) {
        fake.script(model, { error: { kind: "invalid_request", message } })
        assert.strictEqual((yield* Effect.flip(adapter.complete(callOf(model)))).param, param, message)
      }
    }).pipe(Effect.scoped))

  it.effect("thoughts go back to the vendor that signed them, and to no other", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, {
        messages: [
          { role: "user", content: [text("Hi")] },
          {
            role: "assistant",
            content: [
              { type: "reasoning", text: "hm", signature: "c2ln" },
              { type: "reasoning", text: "", redacted: "ZW5j" },
              { type: "reasoning", text: "unsigned" },
              { type: "reasoning", text: "Google's", signature: "gemini:c2ln" },
              text("Hello")
            ]
          },
          { role: "user", content: [text("And?")] }
        ]
      }))
      assert.deepNestedPropertyVal(lastBody(), "messages[1].content", [
        { type: "thinking", thinking: "hm", signature: "c2ln" },
        { type: "redacted_thinking", data: "ZW5j" },
        { type: "text", text: "Hello" }
      ])
    }).pipe(Effect.scoped))

  it.effect("images and documents go out as blocks", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, withImages))
      assert.deepNestedPropertyVal(lastBody(), "messages[0].content", [
        { type: "text", text: "What is this?" },
        { type: "image", source: { type: "base64", media_type: "image/png", data: png } },
        { type: "image", source: { type: "url", url: "https://example.com/a.png" } }
      ])
      const file = (mediaType: string, data: string) => ({ type: "file", source: { type: "data", mediaType, data }, filename: "a" }) as const
      yield* adapter.complete(callOf(model, {
        messages: [{
          role: "user",
          content: [file("application/pdf", "JVBE"), file("text/markdown", "SGk="), { type: "file", source: { type: "url", url: "https://example.com/a.pdf" } }]
        }]
      }))
      assert.deepNestedPropertyVal(lastBody(), "messages[0].content", [
        { type: "document", source: { type: "base64", media_type: "application/pdf", data: "JVBE" }, title: "a" },
        { type: "document", source: { type: "text", media_type: "text/plain", data: "Hi" }, title: "a" },
        { type: "document", source: { type: "url", url: "https://example.com/a.pdf" } }
      ])
    }).pipe(Effect.scoped))

  it.effect("what Anthropic can't do is refused by name before anything is sent", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const asked = [
        ["seed", { seed: 1 }],
        ["n", { n: 2 }],
        ["logprobs", { logprobs: true }],
        ["frequency_penalty", { frequencyPenalty: 1 }],
        ["response_format", { responseFormat: { type: "json_object" } }],
        ["temperature", { temperature: 1.5 }],
        ["stop", { stop: ["END", "\n"] }],
        ["messages[0].name", { messages: [{ role: "user", name: "ann", content: [text("Hi")] }] }],
        ["messages[0].content[1]", { messages: [{ role: "user", content: [text("Hi"), { type: "audio", data: "", format: "wav" }] }] }]
      ] as const
      for (const [param, fields] of asked) {
        const error = yield* Effect.flip(adapter.complete(callOf(model, { ...ask("Hi"), ...fields })))
        assert.deepInclude({ ...error }, { fault: "unsupported", param, sent: false })
      }
      assert.strictEqual(fake.calls.length, 0)
    }).pipe(Effect.scoped))

  it.effect("what Anthropic can't do is left out where the client wants it so", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, {
        messages: [{ role: "user", name: "ann", content: [text("Hi"), { type: "audio", data: "", format: "wav" }] }],
        seed: 1,
        n: 2,
        logprobs: true,
        topLogprobs: 3,
        topK: 5,
        dropUnsupported: true
      }))
      assert.deepStrictEqual(lastBody(), { model, max_tokens: 1024, messages: [{ role: "user", content: "Hi" }], top_k: 5 })
    }).pipe(Effect.scoped))

  it.effect("models are listed over all pages", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const page = (body: unknown) => ({ raw: { body: JSON.stringify(body), headers: { "content-type": "application/json" } } })
      fake.script({ operation: "models" }, page({ data: [{ id: "a" }], has_more: true, last_id: "a" }), page({ data: [{ id: "b" }], has_more: false, last_id: "b" }))
      assert.deepStrictEqual(yield* adapter.models(callOf(model).apiKey), ["a", "b"])
      assert.strictEqual(fake.calls.at(-1)?.query.get("after_id"), "a")
    }).pipe(Effect.scoped))

  it.effect("a base URL with the version is not doubled", () =>
    Effect.gen(function*() {
      const { fake } = yield* start
      const adapter = yield* fakeAdapter("anthropic", { baseUrl: `${fake.url("anthropic")}/v1` })
      assert.notStrictEqual(textOf((yield* adapter.complete(callOf(model))).content), "")
    }).pipe(Effect.scoped))
})
