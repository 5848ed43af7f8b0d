import { assert, describe, it, layer } from "@effect/vitest"
import { Effect } from "effect"
import { createCipheriv, hash, pbkdf2Sync } from "node:crypto"
import { AdminHub, isError } from "../../support/AdminHub.ts"
import * as FakeProvider from "../../support/FakeProvider.ts"
import * as Harness from "../../support/Harness.ts"

const passphrase = "a passphrase for files"

/** A vault as the Python generation wrote it: AES-256-CBC under PBKDF2-HMAC-SHA256 with 100,000 iterations. */
const pythonVault = (secrets: { readonly [name: string]: string }) => {
  const salt = Buffer.alloc(16, 7)
  const key = pbkdf2Sync(passphrase, salt, 100_000, 32, "sha256")
  const seal = (text: string) => {
    const iv = Buffer.alloc(16, 9)
    const cipher = createCipheriv("aes-256-cbc", key, iv)
    return Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final()]).toString("base64")
  }
  return { salt: salt.toString("base64"), data: Object.fromEntries(Object.entries(secrets).map(([name, text]) => [name, seal(text)])) }
}

const secretNames = (hub: Harness.Hub) =>
  Effect.map(Effect.promise(() => hub.admin("GET", "/vault")), ({ json }): ReadonlyArray<string> => json.secrets)

layer(AdminHub.layer(), { excludeTestServices: true })("/admin/vault", (it) => {
  it.effect("says what state it is in", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const { json } = yield* Effect.promise(() => admin("GET", "/vault"))
      assert.strictEqual(json.state, "unlocked")
      assert.strictEqual(json.iterations, 100_000)
      assert.isNumber(json.generation)
      assert.deepEqual(json.corrupt, [])
    }))

  it.effect("stores secrets of any text under any name, and never shows one", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const { admin } = hub
      const value = "geheim-ключ-鍵-🔑-0123456789"
      for (const path of ["stored/plain", "stored%2Fencoded", "stored/%C3%BC%3F%23%25", "stored"]) {
        const answer = yield* Effect.promise(() => admin("PUT", `/vault/secrets/${path}`, { value }))
        assert.strictEqual(answer.status, 204, `${path} ${answer.text}`)
        assert.strictEqual(answer.text, "")
      }
      assert.includeMembers([...(yield* secretNames(hub))], ["stored/plain", "stored/encoded", "stored/ü?#%", "stored"])

      const pages = ["/vault", "/audit", "/requests", "/providers"].map((path) => Effect.promise(() => admin("GET", path)))
      const shown = (yield* Effect.all(pages)).map(({ text }) => text).join()
      assert.notInclude(shown, value)
      assert.include(shown, hash("sha256", value, "hex").slice(0, 8))

      assert.strictEqual((yield* Effect.promise(() => admin("DELETE", "/vault/secrets/stored/plain"))).status, 204)
      isError(yield* Effect.promise(() => admin("DELETE", "/vault/secrets/stored/plain")), 404, { code: "not_found" })
      assert.notInclude(yield* secretNames(hub), "stored/plain")
    }))

  it.effect("takes values up to 64 KiB, counted in bytes", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const put = (value: unknown) => Effect.promise(() => admin("PUT", "/vault/secrets/large", { value }))
      assert.strictEqual((yield* put("ü".repeat(32 * 1024))).status, 204)
      isError(yield* put("ü".repeat(32 * 1024) + "x"), 400, { code: "invalid_request", param: "value" })
      isError(yield* put(7), 400, { code: "invalid_request", param: "value" })
      isError(yield* Effect.promise(() => admin("PUT", "/vault/secrets/large", {})), 400, { code: "invalid_request", param: "value" })
      isError(yield* Effect.promise(() => admin("PUT", "/vault/secrets/large", { value: "x", name: "y" })), 400, {
        code: "invalid_request",
        param: "name"
      })
    }))

  it.effect("gives short secrets and passwords no fingerprint", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      for (const value of ["hunter2", "a pass phrase of several words"]) {
        yield* Effect.promise(() => admin("PUT", "/vault/secrets/guessable", { value }))
        const audit = yield* Effect.promise(() => admin("GET", "/audit?limit=1"))
        assert.deepInclude(audit.json.changes[0], { action: "secret.put", target: "guessable" })
        assert.isNull(audit.json.changes[0].after.fingerprint)
        assert.notInclude(audit.text, hash("sha256", value, "hex").slice(0, 8))
      }
    }))

  it.effect("exports to a file, and imports it all or not at all", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const { admin, url } = hub
      yield* Effect.promise(() => admin("PUT", "/vault/secrets/carried/one", { value: "eins" }))
      yield* Effect.promise(() => admin("PUT", "/vault/secrets/carried/two", { value: "zwei" }))
      const response = yield* Effect.promise(() =>
        fetch(`${url}/admin/vault/export`, {
          method: "POST",
          headers: { authorization: `Bearer ${Harness.adminPassword}`, "content-type": "application/json" },
          body: JSON.stringify({ passphrase })
        })
      )
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers.get("content-type"), "application/octet-stream")
      assert.match(response.headers.get("content-disposition") ?? "", /^attachment; filename="tokenhub-vault-\d{8}T\d{6}Z\.thx"$/)
      const data = Buffer.from(yield* Effect.promise(() => response.arrayBuffer())).toString("latin1")
      assert.notInclude(Buffer.from(data, "base64").toString("latin1"), "eins")

      yield* Effect.promise(() => admin("DELETE", "/vault/secrets/carried/one"))
      const count = (yield* secretNames(hub)).length
      const bring = (body: object) => Effect.promise(() => admin("POST", "/vault/import", { passphrase, data, ...body }))

      isError(yield* bring({ passphrase: "another passphrase" }), 401, { code: "wrong_password" })
      isError(yield* bring({ data: "bm90IGFuIGV4cG9ydA==" }), 400, { code: "invalid_request", param: "data" })
      isError(yield* bring({ data: 1 }), 400, { code: "invalid_request", param: "data" })
      isError(yield* bring({ dryrun: true }), 400, { code: "invalid_request", param: "dryrun" })
      assert.deepEqual((yield* bring({ dry_run: true })).json, { added: 1, replaced: 0, unchanged: count, dry_run: true })
      assert.strictEqual((yield* secretNames(hub)).length, count)
      assert.deepEqual((yield* bring({})).json, { added: 1, replaced: 0, unchanged: count, dry_run: false })
      assert.include(yield* secretNames(hub), "carried/one")
      assert.deepEqual((yield* bring({ data: Buffer.from(data, "latin1").toString("base64") })).json, {
        added: 0,
        replaced: 0,
        unchanged: count + 1,
        dry_run: false
      })
      isError(yield* Effect.promise(() => admin("POST", "/vault/export", { passphrase: "short" })), 400, { code: "invalid_request", param: "passphrase" })
    }))

  it.effect("imports a vault of the Python generation, as JSON or as its text", () =>
    Effect.gen(function*() {
      const hub = yield* AdminHub
      const data = pythonVault({ provider_legacy_api_key: "sk-legacy-ü-🔑", other: "x" })
      const bring = (data: unknown) => Effect.promise(() => hub.admin("POST", "/vault/import", { passphrase, data }))
      assert.deepEqual((yield* bring(data)).json, { added: 2, replaced: 0, unchanged: 0, dry_run: false })
      assert.includeMembers([...(yield* secretNames(hub))], ["provider/legacy", "other"])
      for (const form of [JSON.stringify(data), Buffer.from(JSON.stringify(data)).toString("base64")]) {
        assert.deepEqual((yield* bring(form)).json, { added: 0, replaced: 0, unchanged: 2, dry_run: false })
      }
    }))
})

