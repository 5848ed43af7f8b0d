import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
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
        topP: 0.9,
        topK: 5,
        stop: ["END"],
        n: 1,
        frequencyPenalty: 0,
        tools: [{ ...weather, strict: true }, { name: "bare" }],
        toolChoice: "required",
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
        top_p: 0.9,
        top_k: 5,
        stop_sequences: ["END"],
        tools: [
          { name: "weather", description: weather.description, input_schema: weather.parameters, strict: true },
          { name: "bare", input_schema: { type: "object", properties: {} } }
        ],
        tool_choice: { type: "any", disable_parallel_tool_use: true },
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
      assert.deepInclude(lastBody(), { max_tokens: 3000, thinking: { type: "enabled", budget_tokens: 2999 } })
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
