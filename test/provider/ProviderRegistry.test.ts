import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Layer, Redacted } from "effect"
import type { ModelCard, ProviderCard } from "../../src/domain/Catalog.ts"
import { ProviderName } from "../../src/domain/Ids.ts"
import { ProviderError } from "../../src/domain/ProviderError.ts"
import type { ProviderAdapter } from "../../src/provider/ProviderAdapter.ts"
import { ProviderRegistry } from "../../src/provider/ProviderRegistry.ts"
import { ProviderTypes } from "../../src/provider/ProviderTypes.ts"
import { Upstream } from "../../src/provider/Upstream.ts"
import * as Vendors from "../../src/provider/Vendors.ts"
import { Settings } from "../../src/Settings.ts"
import { ModelStore } from "../../src/store/ModelStore.ts"
import { ProviderStore } from "../../src/store/ProviderStore.ts"
import { StoreError } from "../../src/store/StoreError.ts"
import { Vault } from "../../src/vault/Vault.ts"
import { modelCard, providerCard } from "../support/Doubles.ts"
import { memorySettings } from "../support/MemoryStores.ts"
import { makeMemoryVaultStore, quickKeyDerivation } from "../support/VaultDoubles.ts"

const password = Redacted.make("correct horse battery")
const name = ProviderName.make
const secret = (text: string) => Redacted.make(text)
const openai = { providerType: "openai" }

/** What lasts between two starts. */
const makeDisk = () => ({
  providers: new Map<string, ProviderCard>(),
  models: new Map<string, ModelCard>(),
  settings: memorySettings(),
  vault: makeMemoryVaultStore(),
  fault: undefined as StoreError | undefined
})
type Disk = ReturnType<typeof makeDisk>

/** Keys that adapters of the outside type were closed with, and their names while open. */
const open = new Set<string>()

const outsideAdapter: ProviderAdapter = {
  complete: () => Effect.fail(new ProviderError({ fault: "unavailable", message: "outside", sent: true })),
  stream: () => {
    throw new Error("not asked")
  },
  models: (apiKey) =>
    apiKey !== undefined && Redacted.value(apiKey) === "good"
      ? Effect.succeed(["outside-1"])
      : Effect.fail(new ProviderError({ fault: "authentication", message: "the key is wrong", sent: true }))
}

/** A type that is no row of the vendors' table: one object and one Layer. */
const outside = ProviderTypes.layerRegister({
  name: "outside",
  defaultBaseUrl: "https://outside.example/v1",
  needsKey: true,
  local: false,
  make: (card) =>
    Effect.as(
      Effect.acquireRelease(Effect.sync(() => open.add(card.name)), () => Effect.sync(() => open.delete(card.name))),
      outsideAdapter
    )
})

const storeError = new StoreError({ kind: "unavailable", message: "the disk is full" })

const layerOf = (disk: Disk, environment: { readonly [name: string]: string } = {}) => {
  const stores = Layer.mergeAll(
    Layer.mock(ProviderStore, {
      all: Effect.sync(() => [...disk.providers.values()]),
      put: (card) => Effect.suspend(() => disk.fault ? Effect.fail(disk.fault) : Effect.sync(() => void disk.providers.set(card.name, card))),
      remove: (provider, { cascade }) =>
        Effect.sync(() => {
          disk.providers.delete(provider)
          if (cascade) { for (const model of disk.models.values()) if (model.provider === provider) disk.models.delete(model.name) }
        })
    }),
    Layer.mock(ModelStore, { all: Effect.sync(() => [...disk.models.values()]) }),
    disk.settings.layer
  )
  return ProviderRegistry.layer.pipe(
    Layer.provide(Layer.mergeAll(Vendors.layer, outside)),
    Layer.provideMerge(Layer.mergeAll(ProviderTypes.layer, Upstream.layer, stores, Vault.layer.pipe(Layer.provide([disk.vault.layer, quickKeyDerivation])))),
    Layer.provideMerge(Settings.layerTest(environment))
  )
}

/** One run of TokenHub on what lies on the disk. */
const started = <A, E>(disk: Disk, environment: { readonly [name: string]: string }, use: Effect.Effect<A, E, ProviderRegistry | Vault>) =>
  Effect.scoped(Effect.flatMap(Layer.build(layerOf(disk, environment)), (context) => Effect.provideContext(use, context)))

