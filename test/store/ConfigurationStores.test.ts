import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import type { ModelCard, ProviderCard } from "../../src/domain/Catalog.ts"
import { ClientKeyId, ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { AuditStore } from "../../src/store/AuditStore.ts"
import { unlimited } from "../../src/domain/ClientKey.ts"
import type { ClientKeyRow } from "../../src/store/ClientKeyStore.ts"
import { ClientKeyStore } from "../../src/store/ClientKeyStore.ts"
import { ModelStore } from "../../src/store/ModelStore.ts"
import { ProviderStore } from "../../src/store/ProviderStore.ts"
import { SettingStore } from "../../src/store/SettingStore.ts"
import * as Store from "../../src/store/Store.ts"

const provider = (name: string): ProviderCard => ({
  name: ProviderName.make(name), providerType: "openai", baseUrl: null, apiKeyEnv: null, timeouts: {}, maxConcurrency: null,
  allowPrivate: false, enabled: true, source: "admin"
})

const model = (name: string, of: string): ModelCard => ({
  name: ModelName.make(name), provider: ProviderName.make(of), upstreamName: name, contextSize: 8000, maxOutputTokens: 100, weight: 1,
  price: null, capabilities: new Set(), aliases: [], enabled: true, source: "admin"
})

layer(Store.layerTest)("ProviderStore and ModelStore", (it) => {
  it.effect("remove a provider with its models, or refuse while it has any", () =>
    Effect.gen(function*() {
      const providers = yield* ProviderStore
      const models = yield* ModelStore
      yield* Effect.forEach(["a", "b"], (name) => providers.put(provider(name)))
      yield* Effect.forEach([model("a1", "a"), model("a2", "a"), model("b1", "b")], models.put)
      const error = yield* Effect.flip(providers.remove(ProviderName.make("a"), { cascade: false }))
      assert.strictEqual(error.kind, "conflict")
      assert.lengthOf(yield* providers.all, 2)
      yield* providers.remove(ProviderName.make("a"), { cascade: true })
      assert.deepStrictEqual(yield* providers.all, [provider("b")])
      assert.deepStrictEqual(yield* models.all, [model("b1", "b")])
      yield* models.remove(ModelName.make("b1"))
      yield* providers.remove(ProviderName.make("b"), { cascade: false })
      assert.lengthOf(yield* providers.all, 0)
    }))

  it.effect("say that a row is damaged rather than serve it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const models = yield* ModelStore
      yield* models.put(model("m", "p"))
      yield* sql`UPDATE models SET price = '{"input": "much"}'`
      const error = yield* Effect.flip(models.all)
      assert.deepStrictEqual([error.kind, error.message], ["corrupt", "A row of the database is damaged"])
    }))
})

layer(Store.layerTest)("SettingStore", (it) => {
  it.effect("finds, replaces and removes by name, and lists by prefix", () =>
    Effect.gen(function*() {
      const settings = yield* SettingStore
      yield* Effect.forEach(["guess/1", "guess/é", "guess", "guest/1", "GUESS/2", "guess/%"], (name) => settings.set(name, "0"))
      yield* settings.set("guess/1", "1")
      assert.strictEqual(yield* settings.get("guess/1"), "1")
      assert.deepStrictEqual([...yield* settings.withPrefix("guess/")], [["guess/%", "0"], ["guess/1", "1"], ["guess/é", "0"]])
      yield* settings.remove("guess/1")
      assert.isUndefined(yield* settings.get("guess/1"))
    }))
})

layer(Store.layerTest)("ClientKeyStore", (it) => {
  const key = (id: string, hash: string): ClientKeyRow => ({
    ...unlimited, id: ClientKeyId.make(id), name: id, hash, prefix: "th_ab", createdAt: 1, revokedAt: null, previousHash: null,
    previousUntil: null, lastUsedAt: null
  })

  it.effect("keeps keys, revokes them, and refuses a second key of the same hash", () =>
    Effect.gen(function*() {
      const keys = yield* ClientKeyStore
      yield* keys.put(key("key_2", "h2"))
      yield* keys.put(key("key_1", "h1"))
      yield* keys.put({ ...key("key_1", "h1"), revokedAt: 9 })
      const error = yield* Effect.flip(keys.put(key("key_3", "h1")))
      assert.deepStrictEqual([error.kind, error.message], ["conflict", "A row of that name is already there"])
      assert.deepStrictEqual(yield* keys.all, [{ ...key("key_1", "h1"), revokedAt: 9 }, key("key_2", "h2")])
      const limited: ClientKeyRow = {
        ...key("key_2", "h3"), name: "limited", scopes: ["chat", "models"], models: ["gpt-*"], expiresAt: 5, rpm: 6, tpm: 7,
        // More than a JavaScript number holds exactly.
        budget: { amount: 123_456_789_123_456_789n, period: "day" }, previousHash: "h2", previousUntil: 8
      }
      yield* keys.put(limited)
      yield* keys.used(new Map([[ClientKeyId.make("key_2"), 40], [ClientKeyId.make("key_none"), 1]]))
      yield* keys.used(new Map([[ClientKeyId.make("key_2"), 30]]))
      yield* keys.put(limited)
      assert.deepStrictEqual((yield* keys.all)[1], { ...limited, lastUsedAt: 40 })
      yield* keys.remove(ClientKeyId.make("key_1"))
      assert.lengthOf(yield* keys.all, 1)
    }))
})

layer(Store.layerTest)("AuditStore", (it) => {
  it.effect("pages from the newest to the oldest", () =>
    Effect.gen(function*() {
      const audit = yield* AuditStore
      const row = (at: number) => ({ at, actor: "admin", action: "put", target: "t", before: null, after: `{"at":${at}}`, requestId: "req_1" })
      yield* Effect.forEach([1, 2, 3], (at) => audit.append(row(at)))
      const first = yield* audit.page({ limit: 2 })
      assert.deepStrictEqual(first.map(({ id: _, ...rest }) => rest), [row(3), row(2)])
      const rest = yield* audit.page({ limit: 2, before: first[1]?.id ?? 0 })
      assert.deepStrictEqual(rest.map(({ at }) => at), [1])
    }))
})

