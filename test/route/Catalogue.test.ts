import { calcPrice } from "@pydantic/genai-prices"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { costOf } from "../../src/domain/Money.ts"
import { zero } from "../../src/domain/Usage.ts"
import { covers, loadCatalogue, weightOf } from "../../src/route/Catalogue.ts"

const catalogue = Effect.runPromise(loadCatalogue)

const listedTypes = ["openai", "anthropic", "gemini", "mistral", "deepseek", "xai", "groq", "together", "perplexity", "openrouter"]

const find = async (providerType: string, name: string) => {
  const found = (await catalogue).models(providerType).find((entry) => entry.upstreamName === name)
  assert.isDefined(found, name)
  return found
}

describe("Catalogue", () => {
  it("prices calls as its source does, cached tokens and long prompts included", async () => {
    const cases = [
      { type: "openai", id: "openai", model: "gpt-4o-mini", prompt: 100_000, cached: 30_000, written: 0 },
      { type: "anthropic", id: "anthropic", model: "claude-sonnet-4-5", prompt: 250_000, cached: 10_000, written: 20_000 },
      { type: "gemini", id: "google", model: "gemini-2.5-pro", prompt: 200_001, cached: 0, written: 0 },
      { type: "gemini", id: "google", model: "gemini-2.5-pro", prompt: 200_000, cached: 100, written: 0 },
      { type: "openrouter", id: "openrouter", model: "openai/gpt-4o-mini", prompt: 5000, cached: 0, written: 0 }
    ]
    for (const { cached, id, model, prompt, type, written } of cases) {
      const { price } = await find(type, model)
      const usage = { ...zero, promptTokens: prompt, cachedTokens: cached, cacheWriteTokens: written, completionTokens: 1000 }
      const theirs = calcPrice(
        { input_tokens: prompt, cache_read_tokens: cached, cache_write_tokens: written, output_tokens: 1000 },
        model,
        { providerId: id }
      )
      assert.closeTo(Number(costOf(price, usage)), (theirs?.total_price ?? 0) * 1e9, 2, model)
    }
  })

  it("knows gpt-4o-mini by heart", async () => {
    const mini = await find("openai", "gpt-4o-mini")
    assert.deepInclude(mini, { contextSize: 128_000, maxOutputTokens: 16_384, source: "catalogue" })
    assert.deepStrictEqual(mini.price, { input: 150_000_000n, output: 600_000_000n, cachedInput: 75_000_000n })
    assert.deepStrictEqual([...mini.capabilities].toSorted(), ["json_schema", "streaming", "tools", "vision"])
  })

  it("knows embedding models, which can do nothing else and bill their input", async () => {
    const small = await find("openai", "text-embedding-3-small")
    assert.deepInclude(small, { contextSize: 8192, maxOutputTokens: null, price: { input: 20_000_000n, output: 0n } })
    assert.deepStrictEqual([...small.capabilities], ["embeddings"])
    assert.deepStrictEqual((await find("gemini", "gemini-embedding-001")).price, { input: 150_000_000n, output: 0n })
    assert.strictEqual((await find("mistral", "mistral-embed")).contextSize, 8192)
    assert.deepStrictEqual((await catalogue).describe("azure-openai", "text-embedding-3-large")?.capabilities, small.capabilities)
  })

  it("lists only models that can be routed to: priced, with a context window, for chat or for embeddings", async () => {
    for (const type of listedTypes) {
      assert.isTrue(covers(type))
      const models = (await catalogue).models(type)
      assert.isAtLeast(models.length, 3, type)
      for (const model of models) {
        assert.isNotNull(model.price, model.upstreamName)
        assert.isAtLeast(model.contextSize, 2048, model.upstreamName)
        assert.strictEqual(model.capabilities.has("embeddings"), model.upstreamName.includes("embed"), model.upstreamName)
        assert.notMatch(model.upstreamName, /whisper|tts|audio|image|ocr/)
      }
      assert.strictEqual(new Set(models.map((model) => model.upstreamName)).size, models.length, type)
    }
  })

  it("leaves out retired models and those that only the Responses API serves, but describes them", async () => {
    const { describe, models } = await catalogue
    const names = new Set(["openai", "anthropic"].flatMap((type) => models(type).map((model) => model.upstreamName)))
    for (const name of ["gpt-4.5-preview", "gpt-6-sol", "claude-3-opus", "gpt-3.5-turbo"]) assert.isFalse(names.has(name), name)
    assert.strictEqual(describe("openai", "gpt-3.5-turbo")?.contextSize, 16_385)
    assert.strictEqual(describe("azure-openai", "gpt-4o")?.contextSize, 128_000)
    assert.strictEqual(describe("openai", "gpt-4o-2024-08-06")?.maxOutputTokens, 16_384)
  })

  it("says nothing of what it does not know", async () => {
    const { describe, models } = await catalogue
    assert.deepStrictEqual(models("openai-compatible"), [])
    assert.deepStrictEqual(models("constructor"), [])
    assert.isUndefined(describe("openai", "no-such-model"))
    assert.isUndefined(describe("__proto__", "gpt-4o"))
  })

  it("gives the current generation and the stronger price class the higher weight, and the very dear the least", () => {
    const price = (dollars: number) => ({ input: 0n, output: BigInt(dollars * 1e9) })
    const weights = [1, 5, 12, 50].map((dollars) => weightOf(price(dollars), false))
    assert.deepStrictEqual(weights, [10, 20, 30, 40])
    assert.isAbove(weightOf(price(1), true), weightOf(price(50), false))
    assert.isBelow(weightOf(price(150), false), weightOf(price(1), false))
    assert.isBelow(weightOf(price(50), true), 100)
  })
})
