import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { AdminHub, isError } from "../../support/AdminHub.ts"

const chat = { messages: [{ role: "user", content: "Hello" }] }

layer(AdminHub.layer(), { excludeTestServices: true })("/admin/keys", (it) => {
  it.effect("makes a key that opens /v1 and is shown once, renames it, and revokes it from the next request on", () =>
    Effect.gen(function*() {
      const { admin, post } = yield* AdminHub
      const created = yield* Effect.promise(() => admin("POST", "/keys", { name: "Zürich app" }))
      assert.strictEqual(created.status, 201)
      const { key, ...shown } = created.json
      assert.match(key, /^th_[0-9A-Za-z]{30,}$/)
      assert.deepInclude(shown, { name: "Zürich app", revoked_at: null })
      assert.isTrue(key.startsWith(shown.prefix))
      assert.strictEqual(new Date(shown.created_at).toISOString(), shown.created_at)

      const ask = () => post("/v1/chat", chat, { headers: { authorization: `Bearer ${key}` } })
      assert.strictEqual((yield* Effect.promise(ask)).status, 200)

      assert.isNull(shown.last_used_at)
      const used = (yield* Effect.promise(() => admin("GET", `/keys/${shown.id}`))).json
      assert.isTrue(Date.parse(used.last_used_at) >= Date.parse(shown.created_at))
      assert.deepEqual(used, { ...shown, last_used_at: used.last_used_at })
      const renamed = yield* Effect.promise(() => admin("PATCH", `/keys/${shown.id}`, { name: "Bern app" }))
      assert.deepEqual(renamed.json, { ...used, name: "Bern app" })

      assert.strictEqual((yield* Effect.promise(() => admin("DELETE", `/keys/${shown.id}`))).status, 204)
      isError(yield* Effect.promise(ask), 401, { code: "invalid_credential" })
      const listed = yield* Effect.promise(() => admin("GET", "/keys"))
      assert.isNotNull(listed.json.keys.find(({ id }: { id: string }) => id === shown.id).revoked_at)

      const audit = yield* Effect.promise(() => admin("GET", "/audit"))
      for (const text of [listed.text, renamed.text, audit.text]) assert.notInclude(text, key)
      const actions = audit.json.changes.filter(({ target }: { target: string }) => target === shown.id).map(({ action }: { action: string }) => action)
      assert.deepEqual(actions, ["key.revoke", "key.change", "key.create"])
    }))

  it.effect("takes, shows and changes every limit", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const given = {
        scopes: ["chat", "models"], models: ["gpt-*", "claude"], budget_usd: 0.1, budget_period: "day", rpm: 60, tpm: 1000,
        expires_at: "2130-01-01T00:00:00.000Z"
      }
      const created = yield* Effect.promise(() => admin("POST", "/keys", { name: "limited", ...given }))
      assert.strictEqual(created.status, 201, created.text)
      const { key: _, ...shown } = created.json
      const amounts = { budget_usd: "0.100000000", spent_usd: "0.000000000", reserved_usd: "0.000000000" }
      assert.deepInclude(shown, { ...given, ...amounts })
      const path = `/keys/${shown.id}`
      const patched = (body: object) => Effect.map(Effect.promise(() => admin("PATCH", path, body)), ({ json }) => json)
      assert.deepEqual(yield* patched({ rpm: 5, budget_usd: "2.5", budget_period: "total" }), {
        ...shown, rpm: 5, budget_usd: "2.500000000", budget_period: "total"
      })
      assert.deepEqual(yield* patched({ budget_period: "month" }), { ...shown, rpm: 5, budget_usd: "2.500000000", budget_period: "month" })
      const nothing = { scopes: null, models: null, budget_usd: null, rpm: null, tpm: null, expires_at: null }
      const free = { ...shown, ...nothing, budget_period: null, spent_usd: null, reserved_usd: null }
      assert.deepEqual(yield* patched(nothing), free)
      assert.deepEqual((yield* Effect.promise(() => admin("GET", path))).json, free)
      const month = yield* Effect.promise(() => admin("POST", "/keys", { name: "monthly", budget_usd: 1 }))
      assert.strictEqual(month.json.budget_period, "month")
    }))

  it.effect("refuses limits that make no sense, and names that say nothing", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const create = (body: object) => Effect.promise(() => admin("POST", "/keys", { name: "wrong", ...body }))
      const wrong: ReadonlyArray<readonly [param: string, value: unknown]> = [
        ["scopes", []], ["scopes", "chat"], ["models", []], ["budget_usd", -1], ["budget_usd", "1.0000000001"], ["budget_usd", "much"],
        ["budget_period", "year"], ["budget_period", "day"], ["rpm", 0], ["rpm", 1.5], ["rpm", "60"], ["tpm", -1], ["expires_at", "soon"],
        ["expires_at", "2020-01-01"]
      ]
      for (const [param, value] of wrong) isError(yield* create({ [param]: value }), 400, { code: "invalid_request", param })
      isError(yield* create({ scopes: ["admin"] }), 400, { code: "invalid_request", param: "scopes[0]" })
      for (const pattern of ["", "a b", "*x", "a**"]) {
        isError(yield* create({ models: [pattern] }), 400, { code: "invalid_request", param: "models[0]" })
      }
      for (const name of ["", "  ", 7, null, "line\nbreak", "x".repeat(201)]) {
        isError(yield* create({ name }), 400, { code: "invalid_request", param: "name" })
      }
      const listed = yield* Effect.promise(() => admin("GET", "/keys"))
      assert.notInclude(listed.text, "wrong")
    }))

  it.effect("answers 404 for a key that is not there", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      isError(yield* Effect.promise(() => admin("GET", "/keys/key_none")), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("PATCH", "/keys/key_none", { name: "x" })), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("POST", "/keys/key_none/rotate", {})), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("DELETE", "/keys/key_none")), 404, { code: "not_found" })
    }))

  it.effect("rotates a key: the new one works at once, the one before until its grace ends", () =>
    Effect.gen(function*() {
      const { admin, post } = yield* AdminHub
      const ask = (key: string) => Effect.map(Effect.promise(() => post("/v1/chat", chat, { headers: { "x-api-key": key } })), ({ status }) => status)
      const { id, key: first } = (yield* Effect.promise(() => admin("POST", "/keys", { name: "rotating" }))).json
      const rotate = (body: object) => Effect.promise(() => admin("POST", `/keys/${id}/rotate`, body))
      const second = yield* rotate({ grace_seconds: 3600 })
      assert.strictEqual(second.status, 200, second.text)
      assert.strictEqual(second.json.id, id)
      assert.notStrictEqual(second.json.key, first)
      const graceMs = Date.parse(second.json.previous_key_until) - Date.now()
      assert.isTrue(graceMs > 3_500_000 && graceMs <= 3_600_000)
      assert.deepEqual([yield* ask(first), yield* ask(second.json.key)], [200, 200])

      const third = yield* rotate({ grace_seconds: 0 })
      assert.isNull(third.json.previous_key_until)
      assert.deepEqual([yield* ask(first), yield* ask(second.json.key), yield* ask(third.json.key)], [401, 401, 200])

      const audit = yield* Effect.promise(() => admin("GET", "/audit"))
      for (const key of [first, second.json.key, third.json.key]) assert.notInclude(audit.text, key)
      yield* Effect.promise(() => admin("DELETE", `/keys/${id}`))
      isError(yield* rotate({}), 409, { code: "key_revoked" })
      isError(yield* rotate({ grace_seconds: -1 }), 400, { code: "invalid_request", param: "grace_seconds" })
    }))
})
