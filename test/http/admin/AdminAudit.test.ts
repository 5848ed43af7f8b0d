import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { hash } from "node:crypto"
import type { Change } from "../../../src/account/AuditLog.ts"
import { AuditLog } from "../../../src/account/AuditLog.ts"
import { makeRequestId } from "../../../src/domain/Ids.ts"
import { NotFound, StoreUnavailable } from "../../../src/domain/RequestError.ts"
import { audited } from "../../../src/http/admin/AdminAudit.ts"
import { Api } from "../../../src/http/Api.ts"
import { RequestContext } from "../../../src/http/RequestContext.ts"
import * as Bench from "../../support/Bench.ts"
import * as Harness from "../../support/Harness.ts"

const id = makeRequestId(0)

const facts = { id, startedAt: 0, remoteAddress: "", endpoint: undefined, errorBody: () => ({}), caller: undefined, errorCode: null, taken: false, told: false, headers: {} }

const serve = <A, E>(effect: Effect.Effect<A, E, AuditLog>, record: (change: Change) => Effect.Effect<void, StoreUnavailable>) =>
  effect.pipe(Effect.provide(Layer.mock(AuditLog, { record })), Effect.provideService(RequestContext, facts))

describe("a change by an admin", () => {
  it.effect("is recorded with its request when it was made, and only then", () =>
    Effect.gen(function*() {
      const recorded: Array<Change> = []
      yield* serve(
        Effect.gen(function*() {
          const record = yield* audited
          yield* record(Effect.succeed(7), (after) => ({ action: "thing.change", target: "thing", after }))
          yield* Effect.flip(record(Effect.fail(new NotFound({ message: "No thing" })), () => ({ action: "thing.remove", target: "thing" })))
        }),
        (change) => Effect.sync(() => void recorded.push(change))
      )
      assert.deepEqual(recorded, [{ action: "thing.change", target: "thing", after: 7, requestId: id }])
    }))

  it.effect("stands also where its record can't be written", () =>
    Effect.gen(function*() {
      const result = yield* serve(
        Effect.flatMap(audited, (record) => record(Effect.succeed("made"), () => ({ action: "thing.add", target: "thing" }))),
        () => Effect.fail(new StoreUnavailable({ message: "The disk is full" }))
      )
      assert.strictEqual(result, "made")
    }))
})

const { ok } = Bench

const print = (secret: string) => hash("sha256", secret, "hex").slice(0, 8)

/** Routes that look like changes and change nothing. */
const harmless = ["POST /admin/routing/explain", "POST /admin/providers/:name/validate"]

const changing = Object.values(Api.groups)
  .flatMap((group) => Object.values(group.endpoints))
  .filter(({ method, path }) => path.startsWith("/admin") && method !== "GET")
  .map(({ method, path }) => `${method} ${path.replace(/\/\*$/, "")}`)
  .filter((route) => !harmless.includes(route))

