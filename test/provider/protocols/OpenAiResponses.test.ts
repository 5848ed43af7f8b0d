import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { text, textOf } from "../../../src/domain/Chat.ts"
import { ask } from "../../support/Doubles.ts"
import { afterTools, asJson, clock, png, schema, weather, withImages, withTools } from "../Conversation.ts"
import { adapterFor, callOf, collect, Fake, layer as harness, run } from "../Harness.ts"

layer(harness, { excludeTestServices: true })("OpenAI's Responses API", (it) => {
  const model = "gpt-4o"
  const start = Effect.gen(function*() {
    const fake = yield* Fake
    fake.reset()
    const lastBody = () => fake.calls.at(-1)?.body
    return { fake, adapter: yield* adapterFor("openai-responses", fake.url("openai")), lastBody }
  })
  const user = (words: string) => ({ type: "message", role: "user", content: [{ type: "input_text", text: words }] })

  it.effect("an answer that is not complete, or does not say so, is a malformed one", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const output = [{ id: "msg_1", type: "message", role: "assistant", status: "completed", content: [{ type: "output_text", text: "Hello", annotations: [] }] }]
      for (const status of ["in_progress", "queued", "cancelled", "complete", undefined]) {
        const body = JSON.stringify({ id: "resp_1", object: "response", model, status, output })
        fake.script(model, { raw: { headers: { "content-type": "application/json" }, body } })
        assert.strictEqual((yield* Effect.flip(adapter.complete(callOf(model)))).fault, "malformed_response", status)
      }
    }).pipe(Effect.scoped))

  it.effect("a plain answer comes with its text, model, id and usage; nothing is stored at OpenAI", () =>
    Effect.gen(function*() {
      const { adapter, fake, lastBody } = yield* start
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
      assert.match(completion.upstreamId ?? "", /^resp_/)
      assert.deepStrictEqual(lastBody(), { model, input: [user("Say hello")], store: false })
    }).pipe(Effect.scoped))

  it.effect("a stream's deltas are the plain answer's text and thoughts", () =>
    Effect.gen(function*() {
      const { adapter, fake, lastBody } = yield* start
      fake.script(model, { text: "Hello there, how are you today?", reasoning: "hm", usage: { prompt: 20, completion: 7 } })
      const { completion, deltas } = yield* collect(adapter, callOf(model))
      assert.strictEqual(deltas.map((delta) => (delta.type === "text" ? delta.text : "")).join(""), "Hello there, how are you today?")
      assert.isAbove(deltas.length, 2)
      assert.deepStrictEqual(completion.content, [{ type: "reasoning", text: "hm" }, text("Hello there, how are you today?")])
      assert.deepInclude(completion.usage, { promptTokens: 20, completionTokens: 7, estimated: false })
      assert.deepInclude(lastBody(), { stream: true, store: false })
    }).pipe(Effect.scoped))

  it.effect("every parameter goes out under its name here", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf("gpt-next", {
        ...asJson("Oslo"),
        maxTokens: 50,
        temperature: 0.5,
        topP: 0.9,
        tools: [weather, { ...clock, strict: true }],
        toolChoice: { name: "weather" },
        parallelToolCalls: false,
        logprobs: true,
        topLogprobs: 2,
        reasoning: { effort: "high" },
        user: "u1",
        extra: { protocol: "openai-responses", fields: { text: { verbosity: "low" }, reasoning: { summary: "auto" }, store: true, model: "evil" } }
      }))
      assert.deepStrictEqual(lastBody(), {
        model: "gpt-next",
        input: [user("Oslo")],
        max_output_tokens: 50,
        temperature: 0.5,
        top_p: 0.9,
        top_logprobs: 2,
        tools: [{ type: "function", ...weather, strict: false }, { type: "function", ...clock, strict: true }],
        tool_choice: { type: "function", name: "weather" },
        parallel_tool_calls: false,
        text: { verbosity: "low", format: { type: "json_schema", name: "city", schema, strict: true } },
        reasoning: { summary: "auto", effort: "high" },
        include: ["reasoning.encrypted_content", "message.output_text.logprobs"],
        user: "u1",
        store: false
      })
    }).pipe(Effect.scoped))

  for (const stream of [false, true]) {
    it.effect(`parallel tool calls come with their arguments (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter } = yield* start
        const asked = withTools("use tool weather {\"city\":\"Oslo\"} use tool clock {\"city\":\"Rome\"}")
        const { content, finishReason } = yield* run(adapter, callOf(model, asked), stream)
        assert.strictEqual(finishReason, "tool_calls")
        const calls = content.filter((part) => part.type === "tool_call")
        assert.deepStrictEqual(calls.map(({ name }) => name), ["weather", "clock"])
        assert.deepStrictEqual(calls.map((call) => JSON.parse(call.arguments)), [{ city: "Oslo" }, { city: "Rome" }])
        assert.strictEqual(new Set(calls.map(({ id }) => id)).size, 2)
      }).pipe(Effect.scoped))

    it.effect(`a refusal, a length limit and a filter are told apart (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, fake } = yield* start
        fake.script(model, { refusal: "I can't" }, { text: "cut", finish: "length" }, { text: "cut", finish: "content_filter" })
        for (const reason of ["refusal", "length", "content_filter"] as const) {
          assert.strictEqual((yield* run(adapter, callOf(model), stream)).finishReason, reason)
        }
      }).pipe(Effect.scoped))

    it.effect(`thoughts go back to OpenAI as it made them (stream: ${stream})`, () =>
      Effect.gen(function*() {
        const { adapter, fake, lastBody } = yield* start
        const item = { type: "reasoning", id: "rs_1", summary: [{ type: "summary_text", text: "hm" }], encrypted_content: "gAAA:b" }
        const message = { type: "message", id: "msg_1", role: "assistant", status: "completed", content: [{ type: "output_text", text: "Yes", annotations: [] }] }
        const response = { id: "resp_1", model: "gpt-5", status: "completed", output: [item, message], usage: { input_tokens: 1, output_tokens: 2 } }
        const events = [
          { type: "response.created", response: { id: "resp_1", model: "gpt-5" } },
          { type: "response.output_item.added", output_index: 0, item: { ...item, summary: [], encrypted_content: "" } },
          { type: "response.reasoning_summary_text.delta", output_index: 0, summary_index: 0, delta: "hm" },
          { type: "response.output_item.done", output_index: 0, item },
          // A server that sends no deltas: the whole item is enough.
          { type: "response.output_item.done", output_index: 1, item: message },
          { type: "response.completed", response }
        ]
        fake.script("gpt-5", {
          raw: stream
            ? { headers: { "content-type": "text/event-stream" }, body: events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("") }
            : { headers: { "content-type": "application/json" }, body: JSON.stringify(response) }
        })
        const { content } = yield* run(adapter, callOf("gpt-5"), stream)
        assert.deepStrictEqual(content, [{ type: "reasoning", text: "hm", signature: "openai:rs_1:gAAA:b" }, text("Yes")])
        yield* adapter.complete(callOf("gpt-5", {
          messages: [...ask("Hi").messages, { role: "assistant", content: [{ type: "reasoning", text: "no", signature: "c2ln" }, ...content] }]
        }))
        assert.deepNestedPropertyVal(lastBody(), "input[1]", item)
        assert.deepNestedPropertyVal(lastBody(), "input[2]", { type: "message", role: "assistant", content: [{ type: "output_text", text: "Yes" }] })
      }).pipe(Effect.scoped))
  }

  it.effect("arguments that come only at the end are deltas all the same, and none twice", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      const item = { type: "function_call", id: "fc_1", call_id: "call_1", name: "weather", arguments: "{\"city\":\"Oslo\"}" }
      const added = { type: "response.output_item.added", output_index: 0, item: { ...item, arguments: "" } }
      const piece = { type: "response.function_call_arguments.delta", output_index: 0, delta: item.arguments }
      const done = { type: "response.function_call_arguments.done", output_index: 0, arguments: item.arguments }
      const closed = { type: "response.output_item.done", output_index: 0, item }
      const completed = { type: "response.completed", response: { status: "completed", output: [item] } }
      for (const events of [[added, piece, done, closed], [added, done, closed], [added, closed], [closed], [added, piece]]) {
        const body = [...events, completed].map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("")
        fake.script(model, { raw: { headers: { "content-type": "text/event-stream" }, body } })
        const { completion, deltas } = yield* collect(adapter, callOf(model))
        assert.deepStrictEqual(completion.content, [{ type: "tool_call", id: "call_1", name: "weather", arguments: item.arguments }])
        assert.strictEqual(deltas.map((delta) => (delta.type === "tool_call" ? delta.arguments : "")).join(""), item.arguments)
      }
    }).pipe(Effect.scoped))

  it.effect("tool calls and results go back as items", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const { content } = yield* adapter.complete(callOf(model, afterTools))
      assert.include(textOf(content), "got from the tool")
      assert.deepNestedPropertyVal(lastBody(), "input", [
        { type: "message", role: "system", content: [{ type: "input_text", text: "Be brief." }] },
        user("Weather and time in Oslo?"),
        { type: "message", role: "assistant", content: [{ type: "output_text", text: "Let me look." }] },
        { type: "function_call", call_id: "call_1", name: "weather", arguments: "{\"city\":\"Oslo\"}" },
        { type: "function_call", call_id: "call_2", name: "clock", arguments: "{\"city\":\"Oslo\"}" },
        { type: "function_call_output", call_id: "call_1", output: "{\"sky\":\"clear\"}" },
        { type: "function_call_output", call_id: "call_2", output: "Error: no such city" }
      ])
    }).pipe(Effect.scoped))

  it.effect("images and files go out as parts, in tools' results too", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      yield* adapter.complete(callOf(model, withImages))
      assert.deepNestedPropertyVal(lastBody(), "input[0].content", [
        { type: "input_text", text: "What is this?" },
        { type: "input_image", image_url: `data:image/png;base64,${png}`, detail: "auto" },
        { type: "input_image", image_url: "https://example.com/a.png", detail: "low" }
      ])
      const image = { type: "image", source: { type: "data", mediaType: "image/png", data: png } } as const
      yield* adapter.complete(callOf(model, {
        messages: [
          { role: "assistant", content: [{ type: "tool_call", id: "c", name: "look", arguments: "{}" }] },
          { role: "tool", content: [{ type: "tool_result", toolCallId: "c", content: [text("seen"), image] }] },
          { role: "user", content: [{ type: "file", source: { type: "data", mediaType: "application/pdf", data: "JVBE" }, filename: "a.pdf" }] }
        ]
      }))
      assert.deepNestedPropertyVal(lastBody(), "input[1].output", [
        { type: "input_text", text: "seen" },
        { type: "input_image", image_url: `data:image/png;base64,${png}`, detail: "auto" }
      ])
      assert.deepNestedPropertyVal(lastBody(), "input[2].content", [
        { type: "input_file", file_data: "data:application/pdf;base64,JVBE", filename: "a.pdf" }
      ])
    }).pipe(Effect.scoped))

  it.effect("thoughts are asked for where the model has them, and their words where the client wants to read them", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const rows = [
        ["gpt-4.1", { thinking: "disabled" }, undefined, undefined],
        ["gpt-4.1", { effort: "none", thinking: "unset" }, undefined, undefined],
        ["gpt-5", { thinking: "disabled" }, undefined, ["reasoning.encrypted_content"]],
        ["gpt-5", { effort: "low" }, { effort: "low" }, ["reasoning.encrypted_content"]],
        ["gpt-5", { budgetTokens: 2048, shown: true }, { summary: "auto", effort: "low" }, ["reasoning.encrypted_content"]],
        ["a-deployment", { effort: "low" }, { effort: "low" }, ["reasoning.encrypted_content"]]
      ] as const
      for (const [model, reasoning, expected, include] of rows) {
        const dropUnsupported = true
        yield* adapter.complete(callOf(model, { ...ask("Hi"), reasoning, dropUnsupported }))
        assert.deepStrictEqual([Object(lastBody()).reasoning, Object(lastBody()).include], [expected, include], `${model} ${JSON.stringify(reasoning)}`)
      }
    }).pipe(Effect.scoped))

  it.effect("marks of OpenAI's go out, others don't; ids of calls are cut to its length", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const mark = { mode: "explicit" }
      const id = "x".repeat(70)
      yield* adapter.complete(callOf(model, {
        messages: [
          { role: "user", content: [{ ...text("a"), cacheControl: mark }, { ...text("b"), cacheControl: { type: "ephemeral" } }] },
          { role: "assistant", content: [{ type: "tool_call", id, name: "f", arguments: "{}" }] },
          { role: "tool", content: [{ type: "tool_result", toolCallId: id, content: [] }] }
        ],
        toolChoice: "required"
      }))
      const { input: [said, call, result], ...rest } = Object(lastBody())
      assert.deepStrictEqual(said.content, [{ type: "input_text", text: "a", prompt_cache_breakpoint: mark }, { type: "input_text", text: "b" }])
      assert.match(call.call_id, /^[0-9a-f]{64}$/)
      assert.strictEqual(result.call_id, call.call_id)
      assert.notProperty(rest, "tool_choice")
    }).pipe(Effect.scoped))

  it.effect("what a model of its own refuses is left out where the client wants it so", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const asked = { ...ask("Hi"), temperature: 0.2, topP: 0.5, logprobs: true, reasoning: { effort: "low" }, dropUnsupported: true }
      yield* adapter.complete(callOf("gpt-5", asked))
      assert.deepStrictEqual(Object.keys(Object(lastBody())).toSorted(), ["include", "input", "model", "reasoning", "store"])
      yield* adapter.complete(callOf("gpt-4.1", asked))
      assert.deepInclude(lastBody(), { temperature: 0.2, top_p: 0.5 })
      assert.notProperty(lastBody(), "reasoning")
      const refused = yield* Effect.flip(adapter.complete(callOf("gpt-4.1", { ...ask("Hi"), maxTokens: 1 })))
      assert.deepInclude({ ...refused }, { fault: "invalid_request", param: "max_tokens" })
    }).pipe(Effect.scoped))

  it.effect("what the Responses API can't do is refused by name before anything is sent", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      for (const [given, param] of [[{ stop: ["END"] }, "stop"], [{ seed: 1 }, "seed"], [{ n: 2 }, "n"], [{ topK: 5 }, "top_k"]] as const) {
        const error = yield* Effect.flip(run(adapter, callOf(model, { ...ask("Hi"), ...given }), true))
        assert.deepInclude({ ...error }, { fault: "unsupported", param, sent: false })
      }
      assert.strictEqual(fake.calls.length, 0)
    }).pipe(Effect.scoped))

  it.effect("a client's own request goes as it came, but stores nothing and brings its thoughts back", () =>
    Effect.gen(function*() {
      const { adapter, lastBody } = yield* start
      const body = { model: "mine", input: "Hi", store: true, previous_response_id: "resp_0", service_tier: "flex", unknown: { a: 1 } }
      const completion = yield* adapter.complete(callOf("gpt-5", { ...ask("Hi"), native: { protocol: "openai-responses", body } }))
      assert.deepStrictEqual(lastBody(), {
        model: "gpt-5",
        input: "Hi",
        store: false,
        service_tier: "flex",
        unknown: { a: 1 },
        include: ["reasoning.encrypted_content"]
      })
      const answer = JSON.parse(String(completion.native?.body))
      assert.strictEqual(answer.object, "response")
    }).pipe(Effect.scoped))

  it.effect("failures keep their meaning", () =>
    Effect.gen(function*() {
      const { adapter, fake } = yield* start
      fake.script(model, { error: "rate_limit" }, { error: "context_length" }, { error: "model_not_found" })
      for (const fault of ["rate_limited", "context_overflow", "model_not_found"] as const) {
        assert.strictEqual((yield* Effect.flip(adapter.complete(callOf(model)))).fault, fault)
      }
      const failed = { type: "response.failed", response: { status: "failed", error: { code: "rate_limit_exceeded", message: "slow down" } } }
      fake.script(model, { raw: { headers: { "content-type": "text/event-stream" }, body: `event: response.failed\ndata: ${JSON.stringify(failed)}\n\n` } })
      assert.strictEqual((yield* Effect.flip(run(adapter, callOf(model), true))).fault, "rate_limited")
      fake.script(model, { raw: { headers: { "content-type": "application/json" }, body: JSON.stringify(failed.response) } })
      assert.strictEqual((yield* Effect.flip(adapter.complete(callOf(model)))).fault, "rate_limited")
      fake.script(model, { fault: "no-end" })
      assert.strictEqual((yield* Effect.flip(run(adapter, callOf(model), true))).fault, "stream_interrupted")
      for (const body of [{}, { output: "none" }, null, [], "text", { output: [] }]) {
        fake.script(model, { raw: { body: JSON.stringify(body), headers: { "content-type": "application/json" } } })
        assert.include(["malformed_response", "empty_completion"], (yield* Effect.flip(adapter.complete(callOf(model)))).fault)
      }
    }).pipe(Effect.scoped))
})
