import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import OpenAI, { BadRequestError } from "openai"
import type { Response, ResponseStreamEvent } from "openai/resources/responses/responses"
import { ok } from "../../support/AdminHub.ts"
import type { FakeProvider } from "../../support/FakeProvider.ts"
import * as Fake from "../../support/FakeProvider.ts"
import type { Hub } from "../../support/Harness.ts"
import * as Harness from "../../support/Harness.ts"

interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
  readonly client: OpenAI
}

class TestBench extends Context.Service<TestBench, Bench>()("test/Bench") {}

/** One model of every upstream protocol. */
const models = { "chat": "openai", "native": "openai-responses", "claude": "anthropic", "flash": "gemini" } as const
type Model = keyof typeof models
const all: ReadonlyArray<Model> = ["chat", "native", "claude", "flash"]

const clientOf = (hub: Hub, apiKey = "none") => new OpenAI({ baseURL: `${hub.url}/v1`, apiKey, maxRetries: 0 })

const register = async (hub: Hub, fake: FakeProvider) => {
  for (const [name, type] of Object.entries(models)) {
    const vendor = type === "openai-responses" ? "openai" : type
    ok(await hub.admin("POST", "/providers", { name: type, provider_type: type, api_key: "sk-test-key", base_url: fake.url(vendor) }))
    ok(await hub.admin("POST", "/models", {
      name,
      provider: type,
      context_size: 100_000,
      weight: 1000,
      cost_per_1k_tokens: 0.02,
      max_output_tokens: 4096
    }))
  }
}

const bench = Layer.effect(
  TestBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false" } })
    yield* Effect.promise(() => register(hub, fake))
    return { fake, hub, client: clientOf(hub) }
  })
)

const eventsOf = async (stream: AsyncIterable<ResponseStreamEvent>) => {
  const events: Array<ResponseStreamEvent> = []
  for await (const event of stream) events.push(event)
  return events
}

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
const tools = ["weather", "clock"].map((name) => ({ type: "function" as const, name, parameters, strict: false }))

const typesOf = (response: Response) => response.output.map(({ type }) => type)

/** What must hold for every stream: events numbered from 0, one terminal event, which is the last. */
const checkOrder = (events: ReadonlyArray<ResponseStreamEvent>) => {
  const terminal = events.filter(({ type }) => /^response\.(completed|incomplete|failed)$/.test(type))
  assert.strictEqual(terminal.length, 1)
  assert.strictEqual(events.at(-1), terminal[0])
  assert.deepStrictEqual(events.map((event) => event.sequence_number), events.map((_, i) => i))
}

const failureOf = async (promise: PromiseLike<unknown>) => {
  try {
    await promise
  } catch (error) {
    return error
  }
  return assert.fail("it did not fail")
}

