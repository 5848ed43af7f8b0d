import Anthropic, {
  APIError,
  APIUserAbortError,
  BadRequestError,
  ContentTooLargeError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
  ServiceUnavailableError
} from "@anthropic-ai/sdk"
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { ok } from "../../support/AdminHub.ts"
import type { FakeProvider } from "../../support/FakeProvider.ts"
import * as Fake from "../../support/FakeProvider.ts"
import type { Hub } from "../../support/Harness.ts"
import * as Harness from "../../support/Harness.ts"

interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
  readonly client: Anthropic
}

class TestBench extends Context.Service<TestBench, Bench>()("test/Bench") {}

/** One model of every upstream protocol, the heaviest first. */
const models = { gpt: "openai", flash: "gemini", claude: "anthropic" } as const
type Model = keyof typeof models
const all: ReadonlyArray<Model> = ["claude", "gpt", "flash"]

const bench = Layer.effect(
  TestBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", TOKENHUB_MAX_BODY_BYTES: "33000000" } })
    yield* Effect.promise(async () => {
      for (const [weight, [name, type]] of Object.entries(models).entries()) {
        ok(await hub.admin("POST", "/providers", { name: type, provider_type: type, api_key: "sk-test-key", base_url: fake.url(type) }))
        ok(await hub.admin("POST", "/models", {
          name,
          provider: type,
          context_size: 20_000_000,
          weight: 1000 - weight,
          cost_per_1k_tokens: 0.02,
          max_output_tokens: 4096,
          aliases: [`${name}/latest`]
        }))
      }
    })
    return { fake, hub, client: new Anthropic({ baseURL: hub.url, apiKey: "none", maxRetries: 0 }) }
  })
)

type Params = Omit<Anthropic.MessageCreateParamsNonStreaming, "messages" | "model" | "max_tokens" | "stream">
type Block = Anthropic.ContentBlock

const user = (content: Anthropic.MessageParam["content"]) => [{ role: "user" as const, content }]
/** Nobody else is asked, and no Retry-After is waited for. */
const noEscalation = { "x-tokenhub-allow-escalation": "false", "x-tokenhub-deadline-ms": "4000" }

const tools: Array<Anthropic.Tool> = ["weather", "clock"].map((name) => ({
  name,
  input_schema: { type: "object", properties: { city: { type: "string" } } }
}))

const textOf = (content: ReadonlyArray<Block>) => content.map((block) => (block.type === "text" ? block.text : "")).join("")
const callsOf = (content: ReadonlyArray<Block>) => content.flatMap((block) => (block.type === "tool_use" ? [block] : []))
const kinds = (content: ReadonlyArray<Block>) => content.map(({ type }) => type)