const withRegistry = <A, E>(
  use: (registry: ProviderRegistry["Service"], vault: Vault["Service"], disk: Disk) => Effect.Effect<A, E, Scope.Scope>,
  environment: { readonly [name: string]: string } = {}
) =>
  Effect.suspend(() => {
    const disk = makeDisk()
    return Effect.scoped(Effect.gen(function*() {
      const context = yield* Layer.build(layerOf(disk, environment))
      return yield* use(Context.get(context, ProviderRegistry), Context.get(context, Vault), disk)
    }))
  })

const keyOf = (registry: ProviderRegistry["Service"], provider: string) =>
  Effect.map(registry.ready(name(provider)), ({ apiKey }) => (apiKey === undefined ? undefined : Redacted.value(apiKey)))

describe("a provider's key", () => {
  it.effect("is looked for in order: given, vault, api_key_env, the instance's variable, the type's", () =>
    Effect.gen(function*() {
      const steps = [
        [{ OPENAI_API_KEY: "type" }, "env:OPENAI_API_KEY", "type"],
        [{ OPENAI_API_KEY: "type", OPENAI_EU_API_KEY: "instance" }, "env:OPENAI_EU_API_KEY", "instance"],
        [{ OPENAI_API_KEY: "type", OPENAI_EU_API_KEY: "instance", MY_KEY: "named" }, "env:MY_KEY", "named"]
      ] as const
      for (const [environment, credential, expected] of steps) {
        yield* withRegistry((registry) =>
          Effect.gen(function*() {
            const { view } = yield* registry.put(name("openai-eu"), { ...openai, apiKeyEnv: "MY_KEY" })
            assert.strictEqual(view.credential, credential)
            assert.strictEqual(yield* keyOf(registry, "openai-eu"), expected)
            yield* registry.put(name("openai-eu"), { ...openai, apiKeyEnv: "MY_KEY", apiKey: secret("given") })
            assert.strictEqual(registry.credential(name("openai-eu")), "vault")
            assert.strictEqual(yield* keyOf(registry, "openai-eu"), "given")
          }), environment)
      }
    }))

  it.effect("missing is said so, unless the type needs none", () =>
    withRegistry((registry) =>
      Effect.gen(function*() {
        yield* registry.put(name("openai"), openai)
        assert.strictEqual(registry.credential(name("openai")), "none")
        assert.isTrue(registry.needsKey(name("openai")))
        assert.strictEqual((yield* Effect.flip(registry.ready(name("openai")))).fault, "credential_missing")
        yield* registry.put(name("ollama"), { providerType: "ollama" })
        assert.isFalse(registry.needsKey(name("ollama")))
        assert.isUndefined(yield* keyOf(registry, "ollama"))
        assert.isUndefined(registry.credential(name("nobody")))
      })))

  it.effect("is dropped from memory with every change of the vault, and is out of reach while that is locked", () =>
    withRegistry((registry, vault) =>
      Effect.gen(function*() {
        let changes = 0
        registry.onChange(() => changes++)
        yield* registry.put(name("openai"), { ...openai, apiKey: secret("first") })
        assert.strictEqual(yield* keyOf(registry, "openai"), "first")
        yield* vault.put("provider/openai", secret("second"))
        assert.strictEqual(yield* keyOf(registry, "openai"), "second")
        const before = changes
        yield* vault.lock
        assert.isAbove(changes, before)
        assert.strictEqual(registry.credential(name("openai")), "locked")
        assert.strictEqual((yield* Effect.flip(registry.ready(name("openai")))).fault, "credential_locked")
        yield* vault.unlock(password)
        assert.strictEqual(registry.credential(name("openai")), "vault")
        assert.strictEqual(yield* keyOf(registry, "openai"), "second")
      })))

  it.effect("is bound to its origin: another base_url asks for the key again", () =>
    withRegistry((registry, _, disk) =>
      Effect.gen(function*() {
        yield* registry.put(name("openai"), { ...openai, apiKey: secret("mine") })
        const moved = { ...openai, baseUrl: "https://elsewhere.example/v1" }
        const changes = [Effect.asVoid(registry.put(name("openai"), moved)), Effect.asVoid(registry.patch(name("openai"), { baseUrl: moved.baseUrl }))]
        for (const change of changes) {
          const error = yield* Effect.flip(change)
          assert.deepInclude({ ...error }, { _tag: "InvalidRequest", param: "api_key" })
        }
        assert.isNull(disk.providers.get("openai")?.baseUrl)
        yield* registry.patch(name("openai"), { baseUrl: "https://api.openai.com/v1/other" })
        yield* registry.put(name("openai"), { ...moved, apiKey: secret("theirs") })
        assert.strictEqual(yield* keyOf(registry, "openai"), "theirs")
      })))
})

