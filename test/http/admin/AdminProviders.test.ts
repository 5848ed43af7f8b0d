import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect } from "effect"
import { AdminHub, isError, mockProvider } from "../../support/AdminHub.ts"
import * as FakeProvider from "../../support/FakeProvider.ts"
import * as Harness from "../../support/Harness.ts"

const key = "sk-fake-0123456789abcdefghij"

layer(AdminHub.layer(), { excludeTestServices: true })("/admin/providers", (it) => {
  it.effect("adds, shows, changes, replaces and removes an instance", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const added = yield* Effect.promise(() =>
        admin("POST", "/providers", {
          name: "eu.1",
          provider_type: "openai",
          api_key: key,
          base_url: "https://eu.example.com/v1/",
          timeouts: { connect_ms: 1000, first_byte_ms: 2000 },
          max_concurrency: 4
        })
      )
      assert.strictEqual(added.status, 201)
      assert.strictEqual(added.json.message, "Provider added successfully")
      assert.deepInclude(added.json.provider, {
        name: "eu.1",
        provider_type: "openai",
        base_url: "https://eu.example.com/v1",
        credential: "vault",
        enabled: true,
        max_concurrency: 4,
        timeouts: { connect_ms: 1000, first_byte_ms: 2000 },
        source: "admin"
      })
      assert.notInclude(added.text, key)

      const changed = yield* Effect.promise(() => admin("PATCH", "/providers/eu.1", { enabled: false, max_concurrency: null }))
      assert.deepInclude(changed.json, { enabled: false, max_concurrency: null, base_url: "https://eu.example.com/v1" })

      const listed = yield* Effect.promise(() => admin("GET", "/providers"))
      assert.deepInclude(listed.json.providers.map((provider: { name: string }) => provider.name), "eu.1")
      assert.deepEqual((yield* Effect.promise(() => admin("GET", "/providers/eu.1"))).json, changed.json)

      const replaced = yield* Effect.promise(() => admin("POST", "/providers", { name: "eu.1", provider_type: "anthropic", api_key: key }))
      assert.strictEqual(replaced.status, 200)
      assert.deepInclude(replaced.json.provider, { provider_type: "anthropic", base_url: null, enabled: true })

      assert.strictEqual((yield* Effect.promise(() => admin("DELETE", "/providers/eu.1?cascade=true"))).status, 204)
      isError(yield* Effect.promise(() => admin("GET", "/providers/eu.1")), 404, { code: "not_found" })
      const vault = yield* Effect.promise(() => admin("GET", "/vault"))
      assert.notInclude(vault.json.secrets, "provider/eu.1")
    }))

  it.effect("names the field and the fault of a wrong body, and stores nothing", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const wrong: ReadonlyArray<readonly [object, string]> = [
        [{ provider_type: "nobody" }, "provider_type"],
        [{ base_url: "not a url" }, "base_url"],
        [{ base_url: "ftp://example.com" }, "base_url"],
        [{ api_key: "" }, "api_key"],
        [{ api_key: 12345678901234 }, "api_key"],
        [{ api_key: "no header can carry this\n" }, "api_key"],
        [{ api_key_env: "TOKENHUB_ADMIN_PASSWORD" }, "api_key_env"],
        [{ timeouts: { connect_ms: 0 } }, "timeouts.connect_ms"],
        [{ timeouts: { connect: 1 } }, "timeouts.connect"],
        [{ max_concurrency: 1.5 }, "max_concurrency"],
        [{ enabled: "yes" }, "enabled"],
        [{ name: "a/b" }, "name"]
      ]
      for (const [fields, param] of wrong) {
        const answer = yield* Effect.promise(() => admin("POST", "/providers", { name: "wrong", provider_type: "openai", ...fields }))
        assert.strictEqual(answer.status, 400, `${JSON.stringify(fields)} ${answer.text}`)
        assert.strictEqual(answer.json.error.param, param)
        assert.notInclude(answer.text, "12345678901234")
      }
      isError(yield* Effect.promise(() => admin("POST", "/providers", { name: "wrong", provider_type: "mock", apikey: "x", models: [] })), 400, {
        code: "invalid_request",
        param: "apikey",
        message: /apikey: is not a field of this request; models: is not a field/
      })
      isError(yield* Effect.promise(() => admin("GET", "/providers/wrong")), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("PATCH", "/providers/wrong", { enabled: true })), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("DELETE", "/providers/wrong")), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("DELETE", "/providers/wrong?cascade=perhaps")), 400, { code: "invalid_request", param: "cascade" })
      isError(yield* Effect.promise(() => admin("POST", "/providers/wrong/validate")), 404, { code: "not_found" })
    }))

  it.effect("keeps a provider that models use, unless they go with it", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const { admin } = hub
      yield* Effect.promise(() => mockProvider(hub, "used"))
      yield* Effect.promise(() => admin("POST", "/models", { name: "used-model", provider: "used", context_size: 1000, weight: 1 }))
      const shown = yield* Effect.promise(() => admin("GET", "/providers/used"))
      assert.deepEqual(shown.json.models, ["used-model"])
      assert.deepEqual(shown.json.health, { "used-model": { circuit: "closed", retry_after_ms: 0, latency_ms: 0, error_rate: 0 } })
      isError(yield* Effect.promise(() => admin("DELETE", "/providers/used")), 409, { code: "conflict", message: /used-model/ })
      assert.strictEqual((yield* Effect.promise(() => admin("GET", "/models/used-model"))).status, 200)
      assert.strictEqual((yield* Effect.promise(() => admin("DELETE", "/providers/used?cascade=true"))).status, 204)
      isError(yield* Effect.promise(() => admin("GET", "/models/used-model")), 404, { code: "not_found" })
    }))

  it.effect("asks for the key again when the origin changes", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      yield* Effect.promise(() => admin("POST", "/providers", { name: "moved", provider_type: "openai", api_key: key, base_url: "https://a.example.com/v1" }))
      const answer = yield* Effect.promise(() => admin("PATCH", "/providers/moved", { base_url: "https://b.example.com/v1" }))
      assert.strictEqual(answer.status, 400)
      assert.strictEqual(answer.json.error.param, "api_key")
      const moved = yield* Effect.promise(() => admin("PATCH", "/providers/moved", { base_url: "https://b.example.com/v1", api_key: key }))
      assert.strictEqual(moved.json.base_url, "https://b.example.com/v1")
    }))

  it.effect("asks the provider whether the key works", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const fake = yield* FakeProvider.scoped()
      const base = { name: "asked", provider_type: "openai", base_url: fake.url("openai") }
      yield* Effect.promise(() => admin("POST", "/providers", { ...base, api_key: key }))
      assert.strictEqual(fake.calls.length, 0)
      const good = yield* Effect.promise(() => admin("POST", "/providers/asked/validate"))
      assert.strictEqual(good.status, 200)
      assert.strictEqual(good.json.valid, true)
      assert.isAbove(good.json.models.length, 0)

      const invalid = "sk-invalid-0123456789abcdefghij"
      yield* Effect.promise(() => admin("POST", "/providers", { ...base, api_key: invalid }))
      const bad = yield* Effect.promise(() => admin("POST", "/providers/asked/validate"))
      assert.deepInclude(bad.json, { valid: false, models: [] })
      assert.notInclude(bad.text, invalid)
    }))

  it.effect("opens to the admin password only", () =>
    Effect.gen(function*() {
      const { admin, request } = yield* AdminHub
      const created = yield* Effect.promise(() => admin("POST", "/keys", { name: "not for admins" }))
      const body = { name: "intruder", provider_type: "mock" }
      const wrong = ["Bearer wrong password", `Bearer ${created.json.key}`, `Basic ${Harness.adminPassword}`]
      for (const authorization of wrong) {
        const answer = yield* Effect.promise(() => request("POST", "/admin/providers", body, { headers: { authorization } }))
        assert.strictEqual(answer.status, 401, answer.text)
      }
      isError(yield* Effect.promise(() => request("POST", "/admin/providers", body)), 401, { code: "missing_credential" })
      isError(yield* Effect.promise(() => admin("GET", "/providers/intruder")), 404, { code: "not_found" })
    }))
})

