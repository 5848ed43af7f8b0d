import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import OpenAI, { APIError, AuthenticationError, BadRequestError, InternalServerError, NotFoundError, RateLimitError } from "openai"
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
const models = { gpt: "openai", claude: "anthropic", flash: "gemini" } as const
type Model = keyof typeof models
const all: ReadonlyArray<Model> = ["gpt", "claude", "flash"]

const bench = Layer.effect(
  TestBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", TOKENHUB_HEARTBEAT_MS: "100" } })
    yield* Effect.promise(async () => {
      for (const [weight, [name, type]] of Object.entries(models).entries()) {
        ok(await hub.admin("POST", "/providers", { name: type, provider_type: type, api_key: "sk-test-key", base_url: fake.url(type) }))
        ok(await hub.admin("POST", "/models", {
          name,
          provider: type,
          context_size: 100_000,
          weight: 1000 - weight,
          cost_per_1k_tokens: 0.02,
          max_output_tokens: 4096,
          aliases: [`${name}/latest`]
        }))
      }
    })
    return { fake, hub, client: new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: "none", maxRetries: 0 }) }
  })
)

type Chunk = OpenAI.Chat.ChatCompletionChunk
type Params = Omit<OpenAI.Chat.ChatCompletionCreateParamsNonStreaming, "messages" | "model" | "stream">

const user = (content: string) => [{ role: "user" as const, content }]
/** Nobody else is asked, and no Retry-After is waited for. */
const noEscalation = { "x-tokenhub-allow-escalation": "false", "x-tokenhub-deadline-ms": "4000" }

const tools = ["weather", "clock"].map((name) => ({
  type: "function" as const,
  function: { name, parameters: { type: "object", properties: { city: { type: "string" } } } }
}))

const collect = async (stream: AsyncIterable<Chunk>) => {
  const chunks: Array<Chunk> = []
  for await (const chunk of stream) chunks.push(chunk)
  return chunks
}

const textOf = (chunks: ReadonlyArray<Chunk>) => chunks.map(({ choices: [choice] }) => choice?.delta.content ?? "").join("")

/** What must hold for every stream: one id and time, the role first, one reason why it ended. */
const checkOrder = (chunks: ReadonlyArray<Chunk>) => {
  assert.strictEqual(new Set(chunks.map(({ created, id }) => `${id} ${created}`)).size, 1)
  assert.strictEqual(chunks[0]?.choices[0]?.delta.role, "assistant")
  assert.strictEqual(chunks.filter(({ choices: [choice] }) => typeof choice?.finish_reason === "string").length, 1)
}

