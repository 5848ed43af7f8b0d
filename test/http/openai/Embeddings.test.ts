import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import OpenAI, { BadRequestError, NotFoundError } from "openai"
import { Ledger } from "../../../src/account/Ledger.ts"
import { isError, ok } from "../../support/AdminHub.ts"
import type { FakeProvider } from "../../support/FakeProvider.ts"
import * as Fake from "../../support/FakeProvider.ts"
import type { Answer, Hub } from "../../support/Harness.ts"
import * as Harness from "../../support/Harness.ts"

interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
  readonly openai: OpenAI
  /** Straight to the fake provider. */
  readonly direct: OpenAI
  readonly post: (body: object, headers?: Record<string, string>) => Promise<Answer>
}

class TestBench extends Context.Service<TestBench, Bench>()("test/EmbeddingsBench") {}

class TestHub extends Context.Service<TestHub, Hub>()("test/EmbeddingsHub") {}

/** The catalogue's models of OpenAI, Gemini and Mistral, all at the fake provider, which speaks OpenAI's protocol for Mistral. */
const bench = Layer.effect(
  TestBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false" } })
    const key: string = yield* Effect.promise(async () => {
      const add = async (name: string, base: string, type = name) =>
        ok(await hub.admin("POST", "/providers", { name, provider_type: type, api_key: "sk-test-key", base_url: base }))
      await add("openai", fake.url("openai"))
      await add("gemini", fake.url("gemini"))
      await add("mistral", fake.url("openai"))
      await add("claude", fake.url("anthropic"), "anthropic")
      const model = { weight: 1, capabilities: ["embeddings"], cost_per_1k_tokens: 1 }
      ok(await hub.admin("POST", "/models", { ...model, name: "no-vectors", provider: "claude", context_size: 4000 }))
      ok(await hub.admin("POST", "/models", { ...model, name: "long-texts", provider: "openai", context_size: 32_000 }))
      return ok(await hub.admin("POST", "/keys", { name: "test" })).key
    })
    return {
      fake,
      hub,
      openai: new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: key, maxRetries: 0 }),
      direct: new OpenAI({ baseURL: fake.url("openai"), apiKey: "sk-direct", maxRetries: 0 }),
      post: (body, headers = {}) => hub.post("/v1/embeddings", body, { headers: { authorization: `Bearer ${key}`, ...headers } })
    }
  })
)

const rejected = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error("it should have failed")
}

/** What the fake provider was asked, newest last. */
const asked = (fake: FakeProvider) =>
  fake.calls.filter(({ operation }) => operation === "embeddings").map(({ body, model }) => ({ model, body: body as Record<string, unknown> }))

