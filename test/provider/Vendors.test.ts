import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { checkBaseUrl } from "../../src/provider/EgressGuard.ts"
import { ProviderTypes } from "../../src/provider/ProviderTypes.ts"
import { adapterFor, callOf, collect, environment, Fake, layer, upstreams } from "./Harness.ts"

describe("the vendors' table", () => {
  it.effect("has every promised type, each with an address that may be called", () =>
    Effect.gen(function*() {
      const types = yield* ProviderTypes
      assert.includeMembers([...types.names()], [
        "anthropic",
        "azure-openai",
        "deepseek",
        "gemini",
        "groq",
        "lm-studio",
        "mistral",
        "mock",
        "ollama",
        "openai",
        "openai-compatible",
        "openrouter",
        "together",
        "vllm",
        "xai"
      ])
      for (const name of types.names()) {
        const type = types.get(name) ?? assert.fail()
        if (type.defaultBaseUrl === null || type.defaultBaseUrl === "") continue
        assert.deepStrictEqual(checkBaseUrl(type.defaultBaseUrl, type.local), Result.succeed(type.defaultBaseUrl))
        assert.strictEqual(type.needsKey, !type.local)
      }
    }).pipe(Effect.provide(upstreams(environment))))

  it.live("asks an openai-compatible provider by chat completions only, without a key where there is none", () =>
    Effect.gen(function*() {
      const fake = yield* Fake
      const adapter = yield* adapterFor("openai-compatible", fake.url("openai"))
      yield* adapter.complete(callOf("m"))
      yield* collect(adapter, callOf("m"))
      assert.deepStrictEqual(fake.calls.map(({ path }) => path), ["/v1/chat/completions", "/v1/chat/completions"])
      yield* Effect.flip(adapter.complete(callOf("m", "Hi", { apiKey: undefined })))
      assert.notProperty(fake.calls.at(-1)?.headers, "authorization")
    }).pipe(Effect.scoped, Effect.provide(layer)))

  it.effect("has a mock that needs no network", () =>
    Effect.gen(function*() {
      const adapter = yield* adapterFor("mock", null)
      const { completion } = yield* collect(adapter, callOf("mock-small", "Hi", { apiKey: undefined }))
      assert.strictEqual(completion.finishReason, "stop")
      assert.deepStrictEqual(yield* adapter.models(undefined), ["mock-small", "mock-large", "mock-embedding"])
    }).pipe(Effect.scoped, Effect.provide(upstreams(environment))))

  it.effect("says so where a vendor has no list of models", () =>
    Effect.gen(function*() {
      const adapter = yield* adapterFor("perplexity", null)
      assert.strictEqual((yield* Effect.flip(adapter.models(undefined))).fault, "unsupported")
    }).pipe(Effect.scoped, Effect.provide(upstreams(environment))))
})