/** The bytes of a stream and its HTTP answer. */
const raw = async (hub: Hub, body: object, headers: Record<string, string> = {}) => {
  const response = await fetch(`${hub.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ stream: true, ...body })
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

/** The data of the events, without comments. */
const dataOf = (text: string) => text.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6))

const thrownBy = async (attempt: Promise<unknown>): Promise<InstanceType<typeof APIError>> => {
  const error = await attempt.then(() => undefined, (error: unknown) => error)
  assert.instanceOf(error, APIError)
  return error
}

layer(bench, { excludeTestServices: true, timeout: 60_000 })("POST /v1/chat/completions", (it) => {
  const test = (name: string, run: (bench: Bench) => Promise<void>) =>
    it.effect(name, () =>
      Effect.flatMap(TestBench, (made) =>
        Effect.promise(async () => {
          made.fake.reset()
          await run(made)
        })))

  const forEach = (name: string, run: (bench: Bench, model: Model) => Promise<void>) => {
    for (const model of all) test(`${name} (${models[model]})`, (made) => run(made, model))
  }

  describe("whatever the provider's protocol", () => {
    forEach("answers", async ({ client, fake }, model) => {
      fake.script({}, { text: "Hello there", usage: { prompt: 20, completion: 200, cached: 8 } })
      const { data, response } = await client.chat.completions.create({ model, messages: user("Hello") }).withResponse()
      assert.strictEqual(data.object, "chat.completion")
      assert.strictEqual(data.choices[0]?.message.content, "Hello there")
      assert.strictEqual(data.choices[0]?.finish_reason, "stop")
      assert.strictEqual(data.usage?.total_tokens, 220)
      assert.strictEqual(data.usage?.prompt_tokens_details?.cached_tokens, 8)
      assert.strictEqual(response.headers.get("x-tokenhub-model"), model)
      assert.strictEqual(response.headers.get("x-tokenhub-provider"), models[model])
      assert.strictEqual(response.headers.get("x-tokenhub-cost-usd"), "0.004400000")
      assert.strictEqual(response.headers.get("x-tokenhub-attempts"), "1")
    })

    forEach("streams", async ({ client, fake }, model) => {
      fake.script({}, { text: "Hello there, you out there", usage: { prompt: 20, completion: 200 } })
      const { data, response } = await client.chat.completions.create({
        model,
        messages: user("Hello"),
        stream: true,
        stream_options: { include_usage: true }
      }).withResponse()
      const chunks = await collect(data)
      checkOrder(chunks)
      assert.strictEqual(textOf(chunks), "Hello there, you out there")
      assert.deepStrictEqual(chunks.at(-1)?.choices, [])
      assert.strictEqual(chunks.at(-1)?.usage?.total_tokens, 220)
      assert.strictEqual(response.headers.get("x-tokenhub-model"), model)
      assert.strictEqual(response.headers.get("x-tokenhub-attempts"), "1")
    })

    forEach("leaves out the usage of a stream that was not asked for it", async ({ client }, model) => {
      const chunks = await collect(await client.chat.completions.create({ model, messages: user("Hello"), stream: true }))
      checkOrder(chunks)
      assert.isTrue(chunks.every(({ choices }) => choices.length === 1))
    })

    forEach("calls tools, several at once, and takes their results", async ({ client, fake }, model) => {
      fake.script({}, {
        toolCalls: [{ name: "weather", arguments: { city: "Oslo" } }, { name: "clock", arguments: { city: "Rome" } }]
      })
      const first = await client.chat.completions.create({ model, messages: user("Go"), tools })
      const message = first.choices[0]?.message
      assert.strictEqual(first.choices[0]?.finish_reason, "tool_calls")
      const calls = (message?.tool_calls ?? []).flatMap((call) => (call.type === "function" ? [call] : []))
      assert.deepStrictEqual(calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]), [
        ["weather", { city: "Oslo" }],
        ["clock", { city: "Rome" }]
      ])
      fake.script({}, { text: "Rain at noon" })
      const second = await client.chat.completions.create({
        model,
        messages: [
          ...user("Go"),
          ...(message === undefined ? [] : [message]),
          ...calls.map(({ id }) => ({ role: "tool" as const, tool_call_id: id, content: "done" }))
        ],
        tools
      })
      assert.strictEqual(second.choices[0]?.message.content, "Rain at noon")
    })

    forEach("streams tool calls by their index", async ({ client, fake }, model) => {
      fake.script({}, {
        toolCalls: [{ name: "weather", arguments: { city: "Oslo" } }, { name: "clock", arguments: { city: "Rome" } }]
      })
      const runner = client.chat.completions.stream({ model, messages: user("Go"), tools })
      const calls = (await runner.finalChatCompletion()).choices[0]?.message.tool_calls ?? []
      assert.deepStrictEqual(
        calls.map((call) => (call.type === "function" ? [call.function.name, JSON.parse(call.function.arguments)] : [])),
        [["weather", { city: "Oslo" }], ["clock", { city: "Rome" }]]
      )
    })

    forEach("takes images, by data and by address", async ({ client, fake }, model) => {
      await client.chat.completions.create({
        model,
        messages: [{
          role: "user",
          content: [
            { type: "text", text: "What is it?" },
            { type: "image_url", image_url: { url: "data:image/png;base64,aGVsbG8=" } },
            { type: "image_url", image_url: { url: "https://example.org/cat.png" } }
          ]
        }]
      })
      const sent = fake.calls[0]?.text ?? ""
      assert.include(sent, "aGVsbG8=")
      assert.include(sent, "https://example.org/cat.png")
    })

    forEach("asks for JSON by a schema", async ({ client }, model) => {
      const completion = await client.chat.completions.create({
        model,
        messages: user("Which city?"),
        response_format: {
          type: "json_schema",
          json_schema: {
            name: "city",
            schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false }
          }
        }
      })
      assert.hasAllKeys(JSON.parse(completion.choices[0]?.message.content ?? ""), ["city"])
    })

    forEach("tells what a cache gave and took, and a refusal in its own place", async ({ client, fake }, model) => {
      fake.script({}, { text: "Hi", usage: { prompt: 20, completion: 2, cached: 8, cacheWrite: 5 } })
      const { usage } = await client.chat.completions.create({ model, messages: user("Hello") })
      assert.deepInclude(usage?.prompt_tokens_details, { cached_tokens: 8 })
      // The fake provider has OpenAI and Gemini count what a cache took among the rest.
      if (model === "claude") assert.deepInclude(usage?.prompt_tokens_details, { cache_write_tokens: 5 })
      if (model !== "gpt") return
      fake.script({}, { refusal: "I can't" }, { refusal: "I can't" })
      const whole = await client.chat.completions.create({ model, messages: user("Hello") })
      const streamed = await client.chat.completions.stream({ model, messages: user("Hello") }).finalChatCompletion()
      for (const { choices: [choice] } of [whole, streamed]) assert.deepInclude({ ...choice?.message }, { content: null, refusal: "I can't" })
    })

    forEach("gives the reasoning, and its tokens", async ({ client, fake }, model) => {
      fake.script({ stream: false }, { reasoning: "Let me think", text: "42", usage: { prompt: 5, completion: 50, reasoning: 30 } })
      fake.script({ stream: true }, { reasoning: "Let me think", text: "42" })
      const asked = { model, messages: user("Why?"), reasoning_effort: "low" as const }
      const whole = await client.chat.completions.create(asked)
      assert.strictEqual(whole.choices[0]?.message.content, "42")
      // The fake provider follows Anthropic, which counted thoughts among the rest for long.
      if (model !== "claude") assert.strictEqual(whole.usage?.completion_tokens_details?.reasoning_tokens, 30)
      const chunks = await collect(await client.chat.completions.create({ ...asked, stream: true }))
      checkOrder(chunks)
      assert.strictEqual(textOf(chunks), "42")
      if (model === "gpt") return // OpenAI keeps its thoughts to itself.
      assert.propertyVal(whole.choices[0]?.message, "reasoning_content", "Let me think")
      const thought = chunks.map(({ choices: [choice] }) => choice?.delta ?? {}).map((delta) =>
        "reasoning_content" in delta ? String(delta.reasoning_content) : "")
      assert.strictEqual(thought.join(""), "Let me think")
    })

    forEach("tells the vendor's errors as the SDK's own exceptions, streamed or not", async ({ client, fake, hub }, model) => {
      const cases = [
        ["rate_limit", RateLimitError],
        ["invalid_request", BadRequestError],
        ["server_error", InternalServerError]
      ] as const
      for (const [error, type] of cases) {
        for (const stream of [false, true]) {
          fake.reset()
          fake.script({}, { error, always: true })
          const thrown = await thrownBy(
            client.chat.completions.create({ model, messages: user("Hello"), stream }, { headers: noEscalation })
          )
          assert.instanceOf(thrown, type, `${error}, ${stream ? "streamed" : "plain"}`)
          // A new key is a fresh start for what cools down.
          ok(await hub.admin("POST", "/providers", { name: models[model], provider_type: models[model], api_key: "sk-test-key", base_url: fake.url(models[model]) }))
        }
      }
    })

    forEach("tells a fault in the middle of a stream, and does not end it as if all were well", async ({ fake, hub }, model) => {
      fake.script({}, { text: "Some words that come before the end", fault: "reset-mid-stream?after=3" })
      const { status, text } = await raw(hub, { model, messages: user("Hello") })
      assert.strictEqual(status, 200)
      assert.include(text, "Some words")
      const last = JSON.parse(dataOf(text).at(-1) ?? "")
      assert.strictEqual(last.error.type, "upstream_error")
      assert.notInclude(text, "[DONE]")
    })

    forEach("cancels the call of a client that leaves", async ({ client, fake }, model) => {
      fake.script({}, { text: "one two three four five six seven", delay: { chunk: 400 } })
      const arrived = fake.next({})
      const stream = await client.chat.completions.create({ model, messages: user("Hello"), stream: true })
      for await (const _ of stream) break
      const left = performance.now()
      const call = await arrived
      assert.notStrictEqual(await call.ended, "complete")
      assert.isBelow(performance.now() - left, 1000)
    })

    forEach("cancels the call of a client that leaves before the first byte", async ({ client, fake }, model) => {
      fake.script({}, { text: "late", delay: { headers: 5000 } })
      const arrived = fake.next({})
      const leaving = new AbortController()
      const answered = client.chat.completions.create({ model, messages: user("Hello"), stream: true }, { signal: leaving.signal })
        .then(() => true, () => false)
      const call = await arrived
      leaving.abort()
      const left = performance.now()
      assert.isFalse(await answered)
      assert.notStrictEqual(await call.ended, "complete")
      assert.isBelow(performance.now() - left, 1000)
    })

    forEach("hands a tool call of the planner on, which the critic has seen", async ({ client, fake }, model) => {
      fake.script((call) => call.text.includes("You review a draft"), { text: "Right.\nVERDICT: ACCEPT" })
      fake.script({}, { toolCalls: [{ name: "weather", arguments: { city: "Oslo" } }] })
      const name = `tokenhub/adversarial?planner=${model}&critic=gpt`
      const completion = await client.chat.completions.create({ model: name, messages: user("Go"), tools })
      const [call] = completion.choices[0]?.message.tool_calls ?? []
      assert.strictEqual(call?.type === "function" ? call.function.name : "", "weather")
      assert.include(fake.calls[1]?.text, "[calls the tool weather with")
    })

    forEach("runs a mode behind a virtual model", async ({ client, fake }, model) => {
      fake.script((call) => call.text.includes("You review a draft"), { text: "Too short.\nVERDICT: REVISE" }, { text: "Fine.\nVERDICT: ACCEPT" })
      fake.script((call) => call.text.includes("improved answer"), { text: "The better answer" })
      const name = `tokenhub/adversarial?planner=${model}&critic=gpt&refinements=2`
      const { data, response } = await client.chat.completions.create({ model: name, messages: user("Plan") }).withResponse()
      assert.strictEqual(data.choices[0]?.message.content, "The better answer")
      assert.strictEqual(response.headers.get("x-tokenhub-model"), model)
      assert.strictEqual(response.headers.get("x-tokenhub-attempts"), "4")
    })
  })

  describe("with a provider of the same protocol", () => {
    const strange = {
      model: "gpt",
      messages: [{ role: "user", content: "Hello", shade: { deep: [1, 2] } }],
      max_tokens: 77,
      brand_new: { of: ["tomorrow", null] },
      store: false
    }

    test("hands the client's own JSON on, with the model and the limits rewritten", async ({ fake, hub }) => {
      ok(await hub.post("/v1/chat/completions", { ...strange, tokenhub: { deadline_ms: 60_000 } }))
      const { max_tokens, ...rest } = strange
      assert.deepStrictEqual(fake.calls[0]?.body, { ...rest, max_completion_tokens: max_tokens })
    })

    test("hands it on in the bytes in which it came, but for what is rewritten", async ({ fake, hub }) => {
      const body = JSON.stringify({ ...strange, tokenhub: {} }).replace('"brand_new":{', '"brand_new":{"huge":1e999,')
      const response = await fetch(`${hub.url}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body })
      assert.strictEqual(response.status, 200)
      assert.nestedPropertyVal(fake.calls[0]?.body, "brand_new.huge", Infinity)
      assert.notProperty(fake.calls[0]?.body, "tokenhub")
    })

    test("gives the provider's own bytes back", async ({ fake, hub }) => {
      const body = '{ "id":"x", "object":"chat.completion", "created":1, "model":"gpt-x-2030",\n"choices":[{"index":0,"message":{"role":"assistant","content":"Hi","aura":"\\u00e9"},"finish_reason":"stop"}], "usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"new_tokens":7}}'
      fake.script({}, { raw: { headers: { "content-type": "application/json" }, body } })
      const answer = await hub.post("/v1/chat/completions", strange)
      assert.strictEqual(answer.text, body)
      assert.strictEqual(answer.headers.get("x-tokenhub-model"), "gpt")
    })

    test("gives a stream's own events back, in order, also those of fields that nobody knows", async ({ fake, hub }) => {
      const events = [
        '{"id":"x","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
        '{"id":"x","created":1,"choices":[{"index":0,"delta":{"hologram":"\\u00e9 3"}}]}',
        '{"id":"x","created":1, "choices":[{"index":0,"delta":{"content":"data: [DONE]\\n\\ndata: {}"}}]}',
        '{"id":"x","created":1,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
        '{"id":"x","created":1,"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
      ]
      const script = () =>
        fake.script({}, {
          raw: {
            headers: { "content-type": "text/event-stream" },
            body: `\uFEFF: hello\r\nretry: 100\r\n\r\n${events.map((event) => `data: ${event}\r\n\r\n`).join("")}data: [DONE]\r\n\r\n`
          }
        })
      script()
      const asked = await raw(hub, { ...strange, stream_options: { include_usage: true, extra: 1 } })
      assert.deepStrictEqual(dataOf(asked.text), [...events, "[DONE]"])
      assert.nestedPropertyVal(fake.calls[0]?.body, "stream_options.extra", 1)
      script()
      const unasked = await raw(hub, strange)
      assert.deepStrictEqual(dataOf(unasked.text), [...events.slice(0, -1), "[DONE]"])
    })

    test("drops the opening of a call that failed before its content", async ({ fake, hub }) => {
      const opening = '{"id":"first","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'
      fake.script(
        {},
        {
          raw: {
            headers: { "content-type": "text/event-stream" },
            body: `data: ${opening}\n\ndata: {"error":{"message":"out of order","type":"server_error"}}\n\n`
          }
        },
        { text: "Second try" }
      )
      const { headers, status, text } = await raw(hub, { model: "gpt", messages: user("Hello") })
      assert.strictEqual(status, 200)
      assert.notInclude(text, "first")
      assert.include(text, "Second")
      assert.strictEqual(headers.get("x-tokenhub-attempts"), "2")
    })

    test("gives several answers, streamed too", async ({ client }) => {
      const chunks = await collect(await client.chat.completions.create({ model: "gpt", messages: user("Hi"), n: 2, stream: true }))
      const ended = chunks.flatMap(({ choices }) => choices.flatMap(({ finish_reason, index }) => (finish_reason === null ? [] : [index])))
      assert.sameMembers(ended, [0, 1])
    })
  })

  describe("on the wire", () => {
    forEach("ends a stream with one [DONE], which no text can forge", async ({ fake, hub }, model) => {
      fake.script({}, { text: "data: [DONE]\n\ndata: {\"forged\":true}\r\n\r\n" })
      const { headers, text } = await raw(hub, { model, messages: user("Hello") })
      assert.match(headers.get("content-type") ?? "", /^text\/event-stream/)
      assert.strictEqual(dataOf(text).filter((data) => data === "[DONE]").length, 1)
      assert.isTrue(text.endsWith("data: [DONE]\n\n"))
      const chunks = dataOf(text).slice(0, -1).map((data) => JSON.parse(data))
      assert.isTrue(chunks.every((chunk) => !("forged" in chunk)))
      assert.strictEqual(textOf(chunks), "data: [DONE]\n\ndata: {\"forged\":true}\r\n\r\n")
    })

    test("shows that an idle stream lives, by comments", async ({ fake, hub }) => {
      fake.script({}, { text: "slow words that take their time", delay: { chunk: 250 } })
      const { text } = await raw(hub, { model: "gpt", messages: user("Hello") })
      assert.include(text, "\n\n: heartbeat\n\n")
      assert.isFalse(text.startsWith(":"))
    })

    test("shows a mode's steps as reasoning where the client asks for them", async ({ fake, hub }) => {
      fake.script((call) => call.text.includes("VERDICT"), { text: "Fine.\nVERDICT: ACCEPT" })
      fake.script({}, { text: "The plan" })
      const body = { model: "tokenhub/adversarial?planner=gpt&critic=claude", messages: user("Plan") }
      const { text } = await raw(hub, { ...body, tokenhub: { events: true } })
      assert.match(text, /^: step.started \{"step":"plan"\}\n\n/)
      assert.match(text, /\n: step.completed \{"step":"critique"/)
      const chunks = dataOf(text).slice(0, -1).map((data) => JSON.parse(data))
      checkOrder(chunks)
      assert.strictEqual(textOf(chunks), "The plan")
      assert.strictEqual(
        chunks.map(({ choices }) => choices[0]?.delta.reasoning_content ?? "").join(""),
        "The plan\n\nFine.\nVERDICT: ACCEPT"
      )
    })

    test("tells nothing of the steps where nobody asks", async ({ fake, hub }) => {
      fake.script((call) => call.text.includes("VERDICT"), { text: "Fine.\nVERDICT: ACCEPT" })
      fake.script({}, { text: "The plan" })
      const { text } = await raw(hub, { model: "tokenhub/adversarial?planner=gpt&critic=claude", messages: user("Plan") })
      assert.notInclude(text, "VERDICT")
      assert.strictEqual(textOf(dataOf(text).slice(0, -1).map((data) => JSON.parse(data))), "The plan")
    })
  })

  describe("what can't be had", () => {
    test("is a 400 that names the field, unless the client can do without", async ({ client, fake, hub }) => {
      const asked: Params = { seed: 7, logit_bias: { 50256: -100 } }
      const refused = await thrownBy(client.chat.completions.create({ model: "claude", messages: user("Hello"), ...asked }, { headers: noEscalation }))
      assert.instanceOf(refused, BadRequestError)
      assert.strictEqual(refused.param, "logit_bias")
      ok(await hub.post("/v1/chat/completions", { model: "claude", messages: user("Hello"), ...asked, tokenhub: { drop_unsupported: true } }))
      const legacy = { messages: user("Hello"), functions: [{ name: "f" }] }
      const elsewhere = await hub.post("/v1/chat/completions", { model: "claude", ...legacy }, { headers: noEscalation })
      assert.deepStrictEqual([elsewhere.status, elsewhere.json.error.param], [400, "functions"])
      ok(await hub.post("/v1/chat/completions", { model: "gpt", ...legacy }))
      assert.deepInclude(fake.calls.at(-1)?.body, legacy)
    })

    test("says so by the exception of the SDK", async ({ client, hub }) => {
      const remote = new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: "th_wrong", maxRetries: 0, defaultHeaders: { via: "1.1 proxy" } })
      assert.instanceOf(await thrownBy(remote.chat.completions.create({ model: "gpt", messages: user("Hello") })), AuthenticationError)
      const unknown = await thrownBy(client.chat.completions.create({ model: "gtp", messages: user("Hello") }))
      assert.instanceOf(unknown, NotFoundError)
      assert.strictEqual(unknown.code, "model_not_found")
      const critic = await thrownBy(
        client.chat.completions.create({ model: "tokenhub/adversarial?critic=nobody", messages: user("Hello"), stream: true })
      )
      assert.instanceOf(critic, NotFoundError)
    })

    test("is not asked for again where that is of no use", async ({ fake, hub }) => {
      fake.script({}, { error: "invalid_key", always: true })
      const stubborn = new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: "none", maxRetries: 2 })
      const thrown = await thrownBy(stubborn.chat.completions.create({ model: "flash", messages: user("Hello") }, { headers: noEscalation }))
      assert.strictEqual(thrown.status, 502)
      assert.strictEqual(thrown.code, "provider_auth")
      assert.strictEqual(thrown.headers?.get("x-should-retry"), "false")
      assert.strictEqual(fake.calls.length, 1)
      ok(await hub.admin("POST", "/providers", { name: "gemini", provider_type: "gemini", api_key: "sk-new-key", base_url: fake.url("gemini") }))
    })

    test("includes what costs more than the run may", async ({ fake, hub }) => {
      const body = { messages: user("Hello"), max_tokens: 100 }
      const refused = await hub.post("/v1/chat/completions", { ...body, model: "gpt", tokenhub: { max_cost_usd: 0.001 } })
      assert.strictEqual(refused.status, 402)
      assert.strictEqual(refused.json.error.type, "budget_error")
      assert.strictEqual(fake.calls.length, 0)
      fake.script({}, { text: "The plan", usage: { prompt: 20, completion: 80 } })
      const degraded = await hub.post("/v1/chat", {
        ...body,
        orchestration_mode: "adversarial",
        planner_model: "gpt",
        critic_model: "claude",
        tokenhub: { max_cost_usd: 0.003 }
      })
      assert.strictEqual(ok(degraded).degraded, "budget")
      assert.strictEqual(degraded.json.response, "The plan")
      assert.strictEqual(fake.calls.length, 1)
    })
  })

  describe("GET /v1/models", () => {
    test("lists models, aliases and virtual models as OpenAI does", async ({ client }) => {
      const names: Array<string> = []
      for await (const model of client.models.list()) names.push(model.id)
      assert.includeMembers(names, ["gpt", "gpt/latest", "claude", "flash", "tokenhub/auto", "tokenhub/simple", "tokenhub/adversarial"])
      const one = await client.models.retrieve("gpt/latest")
      assert.deepStrictEqual({ ...one }, { id: "gpt/latest", object: "model", created: 0, owned_by: "openai" })
      assert.instanceOf(await thrownBy(client.models.retrieve("nobody/knows")), NotFoundError)
    })

    test("lists them as Anthropic does for a client of theirs, page by page", async ({ hub }) => {
      const headers = { "anthropic-version": "2023-06-01" }
      const page = async (query: string) => ok(await hub.get(`/v1/models${query}`, { headers }))
      const whole = await page("?limit=1000")
      assert.isFalse(whole.has_more)
      assert.deepStrictEqual(whole.data[0], {
        type: "model",
        id: whole.first_id,
        display_name: whole.first_id,
        created_at: "1970-01-01T00:00:00Z",
        max_input_tokens: 100_000,
        max_tokens: 4096,
        lifecycle: "active",
        capabilities: null,
        line: null,
        deprecated_at: null,
        retires_at: null
      })
      assert.deepInclude(whole.data.at(-1), { max_input_tokens: null, max_tokens: null })
      const found: Array<string> = []
      for (let query = "?limit=2"; ;) {
        const { data, has_more, last_id } = await page(query)
        found.push(...data.map(({ id }: { id: string }) => id))
        if (!has_more) break
        query = `?limit=2&after_id=${encodeURIComponent(last_id)}`
      }
      assert.deepStrictEqual(found, whole.data.map(({ id }: { id: string }) => id))
      assert.strictEqual(ok(await hub.get("/v1/models/tokenhub/auto", { headers })).type, "model")
      assert.deepStrictEqual((await page(`?limit=1&before_id=${found[2]}`)).data.map(({ id }: { id: string }) => id), [found[1]])
    })
  })
})
