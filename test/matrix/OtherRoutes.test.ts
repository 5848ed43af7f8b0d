/** What the libraries ask beside completions: lists of models, embeddings, token counts; and what docs/CLIENTS.md advises. */
import { createAnthropic } from "@ai-sdk/anthropic"
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import Anthropic, { NotFoundError as AnthropicNotFoundError } from "@anthropic-ai/sdk"
import { assert, layer } from "@effect/vitest"
import { OpenAIEmbeddings } from "@langchain/openai"
import { embedMany, generateText, jsonSchema, Output } from "ai"
import { Effect } from "effect"
import OpenAI, { BadRequestError, NotFoundError } from "openai"
import { objectOf } from "../support/fake-provider/Wire.ts"
import type { Bench } from "./Bench.ts"
import * as MatrixBench from "./Bench.ts"

const openAi = ({ hub }: Bench, key: string) => new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: key, maxRetries: 0 })
const anthropic = ({ hub }: Bench, key: string) => new Anthropic({ baseURL: hub.url, apiKey: key, authToken: null, maxRetries: 0 })

const names = ["openai-large", "openai-small", "tokenhub/auto", "tokenhub/simple", "tokenhub/adversarial"]

const texts = ["one", "two"]

/** A model for vectors and a key for it; once in a bench. */
const embedding = async ({ hub }: Bench) => {
  const name = "vectors"
  if ((await hub.admin("GET", `/models/${name}`)).status === 404) {
    const added = await hub.admin("POST", "/models", {
      name,
      provider: "openai",
      upstream_name: "text-embedding-3-small",
      weight: 1,
      context_size: 8191,
      cost_per_1k_tokens: 0.01,
      capabilities: ["embeddings"]
    })
    assert.strictEqual(added.status, 201, added.text)
  }
  const { json: { key } } = await hub.admin("POST", "/keys", { name, models: [name] })
  return { model: name, key: String(key) }
}

/** The SDK decodes the base64 that it asks for by itself, and hands on the one that its user asked for. */
const numbersOf = (embedding: ReadonlyArray<number> | string): ReadonlyArray<number> =>
  typeof embedding === "string" ? [...new Float32Array(new Uint8Array(Buffer.from(embedding, "base64")).buffer)] : embedding

const checkVectors = (vectors: ReadonlyArray<ReadonlyArray<number>>) => {
  assert.deepStrictEqual(vectors.map((vector) => vector.length), [1536, 1536])
  for (const vector of vectors) assert.approximately(Math.hypot(...vector), 1, 0.001)
  assert.notDeepEqual(vectors[0], vectors[1])
}

