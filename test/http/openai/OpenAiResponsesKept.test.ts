import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import OpenAI, { APIError, NotFoundError } from "openai"
import * as Fake from "../../support/FakeProvider.ts"
import type { Hub } from "../../support/Harness.ts"
import * as Harness from "../../support/Harness.ts"

const clientOf = (hub: Hub, apiKey = "none") => new OpenAI({ baseURL: `${hub.url}/v1`, apiKey, maxRetries: 0 })

const env = { TOKENHUB_MOCK: "false" }

const ok = async (answer: Promise<Harness.Answer>) => {
  const { json, status, text } = await answer
  assert.isBelow(status, 300, text)
  return json
}

const statusOf = async (promise: PromiseLike<unknown>): Promise<APIError> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof APIError) return error
    throw error
  }
  return assert.fail("it did not fail")
}

/** A TokenHub with one model at chat completions and one at the Responses API. */
const start = Effect.gen(function*() {
  const fake = yield* Fake.scoped()
  const folder = yield* Harness.folder
  const hub = yield* Harness.start({ env, folder })
  yield* Effect.promise(async () => {
    for (const [name, provider_type, vendor] of [
      ["chat", "openai", "openai"],
      ["native", "openai-responses", "openai"],
      ["claude", "anthropic", "anthropic"]
    ] as const) {
      await ok(hub.admin("POST", "/providers", { name: `my-${name}`, provider_type, api_key: "sk-test-key", base_url: fake.url(vendor) }))
      await ok(hub.admin("POST", "/models", { name, provider: `my-${name}`, context_size: 100_000, weight: 1000, cost_per_1k_tokens: 0.02 }))
    }
  })
  return { fake, folder, hub }
})