describe("the admin password", () => {
  const bearer = (password: string) => ({
    // As curl sends it: the text's UTF-8 bytes, which fetch takes one per character.
    headers: { authorization: `Bearer ${Buffer.from(password, "utf8").toString("latin1")}` }
  })

  it.live("locks and unlocks; vault-keyed providers answer 503 meanwhile, and a wrong password is noticed", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      const { admin, request } = hub
      const fake = yield* FakeProvider.scoped()
      yield* Effect.promise(() => admin("POST", "/providers", { name: "p", provider_type: "openai", api_key: "sk-lock-0123456789abcdef", base_url: fake.url("openai") }))
      yield* Effect.promise(() => admin("POST", "/models", { name: "m", provider: "p", upstream_name: "gpt-4o", context_size: 8000, weight: 1 }))
      const chat = () => hub.chat({ model: "m", messages: [{ role: "user", content: "Hello" }], policy: { allow_escalation: false } })

      assert.strictEqual((yield* Effect.promise(() => admin("POST", "/vault/lock"))).status, 204)
      assert.strictEqual((yield* Effect.promise(() => admin("GET", "/vault"))).json.state, "locked")
      assert.strictEqual((yield* Effect.promise(() => admin("GET", "/providers/p"))).json.credential, "locked")
      const refused = yield* Effect.promise(chat)
      isError(refused, 503, { code: "vault_locked" })
      assert.strictEqual(refused.headers.get("x-should-retry"), "false")
      isError(yield* Effect.promise(() => admin("PUT", "/vault/secrets/x", { value: "y" })), 503, { code: "vault_locked" })
      isError(yield* Effect.promise(() => admin("POST", "/vault/export", { passphrase })), 503, { code: "vault_locked" })
      isError(yield* Effect.promise(() => request("GET", "/admin/vault", undefined, bearer("wrong password"))), 401, { code: "invalid_credential" })
      isError(yield* Effect.promise(() => admin("POST", "/vault/unlock", { password: "wrong password" })), 401, { code: "wrong_password" })
      isError(yield* Effect.promise(() => admin("POST", "/vault/unlock", {})), 400, { code: "invalid_request", param: "password" })
      assert.strictEqual((yield* Effect.promise(() => admin("POST", "/vault/unlock", { password: Harness.adminPassword }))).status, 204)
      assert.strictEqual((yield* Effect.promise(chat)).status, 200)
      isError(yield* Effect.promise(() => admin("POST", "/vault/unlock", { password: "wrong password" })), 401, { code: "wrong_password" })
    }))

  it.live("a provider's key that is put into the vault is tried at once, though the one before was refused", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false" } })
      const fake = yield* FakeProvider.scoped()
      yield* Effect.promise(() => hub.admin("POST", "/providers", { name: "p", provider_type: "openai", api_key: "sk-invalid-0123456789", base_url: fake.url("openai") }))
      yield* Effect.promise(() => hub.admin("POST", "/models", { name: "m", provider: "p", upstream_name: "gpt-4o", context_size: 8000, weight: 1 }))
      const chat = Effect.promise(() => hub.chat({ messages: [{ role: "user", content: "Hello" }] }))
      isError(yield* chat, 502, { code: "provider_auth" })
      assert.isAtLeast((yield* chat).status, 400)
      assert.lengthOf(fake.calls, 1, "a refused key is not tried again")
      yield* Effect.promise(() => hub.admin("PUT", "/vault/secrets/provider/p", { value: "sk-good-0123456789" }))
      assert.strictEqual((yield* chat).status, 200)
    }))

  it.live("is changed by rotate, to one that is not ASCII too, and the answer says what else must be changed", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const { admin, request, stop } = yield* Harness.start({ folder })
      const rotated = "Übermäßig geheim 🔑"
      yield* Effect.promise(() => admin("PUT", "/vault/secrets/kept", { value: "kept" }))
      const rotate = (body: object) => Effect.promise(() => admin("POST", "/vault/rotate", body))
      isError(yield* rotate({ old_password: "wrong password", new_password: rotated }), 401, { code: "wrong_password" })
      isError(yield* rotate({ old_password: Harness.adminPassword, new_password: "short" }), 400, { code: "invalid_request", param: "new_password" })
      isError(yield* rotate({ old_password: Harness.adminPassword }), 400, { code: "invalid_request", param: "new_password" })
      for (const uncarried of ["ends with a blank ", " begins with one", "two\nlines of it"]) {
        const refused = yield* rotate({ old_password: Harness.adminPassword, new_password: uncarried })
        isError(refused, 400, { code: "invalid_request", param: "new_password", message: /no HTTP header carries/ })
      }

      const answer = yield* rotate({ old_password: Harness.adminPassword, new_password: rotated, rekey: true })
      assert.strictEqual(answer.status, 204, answer.text)
      assert.match(answer.headers.get("x-tokenhub-notice") ?? "", /TOKENHUB_ADMIN_PASSWORD/)
      isError(yield* Effect.promise(() => admin("GET", "/vault")), 401, { code: "invalid_credential" })
      const opened = yield* Effect.promise(() => request("GET", "/admin/vault", undefined, bearer(rotated)))
      assert.include(opened.json.secrets, "kept")
      const audit = yield* Effect.promise(() => request("GET", "/admin/audit?limit=1", undefined, bearer(rotated)))
      assert.deepInclude(audit.json.changes[0], { action: "vault.rotate", target: "vault", actor: "admin" })
      assert.deepEqual(audit.json.changes[0].after, { rekey: true, generation: opened.json.generation })
      yield* stop

      const locked = yield* Harness.start({ folder })
      assert.strictEqual((yield* Effect.promise(() => locked.request("GET", "/admin/vault", undefined, bearer(rotated)))).json.state, "locked")
      isError(yield* Effect.promise(() => locked.admin("GET", "/vault")), 401, { code: "invalid_credential" })
      yield* locked.stop

      const open = yield* Harness.start({ folder, env: { TOKENHUB_ADMIN_PASSWORD: rotated } })
      assert.strictEqual((yield* Effect.promise(() => open.request("GET", "/admin/vault", undefined, bearer(rotated)))).json.state, "unlocked")
    }))
})
