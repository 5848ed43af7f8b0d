import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { AdminHub, isError, mockProvider } from "../../support/AdminHub.ts"

layer(AdminHub.layer(), { excludeTestServices: true })("/admin/models", (it) => {
  it.effect("adds, shows, changes, updates and removes a model whose name has slashes", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const { admin } = hub
      yield* Effect.promise(() => mockProvider(hub, "m1"))
      const body = { name: "vendor/family/one", provider: "m1", context_size: 8000, weight: 100, cost_per_1k_tokens: 0.01, aliases: ["one"] }
      const added = yield* Effect.promise(() => admin("POST", "/models", body))
      assert.strictEqual(added.status, 201, added.text)
      assert.strictEqual(added.json.message, "Model added successfully")
      assert.deepEqual(added.json.model, {
        name: "vendor/family/one",
        provider: "m1",
        upstream_name: "vendor/family/one",
        context_size: 8000,
        max_output_tokens: null,
        weight: 100,
        cost_per_1k_tokens: 0.01,
        input_cost_per_1k: 0.01,
        output_cost_per_1k: 0.01,
        cached_input_cost_per_1k: null,
        capabilities: ["json_schema", "reasoning", "streaming", "tools", "vision"],
        aliases: ["one"],
        rpm: null,
        tpm: null,
        enabled: true,
        source: "admin"
      })
      for (const path of ["/models/vendor/family/one", "/models/vendor%2Ffamily%2Fone", "/models/vendor/family%2Fone"]) {
        assert.deepEqual((yield* Effect.promise(() => admin("GET", path))).json, added.json.model, path)
      }
      const changed = yield* Effect.promise(() => admin("PATCH", "/models/vendor/family/one", { weight: -5, capabilities: ["tools"], rpm: 60, tpm: 9000 }))
      assert.deepEqual(changed.json, { ...added.json.model, weight: -5, capabilities: ["tools"], rpm: 60, tpm: 9000 })
      const freed = yield* Effect.promise(() => admin("PATCH", "/models/vendor/family/one", { rpm: null }))
      assert.deepEqual(freed.json, { ...changed.json, rpm: null })

      const updated = yield* Effect.promise(() => admin("POST", "/models", { ...body, weight: 7, cost_per_1k_tokens: 0 }))
      assert.strictEqual(updated.status, 200)
      assert.strictEqual(updated.json.message, "Model updated successfully")
      assert.deepInclude(updated.json.model, { weight: 7, cost_per_1k_tokens: 0 })

      assert.strictEqual((yield* Effect.promise(() => admin("DELETE", "/models/vendor%2Ffamily%2Fone"))).status, 204)
      isError(yield* Effect.promise(() => admin("GET", "/models/vendor/family/one")), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("DELETE", "/models/vendor/family/one")), 404, { code: "not_found" })
    }))

  it.effect("names the field and the fault of a wrong body; a text as weight is refused", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const { admin } = hub
      yield* Effect.promise(() => mockProvider(hub, "m2"))
      const good = { name: "wrong", provider: "m2", context_size: 1000, weight: 1 }
      const wrong: ReadonlyArray<readonly [object, string]> = [
        [{ weight: "10" }, "weight"],
        [{ weight: 1.5 }, "weight"],
        [{ weight: null }, "weight"],
        [{ context_size: 0 }, "context_size"],
        [{ context_size: "8000" }, "context_size"],
        [{ context_size: 10.5 }, "context_size"],
        [{ cost_per_1k_tokens: -0.01 }, "cost_per_1k_tokens"],
        [{ cost_per_1k_tokens: "0.01" }, "cost_per_1k_tokens"],
        [{ input_cost_per_1k: 0.01 }, "output_cost_per_1k"],
        [{ output_cost_per_1k: -1, input_cost_per_1k: 1 }, "output_cost_per_1k"],
        [{ max_output_tokens: 0 }, "max_output_tokens"],
        [{ capabilities: ["tools", "telepathy"] }, "capabilities[1]"],
        [{ aliases: ["a b"] }, "aliases[0]"],
        [{ provider: "nobody" }, "provider"],
        [{ name: "" }, "name"],
        [{ name: "auto" }, "name"],
        [{ wieght: 1 }, "wieght"]
      ]
      for (const [fields, param] of wrong) {
        const answer = yield* Effect.promise(() => admin("POST", "/models", { ...good, ...fields }))
        assert.strictEqual(answer.status, 400, `${JSON.stringify(fields)} ${answer.text}`)
        assert.strictEqual(answer.json.error.param, param, answer.text)
      }
      const huge = yield* Effect.promise(() => admin("POST", "/models", `{"name":"wrong","provider":"m2","context_size":1,"weight":1,"cost_per_1k_tokens":1e999}`))
      isError(huge, 400, { code: "invalid_request", param: "cost_per_1k_tokens" })
      const { weight: _, ...weightless } = good
      isError(yield* Effect.promise(() => admin("POST", "/models", weightless)), 400, { code: "invalid_request", param: "weight" })
      isError(yield* Effect.promise(() => admin("POST", "/models", "{")), 400, { code: "invalid_json" })
      isError(yield* Effect.promise(() => admin("PATCH", "/models/nobody", { weight: 1 })), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("PUT", "/models/nobody", { weight: 1 })), 405, { code: "method_not_allowed" })
      isError(yield* Effect.promise(() => admin("GET", "/models/wrong")), 404, { code: "not_found" })
    }))

  it.effect("refuses a name that is another model's alias", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const { admin } = hub
      yield* Effect.promise(() => mockProvider(hub, "m3"))
      const model = { provider: "m3", context_size: 1000, weight: 1 }
      yield* Effect.promise(() => admin("POST", "/models", { ...model, name: "taken-1", aliases: ["taken-alias"] }))
      isError(yield* Effect.promise(() => admin("POST", "/models", { ...model, name: "taken-alias" })), 409, { code: "conflict", param: "name" })
      const aliased = yield* Effect.promise(() => admin("POST", "/models", { ...model, name: "taken-2", aliases: ["taken-1"] }))
      isError(aliased, 409, { code: "conflict", param: "aliases", message: /^aliases: 'taken-1' is a model$/ })
    }))

  it.effect("refuses the name of a virtual model, which could never be asked", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const { admin } = hub
      yield* Effect.promise(() => mockProvider(hub, "m5"))
      const model = { name: "plain", provider: "m5", context_size: 1000, weight: 1 }
      for (const name of ["tokenhub/auto", "tokenhub/adversarial"]) {
        isError(yield* Effect.promise(() => admin("POST", "/models", { ...model, name })), 400, { code: "invalid_request", param: "name", message: /virtual/ })
        isError(yield* Effect.promise(() => admin("POST", "/models", { ...model, aliases: [name] })), 400, { code: "invalid_request", param: "aliases" })
      }
      assert.strictEqual((yield* Effect.promise(() => admin("POST", "/models", { ...model, name: "tokenhub/mine" }))).status, 201)
      isError(yield* Effect.promise(() => admin("PATCH", "/models/tokenhub/mine", { aliases: ["tokenhub/simple"] })), 400, { code: "invalid_request", param: "aliases" })
    }))

  it.effect("takes what is not given from the catalogue, and shows its model again after a removal", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      yield* Effect.promise(() => admin("POST", "/providers", { name: "openai", provider_type: "openai", api_key: "sk-catalogue-0123456789" }))
      const known = yield* Effect.promise(() => admin("GET", "/models/gpt-4o"))
      assert.strictEqual(known.json.source, "catalogue")
      assert.isAbove(known.json.output_cost_per_1k, 0)

      const mine = yield* Effect.promise(() => admin("POST", "/models", { name: "gpt-4o", provider: "openai", context_size: 4000, weight: 3 }))
      assert.deepEqual(mine.json.model, { ...known.json, context_size: 4000, weight: 3, source: "admin" })

      yield* Effect.promise(() => admin("DELETE", "/models/gpt-4o"))
      assert.deepEqual((yield* Effect.promise(() => admin("GET", "/models/gpt-4o"))).json, known.json)

      const changed = yield* Effect.promise(() => admin("PATCH", "/models/gpt-4o", { enabled: false }))
      assert.deepEqual(changed.json, { ...known.json, enabled: false, source: "admin" })
    }))

  it.effect("explains the router's choice without calling anyone", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const { admin } = hub
      yield* Effect.promise(() => mockProvider(hub, "m4"))
      const add = (name: string, fields: object) =>
        Effect.promise(() => admin("POST", "/models", { name, provider: "m4", context_size: 2_000_000, weight: 1_000_001, ...fields }))
      yield* add("explained/best", { weight: 1_000_003, cost_per_1k_tokens: 0.5 })
      yield* add("explained/free", { cost_per_1k_tokens: 0 })
      yield* add("explained/small", { weight: 1_000_002, context_size: 10, cost_per_1k_tokens: 0 })
      yield* add("explained/unpriced", {})
      const messages = [{ role: "user", content: "Hello" }]
      const explain = (body: object) => Effect.promise(() => admin("POST", "/routing/explain", { messages, max_tokens: 100, ...body }))

      const any = yield* explain({ tools: [{ type: "function", function: { name: "constructor", parameters: { properties: { constructor: {} } } } }] })
      assert.strictEqual(any.status, 200, any.text)
      assert.deepEqual(any.json.need.capabilities, ["tools"])
      assert.strictEqual(any.json.need.max_tokens, 100)
      assert.isAbove(any.json.need.prompt_tokens, 0)
      assert.deepInclude(any.json.candidates[0], { model: "explained/best", provider: "m4", cost_per_1k_tokens: 0.5, weight: 1_000_003 })
      assert.strictEqual(any.json.candidates[0].health.circuit, "closed")
      const small = any.json.drops.find((drop: { model: string }) => drop.model === "explained/small")
      assert.strictEqual(small.reason, "context_too_small")
      assert.notProperty(any.json, "explicit")

      const free = yield* explain({ policy: { max_cost_per_1k_tokens: 0 } })
      const reasons = Object.fromEntries(free.json.drops.map((drop: { model: string; reason: string }) => [drop.model, drop.reason]))
      assert.strictEqual(free.json.candidates[0].model, "explained/free")
      assert.strictEqual(reasons["explained/best"], "too_expensive")
      assert.strictEqual(reasons["explained/unpriced"], "unpriced")

      const explicit = yield* explain({ model: "explained/small" })
      assert.strictEqual(explicit.json.explicit.callable, false)
      assert.strictEqual(explicit.json.explicit.obstacle.reason, "context_too_small")
      assert.strictEqual(explicit.json.explicit.escalates_to, "explained/best")
      const alone = yield* explain({ model: "explained/small", policy: { allow_escalation: false } })
      assert.isNull(alone.json.explicit.escalates_to)

      isError(yield* explain({ model: "explained/smal" }), 404, { code: "model_not_found", param: "model" })
      isError(yield* explain({ messages: [] }), 400, { code: "invalid_request", param: "messages" })
      const log = yield* Effect.promise(() => admin("GET", "/requests?event=chat"))
      assert.deepEqual(log.json.requests, [])
    }))
})