describe("a provider instance", () => {
  it.effect("of a type may have brothers, each with its own key and address", () =>
    withRegistry((registry) =>
      Effect.gen(function*() {
        for (const at of ["a", "b"]) {
          yield* registry.put(name(`openai-${at}`), { ...openai, apiKey: secret(`key-${at}`), baseUrl: `https://${at}.example/v1` })
        }
        assert.deepStrictEqual((yield* registry.list).map(({ card }) => [card.name, card.baseUrl]), [
          ["openai-a", "https://a.example/v1"],
          ["openai-b", "https://b.example/v1"]
        ])
        assert.strictEqual(yield* keyOf(registry, "openai-a"), "key-a")
        assert.strictEqual(yield* keyOf(registry, "openai-b"), "key-b")
      }), { TOKENHUB_MOCK: "false" }))

  it.effect("is stored whole or not at all", () =>
    withRegistry((registry, vault, disk) =>
      Effect.gen(function*() {
        const bad = [
          ["provider_type", { providerType: "nothing" }],
          ["base_url", { ...openai, baseUrl: "ftp://x" }],
          ["base_url", { ...openai, baseUrl: "http://169.254.169.254" }],
          ["base_url", { ...openai, baseUrl: "http://127.0.0.1:1" }],
          ["base_url", { providerType: "openai-compatible" }],
          ["base_url", { providerType: "azure-openai" }],
          ["timeouts", { ...openai, timeouts: { connectMs: 0 } }],
          ["max_concurrency", { ...openai, maxConcurrency: 1.5 }],
          ["api_key_env", { ...openai, apiKeyEnv: "A B" }],
          ["api_key_env", { ...openai, apiKeyEnv: "TOKENHUB_ADMIN_PASSWORD" }],
          ["api_key", { ...openai, apiKey: secret("two words") }]
        ] as const
        for (const [param, spec] of bad) {
          const error = yield* Effect.flip(registry.put(name("p"), { apiKey: secret("k"), ...spec }))
          assert.deepInclude({ ...error }, { _tag: "InvalidRequest", param })
        }
        disk.fault = storeError
        assert.strictEqual((yield* Effect.flip(registry.put(name("p"), { ...openai, apiKey: secret("k") })))._tag, "StoreUnavailable")
        assert.isFalse(vault.has("provider/p"))
        disk.fault = undefined
        yield* vault.lock
        assert.strictEqual((yield* Effect.flip(registry.put(name("p"), { ...openai, apiKey: secret("k") })))._tag, "VaultLocked")
        assert.isUndefined(registry.credential(name("p")))
        assert.strictEqual(disk.providers.size, 0)
      }), { TOKENHUB_MOCK: "false" }))

  it.effect("keeps its old key where replacing it fails", () =>
    withRegistry((registry, _, disk) =>
      Effect.gen(function*() {
        yield* registry.put(name("openai"), { ...openai, apiKey: secret("old") })
        disk.fault = storeError
        yield* Effect.flip(registry.put(name("openai"), { ...openai, apiKey: secret("new") }))
        assert.strictEqual(yield* keyOf(registry, "openai"), "old")
      })))

  it.effect("that is patched keeps what was not named; one that is put again is replaced", () =>
    withRegistry((registry) =>
      Effect.gen(function*() {
        yield* registry.put(name("openai"), { ...openai, maxConcurrency: 5, enabled: true, timeouts: { connectMs: 9 } })
        const { card } = yield* registry.patch(name("openai"), { enabled: false })
        assert.deepInclude(card, { maxConcurrency: 5, enabled: false, timeouts: { connectMs: 9 } })
        assert.isFalse(registry.isEnabled(name("openai")))
        const { replaced, view } = yield* registry.put(name("openai"), openai)
        assert.isTrue(replaced)
        assert.deepInclude(view.card, { maxConcurrency: null, enabled: true, timeouts: {} })
        assert.strictEqual((yield* Effect.flip(registry.patch(name("nobody"), {})))._tag, "NotFound")
      })))

  it.effect("that is patched for what it no longer is stays as it is", () =>
    withRegistry((registry) =>
      Effect.gen(function*() {
        const { view } = yield* registry.put(name("openai"), openai)
        yield* registry.patch(name("openai"), { maxConcurrency: 5 }, view.card)
        const late = yield* Effect.flip(registry.patch(name("openai"), { enabled: false }, view.card))
        assert.deepInclude({ ...late }, { _tag: "Conflict", code: "changed_meanwhile" })
        assert.deepInclude((yield* registry.get(name("openai"))).card, { maxConcurrency: 5, enabled: true })
      })))

  it.effect("that models use is not removed, unless they go too; its key goes with it", () =>
    withRegistry((registry, vault, disk) =>
      Effect.gen(function*() {
        yield* registry.put(name("openai"), { ...openai, apiKey: secret("k") })
        disk.models.set("gpt", modelCard("gpt", { provider: "openai" }))
        assert.strictEqual((yield* Effect.flip(registry.remove(name("openai"), { cascade: false })))._tag, "Conflict")
        assert.isTrue(vault.has("provider/openai"))
        yield* registry.remove(name("openai"), { cascade: true })
        assert.isFalse(vault.has("provider/openai"))
        assert.strictEqual(disk.models.size + disk.providers.size, 0)
        assert.strictEqual((yield* Effect.flip(registry.get(name("openai"))))._tag, "NotFound")
        assert.strictEqual((yield* Effect.flip(registry.remove(name("openai"), { cascade: true })))._tag, "NotFound")
      }), { TOKENHUB_MOCK: "false" }))

  it.effect("of a type from outside is built once, validated with its key, and closed when replaced or removed", () =>
    withRegistry((registry) =>
      Effect.gen(function*() {
        yield* registry.put(name("out"), { providerType: "outside", apiKey: secret("good") })
        assert.deepStrictEqual(yield* registry.validate(name("out")), { valid: true, models: ["outside-1"] })
        assert.strictEqual((yield* registry.ready(name("out"))).adapter, outsideAdapter)
        assert.isTrue(open.has("out"))
        yield* registry.put(name("out"), { providerType: "outside", apiKey: secret("bad") })
        assert.isFalse(open.has("out"))
        assert.deepStrictEqual(yield* registry.validate(name("out")), { valid: false, message: "the key is wrong", models: [] })
        yield* registry.remove(name("out"), { cascade: false })
        assert.isFalse(open.has("out"))
        assert.strictEqual((yield* Effect.flip(registry.validate(name("out"))))._tag, "NotFound")
      })))
})

