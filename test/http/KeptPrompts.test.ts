import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { join } from "node:path"
import { isError } from "../support/AdminHub.ts"
import * as Bench from "../support/Bench.ts"
import type { Answer, Client } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"
import * as JumpingClock from "../support/JumpingClock.ts"

const { ask, ok } = Bench

const question = "a question about zanzibar"
const reply = "an answer about zanzibar"

const body = (more: object = {}) => ask({ messages: [{ role: "user", content: question }], ...more })

const kept = { TOKENHUB_STORE_PROMPTS_HOURS: "1" }

/** Asks until it is there: it is written after the answer. */
const promptOf = async (hub: Client, id: string): Promise<Answer> => {
  for (;;) {
    const answer = await hub.admin("GET", `/requests/${id}/prompt`)
    if (answer.status !== 404) return answer
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** All files of a folder, as they lie on the disk. */
const filesOf = (folder: string) => Buffer.concat(readdirSync(folder).map((name) => readFileSync(join(folder, name))))

const backupOf = async (hub: Client) =>
  Buffer.from(await (await fetch(`${hub.url}/admin/backup`, { method: "POST", headers: { authorization: `Bearer ${Harness.adminPassword}` } })).arrayBuffer())

describe("prompts and answers", { timeout: 30_000 }, () => {
  it.live("are stored nowhere unless that is switched on, at any door, in any mode, also where a call fails", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const { fake, hub } = yield* Bench.start({ folder })
      yield* Effect.promise(async () => {
        fake.script({}, { text: reply }, { text: reply }, { text: reply }, { text: reply }, { text: reply }, { text: reply }, { fault: "reset-mid-stream", text: reply })
        const { id } = ok(await hub.chat(body()))
        ok(await hub.chat(body({ orchestration_mode: "adversarial" })))
        for (const path of ["/v1/chat/completions", "/v1/messages"]) ok(await hub.post(path, body({ model: "m" })))
        ok(await hub.post("/v1/responses", { model: "m", input: question }))
        await hub.post("/v1/chat/completions", body({ model: "m", stream: true }))
        assert.isAtLeast(fake.calls.filter(({ text }) => text.includes("zanzibar")).length, 7)
        isError(await hub.admin("GET", `/requests/${id}/prompt`), 404, { code: "not_found" })
        await Bench.settled(hub)
        assert.notInclude((await backupOf(hub)).toString("latin1"), "zanzibar")
        assert.notInclude(filesOf(folder).toString("latin1"), "zanzibar")
        assert.notInclude((await hub.admin("GET", "/vault")).json.secrets, "tokenhub/prompts")
      })
    }).pipe(Effect.scoped))

  it.live("are kept encrypted where it is, shown to an admin who is then in the audit log, and known after a restart", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const { fake, hub } = yield* Bench.start({ folder, env: kept })
      const ids = yield* Effect.promise(async () => {
        fake.script({}, { text: reply }, { text: reply }, { error: 400 })
        const first = ok(await hub.chat(body())).id
        const streamed = (await hub.post("/v1/chat/completions", {
          ...body({ model: "m", stream: true }),
          messages: [{ role: "user", content: [{ type: "text", text: question }, { type: "image_url", image_url: { url: `data:image/png;base64,${"QUJD".repeat(100)}` } }] }]
        })).headers.get("x-request-id") ?? ""
        const failed = (await hub.chat(body())).headers.get("x-request-id") ?? ""
        const prompt = ok(await promptOf(hub, first))
        assert.deepInclude(prompt, { id: first, left_out: 0, messages: [{ role: "user", content: [{ type: "text", text: question }] }], answer: [{ type: "text", text: reply }] })
        const left = Date.parse(prompt.expires_at) - Date.now()
        assert.isTrue(left > 3_500_000 && left <= 3_600_000, String(left))
        const pictured = ok(await promptOf(hub, streamed))
        assert.deepStrictEqual(pictured.messages[0].content[1].source, { type: "data", mediaType: "image/png", characters: 400 })
        assert.deepStrictEqual(pictured.answer, [{ type: "text", text: reply }])
        assert.isNull(ok(await promptOf(hub, failed)).answer)
        const { changes } = ok(await hub.admin("GET", "/audit?limit=10"))
        assert.deepStrictEqual(
          changes.filter(({ action }: { action: string }) => action === "prompt.read").map(({ target }: { target: string }) => target).toReversed(),
          [first, streamed, failed]
        )
        assert.notInclude((await backupOf(hub)).toString("latin1"), "zanzibar")
        return [first, streamed] as const
      })
      yield* hub.stop
      assert.notInclude(filesOf(folder).toString("latin1"), "zanzibar")
      const db = new DatabaseSync(join(folder, "tokenhub.db"))
      const [first, streamed] = ids
      db.prepare("UPDATE prompts SET sealed = (SELECT sealed FROM prompts WHERE request_id = ?) WHERE request_id = ?").run(first, streamed)
      db.close()
      const again = yield* Harness.start({ folder })
      yield* Effect.promise(async () => {
        assert.strictEqual(ok(await again.admin("GET", `/requests/${first}/prompt`)).messages[0].content[0].text, question, "also when it was switched off meanwhile")
        isError(await again.admin("GET", `/requests/${streamed}/prompt`), 500, { code: "vault_corrupt" })
        ok(await again.admin("POST", "/vault/lock"))
        isError(await again.admin("GET", `/requests/${first}/prompt`), 503, { code: "vault_locked" })
        ok(await again.admin("POST", "/vault/unlock", { password: Harness.adminPassword }))
        ok(await again.admin("DELETE", "/vault/secrets/tokenhub/prompts"))
        isError(await again.admin("GET", `/requests/${first}/prompt`), 500, { code: "vault_corrupt", message: /removed from the vault/ })
      })
    }).pipe(Effect.scoped))

  it.live("hold no request up while the vault is locked: then nothing is kept", () =>
    Effect.gen(function*() {
      const { hub } = yield* Bench.start({ env: { ...kept, P_API_KEY: "sk-env" } })
      yield* Effect.promise(async () => {
        ok(await hub.admin("DELETE", "/vault/secrets/provider/p"))
        ok(await hub.admin("POST", "/vault/lock"))
        const { id } = ok(await hub.chat(body()))
        ok(await hub.admin("POST", "/vault/unlock", { password: Harness.adminPassword }))
        isError(await hub.admin("GET", `/requests/${id}/prompt`), 404, { code: "not_found" })
      })
    }).pipe(Effect.scoped))

  it.live("are gone when their time is over", () =>
    Effect.gen(function*() {
      const { clock, jump } = yield* JumpingClock.make
      const { hub } = yield* Effect.provideService(Bench.start({ env: kept }), Clock.Clock, clock)
      yield* Effect.promise(async () => {
        const { id } = ok(await hub.chat(body()))
        ok(await promptOf(hub, id))
        jump(3_601_000)
        isError(await hub.admin("GET", `/requests/${id}/prompt`), 404, { code: "not_found" })
      })
    }).pipe(Effect.scoped))
})