describe("the audit log", { timeout: 30_000 }, () => {
  it.live("has a record of every route that changes anything, with what was there before and after, and of secrets their fingerprints", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      yield* Effect.promise(async () => {
        const [one, two, three] = ["sk-first-0123456789abcdef", "sk-second-0123456789abcdef", "sk-third-0123456789abcdef"]
        const password = Harness.adminPassword
        const done = new Set<string>()
        /** The newest record, after a request by this route. */
        const after = async (route: string, path: string, body?: unknown) => {
          const [method = ""] = route.split(" ")
          const answer = await hub.admin(method, path, body)
          assert.isBelow(answer.status, 300, `${route} ${answer.text}`)
          done.add(route)
          const [change] = ok(await hub.admin("GET", "/audit?limit=1")).changes
          assert.strictEqual(change.request_id, answer.headers.get("x-request-id"), route)
          return { answer, change }
        }
        const provider = { name: "p", provider_type: "openai", base_url: "https://api.example.com/v1" }
        const added = (await after("POST /admin/providers", "/providers", { ...provider, api_key: one })).change
        assert.isNull(added.before)
        assert.deepInclude(added.after, { name: "p", credential: "vault", api_key_fingerprint: print(one) })
        const replaced = (await after("POST /admin/providers", "/providers", { ...provider, api_key: two })).change
        assert.deepStrictEqual([replaced.action, replaced.before.api_key_fingerprint, replaced.after.api_key_fingerprint], ["provider.replace", print(one), print(two)])
        const changed = (await after("PATCH /admin/providers/:name", "/providers/p", { api_key: three, enabled: false })).change
        assert.deepInclude(changed.before, { enabled: true, api_key_fingerprint: print(two) })
        assert.deepInclude(changed.after, { enabled: false, api_key_fingerprint: print(three) })

        const model = { name: "m", provider: "p", context_size: 1000, weight: 1 }
        assert.deepInclude((await after("POST /admin/models", "/models", model)).change, { action: "model.add", before: null })
        const weighed = (await after("PATCH /admin/models/:name", "/models/m", { weight: 2 })).change
        assert.deepStrictEqual([weighed.before.weight, weighed.after.weight], [1, 2])
        const removed = (await after("DELETE /admin/models/:name", "/models/m")).change
        assert.deepStrictEqual([removed.before.weight, removed.after], [2, null])
        ok(await hub.admin("POST", "/models", model))
        const gone = (await after("DELETE /admin/providers/:name", "/providers/p?cascade=true")).change
        assert.deepInclude(gone.before, { name: "p", api_key_fingerprint: print(three) })
        assert.deepInclude(gone.before.models[0], { name: "m", weight: 1 })
        assert.isNull(gone.after)

        const made = await after("POST /admin/keys", "/keys", { name: "k" })
        assert.deepInclude(made.change, { action: "key.create", before: null })
        assert.strictEqual(made.change.after.fingerprint, print(made.answer.json.key))
        const path = `/keys/${made.answer.json.id}`
        const limited = (await after("PATCH /admin/keys/:id", path, { rpm: 5 })).change
        assert.deepStrictEqual([limited.before.rpm, limited.after.rpm], [null, 5])
        const rotated = await after("POST /admin/keys/:id/rotate", `${path}/rotate`, {})
        assert.strictEqual(rotated.change.before.prefix, made.answer.json.prefix)
        assert.strictEqual(rotated.change.after.fingerprint, print(rotated.answer.json.key))
        const revoked = (await after("DELETE /admin/keys/:id", path)).change
        assert.isNull(revoked.before.revoked_at)
        assert.isString(revoked.after.revoked_at)

        const put = (await after("PUT /admin/vault/secrets/:name", "/vault/secrets/a", { value: one })).change
        assert.deepStrictEqual([put.before.fingerprint, put.after.fingerprint, put.after.generation - put.before.generation], [null, print(one), 1])
        const again = (await after("PUT /admin/vault/secrets/:name", "/vault/secrets/a", { value: two })).change
        assert.deepStrictEqual([again.before.fingerprint, again.after.fingerprint], [print(one), print(two)])
        const file = await fetch(`${hub.url}/admin/vault/export`, {
          method: "POST",
          headers: { authorization: `Bearer ${password}`, "content-type": "application/json" },
          body: JSON.stringify({ passphrase: "a long passphrase" })
        })
        const data = Buffer.from(await file.arrayBuffer()).toString("base64")
        await after("POST /admin/vault/export", "/vault/export", { passphrase: "a long passphrase" })
        const dropped = (await after("DELETE /admin/vault/secrets/:name", "/vault/secrets/a")).change
        assert.deepStrictEqual([dropped.before.fingerprint, dropped.after.generation - dropped.before.generation], [print(two), 1])
        const imported = (await after("POST /admin/vault/import", "/vault/import", { passphrase: "a long passphrase", data })).change
        assert.deepInclude(imported.after, { added: 1 })
        assert.strictEqual(imported.after.generation - imported.before.generation, 1)
        const locked = (await after("POST /admin/vault/lock", "/vault/lock")).change
        assert.deepStrictEqual([locked.before.state, locked.after.state], ["unlocked", "locked"])
        const unlocked = (await after("POST /admin/vault/unlock", "/vault/unlock", { password })).change
        assert.deepStrictEqual([unlocked.before.state, unlocked.after.state], ["locked", "unlocked"])
        const turned = (await after("POST /admin/vault/rotate", "/vault/rotate", { old_password: password, new_password: password, rekey: true })).change
        assert.deepStrictEqual([turned.after.rekey, turned.after.generation - turned.before.generation], [true, 1])
        await after("POST /admin/backup", "/backup")

        assert.sameMembers([...done], changing)
        const { text } = await hub.admin("GET", "/audit?limit=1000")
        for (const secret of [one, two, three, made.answer.json.key, rotated.answer.json.key, password, "a long passphrase"]) assert.notInclude(text, secret)
      })
    }).pipe(Effect.scoped))
})