describe("Kept responses", () => {
  for (const model of ["chat", "native"]) {
    it.live(`a conversation goes on over three turns and a restart (${model})`, () =>
      Effect.gen(function*() {
        const { fake, folder, hub } = yield* start
        fake.script({}, { text: "You are Ann" }, { text: "It is May" }, { text: "Ann in May" })
        const [first, second] = yield* Effect.promise(async () => {
          const client = clientOf(hub)
          const first = await client.responses.create({ model, input: "I am Ann", instructions: "Be brief.", store: true })
          const stream = client.responses.stream({ model, input: "It is May", previous_response_id: first.id, store: true })
          return [first, await stream.finalResponse()] as const
        })
        yield* hub.stop
        const again = yield* Harness.start({ env, folder })
        yield* Effect.promise(async () => {
          const client = clientOf(again)
          const third = await client.responses.create({ model, input: "Who and when?", previous_response_id: second.id })
          assert.strictEqual(third.output_text, "Ann in May")
          const sent = JSON.stringify(fake.calls.at(-1)?.body)
          let from = 0
          for (const words of ["I am Ann", "You are Ann", "It is May", "It is May", "Who and when?"]) {
            const at = sent.indexOf(words, from)
            assert.isAtLeast(at, 0, `${words} in ${sent}`)
            from = at + words.length
          }
          assert.notInclude(sent, "Be brief.")
          assert.notInclude(sent, "previous_response_id")
          const kept = await client.responses.retrieve(second.id)
          assert.deepInclude(Object(kept), { id: second.id, status: "completed", store: true, previous_response_id: first.id })
          assert.strictEqual(kept.output_text, "It is May")
          // The third was not kept.
          assert.strictEqual((await statusOf(client.responses.retrieve(third.id))).status, 404)
          await client.responses.delete(second.id)
          const gone = await statusOf(client.responses.create({ model, input: "Hi", previous_response_id: second.id }))
          assert.instanceOf(gone, NotFoundError)
          assert.strictEqual(gone.param, "previous_response_id")
        })
      }).pipe(Effect.scoped))
  }

  it.live("tool calls and thoughts are part of what is gone on from, also when another provider goes on", () =>
    Effect.gen(function*() {
      const { fake, hub } = yield* start
      yield* Effect.promise(async () => {
        const client = clientOf(hub)
        const tools = [{ type: "function" as const, name: "weather", parameters: { type: "object", properties: {} }, strict: false }]
        const first = await client.responses.create({ model: "native", input: "use tool weather {\"city\":\"Oslo\"}", tools, store: true })
        const [call] = first.output.flatMap((item) => (item.type === "function_call" ? [item] : []))
        const second = await client.responses.create({
          model: "chat",
          previous_response_id: first.id,
          tools,
          input: [{ type: "function_call_output", call_id: call?.call_id ?? "", output: "sunny" }]
        })
        assert.include(second.output_text, "got from the tool: sunny")
        const [, asked, result] = Object(fake.calls.at(-1)?.body).messages
        assert.strictEqual(asked.tool_calls[0].id, call?.call_id)
        assert.strictEqual(result.tool_call_id, call?.call_id)
      })
    }).pipe(Effect.scoped))

  it.live("an item is referred to by its id once its response is kept", () =>
    Effect.gen(function*() {
      const { fake, hub } = yield* start
      fake.script({}, { text: "Forty-two" }, { text: "Yes" })
      yield* Effect.promise(async () => {
        const client = clientOf(hub)
        const first = await client.responses.create({ model: "chat", input: "What?", store: true })
        const id = first.output[0]?.id ?? ""
        await client.responses.create({ model: "chat", input: [{ role: "user", content: "What?" }, { type: "item_reference", id }, { role: "user", content: "Sure?" }] })
        assert.include(JSON.stringify(fake.calls.at(-1)?.body), "Forty-two")
        const unknown = await statusOf(client.responses.create({ model: "chat", input: [{ type: "item_reference", id: "msg_0" }] }))
        assert.deepInclude({ status: unknown.status, param: unknown.param }, { status: 400, param: "input[0]" })
        assert.include(unknown.message, "msg_0")
      })
    }).pipe(Effect.scoped))

  it.live("nothing is kept unless the client asks, and each client key sees its own only", () =>
    Effect.gen(function*() {
      const { hub } = yield* start
      yield* Effect.promise(async () => {
        const open = clientOf(hub)
        const unasked = await open.responses.create({ model: "chat", input: "Hi" })
        assert.propertyVal(Object(unasked), "store", false)
        assert.strictEqual((await statusOf(open.responses.retrieve(unasked.id))).status, 404)
        const keys = await Promise.all(["a", "b"].map(async (name) => String((await ok(hub.admin("POST", "/keys", { name }))).key)))
        const [mine, other] = keys.map((key) => clientOf(hub, key))
        assert.isDefined(mine)
        assert.isDefined(other)
        const kept = await mine.responses.create({ model: "chat", input: "Hi", store: true })
        assert.strictEqual((await mine.responses.retrieve(kept.id)).id, kept.id)
        for (const foreign of [
          other.responses.retrieve(kept.id),
          other.responses.delete(kept.id),
          other.responses.create({ model: "chat", input: "Hi", previous_response_id: kept.id })
        ]) assert.strictEqual((await statusOf(foreign)).status, 404)
        assert.strictEqual((await mine.responses.retrieve(kept.id)).id, kept.id)
      })
    }).pipe(Effect.scoped))
})