layer(bench, { excludeTestServices: true, timeout: 60_000 })("POST /v1/responses", (it) => {
  const test = (name: string, run: (bench: Bench) => Promise<void>) =>
    it.effect(name, () =>
      Effect.flatMap(TestBench, (made) =>
        Effect.promise(async () => {
          made.fake.reset()
          await run(made)
        })))

  for (const model of all) {
    describe(`from ${models[model]}`, () => {
      test("an answer is a response as the SDK types it", async ({ client, fake }) => {
        fake.script({}, { text: "Hello there", usage: { prompt: 20, completion: 7, reasoning: 2 } })
        const response = await client.responses.create({ model, input: "Hello", instructions: "Be brief.", metadata: { a: "b" } })
        assert.strictEqual(response.output_text, "Hello there")
        assert.deepStrictEqual(typesOf(response), ["message"])
        assert.deepInclude(response, { object: "response", status: "completed", error: null, incomplete_details: null })
        assert.match(response.id, /^resp_/)
        assert.deepInclude(response.usage, { input_tokens: 20, output_tokens: 7, total_tokens: 27 })
        assert.isNumber(response.usage?.output_tokens_details.reasoning_tokens)
        assert.isNumber(response.usage?.input_tokens_details.cached_tokens)
      })

      test("a stream's events add up to the same response", async ({ client, fake }) => {
        fake.script({}, { text: "Hello there, how are you today?", usage: { prompt: 20, completion: 7 } })
        const events = await eventsOf(await client.responses.create({ model, input: "Hello", stream: true }))
        checkOrder(events)
        assert.deepStrictEqual(events.slice(0, 4).map(({ type }) => type), [
          "response.created",
          "response.in_progress",
          "response.output_item.added",
          "response.content_part.added"
        ])
        assert.deepStrictEqual(events.slice(-4).map(({ type }) => type), [
          "response.output_text.done",
          "response.content_part.done",
          "response.output_item.done",
          "response.completed"
        ])
        const text = events.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join("")
        assert.strictEqual(text, "Hello there, how are you today?")
        fake.script({}, { text: "Once more" })
        const final = await client.responses.stream({ model, input: "Hello" }).finalResponse()
        assert.strictEqual(final.output_text, "Once more")
      })

      test("parallel tool calls, plain and streamed, and their results", async ({ client, fake }) => {
        const input = "use tool weather {\"city\":\"Oslo\"} use tool clock {\"city\":\"Rome\"}"
        const plain = await client.responses.create({ model, input, tools })
        const stream = client.responses.stream({ model, input, tools })
        const events = await eventsOf(stream)
        checkOrder(events)
        const streamed = await stream.finalResponse()
        for (const { output } of [plain, streamed]) {
          const calls = output.flatMap((item) => (item.type === "function_call" ? [item] : []))
          assert.deepStrictEqual(calls.map(({ name }) => name), ["weather", "clock"])
          assert.deepStrictEqual(calls.map((call) => JSON.parse(call.arguments)), [{ city: "Oslo" }, { city: "Rome" }])
        }
        assert.isAbove(events.filter(({ type }) => type === "response.function_call_arguments.delta").length, 1)
        const calls = plain.output.flatMap((item) => (item.type === "function_call" ? [item] : []))
        const results = calls.map((call) => ({ type: "function_call_output" as const, call_id: call.call_id, output: `${call.name}: fine` }))
        const answer = await client.responses.create({ model, tools, input: [{ role: "user", content: input }, ...calls, ...results] })
        assert.include(answer.output_text, "fine")
        assert.strictEqual(fake.calls.length, 3)
      })

      test("a forced tool, and a schema", async ({ client }) => {
        const forced = await client.responses.create({ model, input: "Hi", tools, tool_choice: { type: "function", name: "clock" } })
        assert.deepStrictEqual(forced.output.map((item) => (item.type === "function_call" ? item.name : item.type)), ["clock"])
        const format = { type: "json_schema" as const, name: "place", schema: { ...parameters, additionalProperties: false }, strict: true }
        const parsed = await client.responses.parse({ model, input: "Oslo", text: { format } })
        assert.deepStrictEqual(JSON.parse(parsed.output_text), { city: "Oslo" })
      })

      test("a refusal is a part of its own, and what a cache took is counted", async ({ client, fake }) => {
        if (model === "claude") {
          fake.script({}, { text: "Hi", usage: { prompt: 20, completion: 2, cached: 8, cacheWrite: 5 } })
          const { usage } = await client.responses.create({ model, input: "Hello" })
          assert.deepStrictEqual(usage?.input_tokens_details, { cached_tokens: 8, cache_write_tokens: 5 })
        }
        if (model === "claude" || model === "flash") return
        fake.script({}, { refusal: "I can't" }, { refusal: "I can't" })
        const plain = await client.responses.create({ model, input: "Hello" })
        const stream = client.responses.stream({ model, input: "Hello" })
        const events = await eventsOf(stream)
        checkOrder(events)
        assert.include(events.map(({ type }) => type), "response.refusal.done")
        for (const { output: [item], status } of [plain, await stream.finalResponse()]) {
          assert.strictEqual(status, "completed")
          assert.deepStrictEqual(item?.type === "message" ? item.content.map((part) => (part.type === "refusal" ? part.refusal : part.type)) : [], ["I can't"])
        }
      })

      test("an image goes out", async ({ client, fake }) => {
        const image_url = "data:image/png;base64,iVBORw0KGgo="
        const response = await client.responses.create({
          model,
          input: [{ role: "user", content: [{ type: "input_text", text: "What?" }, { type: "input_image", image_url, detail: "auto" }] }]
        })
        assert.strictEqual(response.status, "completed")
        assert.include(JSON.stringify(fake.calls.at(-1)?.body), "iVBORw0KGgo=")
      })

      test("thoughts are reasoning items", async ({ client, fake }) => {
        const parts = [{ type: "reasoning" as const, text: "Let me think", signature: "c2ln" }, { type: "text" as const, text: "Yes" }]
        fake.script({}, { parts }, { parts })
        const reasoning = { effort: "high" as const, summary: "auto" as const }
        const plain = await client.responses.create({ model, input: "Hi", reasoning })
        assert.deepStrictEqual(typesOf(plain), ["reasoning", "message"])
        const stream = client.responses.stream({ model, input: "Hi", reasoning })
        const events = await eventsOf(stream)
        checkOrder(events)
        assert.include(events.map(({ type }) => type), "response.reasoning_summary_text.delta")
        assert.deepStrictEqual(typesOf(await stream.finalResponse()), ["reasoning", "message"])
      })

      test("a length limit is incomplete", async ({ client, fake }) => {
        fake.script({}, { text: "cut", finish: "length" }, { text: "cut", finish: "length" })
        const plain = await client.responses.create({ model, input: "Hi" })
        assert.deepInclude(plain, { status: "incomplete", incomplete_details: { reason: "max_output_tokens" } })
        const events = await eventsOf(await client.responses.create({ model, input: "Hi", stream: true }))
        assert.strictEqual(events.at(-1)?.type, "response.incomplete")
      })

      test("an error before the first content is the SDK's own exception", async ({ client, fake }) => {
        fake.script({}, { error: "invalid_request", always: true })
        for (const stream of [false, true]) {
          assert.instanceOf(await failureOf(client.responses.create({ model, input: "Hi", stream })), BadRequestError)
        }
      })

      test("an error after it is response.failed", async ({ client, fake }) => {
        fake.script({}, { text: "Hello there, how are you today? I am fine.", fault: "cut-mid-stream?after=3" })
        const events = await eventsOf(await client.responses.create({ model, input: "Hi", stream: true }))
        checkOrder(events)
        const last = events.at(-1)
        assert.strictEqual(last?.type, "response.failed")
        if (last?.type === "response.failed") {
          assert.strictEqual(last.response.status, "failed")
          assert.strictEqual(last.response.error?.code, "server_error")
          assert.strictEqual(events[0]?.type === "response.created" && events[0].response.id, last.response.id)
        }
      })
    })
  }

  describe("from a provider of the same protocol", () => {
    const strange = { model: "native", input: [{ role: "user", content: [{ type: "input_text", text: "Hi", shade: 1 }], mood: "x" }], brand_new: { of: ["tomorrow", null] } }

    test("the client's own JSON goes through, and the provider's bytes come back", async ({ fake, hub }) => {
      const body = "{ \"id\":\"resp_1\", \"object\":\"response\",\n\"status\":\"completed\", \"aura\":\"\\u00e9\", \"output\":[{\"type\":\"hologram\",\"id\":\"h_1\"}], \"usage\":{\"input_tokens\":1,\"output_tokens\":1,\"new_tokens\":7}}"
      fake.script({}, { raw: { headers: { "content-type": "application/json" }, body } })
      const answer = await hub.post("/v1/responses", strange)
      assert.strictEqual(answer.text, body)
      assert.strictEqual(answer.headers.get("x-tokenhub-model"), "native")
      assert.deepStrictEqual(fake.calls[0]?.body, { ...strange, store: false })
    })

    test("a stream's own events come through, also of kinds that nobody knows", async ({ fake, hub }) => {
      const events = [
        { type: "response.created", sequence_number: 0, response: { id: "resp_1", status: "in_progress", output: [], aura: 1 } },
        { type: "response.hologram.delta", sequence_number: 1, beams: ["\u00e9"] },
        { type: "response.output_text.delta", sequence_number: 2, output_index: 0, content_index: 0, delta: "Hi", obfuscation: "xyz" },
        { type: "response.completed", sequence_number: 3, response: { id: "resp_1", status: "completed", output: [], usage: { input_tokens: 1, output_tokens: 1 } } }
      ]
      const body = events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("")
      fake.script({}, { raw: { headers: { "content-type": "text/event-stream" }, body } })
      const answer = await hub.post("/v1/responses", { ...strange, stream: true })
      assert.strictEqual(answer.text, body)
    })
  })
})
