import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { Message } from "../../../src/domain/Chat.ts"
import { text, textOf } from "../../../src/domain/Chat.ts"
import { ask } from "../../support/Doubles.ts"
import { afterTools, asJson, png, schema, weather, withImages, withTools } from "../Conversation.ts"
import { callOf, collect, Fake, fakeAdapter, key, layer as harness, run } from "../Harness.ts"

layer(harness, { excludeTestServices: true })("Gemini's generateContent", (it) => {
  const model = "gemini-2.5-pro"
  const start = Effect.gen(function*() {
    const fake = yield* Fake
    fake.reset()
    const lastBody = () => fake.calls.at(-1)?.body
    return { fake, adapter: yield* fakeAdapter("gemini"), lastBody }
  })

  it.effect("a plain answer comes with its text, model, id and usage, thoughts counted as completion", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      fake.script(model, { text: "Hello there", usage: { prompt: 20, completion: 7, cached: 5, reasoning: 2 } })
      const completion = yield* adapter.complete(callOf(model))
      assert.deepInclude(completion, { content: [text("Hello there")], finishReason: "stop", upstreamModel: model })
      assert.deepInclude(completion.usage, { promptTokens: 20, cachedTokens: 5, completionTokens: 7, reasoningTokens: 2, estimated: false })
    }).pipe(Effect.scoped))

  it.effect("a stream's deltas are the plain answer's, with its thoughts", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      fake.script(model, { text: "Hello there, how are you?", reasoning: "hm", usage: { prompt: 20, completion: 17 } })
      const { completion, deltas } = yield* collect(adapter, callOf(model))
      assert.isAbove(deltas.length, 2)
      assert.deepStrictEqual(completion.content, [{ type: "reasoning", text: "hm" }, text("Hello there, how are you?")])
      assert.deepInclude(completion.usage, { promptTokens: 20, completionTokens: 17, estimated: false })
      assert.strictEqual(fake.calls.at(-1)?.query.get("alt"), "sse")
    }).pipe(Effect.scoped))

  it.effect("every parameter goes out under Gemini's name, the key in a header and never in the URL", () =>
    Effect.gen(function*() {
      const { adapter, fake, lastBody } = yield* start
      yield* adapter.complete(callOf(model, {
        messages: [{ role: "system", content: [text("Be brief.")] }, { role: "user", content: [text("Hi")] }],
        maxTokens: 50,
        temperature: 0.5,
        topP: 0.9,
        topK: 5,
        stop: ["END"],
        seed: 7,
        frequencyPenalty: 0.1,
        presencePenalty: 0.2,
        n: 2,
        tools: [weather],
        toolChoice: { name: "weather" },
        reasoning: { budgetTokens: 2048 },
        user: "u1",
        extra: { protocol: "gemini", fields: { safetySettings: [], generationConfig: { mediaResolution: "LOW" } } }
      }))
      assert.deepStrictEqual(lastBody(), {
        safetySettings: [],
        systemInstruction: { parts: [{ text: "Be brief." }] },
        contents: [{ role: "user", parts: [{ text: "Hi" }] }],
        tools: [{ functionDeclarations: [{ name: "weather", description: weather.description, parametersJsonSchema: weather.parameters }] }],
        toolConfig: { functionCallingConfig: { mode: "ANY", allowedFunctionNames: ["weather"] } },
        generationConfig: {
          mediaResolution: "LOW",
          maxOutputTokens: 50,
          temperature: 0.5,
          topP: 0.9,
          topK: 5,
          stopSequences: ["END"],
          seed: 7,
          frequencyPenalty: 0.1,
          presencePenalty: 0.2,
          candidateCount: 2,
          thinkingConfig: { includeThoughts: true, thinkingBudget: 2048 }
        }
      })
      const { headers, path, query } = fake.calls.at(-1) ?? assert.fail()
      assert.propertyVal(headers, "x-goog-api-key", key)
      assert.notInclude(`${path}?${query}`, key)
    }).pipe(Effect.scoped))

  for (const stream of [false, true]) {
    it.effect(`parallel function calls come in order, with ids of their own (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter } = yield* start
        const asked = "use tool weather {\"city\":\"Oslo\"} and use tool clock {\"city\":\"Rome\"}"
        const { content, finishReason } = yield* run(adapter, callOf(model, withTools(asked)), stream)
        assert.strictEqual(finishReason, "tool_calls")
        const calls = content.filter((part) => part.type === "tool_call")
        assert.deepStrictEqual(calls.map((call) => [call.name, JSON.parse(call.arguments)]), [["weather", { city: "Oslo" }], ["clock", { city: "Rome" }]])
        assert.strictEqual(new Set(calls.map(({ id }) => id)).size, 2)
      }).pipe(Effect.scoped))

    it.effect(`a schema's answer is JSON (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, lastBody } = yield* start
        const { content } = yield* run(adapter, callOf(model, asJson("Oslo")), stream)
        assert.deepStrictEqual(JSON.parse(textOf(content)), { city: "Oslo" })
        assert.deepInclude(lastBody(), { generationConfig: { responseMimeType: "application/json", responseJsonSchema: schema } })
      }).pipe(Effect.scoped))

    it.effect(`several candidates are alternatives (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter } = yield* start
        const { alternatives, content } = yield* run(adapter, callOf(model, { ...ask("Hi"), n: 2 }), stream)
        assert.deepStrictEqual(alternatives?.map((choice) => choice.content), [content])
      }).pipe(Effect.scoped))

    it.effect(`39: a blocked prompt is passed on as a finish reason (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, fake } = yield* start
        const body = JSON.stringify({ promptFeedback: { blockReason: "SAFETY" }, usageMetadata: { promptTokenCount: 5 } })
        fake.script(model, {
          raw: stream
            ? { body: `data: ${body}\r\n\r\n`, headers: { "content-type": "text/event-stream" } }
            : { body, headers: { "content-type": "application/json" } }
        })
        assert.deepInclude(yield* run(adapter, callOf(model), stream), { content: [], finishReason: "content_filter" })
      }).pipe(Effect.scoped))

    it.effect(`a thought's signature comes back on the very part that it signed (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, fake, lastBody } = yield* start
        const body = JSON.stringify({
          candidates: [{
            content: { role: "model", parts: [{ text: "hm", thought: true }, { functionCall: { name: "weather", args: {} }, thoughtSignature: "c2ln" }] },
            finishReason: "STOP"
          }],
          responseId: "r"
        })
        fake.script(model, {
          raw: stream
            ? { body: `data: ${body}\r\n\r\n`, headers: { "content-type": "text/event-stream" } }
            : { body, headers: { "content-type": "application/json" } }
        })
        const { content } = yield* run(adapter, callOf(model), stream)
        yield* adapter.complete(callOf(model, {
          messages: [
            { role: "user", content: [text("Hi")] },
            { role: "assistant", content },
            { role: "tool", content: [{ type: "tool_result", toolCallId: "call_r_0", content: [text("sunny")] }] }
          ]
        }))
        assert.deepNestedPropertyVal(lastBody(), "contents[1].parts", [
          { functionCall: { id: "call_r_0", name: "weather", args: {} }, thoughtSignature: "c2ln" }
        ])
      }).pipe(Effect.scoped))
  }

  it.effect("the signature of a call finds it again where a protocol keeps thoughts in front of words", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const sign = (signature: string) => ({ type: "reasoning", text: "", signature: `gemini:${signature}` }) as const
      const call = (id: string) => ({ type: "tool_call", id, name: "weather", arguments: "{}" }) as const
      const result = (id: string): Message => ({ role: "tool", content: [{ type: "tool_result", toolCallId: id, content: [text("sunny")] }] })
      const rows: ReadonlyArray<readonly [Message["content"], ReadonlyArray<string | undefined>]> = [
        [[sign("c2ln"), text("Look"), call("a"), call("b")], [undefined, "c2ln", undefined]],
        [[text("Look"), sign("c2ln"), call("a"), call("b")], [undefined, "c2ln", undefined]],
        [[sign("dGV4dA=="), sign("c2ln"), text("Look"), call("a"), call("b")], ["dGV4dA==", "c2ln", undefined]],
        [[sign("dGV4dA=="), text("Look"), sign("c2ln"), call("a"), sign("Yg=="), call("b")], ["dGV4dA==", "c2ln", "Yg=="]]
      ]
      for (const [content, expected] of rows) {
        yield* adapter.complete(callOf("gemini-3-pro", { messages: [...ask("Hi").messages, { role: "assistant", content }, result("a"), result("b")] }))
        const { contents: [, { parts }] } = Object(lastBody())
        assert.deepStrictEqual(parts.map((part: { thoughtSignature?: string }) => part.thoughtSignature), expected)
      }
    }).pipe(Effect.scoped))

  it.effect("function calls and results go back by name, an error as an error", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const { content } = yield* adapter.complete(callOf(model, afterTools))
      assert.include(textOf(content), "got from the tool")
      assert.deepNestedPropertyVal(lastBody(), "contents[1]", {
        role: "model",
        parts: [
          { text: "Let me look." },
          { functionCall: { id: "call_1", name: "weather", args: { city: "Oslo" } } },
          { functionCall: { id: "call_2", name: "clock", args: { city: "Oslo" } } }
        ]
      })
      assert.deepNestedPropertyVal(lastBody(), "contents[2]", {
        role: "user",
        parts: [
          { functionResponse: { id: "call_1", name: "weather", response: { sky: "clear" } } },
          { functionResponse: { id: "call_2", name: "clock", response: { error: "no such city" } } }
        ]
      })
    }).pipe(Effect.scoped))

  it.effect("calls that another vendor made pass the third generation's check of signatures", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf("gemini-3-pro", { ...afterTools, reasoning: { effort: "low" } }))
      assert.deepNestedPropertyVal(lastBody(), "contents[1].parts[1].thoughtSignature", "skip_thought_signature_validator")
      assert.notNestedProperty(lastBody(), "contents[1].parts[2].thoughtSignature")
      assert.deepNestedPropertyVal(lastBody(), "generationConfig.thinkingConfig", { includeThoughts: true, thinkingLevel: "low" })
    }).pipe(Effect.scoped))

  it.effect("thinking is asked for as the model's generation wants it", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const rows = [
        ["gemini-2.5-pro", { effort: "none" }, { thinkingBudget: 128 }],
        ["gemini-2.5-flash", { effort: "none" }, { thinkingBudget: 0 }],
        ["gemini-2.5-flash", { effort: "xhigh" }, { includeThoughts: true, thinkingBudget: 24_576 }],
        ["gemini-2.5-flash", { effort: "high", shown: false }, { includeThoughts: false, thinkingBudget: 24_576 }],
        ["gemini-3-pro", { effort: "max" }, { includeThoughts: true, thinkingLevel: "high" }],
        ["gemini-3-flash", { effort: "none" }, { thinkingLevel: "minimal" }],
        ["gemini-3-pro", { budgetTokens: 2048 }, { includeThoughts: true, thinkingBudget: 2048 }],
        ["gemini-3-pro", { thinking: "adaptive" }, { includeThoughts: true }],
        ["gemini-3-pro", { thinking: "disabled" }, undefined],
        ["gemini-3-pro", { shown: true }, { includeThoughts: true }]
      ] as const
      for (const [model, reasoning, expected] of rows) {
        yield* adapter.complete(callOf(model, { ...ask("Hi"), reasoning }))
        assert.deepStrictEqual(Object(lastBody()).generationConfig.thinkingConfig, expected, `${model} ${JSON.stringify(reasoning)}`)
      }
    }).pipe(Effect.scoped))

  it.effect("instructions alone are the question, and messages without content are none", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, { messages: [{ role: "system", content: [text("Tell a joke")] }] }))
      assert.deepInclude(lastBody(), { contents: [{ role: "user", parts: [{ text: "Tell a joke" }] }] })
      assert.notProperty(lastBody(), "systemInstruction")
      const thought = { type: "reasoning", text: "hm", signature: "c2ln" } as const
      yield* adapter.complete(callOf(model, { messages: [...ask("a").messages, { role: "assistant", content: [thought] }, ...ask("b").messages] }))
      assert.deepInclude(lastBody(), { contents: [{ role: "user", parts: [{ text: "a" }, { text: "b" }] }] })
    }).pipe(Effect.scoped))

  for (const stream of [false, true]) {
    it.effect(`a call that the model broke is no answer, unless it said something (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, fake } = yield* start
        const answer = (parts: ReadonlyArray<unknown>) => {
          const body = JSON.stringify({ candidates: [{ content: { role: "model", parts }, finishReason: "MALFORMED_FUNCTION_CALL" }] })
          return { raw: stream ? { body: `data: ${body}\r\n\r\n`, headers: { "content-type": "text/event-stream" } } : { body, headers: { "content-type": "application/json" } } }
        }
        fake.script(model, answer([]), answer([{ text: "hm", thought: true }]), answer([{ text: "Well" }]))
        for (const _ of [1, 2]) {
          const error = yield* Effect.flip(run(adapter, callOf(model), stream))
          assert.deepInclude({ ...error }, { fault: "malformed_response" })
          assert.include(error.message, "MALFORMED_FUNCTION_CALL")
        }
        assert.deepInclude(yield* run(adapter, callOf(model), stream), { content: [text("Well")], finishReason: "other" })
      }).pipe(Effect.scoped))
  }

  it.effect("a field that Gemini complains of has the name that other protocols have for it", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const rows = [
        ["* GenerateContentRequest.contents[2].parts: contents.parts must not be empty.", "messages"],
        ["* GenerateContentRequest.tools[0].function_declarations[1].name: Invalid function name.", "tools[1]"],
        ["* GenerateContentRequest.generation_config.max_output_tokens: bad", "max_tokens"],
        ["* GenerateContentRequest.generation_config.stop_sequences: bad", "stop"],
        ["Function calling with a response mime type: 'application/json' is unsupported", "response_format"],
        ["Something is wrong", undefined]
      ] as const
      for (const [message, param] of rows) {
        fake.script(model, { error: { kind: "invalid_request", message } })
        assert.strictEqual((yield* Effect.flip(adapter.complete(callOf(model)))).param, param, message)
      }
    }).pipe(Effect.scoped))

  it.effect("images, audio and files go out as inline data or by address", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const [{ content }] = [withImages.messages[0] ?? assert.fail()]
      yield* adapter.complete(callOf(model, { messages: [{ role: "user", content: [...content, { type: "audio", data: "AAAA", format: "wav" }] }] }))
      assert.deepNestedPropertyVal(lastBody(), "contents[0].parts", [
        { text: "What is this?" },
        { inlineData: { mimeType: "image/png", data: png } },
        { fileData: { fileUri: "https://example.com/a.png" } },
        { inlineData: { mimeType: "audio/wav", data: "AAAA" } }
      ])
    }).pipe(Effect.scoped))

  it.effect("log probabilities are in OpenAI's shape", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const body = {
        candidates: [{
          content: { parts: [{ text: "Hi" }] },
          finishReason: "STOP",
          logprobsResult: {
            chosenCandidates: [{ token: "Hi", logProbability: -0.1 }],
            topCandidates: [{ candidates: [{ token: "Ho", logProbability: -2 }] }]
          }
        }]
      }
      fake.script(model, { raw: { body: JSON.stringify(body), headers: { "content-type": "application/json" } } })
      const { logprobs } = yield* adapter.complete(callOf(model, { ...ask("Hi"), logprobs: true }))
      assert.deepStrictEqual(logprobs, {
        content: [{ token: "Hi", logprob: -0.1, bytes: null, top_logprobs: [{ token: "Ho", logprob: -2, bytes: null }] }],
        refusal: null
      })
    }).pipe(Effect.scoped))

  it.effect("what Gemini can't do is refused by name; a bad key, said with 400, is a bad key", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const refused = yield* Effect.flip(adapter.complete(callOf(model, withTools("Hi", { parallelToolCalls: false }))))
      assert.deepInclude({ ...refused }, { fault: "unsupported", param: "parallel_tool_calls", sent: false })
      fake.script(model, { error: "invalid_key" })
      assert.deepInclude({ ...(yield* Effect.flip(adapter.complete(callOf(model)))) }, { fault: "authentication", status: 400 })
    }).pipe(Effect.scoped))

  it.effect("models are listed by name, without their folder", () =>
    Effect.gen(function*() {
      const { adapter } = yield* start
      assert.include(yield* adapter.models(callOf(model).apiKey), "gemini-2.5-flash")
    }).pipe(Effect.scoped))
})
