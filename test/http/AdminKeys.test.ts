import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { AdminHub, isError } from "../support/AdminHub.ts"

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

      assert.deepEqual((yield* Effect.promise(() => admin("GET", `/keys/${shown.id}`))).json, shown)
      const renamed = yield* Effect.promise(() => admin("PATCH", `/keys/${shown.id}`, { name: "Bern app" }))
      assert.deepEqual(renamed.json, { ...shown, name: "Bern app" })

      assert.strictEqual((yield* Effect.promise(() => admin("DELETE", `/keys/${shown.id}`))).status, 204)
      isError(yield* Effect.promise(ask), 401, { code: "invalid_credential" })
      const listed = yield* Effect.promise(() => admin("GET", "/keys"))
      assert.isNotNull(listed.json.keys.find(({ id }: { id: string }) => id === shown.id).revoked_at)

      const audit = yield* Effect.promise(() => admin("GET", "/audit"))
      for (const text of [listed.text, renamed.text, audit.text]) assert.notInclude(text, key)
      const actions = audit.json.changes.filter(({ target }: { target: string }) => target === shown.id).map(({ action }: { action: string }) => action)
      assert.deepEqual(actions, ["key.revoke", "key.rename", "key.create"])
    }))

  it.effect("refuses limits that it would not keep, and names that say nothing", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const create = (body: object) => Effect.promise(() => admin("POST", "/keys", { name: "limited", ...body }))
      const limits = { scopes: ["chat"], models: ["m"], budget_usd: 5, budget_period: "month", rpm: 60, tpm: 1000, expires_at: "2030-01-01" }
      for (const [param, value] of Object.entries(limits)) {
        isError(yield* create({ [param]: value }), 400, { code: "invalid_request", param, message: /not supported yet/ })
      }
      for (const name of ["", "  ", 7, null, "line\nbreak", "x".repeat(201)]) {
        isError(yield* create({ name }), 400, { code: "invalid_request", param: "name" })
      }
      const listed = yield* Effect.promise(() => admin("GET", "/keys"))
      assert.notInclude(listed.text, "limited")
    }))

  it.effect("answers 404 for a key that is not there", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      isError(yield* Effect.promise(() => admin("GET", "/keys/key_none")), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("PATCH", "/keys/key_none", { name: "x" })), 404, { code: "not_found" })
      isError(yield* Effect.promise(() => admin("DELETE", "/keys/key_none")), 404, { code: "not_found" })
    }))
})