layer(MatrixBench.layer, { excludeTestServices: true, timeout: 60_000 })("libraries beside completions", (it) => {
  const test = (name: string, run: (bench: Bench) => Promise<void>) =>
    it.effect(name, () =>
      Effect.flatMap(MatrixBench.MatrixBench, (bench) =>
        Effect.promise(() => {
          bench.fake.reset()
          return run(bench)
        })))

  test("`openai` lists the models that its key may use, and finds each", async (bench) => {
    const { models } = openAi(bench, bench.keys.openai)
    const listed: Array<OpenAI.Model> = []
    for await (const model of models.list()) listed.push(model)
    assert.sameMembers(listed.map(({ id }) => id), names)
    for (const model of listed) assert.deepStrictEqual(await models.retrieve(model.id), model)
  })

  test("`@anthropic-ai/sdk` lists them page by page, and finds each", async (bench) => {
    const { models } = anthropic(bench, bench.keys.openai)
    const listed: Array<Anthropic.ModelInfo> = []
    for await (const model of models.list({ limit: 2 })) listed.push(model)
    assert.sameMembers(listed.map(({ id }) => id), names)
    for (const model of listed) assert.deepStrictEqual(await models.retrieve(model.id), model)
  })

  test("both raise their own exception for a model that is not there", async (bench) => {
    const missing = async (attempt: PromiseLike<unknown>) => Promise.resolve(attempt).then(() => undefined, (error: unknown) => error)
    assert.instanceOf(await missing(openAi(bench, bench.keys.openai).models.retrieve("nothing")), NotFoundError)
    assert.instanceOf(await missing(anthropic(bench, bench.keys.openai).models.retrieve("nothing")), AnthropicNotFoundError)
  })

  test("`openai` makes embeddings, as numbers and as base64", async (bench) => {
    const { key, model } = await embedding(bench)
    for (const form of [{}, { encoding_format: "float" }, { encoding_format: "base64" }] as const) {
      const { data, usage } = await openAi(bench, key).embeddings.create({ model, input: texts, ...form })
      assert.deepStrictEqual(data.map(({ index }) => index), [0, 1])
      assert.isAbove(usage.total_tokens, 0)
      checkVectors(data.map(({ embedding }) => numbersOf(embedding)))
    }
  })

  test("`@langchain/openai` and the Vercel AI SDK make embeddings", async (bench) => {
    const { key, model } = await embedding(bench)
    const baseURL = `${bench.hub.url}/v1`
    const chain = new OpenAIEmbeddings({ model, apiKey: key, maxRetries: 0, configuration: { baseURL } })
    checkVectors(await chain.embedDocuments(texts))
    const provider = createOpenAICompatible({ name: "tokenhub", baseURL, apiKey: key })
    const { embeddings, usage } = await embedMany({ model: provider.embeddingModel(model), values: texts, maxRetries: 0 })
    checkVectors(embeddings)
    assert.isAbove(usage.tokens, 0)
  })

  test("`@anthropic-ai/sdk` counts tokens for a model of any provider", async (bench) => {
    for (const upstream of ["openai", "anthropic", "gemini"] as const) {
      const { input_tokens: tokens } = await anthropic(bench, bench.keys[upstream]).messages.countTokens({
        model: MatrixBench.modelName(upstream),
        messages: [{ role: "user", content: "How many tokens are these?" }]
      })
      assert.isAbove(tokens, 3)
    }
  })

  test("an item that is only referred to is a 400 that names it, and resolved where responses are kept", async (bench) => {
    const { responses } = openAi(bench, bench.keys.anthropic)
    const model = MatrixBench.modelName("anthropic")
    const ask = async (store: boolean) => {
      const { output: [item] } = await responses.create({ model, input: "Hello", store })
      const input: OpenAI.Responses.ResponseInput = [
        { role: "user", content: "Hello" },
        { type: "item_reference", id: item?.id ?? "" },
        { role: "user", content: "And then?" }
      ]
      return responses.create({ model, input, store })
    }
    const refused: unknown = await ask(false).then(() => undefined, (error: unknown) => error)
    assert.instanceOf(refused, BadRequestError)
    assert.strictEqual(refused.param, "input[1]")
    bench.fake.reset()
    const { output_text: text } = await ask(true)
    assert.include(text, "And then?")
    assert.include(bench.fake.calls.at(-1)?.text, "heard: Hello")
  })

  test("the Vercel AI SDK's Anthropic provider sends the schema itself where it is told to", async (bench) => {
    const provider = createAnthropic({ baseURL: `${bench.hub.url}/v1`, apiKey: bench.keys.gemini })
    bench.fake.script({}, { text: "{\"name\":\"Paris\"}" })
    const { output } = await generateText({
      model: provider("tokenhub/auto"),
      maxRetries: 0,
      prompt: "Tell me of Paris",
      output: Output.object({ schema: jsonSchema({ type: "object", properties: { name: { type: "string" } } }) }),
      providerOptions: { anthropic: { structuredOutputMode: "outputFormat" } }
    })
    assert.deepStrictEqual(output, { name: "Paris" })
    const config = objectOf(objectOf(bench.fake.calls[0]?.body)["generationConfig"])
    assert.deepStrictEqual(objectOf(objectOf(config["responseJsonSchema"])["properties"])["name"], { type: "string" })
  })
})