describe("Requests of the Responses API", () => {
  it.live("what only OpenAI's Responses API serves reaches it as it came, and is a 400 elsewhere unless it may be dropped", () =>
    Effect.gen(function*() {
      const { fake, hub } = yield* start
      yield* Effect.promise(async () => {
        const client = clientOf(hub)
        const body = { input: "Hi", tools: [{ type: "web_search" as const }], service_tier: "flex" as const, prompt_cache_key: "k" }
        await client.responses.create({ ...body, model: "native" })
        assert.deepInclude(fake.calls.at(-1)?.body, { ...body, input: [{ type: "message", role: "user", content: "Hi" }], model: "native", store: false })
        const refused = await statusOf(client.responses.create({ ...body, model: "chat" }))
        assert.deepInclude({ status: refused.status, param: refused.param }, { status: 400, param: "tools[0]" })
        const tokenhub = { drop_unsupported: true }
        const dropped: { status: string } = await client.post("/responses", { body: { ...body, model: "chat", tokenhub } })
        assert.strictEqual(dropped.status, "completed")
        const elsewhere = await hub.post("/v1/responses", { model: "claude", input: "Hi", text: { format: { type: "json_object" } } })
        assert.deepInclude({ status: elsewhere.status, param: elsewhere.json?.error?.param }, { status: 400, param: "text.format" }, elsewhere.text)
        for (const [given, param] of [
          [{ text: { verbosity: "low" } }, "text.verbosity"],
          [{ truncation: "auto" }, "truncation"],
          [{ input: [{ type: "web_search_call", id: "ws_1", status: "completed" }, { role: "user", content: "Hi" }] }, "input[0]"],
          [{ background: true }, "background"],
          [{ conversation: "conv_1" }, "conversation"],
          [{ input: [{ role: "robot", content: "Hi" }] }, "input[0].role"],
          [{ input: [{ role: "user", content: [{ type: "input_image", image_url: "ftp://x" }] }] }, "input[0].content[0].image_url"],
          [{ temperature: 7 }, "temperature"],
          [{ tools: [{ type: "function" }] }, "tools.name"],
          [{ input: undefined }, "input"]
        ] as const) {
          const answer = await hub.post("/v1/responses", { model: "chat", input: "Hi", ...given })
          assert.deepInclude({ status: answer.status, param: answer.json?.error?.param }, { status: 400, param }, answer.text)
        }
      })
    }).pipe(Effect.scoped))

  it.live("adversarial by a virtual model: only the final answer, plain and streamed; steps as reasoning where asked for", () =>
    Effect.gen(function*() {
      const { fake, hub } = yield* start
      yield* Effect.promise(async () => {
        const client = clientOf(hub)
        const model = "tokenhub/adversarial?planner=native&critic=chat&refinements=1"
        const script = () =>
          fake.script({}, { text: "First draft" }, { text: "VERDICT: REVISE\nToo short" }, { text: "Second draft" })
        script()
        const plain = await client.responses.create({ model, input: "Hi" })
        assert.strictEqual(plain.output_text, "Second draft")
        fake.reset()
        script()
        const streamed = await client.responses.stream({ model, input: "Hi" }).finalResponse()
        assert.deepStrictEqual(streamed.output.map(({ type }) => type), ["message"])
        assert.strictEqual(streamed.output_text, "Second draft")
        assert.strictEqual(streamed.usage?.total_tokens, plain.usage?.total_tokens)
        fake.reset()
        script()
        const answer = await hub.post("/v1/responses", { model, input: "Hi", stream: true, tokenhub: { events: true } })
        const events = answer.text.split("\n").flatMap((line) => (line.startsWith("data: ") ? [JSON.parse(line.slice(6))] : []))
        const thought = events.map((event) => (event.type === "response.reasoning_summary_text.delta" ? event.delta : "")).join("")
        assert.include(thought, "First draft")
        assert.include(thought, "Too short")
        assert.notInclude(thought, "Second draft")
        assert.strictEqual(events.at(-1).type, "response.completed")
        assert.deepStrictEqual(events.at(-1).response.output.at(-1).content[0].text, "Second draft")
      })
    }).pipe(Effect.scoped))

  it.live("a client that leaves ends the call upstream", () =>
    Effect.gen(function*() {
      const { fake, hub } = yield* start
      for (const model of ["chat", "native"]) {
        fake.script({}, { text: "Hello there, how are you today?", delay: { chunk: 5_000 } })
        yield* Effect.promise(async () => {
          const stream = await clientOf(hub).responses.create({ model, input: "Hi", stream: true })
          for await (const event of stream) {
            if (event.type === "response.output_text.delta") break
          }
        })
        const [call] = fake.calls.slice(-1)
        const ending = yield* Effect.promise(async () => await call?.ended)
        assert.strictEqual(ending, "aborted")
      }
    }).pipe(Effect.scoped))
})
