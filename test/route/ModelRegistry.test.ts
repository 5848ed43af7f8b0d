import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { ModelCard } from "../../src/domain/Catalog.ts"
import { ModelName } from "../../src/domain/Ids.ts"
import { ModelRegistry } from "../../src/route/ModelRegistry.ts"
import { nearNames } from "../../src/route/NearNames.ts"
import { modelCard, providerCard } from "../support/Doubles.ts"
import { unavailable } from "../support/MemoryStores.ts"
import { memoryModels, memoryProviders, registryOf } from "../support/Routing.ts"

const openai = { card: providerCard("openai", { providerType: "openai" }), credential: "env:OPENAI_API_KEY" as const }
const p = { card: providerCard("p", { providerType: "openai-compatible" }), credential: "vault" as const }

const alias = (...names: ReadonlyArray<string>) => names.map((name) => ModelName.make(name))

const named = (registry: typeof ModelRegistry.Service, name: string) => {
  const found = registry.list().find((model) => model.name === name)
  assert.isDefined(found, name)
  return found
}

/** Without the brands, so that plain texts compare. */
const shown = ({ enabled, provider, source, upstreamName, weight }: ModelCard) => ({
  enabled,
  provider: provider as string,
  source,
  upstreamName,
  weight
})

describe("ModelRegistry", () => {
  it.effect("shows the catalogue of a provider with a key under plain names, and not without a key", () => {
    const providers = memoryProviders(openai, { card: providerCard("anthropic", { providerType: "anthropic" }), credential: "none" })
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      assert.deepInclude(shown(named(registry, "gpt-4o-mini")), {
        provider: "openai",
        upstreamName: "gpt-4o-mini",
        source: "catalogue",
        enabled: true
      })
      assert.isEmpty(registry.modelsOf("anthropic"))
      assert.isNotEmpty(registry.modelsOf("openai"))
    }).pipe(Effect.provide(registryOf(providers, memoryModels())))
  })

  it.effect("names the models of another instance of a type after the instance", () => {
    const europe = { card: providerCard("openai-eu", { providerType: "openai" }), credential: "vault" as const }
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      assert.strictEqual(named(registry, "gpt-4o-mini").provider, "openai")
      assert.deepInclude(shown(named(registry, "openai-eu/gpt-4o-mini")), { provider: "openai-eu", upstreamName: "gpt-4o-mini" })
    }).pipe(Effect.provide(registryOf(memoryProviders(europe, openai), memoryModels())))
  })

  it.effect("keeps names unique where two default instances offer the same one", () => {
    const groq = { card: providerCard("groq", { providerType: "groq" }), credential: "vault" as const }
    const router = { card: providerCard("openrouter", { providerType: "openrouter" }), credential: "vault" as const }
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      assert.strictEqual(named(registry, "openai/gpt-oss-20b").provider, "groq")
      assert.strictEqual(named(registry, "openrouter/openai/gpt-oss-20b").provider, "openrouter")
      const all = registry.list().map((model) => model.name)
      assert.deepStrictEqual(all, [...new Set(all)].toSorted())
    }).pipe(Effect.provide(registryOf(memoryProviders(router, groq), memoryModels())))
  })

  it.effect("lets an admin's model win over the catalogue's, which shows again when it is removed", () => {
    const models = memoryModels()
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      const before = registry.version()
      assert.deepStrictEqual(yield* registry.put(modelCard("gpt-4o-mini", { provider: "p", weight: 7 })), { replaced: false })
      assert.deepInclude(shown(yield* registry.get(ModelName.make("gpt-4o-mini"))), { provider: "p", weight: 7, source: "admin" })
      assert.isAbove(registry.version(), before)
      assert.deepStrictEqual(yield* registry.put(modelCard("gpt-4o-mini", { provider: "p", weight: 8 })), { replaced: true })
      yield* registry.remove(ModelName.make("gpt-4o-mini"))
      assert.deepInclude(shown(named(registry, "gpt-4o-mini")), { provider: "openai", source: "catalogue" })
      assert.isEmpty(models.rows)
      const refused = yield* Effect.flip(registry.remove(ModelName.make("gpt-4o-mini")))
      assert.include(refused.message, "catalogue")
    }).pipe(Effect.provide(registryOf(memoryProviders(openai, p), models)))
  })

  it.effect("refuses a change that was made for a model as it no longer is", () => {
    const models = memoryModels()
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      yield* registry.put(modelCard("m", { provider: "p", weight: 1 }))
      const seen = yield* registry.get(ModelName.make("m"))
      yield* registry.put({ ...seen, weight: 2 }, seen)
      const late = yield* Effect.flip(registry.put({ ...seen, contextSize: 5 }, seen))
      assert.deepInclude({ ...late }, { _tag: "Conflict", code: "changed_meanwhile" })
      assert.deepInclude(shown(yield* registry.get(ModelName.make("m"))), { weight: 2 })
      assert.strictEqual([...models.rows.values()][0]?.contextSize, seen.contextSize)
    }).pipe(Effect.provide(registryOf(memoryProviders(openai, p), models)))
  })

  it.effect("lets the mock answer only while there is no real model that is enabled", () => {
    const mock = { card: providerCard("mock", { source: "mock" }), credential: "none" as const }
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      const mocks = () => registry.list().filter((model) => model.source === "mock").map((model) => model.enabled)
      assert.deepStrictEqual(mocks(), [true, true, true])
      yield* registry.put(modelCard("real"))
      assert.deepStrictEqual(mocks(), [false, false, false])
      yield* registry.put(modelCard("real", { enabled: false }))
      assert.deepStrictEqual(mocks(), [true, true, true])
    }).pipe(Effect.provide(registryOf(memoryProviders(mock, p), memoryModels())))
  })

  it.effect("makes the mock's models for the provider that was made for want of any, and for no other", () => {
    const made = { card: providerCard("mock", { source: "mock" }), credential: "none" as const }
    const providers = memoryProviders(made, { card: providerCard("theirs", { source: "admin" }), credential: "none" })
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      assert.deepStrictEqual(registry.list().map((model) => [model.name, model.contextSize, model.source]), [
        ["mock-embedding", 8192, "mock"],
        ["mock-large", 131_072, "mock"],
        ["mock-small", 8192, "mock"]
      ])
      assert.isTrue(registry.list().every((model) => model.price?.input === 0n && model.price.output === 0n))
      providers.remove("mock")
      yield* registry.ready
      assert.isEmpty(registry.list())
    }).pipe(Effect.provide(registryOf(providers, memoryModels())))
  })

  it.effect("follows providers that come and go", () => {
    const providers = memoryProviders()
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      assert.isEmpty(registry.list())
      const before = registry.version()
      providers.set(openai)
      const found = yield* registry.resolve("gpt-4o-mini")
      assert.strictEqual(found.provider, "openai")
      assert.isAbove(registry.version(), before)
      assert.strictEqual(registry.fromCatalogue("openai", "gpt-4o")?.contextSize, 128_000)
      providers.remove("openai")
      yield* Effect.flip(registry.resolve("gpt-4o-mini"))
    }).pipe(Effect.provide(registryOf(providers, memoryModels())))
  })

  it.effect("resolves exact names and aliases, and offers near names for others", () =>
    Effect.gen(function*() {
      const registry = yield* ModelRegistry
      yield* registry.put(modelCard("big-model", { aliases: alias("smart", "default") }))
      assert.strictEqual((yield* registry.resolve("big-model")).name, "big-model")
      assert.strictEqual((yield* registry.resolve("smart")).name, "big-model")
      const unknown = yield* Effect.flip(registry.resolve("big-modle"))
      assert.deepStrictEqual(unknown.near, ["big-model"])
      assert.deepStrictEqual((yield* Effect.flip(registry.resolve("Smart"))).near, ["smart"])
      assert.deepStrictEqual((yield* Effect.flip(registry.resolve("entirely else"))).near, [])
      assert.strictEqual((yield* Effect.flip(registry.resolve("x".repeat(100_000)))).model.length, 128)
    }).pipe(Effect.provide(registryOf(memoryProviders(p), memoryModels()))))

  it.effect("refuses names and aliases that would mean two models", () =>
    Effect.gen(function*() {
      const registry = yield* ModelRegistry
      yield* registry.put(modelCard("one", { aliases: alias("first") }))
      const refusal = (card: ReturnType<typeof modelCard>) => Effect.map(Effect.flip(registry.put(card)), (error) => error._tag)
      assert.strictEqual(yield* refusal(modelCard("first")), "Conflict")
      assert.strictEqual(yield* refusal(modelCard("two", { aliases: alias("one") })), "Conflict")
      assert.strictEqual(yield* refusal(modelCard("two", { aliases: alias("first") })), "Conflict")
      assert.strictEqual(yield* refusal(modelCard("two", { aliases: alias("two") })), "InvalidRequest")
      assert.strictEqual(yield* refusal(modelCard("two", { aliases: alias("auto") })), "InvalidRequest")
      assert.strictEqual(yield* refusal(modelCard("auto")), "InvalidRequest")
      assert.strictEqual(yield* refusal(modelCard("two", { provider: "nowhere" })), "InvalidRequest")
      assert.deepStrictEqual(registry.list().map((model) => model.name), ["one"])
      yield* registry.put(modelCard("one", { aliases: alias("first", "second") }))
      yield* registry.put(modelCard("two", { aliases: alias("deux") }))
      assert.strictEqual((yield* registry.resolve("second")).name, "one")
    }).pipe(Effect.provide(registryOf(memoryProviders(p), memoryModels()))))

  it.effect("gives an admin's alias precedence over a catalogue model of that name", () =>
    Effect.gen(function*() {
      const registry = yield* ModelRegistry
      yield* registry.put(modelCard("mine", { aliases: alias("gpt-4o-mini") }))
      assert.strictEqual((yield* registry.resolve("gpt-4o-mini")).name, "mine")
      assert.strictEqual((yield* registry.resolve("openai/gpt-4o-mini")).provider, "openai")
    }).pipe(Effect.provide(registryOf(memoryProviders(openai, p), memoryModels()))))

  it.effect("changes nothing when the store can't", () => {
    const models = memoryModels(modelCard("kept"))
    return Effect.gen(function*() {
      const registry = yield* ModelRegistry
      models.faulty.fault = unavailable
      assert.strictEqual((yield* Effect.flip(registry.put(modelCard("new"))))._tag, "StoreUnavailable")
      assert.strictEqual((yield* Effect.flip(registry.remove(ModelName.make("kept"))))._tag, "StoreUnavailable")
      assert.deepStrictEqual(registry.list().map((model) => model.name), ["kept"])
    }).pipe(Effect.provide(registryOf(memoryProviders(p), models)))
  })
})

describe("near names", () => {
  it("gives at most five, the nearest first", () => {
    const names = ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5", "claude-opus-5", "gpt-4", "gpt-4t", "gpt-4x", "gpt-40"]
    const near = nearNames("gpt-4", names)
    assert.strictEqual(near[0], "gpt-4")
    assert.strictEqual(near.length, 5)
    assert.isFalse(near.includes("claude-opus-5"))
  })

  it("gives at most five of ten thousand names", () => {
    const names = Array.from({ length: 10_000 }, (_, i) => `vendor-${i % 100}/some-model-name-${i}`)
    assert.strictEqual(nearNames("vendor-7/some-model-name-x", names).length, 5)
  })
})