describe("the start", () => {
  const names = Effect.flatMap(ProviderRegistry, (registry) => Effect.map(registry.list, (list) => list.map(({ card }) => `${card.name} ${card.source}`)))

  it.effect("a first start without any provider gets the mock, for good; a later one does not", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      assert.deepStrictEqual(yield* started(disk, {}, names), ["mock mock"])
      assert.deepStrictEqual(yield* started(disk, {}, names), ["mock mock"])
      yield* started(disk, {}, Effect.flatMap(ProviderRegistry, (registry) => registry.remove(name("mock"), { cascade: true })))
      assert.deepStrictEqual(yield* started(disk, {}, names), [])
    }))

  it.effect("TOKENHUB_MOCK=false and a key in the environment both prevent the mock", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* started(makeDisk(), { TOKENHUB_MOCK: "false" }, names), [])
      assert.deepStrictEqual(yield* started(makeDisk(), { OPENAI_API_KEY: "k", GOOGLE_API_KEY: "g" }, names), [
        "gemini environment",
        "openai environment"
      ])
    }))

  it.effect("an instance of the environment is not stored, and gives way to a stored one of its name", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      assert.deepStrictEqual(yield* started(disk, { OPENAI_API_KEY: "k" }, names), ["openai environment"])
      assert.strictEqual(disk.providers.size, 0)
      yield* started(disk, { OPENAI_API_KEY: "k" }, Effect.flatMap(ProviderRegistry, (registry) => registry.patch(name("openai"), { maxConcurrency: 3 })))
      assert.deepStrictEqual(yield* started(disk, { OPENAI_API_KEY: "k" }, names), ["openai admin"])
    }))

  it.effect("stored instances and keys survive; one whose type is gone is kept, and says so", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      yield* started(disk, {}, Effect.flatMap(ProviderRegistry, (registry) => registry.put(name("openai"), { ...openai, apiKey: secret("kept") })))
      disk.providers.set("old", providerCard("old", { providerType: "gone" }))
      yield* started(disk, {}, Effect.gen(function*() {
        const registry = yield* ProviderRegistry
        assert.strictEqual(yield* keyOf(registry, "openai"), "kept")
        assert.strictEqual((yield* Effect.flip(registry.ready(name("old")))).fault, "unsupported")
      }))
    }))
})
