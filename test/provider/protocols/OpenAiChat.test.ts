import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { ChatRequest } from "../../../src/domain/Chat.ts"
import { text, textOf } from "../../../src/domain/Chat.ts"
import { ask } from "../../support/Doubles.ts"
import { afterTools, asJson, clock, png, schema, weather, withImages, withTools } from "../Conversation.ts"
import { adapterFor, callOf, collect, Fake, fakeAdapter, key, layer as harness, run } from "../Harness.ts"

layer(harness, { excludeTestServices: true })("OpenAI's chat completions", (it) => {
  const model = "gpt-4o"
  const start = Effect.gen(function*() {
    const fake = yield* Fake
    fake.reset()
    const lastBody = () => fake.calls.at(-1)?.body
    return { fake, adapter: yield* fakeAdapter("openai"), lastBody }
  })

  it.effect("a plain answer comes with its text, model, id and usage", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      fake.script(model, { text: "Hello there", usage: { prompt: 20, completion: 7, cached: 5, reasoning: 2 } })
      const completion = yield* adapter.complete(callOf(model))
      assert.deepInclude(completion, { content: [text("Hello there")], finishReason: "stop", upstreamModel: model })
      assert.deepStrictEqual(completion.usage, {
        promptTokens: 20,
        cachedTokens: 5,
        cacheWriteTokens: 0,
        completionTokens: 7,
        reasoningTokens: 2,
        estimated: false
      })
      assert.match(completion.upstreamId ?? "", /^chatcmpl-/)
    }).pipe(Effect.scoped))

  it.effect("a stream's deltas are the plain answer's text, and usage is asked for", () =>
    Effect.gen(function*() {
      const { adapter, fake, lastBody } = yield* start
      fake.script(model, { text: "Hello there, how are you today?", reasoning: "hm", usage: { prompt: 20, completion: 7 } })
      const { completion, deltas } = yield* collect(adapter, callOf(model))
      assert.strictEqual(deltas.map((delta) => (delta.type === "text" ? delta.text : "")).join(""), "Hello there, how are you today?")
      assert.isAbove(deltas.length, 2)
      assert.deepStrictEqual(completion.content, [{ type: "reasoning", text: "hm" }, text("Hello there, how are you today?")])
      assert.deepInclude(completion.usage, { promptTokens: 20, completionTokens: 7, estimated: false })
      assert.deepInclude(lastBody(), { stream: true, stream_options: { include_usage: true } })
    }).pipe(Effect.scoped))

  it.effect("only listed headers and fields go out: no null, nothing that was not asked for", () =>
    Effect.gen(function*() {
      const { adapter, fake, lastBody } = yield* start
      yield* adapter.complete(callOf(model))
      assert.deepStrictEqual(lastBody(), { model, messages: [{ role: "user", content: "Say hello" }] })
      const { authorization, ...headers } = fake.calls.at(-1)?.headers ?? {}
      assert.strictEqual(authorization, `Bearer ${key}`)
      assert.deepStrictEqual(Object.keys(headers).toSorted(), [
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent"
      ])
      assert.strictEqual(headers["accept-encoding"], "identity")
    }).pipe(Effect.scoped))

  it.effect("every parameter goes out under OpenAI's name", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf("gpt-next", {
        messages: [{ role: "developer", content: [text("Be brief.")] }, { role: "user", content: [text("Hi")], name: "ann" }],
        maxTokens: 50,
        temperature: 0.5,
        topP: 0.9,
        stop: ["END"],
        seed: 7,
        frequencyPenalty: 0.1,
        presencePenalty: 0.2,
        logprobs: true,
        topLogprobs: 2,
        n: 2,
        tools: [{ ...weather, strict: true }],
        toolChoice: { name: "weather" },
        parallelToolCalls: false,
        reasoning: { effort: "high" },
        user: "u1",
        extra: { protocol: "openai-chat", fields: { service_tier: "flex", store: null, model: "evil" } }
      }))
      assert.deepStrictEqual(lastBody(), {
        model: "gpt-next",
        messages: [{ role: "developer", content: "Be brief." }, { role: "user", content: "Hi", name: "ann" }],
        max_completion_tokens: 50,
        temperature: 0.5,
        top_p: 0.9,
        stop: ["END"],
        seed: 7,
        frequency_penalty: 0.1,
        presence_penalty: 0.2,
        logprobs: true,
        top_logprobs: 2,
        n: 2,
        tools: [{ type: "function", function: { ...weather, strict: true } }],
        tool_choice: { type: "function", function: { name: "weather" } },
        parallel_tool_calls: false,
        reasoning_effort: "high",
        user: "u1",
        service_tier: "flex"
      })
    }).pipe(Effect.scoped))

  it.effect("fields of another protocol stay at home", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, { ...ask("Hi"), extra: { protocol: "anthropic-messages", fields: { container: "c" } } }))
      assert.notProperty(lastBody(), "container")
    }).pipe(Effect.scoped))

  for (const stream of [false, true]) {
    it.effect(`parallel tool calls come in order with ids and JSON text (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter } = yield* start
        const asked = "use tool weather {\"city\":\"Oslo\"} and use tool clock {\"city\":\"Rome\"}"
        const { content, finishReason } = yield* run(adapter, callOf(model, withTools(asked)), stream)
        assert.strictEqual(finishReason, "tool_calls")
        const calls = content.filter((part) => part.type === "tool_call")
        assert.deepStrictEqual(calls.map(({ name }) => name), ["weather", "clock"])
        assert.deepStrictEqual(calls.map((call) => JSON.parse(call.arguments)), [{ city: "Oslo" }, { city: "Rome" }])
        assert.strictEqual(new Set(calls.map(({ id }) => id)).size, 2)
      }).pipe(Effect.scoped))

    it.effect(`a schema's answer is JSON (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, lastBody } = yield* start
        const { content } = yield* run(adapter, callOf(model, asJson("Oslo")), stream)
        assert.deepStrictEqual(JSON.parse(textOf(content)), { city: "Oslo" })
        assert.deepNestedInclude(lastBody(), { response_format: { type: "json_schema", json_schema: { name: "city", schema, strict: true } } })
      }).pipe(Effect.scoped))

    it.effect(`several answers, log probabilities and a refusal are kept (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, fake } = yield* start
        const two = yield* run(adapter, callOf(model, { ...ask("Hi"), n: 2, logprobs: true, topLogprobs: 1 }), stream)
        assert.strictEqual(two.alternatives?.length, 1)
        assert.deepStrictEqual(two.alternatives?.[0]?.content, two.content)
        const { content }: { content?: ReadonlyArray<{ token: string }> } = Object(two.logprobs)
        assert.strictEqual(content?.map(({ token }) => token).join(""), textOf(two.content))
        fake.script(model, { refusal: "I can't help with that" })
        const refused = yield* run(adapter, callOf(model), stream)
        assert.deepInclude(refused, { content: [{ type: "refusal", text: "I can't help with that" }], finishReason: "refusal" })
      }).pipe(Effect.scoped))
  }

  it.effect("tool calls and results go back as OpenAI's messages", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const { content } = yield* adapter.complete(callOf(model, afterTools))
      assert.include(textOf(content), "got from the tool")
      assert.deepNestedInclude(lastBody(), {
        messages: [
          { role: "system", content: "Be brief." },
          { role: "user", content: "Weather and time in Oslo?" },
          {
            role: "assistant",
            content: "Let me look.",
            tool_calls: [
              { id: "call_1", type: "function", function: { name: "weather", arguments: "{\"city\":\"Oslo\"}" } },
              { id: "call_2", type: "function", function: { name: "clock", arguments: "{\"city\":\"Oslo\"}" } }
            ]
          },
          { role: "tool", tool_call_id: "call_1", content: "{\"sky\":\"clear\"}" },
          { role: "tool", tool_call_id: "call_2", content: "Error: no such city" }
        ]
      })
    }).pipe(Effect.scoped))

  it.effect("a forced tool is called, a forbidden one is not", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const forced = yield* adapter.complete(callOf(model, withTools("Hi", { toolChoice: { name: "clock" } })))
      assert.deepStrictEqual(forced.content.map((part) => (part.type === "tool_call" ? part.name : part.type)), [clock.name])
      yield* adapter.complete(callOf(model, withTools("Hi", { toolChoice: "none" })))
      assert.deepInclude(lastBody(), { tool_choice: "none" })
    }).pipe(Effect.scoped))

  it.effect("images, audio and files go out as parts; an image in a tool's result follows it", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, withImages))
      assert.deepNestedPropertyVal(lastBody(), "messages[0].content", [
        { type: "text", text: "What is this?" },
        { type: "image_url", image_url: { url: `data:image/png;base64,${png}` } },
        { type: "image_url", image_url: { url: "https://example.com/a.png", detail: "low" } }
      ])
      yield* adapter.complete(callOf(model, {
        messages: [{
          role: "user",
          content: [
            { type: "audio", data: "AAAA", format: "wav" },
            { type: "file", source: { type: "data", mediaType: "application/pdf", data: "JVBE" }, filename: "a.pdf" }
          ]
        }]
      }))
      assert.deepNestedPropertyVal(lastBody(), "messages[0].content", [
        { type: "input_audio", input_audio: { data: "AAAA", format: "wav" } },
        { type: "file", file: { filename: "a.pdf", file_data: "data:application/pdf;base64,JVBE" } }
      ])
      const image = { type: "image", source: { type: "data", mediaType: "image/png", data: png } } as const
      yield* adapter.complete(callOf(model, {
        messages: [
          { role: "assistant", content: [{ type: "tool_call", id: "c", name: "look", arguments: "{}" }] },
          { role: "user", content: [{ type: "tool_result", toolCallId: "c", content: [text("seen"), image] }, text("Well?")] }
        ]
      }))
      assert.deepNestedPropertyVal(lastBody(), "messages[1]", { role: "tool", tool_call_id: "c", content: "seen" })
      assert.deepNestedPropertyVal(lastBody(), "messages[2].content[1]", { type: "text", text: "Well?" })
    }).pipe(Effect.scoped))

  it.effect("what OpenAI can't do is refused by name before anything is sent", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      for (const stream of [false, true]) {
        const error = yield* Effect.flip(run(adapter, callOf(model, { ...ask("Hi"), topK: 5 }), stream))
        assert.deepInclude({ ...error }, { fault: "unsupported", param: "top_k", sent: false })
      }
      assert.strictEqual(fake.calls.length, 0)
    }).pipe(Effect.scoped))

  it.effect("a reasoning model gets the field for its output limit that it takes", () =>
    Effect.gen(function*() {
      const { adapter } = yield* start
      const { content } = yield* adapter.complete(callOf("gpt-5", { ...ask("Hi"), maxTokens: 100 }))
      assert.notStrictEqual(textOf(content), "")
    }).pipe(Effect.scoped))

  it.effect("models are listed by id", () =>
    Effect.gen(function*() {
      const { adapter } = yield* start
      assert.include(yield* adapter.models(callOf(model).apiKey), "gpt-4o-mini")
    }).pipe(Effect.scoped))

  it.effect("Azure is asked with its own header, and says its own errors", () =>
    Effect.gen(function*() {
      const { fake } = yield* start
      const azure = yield* adapterFor("azure-openai", `${fake.url("azure")}/openai/v1`)
      assert.notStrictEqual(textOf((yield* azure.complete(callOf(model))).content), "")
      assert.propertyVal(fake.calls.at(-1)?.headers, "api-key", key)
      assert.notProperty(fake.calls.at(-1)?.headers, "authorization")
      assert.notStrictEqual(textOf((yield* run(azure, callOf(model), true)).content), "")
      fake.script(model, { error: "content_policy" }, { error: "quota" }, { error: "rate_limit" }, { error: "model_not_found" })
      for (const fault of ["content_filter", "quota_exhausted", "rate_limited", "model_not_found"] as const) {
        assert.strictEqual((yield* Effect.flip(azure.complete(callOf(model)))).fault, fault)
      }
    }).pipe(Effect.scoped))

  it.effect("a quirk changes what goes out: Mistral's seed, OpenRouter's cache marks and reasoning", () =>
    Effect.gen(function*() {
      const { fake, lastBody } = yield* start
      const mistral = yield* adapterFor("mistral", fake.url("compatible"))
      yield* run(mistral, callOf(model, { ...ask("Hi"), seed: 7, maxTokens: 9, user: "u" }), true)
      assert.deepStrictEqual(lastBody(), { model, messages: [{ role: "user", content: "Hi" }], max_tokens: 9, random_seed: 7, stream: true })
      const openRouter = yield* adapterFor("openrouter", fake.url("compatible"))
      const openAi = yield* fakeAdapter("openai")
      const breakpoint = { mode: "explicit", ttl: "12h" }
      const marked = (cacheControl: unknown) => callOf(model, { messages: [{ role: "user", content: [{ ...text("Hi"), cacheControl }] }] })
      const content = () => Object(lastBody())["messages"][0].content
      yield* openRouter.complete(marked(breakpoint))
      assert.deepStrictEqual(content(), [{ type: "text", text: "Hi", cache_control: { type: "ephemeral", ttl: "1h" } }])
      yield* openAi.complete(marked(breakpoint))
      assert.deepStrictEqual(content(), [{ type: "text", text: "Hi", prompt_cache_breakpoint: breakpoint }])
      yield* openAi.complete(marked({ type: "ephemeral" }))
      assert.strictEqual(content(), "Hi")
      yield* mistral.complete(marked(breakpoint))
      assert.strictEqual(content(), "Hi")
      yield* openRouter.complete(callOf(model, {
        messages: [{ role: "user", content: [{ ...text("Hi"), cacheControl: { type: "ephemeral" } }] }],
        reasoning: { budgetTokens: 2000 }
      }))
      assert.deepInclude(lastBody(), {
        messages: [{ role: "user", content: [{ type: "text", text: "Hi", cache_control: { type: "ephemeral" } }] }],
        reasoning: { max_tokens: 2000 }
      })
    }).pipe(Effect.scoped))

  it.effect("images of tools' results wait until all results are there", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const result = (id: string) => ({
        type: "tool_result",
        toolCallId: id,
        content: [text(`seen ${id}`), { type: "image", source: { type: "data", mediaType: "image/png", data: png } }]
      } as const)
      yield* adapter.complete(callOf(model, {
        messages: [
          { role: "user", content: [text("Look")] },
          { role: "assistant", content: ["a", "b"].map((id) => ({ type: "tool_call", id, name: "look", arguments: "{}" }) as const) },
          { role: "tool", content: [result("a")] },
          { role: "tool", content: [result("b")] },
          { role: "system", content: [text("Be brief.")] },
          { role: "user", content: [text("Well?")] }
        ]
      }))
      const { messages }: { messages?: ReadonlyArray<{ role: string; content: unknown }> } = Object(lastBody())
      const image = { type: "image_url", image_url: { url: `data:image/png;base64,${png}` } }
      assert.deepStrictEqual(messages?.slice(2).map(({ content, role }) => [role, content]), [
        ["tool", "seen a"],
        ["tool", "seen b"],
        ["user", [image, image]],
        ["system", "Be brief."],
        ["user", "Well?"]
      ])
    }).pipe(Effect.scoped))

  it.effect("ids of calls that a vendor would find too long, or of another form, become short ones, alike at call and result", () =>
    Effect.gen(function*() {
      const { adapter, fake, lastBody } = yield* start
      const id = `call_${"x".repeat(60)}`
      const asked: ChatRequest = {
        messages: [
          { role: "user", content: [text("Look")] },
          { role: "assistant", content: [{ type: "tool_call", id, name: "look", arguments: "{}" }] },
          { role: "tool", content: [{ type: "tool_result", toolCallId: id, content: [text("seen")] }] }
        ]
      }
      const idsOf = () => {
        const { messages: [, asking, result] } = Object(lastBody())
        assert.strictEqual(asking.tool_calls[0].id, result.tool_call_id)
        return String(result.tool_call_id)
      }
      yield* adapter.complete(callOf(model, asked))
      assert.match(idsOf(), /^[0-9a-f]{40}$/)
      const mistral = yield* adapterFor("mistral", fake.url("compatible"))
      yield* mistral.complete(callOf(model, asked))
      assert.match(idsOf(), /^[0-9a-z]{9}$/)
    }).pipe(Effect.scoped))

  it.effect("OpenRouter's thoughts come with their signatures, and go back with them", () =>
    Effect.gen(function*() {
      const { fake, lastBody } = yield* start
      const openRouter = yield* adapterFor("openrouter", fake.url("compatible"))
      const details = [
        { type: "reasoning.text", text: "hm", signature: "c2ln", format: "anthropic-claude-v1" },
        { type: "reasoning.encrypted", data: "ZW5j", format: "anthropic-claude-v1" },
        { type: "reasoning.encrypted", id: "rs_1", data: "gAAA", format: "openai-responses-v1" },
        { type: "reasoning.encrypted", data: "Z29v", format: "google-gemini-v1" }
      ]
      const message = { role: "assistant", content: "Yes", reasoning: "hm", reasoning_details: details }
      fake.script(model, { raw: { headers: { "content-type": "application/json" }, body: JSON.stringify({ choices: [{ message, finish_reason: "stop" }] }) } })
      const { content } = yield* openRouter.complete(callOf(model))
      assert.deepStrictEqual(content, [
        { type: "reasoning", text: "hm", signature: "c2ln" },
        { type: "reasoning", text: "", redacted: "ZW5j" },
        { type: "reasoning", text: "", signature: "openai:rs_1:gAAA" },
        { type: "reasoning", text: "", signature: "gemini:Z29v" },
        text("Yes")
      ])
      yield* openRouter.complete(callOf(model, { messages: [...ask("Hi").messages, { role: "assistant", content }, ...ask("And?").messages] }))
      assert.deepNestedPropertyVal(lastBody(), "messages[1]", { role: "assistant", content: "Yes", reasoning_details: details })
    }).pipe(Effect.scoped))

  for (const stream of [false, true]) {
    it.effect(`the stop text that vLLM names is told, and no other word of it (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { fake } = yield* start
        const vllm = yield* adapterFor("vllm", fake.url("compatible"))
        for (const [said, stopSequence] of [["END", "END"], [128_009, undefined], ["other", undefined]] as const) {
          const choice = { index: 0, [stream ? "delta" : "message"]: { content: "Hi" }, finish_reason: "stop", stop_reason: said }
          const body = JSON.stringify({ choices: [choice] })
          fake.script(model, {
            raw: stream
              ? { headers: { "content-type": "text/event-stream" }, body: `data: ${body}\n\ndata: [DONE]\n\n` }
              : { headers: { "content-type": "application/json" }, body }
          })
          assert.strictEqual((yield* run(vllm, callOf(model, { ...ask("Hi"), stop: ["END"] }), stream)).stopSequence, stopSequence)
        }
      }).pipe(Effect.scoped))
  }

  it.effect("a name that is too long is no prompt that is too long", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const problem = { kind: "invalid_request", code: "string_above_max_length", message: "Invalid 'tools[0].function.name': string too long." } as const
      fake.script(model, { error: { ...problem, param: "tools[0].function.name" } }, { error: { ...problem, param: "messages[3].content" } })
      const faults = [yield* Effect.flip(adapter.complete(callOf(model))), yield* Effect.flip(adapter.complete(callOf(model)))]
      assert.deepStrictEqual(faults.map(({ fault, param }) => [fault, param]), [
        ["invalid_request", "tools[0]"],
        ["context_overflow", "messages"]
      ])
    }).pipe(Effect.scoped))

  it.effect("a field that a vendor complains of has the name that other protocols have for it", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const rows = [
        ["max_completion_tokens", "max_tokens"],
        ["random_seed", "seed"],
        ["reasoning.effort", "reasoning_effort"],
        ["tools.2.function.name", "tools[2]"],
        ["tools", "tools"],
        ["top_p", "top_p"]
      ] as const
      for (const [named, param] of rows) {
        fake.script(model, { error: { kind: "invalid_request", code: "invalid_value", message: "Invalid value.", param: named } })
        assert.strictEqual((yield* Effect.flip(adapter.complete(callOf(model)))).param, param, named)
      }
    }).pipe(Effect.scoped))

  it.effect("odd answers of compatible servers are understood", () =>
    Effect.gen(function*() {
      const { fake } = yield* start
      const adapter = yield* adapterFor("openai-compatible", fake.url("openai"))
      const bodies: ReadonlyArray<readonly [unknown, string]> = [
        [{ choices: [{ message: { content: [{ type: "thinking", thinking: [{ type: "text", text: "hm" }] }, { type: "text", text: "Hi" }] }, finish_reason: "stop" }] }, "reasoning,text stop"],
        [{ choices: [{ message: { reasoning: "hm", content: "Hi" }, finish_reason: "eos" }] }, "reasoning,text stop"],
        [{ choices: [{ message: { tool_calls: [{ function: { name: "f", arguments: { x: 1 } } }] }, finish_reason: "stop" }] }, "tool_call tool_calls"],
        [{ choices: [{ message: { content: "Hi" }, finish_reason: "new_reason" }] }, "text other"]
      ]
      for (const [body, expected] of bodies) {
        fake.script("m", { raw: { body: JSON.stringify(body), headers: { "content-type": "application/json" } } })
        const { content, finishReason } = yield* adapter.complete(callOf("m"))
        assert.strictEqual(`${content.map(({ type }) => type).join()} ${finishReason}`, expected)
      }
      for (const body of [{}, { choices: "none" }, null, [], "text", { choices: [null] }]) {
        fake.script("m", { raw: { body: JSON.stringify(body), headers: { "content-type": "application/json" } } })
        const { fault } = yield* Effect.flip(adapter.complete(callOf("m")))
        assert.include(["malformed_response", "empty_completion"], fault)
      }
    }).pipe(Effect.scoped))
})