describe("the provider registration flow", () => {
  it.live("admin password, registry, vault, database; and all of it survives a restart", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const fake = yield* FakeProvider.scoped()
      const body = { name: "registered", provider_type: "openai", api_key: key, base_url: fake.url("openai") }
      const model = { name: "registered/model", provider: "registered", upstream_name: "gpt-4o", context_size: 8000, weight: 500, cost_per_1k_tokens: 0.02 }
      const chat = { model: "registered/model", messages: [{ role: "user", content: "Hello" }] }

      const first = yield* Harness.start({ folder })
      const refused = yield* Effect.promise(() =>
        first.request("POST", "/admin/providers", body, { headers: { authorization: "Bearer wrong" } })
      )
      isError(refused, 401, { code: "invalid_credential" })
      assert.notInclude((yield* Effect.promise(() => first.admin("GET", "/vault"))).json.secrets, "provider/registered")

      assert.strictEqual((yield* Effect.promise(() => first.admin("POST", "/providers", body))).status, 201)
      assert.strictEqual((yield* Effect.promise(() => first.admin("POST", "/models", model))).status, 201)
      assert.include((yield* Effect.promise(() => first.admin("GET", "/vault"))).json.secrets, "provider/registered")
      const provider = yield* Effect.promise(() => first.admin("GET", "/providers/registered"))
      assert.strictEqual((yield* Effect.promise(() => first.chat(chat))).status, 200)
      yield* first.stop

      for (const file of ["tokenhub.db", "tokenhub.db-wal"]) {
        const bytes = yield* Effect.sync(() => readFileSync(join(folder, file))).pipe(Effect.catchDefect(() => Effect.succeed(Buffer.alloc(0))))
        assert.isFalse(bytes.includes(key), file)
      }

      const second = yield* Harness.start({ folder })
      const again = yield* Effect.promise(() => second.admin("GET", "/providers/registered"))
      assert.deepEqual({ ...again.json, health: {} }, { ...provider.json, health: {} })
      assert.deepInclude((yield* Effect.promise(() => second.admin("GET", "/models/registered/model"))).json, {
        cost_per_1k_tokens: 0.02,
        weight: 500,
        upstream_name: "gpt-4o"
      })
      assert.strictEqual((yield* Effect.promise(() => second.chat(chat))).status, 200)
      assert.deepEqual(fake.calls.map((call) => call.key), [key, key])
    }))
})