/** The bytes of an answer. */
const raw = async (hub: Hub, body: object, headers: Record<string, string> = {}, path = "/v1/messages") => {
  const response = await fetch(hub.url + path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body)
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

const eventsOf = (text: string) => text.split("\n").filter((line) => line.startsWith("event: ")).map((line) => line.slice(7))

const thrownBy = async (attempt: Promise<unknown>): Promise<InstanceType<typeof APIError>> => {
  const error = await attempt.then(() => undefined, (error: unknown) => error)
  assert.instanceOf(error, APIError)
  return error
}

/** A new key is a fresh start for what cools down. */
const renew = async ({ fake, hub }: Bench, model: Model) =>
  ok(await hub.admin("POST", "/providers", { name: models[model], provider_type: models[model], api_key: `sk-${Math.random()}`, base_url: fake.url(models[model]) }))

layer(bench, { excludeTestServices: true, timeout: 60_000 })("POST /v1/messages", (it) => {
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

  /** The answer in one piece and streamed: the same. */
  const both = async ({ client }: Bench, model: string, messages: Array<Anthropic.MessageParam>, params: Params = {}) => {
    const body = { model, max_tokens: 2000, messages, ...params }
    const whole = await client.messages.create(body)
    const streamed = await client.messages.stream(body).finalMessage()
    assert.deepStrictEqual(kinds(streamed.content), kinds(whole.content))
    assert.deepStrictEqual(textOf(streamed.content), textOf(whole.content))
    assert.deepStrictEqual(callsOf(streamed.content).map(({ input, name }) => [name, input]), callsOf(whole.content).map(({ input, name }) => [name, input]))
    assert.strictEqual(streamed.stop_reason, whole.stop_reason)
    return [whole, streamed] as const
  }

  describe("whatever the provider's protocol", () => {
    forEach("answers", async ({ client, fake }, model) => {
      fake.script({}, { text: "Hello there", usage: { prompt: 20, completion: 200, cached: 8 } })
      const { data, response } = await client.messages.create({ model, max_tokens: 100, messages: user("Hello") }).withResponse()
      assert.deepInclude({ ...data }, { type: "message", role: "assistant", stop_reason: "end_turn", stop_sequence: null })
      assert.match(data.id, /^msg_/)
      assert.strictEqual(textOf(data.content), "Hello there")
      assert.deepInclude({ ...data.usage }, { input_tokens: 12, cache_read_input_tokens: 8, output_tokens: 200 })
      assert.strictEqual(response.headers.get("x-tokenhub-model"), model)
      assert.strictEqual(response.headers.get("x-tokenhub-cost-usd"), "0.004400000")
    })

    forEach("streams", async ({ client, fake }, model) => {
      fake.script({}, { text: "Hello there, you out there", usage: { prompt: 20, completion: 200 } })
      const stream = client.messages.stream({ model, max_tokens: 100, messages: user("Hello") })
      const events: Array<string> = []
      stream.on("streamEvent", ({ type }) => void events.push(type))
      const message = await stream.finalMessage()
      assert.strictEqual(textOf(message.content), "Hello there, you out there")
      assert.deepInclude({ ...message.usage }, { input_tokens: 20, output_tokens: 200 })
      assert.strictEqual(events[0], "message_start")
      assert.isAtLeast(events.filter((type) => type === "content_block_delta").length, 2)
      for (const type of ["message_start", "message_delta", "message_stop"]) assert.strictEqual(events.filter((seen) => seen === type).length, 1)
      assert.strictEqual(events.at(-1), "message_stop")
    })

    forEach("calls tools, alone and in parallel, and takes their results", async (made, model) => {
      const question = "use tool weather {\"city\":\"Oslo\"} and use tool clock {\"city\":\"Rome\"}"
      const [whole, streamed] = await both(made, model, user(question), { tools })
      assert.strictEqual(whole.stop_reason, "tool_use")
      const calls = callsOf(streamed.content)
      assert.deepStrictEqual(calls.map(({ input, name }) => [name, input]), [["weather", { city: "Oslo" }], ["clock", { city: "Rome" }]])
      assert.strictEqual(new Set(calls.map(({ id }) => id)).size, 2)
      const after = await made.client.messages.create({
        model,
        max_tokens: 100,
        tools,
        messages: [
          ...user(question),
          { role: "assistant", content: streamed.content },
          ...user(calls.map(({ id, name }) => ({ type: "tool_result", tool_use_id: id, content: [{ type: "text", text: `${name} says 7` }] })))
        ]
      })
      assert.match(textOf(after.content), /got from the tool: .*says 7/s)
      for (const { name } of calls) assert.include(JSON.stringify(made.fake.calls.at(-1)?.body), `${name} says 7`)
    })

    forEach("obeys a forced tool, and none", async ({ client }, model) => {
      const forced = await client.messages.create({ model, max_tokens: 100, messages: user("Hi"), tools, tool_choice: { type: "tool", name: "clock" } })
      assert.deepStrictEqual(callsOf(forced.content).map(({ name }) => name), ["clock"])
      const none = await client.messages.create({ model, max_tokens: 100, messages: user("Hi"), tools, tool_choice: { type: "none" } })
      assert.strictEqual(none.stop_reason, "end_turn")
    })

    forEach("sees an image", async ({ client, fake }, model) => {
      await client.messages.create({
        model,
        max_tokens: 100,
        messages: user([{ type: "image", source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" } }, { type: "text", text: "What?" }])
      })
      assert.include(JSON.stringify(fake.calls.at(-1)?.body), "iVBORw0KGgo=")
    })

    forEach("answers by a schema", async (made, model) => {
      const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false }
      const [whole] = await both(made, model, user("Oslo"), { output_config: { format: { type: "json_schema", schema } } })
      assert.deepStrictEqual(JSON.parse(textOf(whole.content)), { city: "Oslo" })
    })

    forEach("stops at a stop text and at the output limit", async ({ client }, model) => {
      const stopped = await client.messages.create({ model, max_tokens: 100, messages: user("one two three"), stop_sequences: ["two"] })
      assert.notInclude(textOf(stopped.content), "two")
      const cut = await client.messages.create({ model, max_tokens: 3, messages: user("one two three four five six seven") })
      assert.strictEqual(cut.stop_reason, "max_tokens")
    })

    forEach("raises the SDK's own exceptions", async (made, model) => {
      const { client, fake } = made
      const rows = [
        ["invalid_request", BadRequestError, "invalid_request_error"],
        ["context_length", BadRequestError, "invalid_request_error"],
        ["model_not_found", NotFoundError, "not_found_error"],
        ["rate_limit", RateLimitError, "rate_limit_error"],
        ["too_large", ContentTooLargeError, "request_too_large"],
        ["invalid_key", InternalServerError, "api_error"],
        ["server_error", InternalServerError, "api_error"],
        ["overloaded", ServiceUnavailableError, "overloaded_error"]
      ] as const
      for (const [i, [problem, raised, type]] of rows.entries()) {
        fake.reset()
        await renew(made, model)
        fake.script({}, { error: problem, always: true })
        const body = { model, max_tokens: 100, messages: user("Hello"), stream: i % 2 === 0 }
        const error = await thrownBy(client.messages.create(body, { headers: noEscalation }))
        assert.instanceOf(error, raised, `${problem}: ${error.message}`)
        assert.strictEqual(error.type, type)
        assert.match(error.requestID ?? "", /^req_/)
      }
      await renew(made, model)
    })

    forEach("tells a failure after content in the stream", async (made, model) => {
      const { client, fake, hub } = made
      fake.script({}, { fault: "reset-mid-stream?after=3", always: true })
      const body = { model, max_tokens: 100, messages: user("Hello there, you out there"), stream: true }
      const answered = await raw(hub, body, noEscalation)
      assert.strictEqual(answered.status, 200, answered.text)
      const events = eventsOf(answered.text)
      assert.strictEqual(events.at(-1), "error")
      assert.strictEqual(events.filter((type) => type === "error").length, 1)
      assert.notInclude(events, "message_stop")
      const error = await thrownBy(client.messages.stream(body, { headers: noEscalation }).finalMessage())
      assert.strictEqual(error.type, "api_error")
      await renew(made, model)
    })

    forEach("cancels upstream when the client leaves", async ({ client, fake }, model) => {
      fake.script({}, { text: "a ".repeat(2000), chunkSize: 2, delay: { chunk: 20 } })
      const arrived = fake.next({})
      const stream = client.messages.stream({ model, max_tokens: 4000, messages: user("Hello") })
      const ended = stream.finalMessage().catch((error: unknown) => error)
      await Promise.race([new Promise<void>((done) => stream.once("text", () => done())), ended])
      stream.abort()
      assert.instanceOf(await ended, APIUserAbortError)
      assert.strictEqual(await (await arrived).ended, "aborted")
    })

    forEach("takes thoughts back from whom they came, with their signatures", async ({ client, fake }, model) => {
      const thinking = { type: "enabled", budget_tokens: 1024 } as const
      const first = await client.messages.stream({ model, max_tokens: 4000, messages: user("Hello"), thinking }).finalMessage()
      if (models[model] !== "openai") assert.strictEqual(first.content[0]?.type, "thinking")
      const messages: Array<Anthropic.MessageParam> = [...user("Hello"), { role: "assistant", content: first.content }, ...user("And?")]
      for (const next of all) {
        const { content } = await client.messages.create({ model: next, max_tokens: 4000, messages, thinking })
        assert.include(textOf(content), "And?")
        const sent = JSON.stringify(fake.calls.at(-1)?.body)
        const signature = first.content.flatMap((block) => (block.type === "thinking" ? [block.signature] : []))[0] ?? ""
        if (signature !== "") assert.strictEqual(sent.includes(signature.replace(/^gemini:/, "")), next === model, `${model} to ${next}`)
      }
    })

    forEach("lets a critic judge and shows the final answer only", async ({ client, fake }, model) => {
      fake.script((call) => call.text.includes("VERDICT"), { text: "Too long.\nVERDICT: REVISE" })
      fake.script((call) => call.text.includes("Too long."), { text: "Better" })
      fake.script({}, { text: "The plan" })
      const stream = client.messages.stream({ model: `tokenhub/adversarial?planner=${model}&critic=gpt`, max_tokens: 100, messages: user("Plan") })
      const message = await stream.finalMessage()
      assert.deepStrictEqual(kinds(message.content), ["text"])
      assert.strictEqual(textOf(message.content), "Better")
      assert.strictEqual(fake.calls.length, 3)
    })

    forEach("hands a mode's tool call to the client", async ({ client, fake }, model) => {
      fake.script((call) => call.text.includes("VERDICT"), { text: "Fine.\nVERDICT: ACCEPT", always: true })
      const body = { model: `tokenhub/adversarial?planner=${model}`, max_tokens: 100, messages: user("use tool weather {\"city\":\"Oslo\"}"), tools }
      for (const message of [await client.messages.create(body), await client.messages.stream(body).finalMessage()]) {
        assert.strictEqual(message.stop_reason, "tool_use")
        assert.deepStrictEqual(callsOf(message.content).map(({ input, name }) => [name, input]), [["weather", { city: "Oslo" }]])
      }
    })
  })

  describe("in front of Anthropic", () => {
    const future = {
      model: "claude",
      max_tokens: 100,
      messages: [{ role: "user", content: [{ type: "text", text: "Hello", future: { a: [1] } }] }],
      tools: [{ type: "web_search_20250305", name: "web_search", max_uses: 2 }],
      context_management: { edits: [] },
      future_field: 1
    }

    test("sends the client's JSON and headers on, all but the model", async ({ fake, hub }) => {
      const answered = await raw(hub, { ...future, model: "claude/latest", tokenhub: { policy: {} } }, { "anthropic-beta": "b1,b2", "anthropic-version": "2023-06-01", "x-api-key": "th" })
      assert.strictEqual(answered.status, 200, answered.text)
      assert.deepStrictEqual(fake.calls.at(-1)?.body, future)
      assert.deepInclude(fake.calls.at(-1)?.headers, { "anthropic-beta": "b1,b2", "anthropic-version": "2023-06-01" })
    })

    test("gives the provider's own answer back, byte for byte", async ({ fake, hub }) => {
      const body = `{"id":"msg_x", "type":"message","role":"assistant","model":"claude","content":[{"type":"future_block","x":1.50}],"stop_reason":"pause_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2,"more":{}}}`
      fake.script({}, { raw: { body, headers: { "content-type": "application/json" } } })
      assert.strictEqual((await raw(hub, future)).text, body)
    })

    test("gives the provider's own stream back, event by event", async ({ fake, hub }) => {
      const block = { type: "server_tool_use", id: "srvtoolu_1", name: "web_search", input: {} }
      const events = [
        ["message_start", { message: { id: "msg_x", type: "message", role: "assistant", model: "claude", content: [], usage: { input_tokens: 3, output_tokens: 1 } } }],
        ["ping", {}],
        ["content_block_start", { index: 0, content_block: block }],
        ["content_block_stop", { index: 0 }],
        ["content_block_start", { index: 1, content_block: { type: "text", text: "" } }],
        ["content_block_delta", { index: 1, delta: { type: "text_delta", text: "Hi" } }],
        ["content_block_delta", { index: 1, delta: { type: "citations_delta", citation: { future: 1 } } }],
        ["content_block_stop", { index: 1 }],
        ["message_delta", { delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: 5 } }],
        ["message_stop", {}]
      ] as const
      const text = events.map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify({ type: event, ...data })}\n\n`).join("")
      fake.script({}, { raw: { body: text, headers: { "content-type": "text/event-stream" } } })
      assert.strictEqual((await raw(hub, { ...future, stream: true })).text, text)
    })

    test("drops what a failed call had begun, when another model answers", async (made) => {
      const { fake, hub } = made
      fake.script({ vendor: "anthropic" }, { fault: "error-first", always: true })
      fake.script({ vendor: "openai" }, { text: "Here" })
      const { headers, status, text } = await raw(hub, { model: "claude", max_tokens: 100, messages: user("Hello"), stream: true })
      assert.strictEqual(status, 200, text)
      assert.strictEqual(headers.get("x-tokenhub-model"), "gpt")
      assert.strictEqual(headers.get("x-tokenhub-attempts"), "2")
      assert.strictEqual(eventsOf(text).filter((event) => event === "message_start").length, 1)
      assert.include(text, "\"model\":\"gpt\"")
      await renew(made, "claude")
    })

    test("what only its protocol has is a 400 elsewhere that names the field, unless the client can do without", async ({ fake, hub }) => {
      const { context_management: _, future_field: __, ...body } = future
      for (const [model, status] of [["gpt", 400], ["flash", 400], ["claude", 200]] as const) {
        const answered = await raw(hub, { ...body, model }, noEscalation)
        assert.strictEqual(answered.status, status, answered.text)
        if (status === 400) assert.strictEqual(JSON.parse(answered.text).error.param, "tools[0]")
      }
      assert.strictEqual((await raw(hub, { ...future, model: "gpt", tokenhub: { drop_unsupported: true } })).status, 200)
      assert.notInclude(JSON.stringify(fake.calls.at(-1)?.body), "web_search")
      const refused = await raw(hub, { ...body, tools: [], future_field: 1, model: "gpt" }, noEscalation)
      assert.strictEqual(JSON.parse(refused.text).error.param, "future_field")
    })
  })

  forEach("serves the SDK's beta client and its headers, as Claude's coding agent sends them", async ({ client, fake }, model) => {
    const message = await client.beta.messages.stream({
      model,
      max_tokens: 4000,
      betas: ["context-management-2025-06-27", "interleaved-thinking-2025-05-14"],
      thinking: { type: "adaptive" },
      context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] },
      metadata: { user_id: JSON.stringify({ device_id: "d".repeat(64), session_id: "s" }) },
      system: [{ type: "text", text: "You code.", cache_control: { type: "ephemeral", ttl: "1h" } }],
      messages: user("Hello"),
      tools: tools.map((tool) => ({ ...tool, eager_input_streaming: true }))
    }).finalMessage()
    assert.strictEqual(message.stop_reason, "end_turn")
    const call = fake.calls.at(-1)
    if (model === "claude") assert.include(call?.headers["anthropic-beta"], "interleaved-thinking-2025-05-14")
    else assert.notProperty(call?.headers, "anthropic-beta")
    const counted = await client.beta.messages.countTokens({ model, messages: user("Hello"), betas: ["token-counting-2024-11-01"] })
    assert.isAbove(counted.input_tokens, 0)
  })

  forEach("tells a refusal as one, with its words", async ({ client, fake }, model) => {
    // Anthropic's own refusals have no words.
    const behaviour = model === "claude" ? { text: "I can't", finish: "content_filter" } as const : { refusal: "I can't" }
    if (model === "flash") return
    fake.script({}, behaviour, behaviour)
    const body = { model, max_tokens: 100, messages: user("Hello") }
    for (const message of [await client.messages.create(body), await client.messages.stream(body).finalMessage()]) {
      assert.deepStrictEqual([message.stop_reason, textOf(message.content)], ["refusal", "I can't"])
    }
  })

  test("an answer that the client began goes on at whom it can, and is a 400 elsewhere", async ({ fake, hub }) => {
    const begun = { max_tokens: 100, system: "Be brief.", messages: [...user("Name the sun"), { role: "assistant", content: "It is (" }] }
    const refused = await raw(hub, { ...begun, model: "gpt" }, noEscalation)
    assert.strictEqual(refused.status, 400, refused.text)
    assert.strictEqual(JSON.parse(refused.text).error.param, "messages[1]")
    assert.strictEqual((await raw(hub, { ...begun, model: "claude" }, noEscalation)).status, 200)
    assert.strictEqual((await raw(hub, { ...begun, model: "gpt", tokenhub: { drop_unsupported: true } }, noEscalation)).status, 200)
    assert.deepNestedPropertyVal(fake.calls.at(-1)?.body, "messages[2]", { role: "assistant", content: "It is (" })
  })

  test("a field that the provider complains of has Anthropic's name", async ({ fake, hub }) => {
    const rows = [["gpt", "max_completion_tokens", "max_tokens"], ["gpt", "user", "metadata.user_id"], ["gpt", "stop", "stop_sequences"], ["claude", "messages.0.content", "messages.0.content"]] as const
    for (const [model, param, named] of rows) {
      fake.script({}, { error: { kind: "invalid_request", param, message: `${param}: bad` } })
      const { text } = await raw(hub, { model, max_tokens: 10, messages: user("Hi") }, noEscalation)
      assert.strictEqual(JSON.parse(text).error.param, named)
    }
  })

  describe("errors", () => {
    test("are Anthropic's envelope, whatever went wrong", async ({ client, hub }) => {
      const rows = [
        [400, "invalid_request_error", await raw(hub, { model: "gpt", messages: user("Hi") })],
        [404, "not_found_error", await raw(hub, { model: "nobody", max_tokens: 1, messages: user("Hi") })],
        [404, "not_found_error", await raw(hub, {}, {}, "/v1/messages/batches")],
        [401, "authentication_error", await raw(hub, { model: "gpt", max_tokens: 1, messages: user("Hi") }, { "x-forwarded-for": "1.2.3.4" })]
      ] as const
      for (const [status, type, { headers, status: got, text }] of rows) {
        const body = JSON.parse(text)
        assert.strictEqual(got, status, text)
        assert.deepInclude(body, { type: "error", request_id: headers.get("x-request-id") })
        assert.strictEqual(body.error.type, type)
      }
      const malformed = await hub.request("POST", "/v1/messages", "{\"model\"", {})
      assert.strictEqual(malformed.json.type, "error")
      const unknown = await thrownBy(client.messages.create({ model: "nobody", max_tokens: 1, messages: user("Hi") }))
      assert.instanceOf(unknown, NotFoundError)
    })

    test("that can't pass are not tried again", async ({ fake, hub }) => {
      fake.script({}, { error: "invalid_key", always: true })
      const stubborn = new Anthropic({ baseURL: hub.url, apiKey: "none", maxRetries: 2 })
      const error = await thrownBy(stubborn.messages.create({ model: "flash", max_tokens: 10, messages: user("Hi") }, { headers: noEscalation }))
      assert.strictEqual(error.status, 502)
      assert.strictEqual(fake.calls.length, 1)
      await renew({ fake, hub, client: stubborn }, "flash")
    })
  })

  test("arguments that are no JSON reach the client, and the model again", async ({ client, fake }) => {
    const broken = "{\"city\": \"Oslo\""
    const part = { type: "tool_call", id: "functions.weather:0", name: "weather", arguments: broken } as const
    fake.script({}, { parts: [part] }, { parts: [part] })
    const body = { model: "gpt", max_tokens: 100, messages: user("Hi"), tools }
    const whole = await client.messages.create(body)
    assert.deepStrictEqual(callsOf(whole.content)[0]?.input, { INVALID_JSON: broken })
    const streamed = await client.messages.stream(body).finalMessage()
    // The SDK closes what is open in a stream's input.
    assert.deepStrictEqual(callsOf(streamed.content)[0]?.input, { city: "Oslo" })
    await client.messages.create({
      ...body,
      messages: [
        ...user("Hi"),
        { role: "assistant", content: whole.content },
        ...user([{ type: "tool_result", tool_use_id: callsOf(whole.content)[0]?.id ?? "", content: "no JSON", is_error: true }])
      ]
    })
    assert.deepNestedPropertyVal(fake.calls.at(-1)?.body, "messages[1].tool_calls[0]", { id: part.id, type: "function", function: { name: "weather", arguments: broken } })
  })

  test("what OpenAI takes in another form reaches it in that", async ({ client, fake }) => {
    await client.messages.create({
      model: "gpt",
      max_tokens: 100,
      metadata: { user_id: "u".repeat(150) },
      messages: user([{ type: "document", title: "notes.md", source: { type: "text", media_type: "text/plain", data: "Buy milk" } }, { type: "text", text: "What?" }])
    })
    const body = fake.calls.at(-1)?.body
    assert.deepNestedPropertyVal(body, "messages[0].content[0]", { type: "text", text: "notes.md\n\nBuy milk" })
    assert.deepNestedPropertyVal(body, "user.length", 64)
  })

  test("steps are thoughts where the client asks for events", async ({ fake, hub }) => {
    fake.script((call) => call.text.includes("VERDICT"), { text: "Fine.\nVERDICT: ACCEPT" })
    fake.script({}, { text: "The plan" })
    const { text } = await raw(hub, {
      model: "tokenhub/adversarial?planner=gpt&critic=flash",
      max_tokens: 100,
      messages: user("Plan"),
      stream: true,
      tokenhub: { events: true }
    })
    const deltas = text.split("\n").filter((line) => line.startsWith("data: ")).map((line) => JSON.parse(line.slice(6)).delta ?? {})
    assert.include(deltas.map(({ thinking = "" }) => thinking).join(""), "[plan]\nThe plan")
    assert.include(deltas.map(({ thinking = "" }) => thinking).join(""), "[critique]\nFine.")
    assert.strictEqual(deltas.map(({ text = "" }) => text).join(""), "The plan")
    assert.strictEqual(eventsOf(text).at(-1), "message_stop")
  })

  test("tokens are counted without asking a provider", async ({ client, fake, hub }) => {
    const count = async (content: string, more: object = {}) =>
      (await client.messages.countTokens({ model: "claude", messages: user(content), ...more })).input_tokens
    const short = await count("Hello")
    assert.isAbove(short, 0)
    assert.isAbove(await count("Hello ".repeat(1000)), 900)
    assert.isAbove(await count("Hello", { tools, system: "Be brief." }), short)
    assert.isAbove(await count("Hello", { model: "tokenhub/auto" }), 0)
    assert.strictEqual(fake.calls.length, 0)
    assert.instanceOf(await thrownBy(client.messages.countTokens({ model: "nobody", messages: user("Hello") })), NotFoundError)
    const refused = await raw(hub, { model: "claude" }, {}, "/v1/messages/count_tokens")
    assert.strictEqual(JSON.parse(refused.text).error.param, "messages")
  })

  forEach("a coding agent's loop of 300 messages passes, with results of 100 KB and thoughts between tool calls", async ({ client, fake }, model) => {
    const big = "x".repeat(100_000)
    const messages: Array<Anthropic.MessageParam> = [{ role: "user", content: [{ type: "text", text: "Fix it", cache_control: { type: "ephemeral" } }] }]
    for (let i = 0; messages.length < 299; i++) {
      messages.push(
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: `step ${i}`, signature: "c2ln" },
            { type: "text", text: `Looking at ${i}` },
            { type: "tool_use", id: `toolu_${i}`, name: "weather", input: { city: `c${i}` } }
          ]
        },
        ...user([{ type: "tool_result", tool_use_id: `toolu_${i}`, content: [{ type: "text", text: `${i}:${big}` }] }])
      )
    }
    messages.push({ role: "assistant", content: "Done?" }, ...user("use tool clock {\"city\":\"Rome\"}"))
    const answer = await client.messages.stream({
      model,
      max_tokens: 4000,
      system: [{ type: "text", text: "You code.", cache_control: { type: "ephemeral" } }],
      tools,
      thinking: { type: "enabled", budget_tokens: 2000 },
      messages
    }).finalMessage()
    assert.deepStrictEqual(callsOf(answer.content).map(({ input, name }) => [name, input]), [["clock", { city: "Rome" }]])
    const sent = fake.calls.at(-1)?.text ?? ""
    assert.isAbove(sent.length, 14_000_000)
    assert.strictEqual([...sent.matchAll(/Looking at \d+/g)].length, 149)
    if (model === "claude") assert.strictEqual([...sent.matchAll(/c2ln/g)].length, 149)
  })
})