layer(bench, { excludeTestServices: true, timeout: 30_000 })("POST /v1/embeddings", (it) => {
  const test = (name: string, run: (bench: Bench) => Promise<void>) =>
    it.effect(name, () =>
      Effect.flatMap(TestBench, (made) =>
        Effect.promise(async () => {
          made.fake.reset()
          await run(made)
        })))

  const rowOf = (hub: Hub, id: string | null) =>
    Effect.runPromise(
      Effect.gen(function*() {
        const ledger = Context.get(hub.services, Ledger)
        yield* ledger.flush
        return yield* ledger.request(id ?? "")
      })
    )

  describe("to a provider that speaks OpenAI's protocol", () => {
    test("hands base64 through to the SDK, which asks for it by default", async ({ direct, fake, openai }) => {
      const question = { model: "text-embedding-3-small", input: ["one", "two"] }
      const expected = await direct.embeddings.create(question)
      const { data, response } = await openai.embeddings.create(question).withResponse()
      assert.deepStrictEqual(data.data, expected.data)
      assert.strictEqual(data.model, "text-embedding-3-small")
      assert.deepStrictEqual(data.usage, expected.usage)
      assert.strictEqual(response.headers.get("x-tokenhub-provider"), "openai")
      assert.strictEqual(response.headers.get("x-tokenhub-attempts"), "1")
      assert.deepStrictEqual(asked(fake).at(-1)?.body, { model: "text-embedding-3-small", input: ["one", "two"], encoding_format: "base64" })
    })

    test("gives numbers where numbers are asked for", async ({ direct, openai }) => {
      const question = { model: "text-embedding-3-large", input: "one", encoding_format: "float" } as const
      assert.deepStrictEqual((await openai.embeddings.create(question)).data, (await direct.embeddings.create(question)).data)
    })

    test("hands dimensions, the end user and fields without a name here on, and TokenHub's own options not", async ({ fake, post }) => {
      const body = { model: "text-embedding-3-small", input: "one", dimensions: 8, user: "u1", input_type: "query", nothing: null }
      const answer = ok(await post({ ...body, tokenhub: { deadline_ms: 5000 } }))
      assert.strictEqual(answer.data[0].embedding.length, 8)
      assert.deepStrictEqual(asked(fake)[0]?.body, {
        model: "text-embedding-3-small",
        input: ["one"],
        dimensions: 8,
        user: "u1",
        input_type: "query",
        encoding_format: "float"
      })
    })

    test("hands lists of tokens on", async ({ fake, openai }) => {
      const one = await openai.embeddings.create({ model: "text-embedding-3-small", input: [1, 2, 3] })
      const two = await openai.embeddings.create({ model: "text-embedding-3-small", input: [[1, 2, 3], [4]] })
      assert.deepStrictEqual([one.data.length, two.data.length], [1, 2])
      assert.deepStrictEqual(asked(fake).map(({ body }) => body["input"]), [[[1, 2, 3]], [[1, 2, 3], [4]]])
    })

    test("keeps what the provider says beside the vectors, and puts them in order", async ({ fake, post }) => {
      const item = (index: number) => ({ object: "embedding", index, embedding: [index] })
      const usage = { prompt_tokens: 4, total_tokens: 4, cost: 0.5 }
      const raw = { body: JSON.stringify({ id: "emb-1", data: [item(1), item(0)], model: "upstream", usage }) }
      fake.script({ operation: "embeddings" }, { raw })
      const answer = ok(await post({ model: "text-embedding-3-small", input: ["a", "b"] }))
      assert.deepStrictEqual(answer, { id: "emb-1", object: "list", data: [item(0), item(1)], model: "text-embedding-3-small", usage })
    })

    test("asks a vendor that has no base64 for numbers, by its own name of dimensions, and encodes them", async ({ direct, fake, openai }) => {
      const question = { model: "mistral-embed", input: "one", dimensions: 1536 }
      const { data } = await openai.embeddings.create(question)
      const expected = await direct.embeddings.create({ model: "x", input: "one", encoding_format: "float" })
      assert.deepStrictEqual(data[0]?.embedding, expected.data[0]?.embedding)
      assert.deepStrictEqual(asked(fake)[0]?.body, { model: "mistral-embed", input: ["one"], output_dimension: 1536 })
    })
  })

  describe("to Gemini", () => {
    test("batches texts, and encodes its numbers as the SDK wants them", async ({ fake, openai }) => {
      const { data, usage } = await openai.embeddings.create({ model: "gemini-embedding-001", input: ["one", "two"], dimensions: 4 })
      assert.deepStrictEqual(data.map(({ embedding, index }) => [index, embedding.length]), [[0, 4], [1, 4]])
      assert.isAbove(usage.prompt_tokens, 0)
      const request = (text: string) => ({ model: "models/gemini-embedding-001", content: { parts: [{ text }] }, outputDimensionality: 4 })
      assert.deepStrictEqual(asked(fake), [{ model: "gemini-embedding-001", body: { requests: [request("one"), request("two")] } }])
    })

    test("refuses what it can't do by name, and leaves a field out on request only", async ({ fake, openai, post }) => {
      const model = "gemini-embedding-001"
      const tokens = await rejected(openai.embeddings.create({ model, input: [1, 2] }))
      assert.instanceOf(tokens, BadRequestError)
      assert.strictEqual(tokens.param, "input")
      isError(await post({ model, input: Array.from({ length: 101 }, () => "x") }), 400, { code: "unsupported_by_model", param: "input" })
      isError(await post({ model, input: "x", input_type: "query" }), 400, { code: "unsupported_by_model", param: "input_type" })
      assert.deepStrictEqual(asked(fake), [])
      ok(await post({ model, input: "x", input_type: "query" }, { "x-tokenhub-drop-unsupported": "true" }))
    })
  })

  describe("on the ledger", () => {
    test("is one request with one attempt, at the price of its prompt tokens", async ({ fake, hub, post }) => {
      const answer = await post({ model: "text-embedding-3-small", input: "x".repeat(4000) })
      const tokens = ok(answer).usage.prompt_tokens
      assert.strictEqual(fake.bill[0]?.prompt, tokens)
      const found = await rowOf(hub, answer.headers.get("x-request-id"))
      assert.deepInclude(found?.row, { event: "embeddings", endpoint: "/v1/embeddings", mode: null, model: "text-embedding-3-small", status: 200 })
      // 0.02 $ per million tokens.
      assert.strictEqual(found?.row.cost, BigInt(tokens) * 20n)
      assert.deepStrictEqual(found?.attempts.map(({ outcome, step }) => [step, outcome]), [["embed", "ok"]])
      assert.match((await hub.get("/metrics")).text, /tokenhub_model_calls_total\{[^}]*model="text-embedding-3-small"[^}]*status="ok"/)
    })

    test("books the estimate of an answer that can't be used", async ({ fake, hub, post }) => {
      fake.script({ operation: "embeddings" }, { raw: { body: "{\"data\":[],\"model\":\"m\"}" } })
      const answer = await post({ model: "text-embedding-3-small", input: "one two three" })
      isError(answer, 502, { code: "upstream_malformed" })
      const found = await rowOf(hub, answer.headers.get("x-request-id"))
      assert.isTrue(found?.row.usage.estimated)
      assert.isAbove(found?.row.usage.promptTokens ?? 0, 0)
    })
  })

  describe("on failure", () => {
    test("an explicit model is asked again, and no other in its place", async ({ fake, openai, post }) => {
      const failure = { error: 500 } as const
      fake.script({ model: "text-embedding-3-small", operation: "embeddings" }, failure)
      const { response } = await openai.embeddings.create({ model: "text-embedding-3-small", input: "one" }).withResponse()
      assert.strictEqual(response.headers.get("x-tokenhub-attempts"), "2")

      fake.script({ model: "text-embedding-3-small", operation: "embeddings" }, failure, failure)
      isError(await post({ model: "text-embedding-3-small", input: "one" }), 502, { code: "upstream_error" })
      assert.deepStrictEqual([...new Set(asked(fake).map(({ model }) => model))], ["text-embedding-3-small"])
    })

    test("the router's choice gives way to a model with a larger context window", async ({ fake, post }) => {
      const first = ok(await post({ input: "one" })).model
      assert.strictEqual(first, "text-embedding-3-small")
      fake.script({ model: first, operation: "embeddings" }, { error: "overloaded" })
      const answer = await post({ model: "auto", input: "one" })
      assert.strictEqual(ok(answer).model, "long-texts")
      assert.strictEqual(answer.headers.get("x-tokenhub-attempts"), "2")
    })

    test("a text that no context window holds is a 400 before anyone is asked; many short ones are not", async ({ fake, post }) => {
      const long = "word ".repeat(9000)
      isError(await post({ model: "text-embedding-3-small", input: ["short", long] }), 400, { code: "context_length_exceeded" })
      assert.deepStrictEqual(asked(fake), [])
      ok(await post({ model: "text-embedding-3-small", input: Array.from({ length: 20 }, () => "word ".repeat(1000)) }))
    })

    test("a call that could cost more than max_cost_usd is not made", async ({ fake, post }) => {
      isError(await post({ model: "text-embedding-3-small", input: "one", tokenhub: { max_cost_usd: 0 } }), 402, { code: "budget_exceeded" })
      assert.deepStrictEqual(asked(fake), [])
    })
  })

  describe("keeps embeddings and chat apart", () => {
    test("chat is never sent to a model that makes embeddings only", async ({ hub, openai }) => {
      const key = { authorization: `Bearer ${openai.apiKey}` }
      const chat = (model: string) => hub.chat({ model, messages: [{ role: "user", content: "Hi" }] }, { headers: key })
      isError(await chat("text-embedding-3-small"), 422, { code: "no_candidate", message: /makes embeddings only/ })
      const { json } = await hub.admin("POST", "/routing/explain", { messages: [{ role: "user", content: "Hi" }] })
      const names: ReadonlyArray<string> = json.candidates.map(({ model }: { readonly model: string }) => model)
      assert.isAbove(names.length, 5)
      assert.deepStrictEqual(names.filter((name) => name.includes("embed")), [])
    })

    test("embeddings are not asked of a model that can't make them", async ({ post }) => {
      isError(await post({ model: "gpt-4.1", input: "one" }), 422, { code: "no_candidate", message: /lacks embeddings/ })
      isError(await post({ model: "no-vectors", input: "one" }), 400, { code: "unsupported_by_model", param: "model" })
      isError(await post({ model: "tokenhub/adversarial", input: "one" }), 404, { code: "model_not_found" })
    })
  })

  test("names what is wrong with a request", async ({ openai, post }) => {
    for (const input of [undefined, null, 7, {}, [], [[]], [1, "a"], [1.5], [-1], [["a"]]]) {
      isError(await post({ model: "text-embedding-3-small", input }), 400, { code: "invalid_request", param: "input" })
    }
    const wrong = { dimensions: 0, encoding_format: "int8", model: 5, tokenhub: { mode: "adversarial" } }
    for (const [field, value] of Object.entries(wrong)) {
      const param = field === "tokenhub" ? "tokenhub.mode" : field
      isError(await post({ model: "text-embedding-3-small", input: "one", [field]: value }), 400, { code: "invalid_request", param })
    }
    assert.instanceOf(await rejected(openai.embeddings.create({ model: "nope", input: "one" })), NotFoundError)
  })
})

layer(Layer.effect(TestHub, Harness.start()), { excludeTestServices: true })("POST /v1/embeddings without a provider", (it) => {
  it.effect("the mock makes unit vectors, the same for the same text", () =>
    Effect.gen(function*() {
      const hub = yield* TestHub
      const { data } = ok(yield* Effect.promise(() => hub.post("/v1/embeddings", { input: ["one", "two", "one"], dimensions: 32 })))
      const vectors: ReadonlyArray<ReadonlyArray<number>> = data.map(({ embedding }: { readonly embedding: ReadonlyArray<number> }) => embedding)
      for (const vector of vectors) {
        assert.strictEqual(vector.length, 32)
        assert.closeTo(Math.hypot(...vector), 1, 1e-9)
      }
      assert.deepStrictEqual(vectors[0], vectors[2])
      assert.notDeepEqual(vectors[0], vectors[1])
    }))
})
