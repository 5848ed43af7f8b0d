/** FAULTS.md rows 48 to 53: what the database goes through, and what a client sees of it. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { SqlClient } from "effect/sql"
import { DatabaseSync } from "node:sqlite"
import { join } from "node:path"
import { Drain } from "../../src/http/Drain.ts"
import { LedgerSqlClient } from "../../src/store/Database.ts"
import * as Fake from "../support/FakeProvider.ts"
import * as Bench from "../support/Bench.ts"
import type { Answer, Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

const { addModels, ask, ok } = Bench

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** How late a timer of 10 ms is, each time. */
const watchLoop = () => {
  const gaps: Array<number> = []
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    gaps.push(now - last)
    last = now
  }, 10)
  return { gaps, stop: () => clearInterval(timer) }
}

const pragma = (hub: Hub, text: string) =>
  Effect.runPromise(
    Effect.forEach([Context.get(hub.services, SqlClient.SqlClient), Context.get(hub.services, LedgerSqlClient)], (sql) => sql.unsafe(`PRAGMA ${text}`))
  )

/** Asks until `good` holds of the answer. */
const until = async (request: () => Promise<Answer>, good: (answer: Answer) => boolean): Promise<Answer> => {
  for (;;) {
    const answer = await request()
    if (good(answer)) return answer
    await pause(50)
  }
}

const refusedAsUnavailable = (answer: Answer) => {
  assert.strictEqual(answer.status, 503, answer.text)
  assert.strictEqual(answer.json.error.code, "store_unavailable")
  assert.isNotNull(answer.headers.get("retry-after"))
  assert.notMatch(answer.text, /SQL|PRAGMA|INSERT/)
}

describe("a process that is killed", () => {
  it.live("48: the next start settles open calls at their reserved maximum, as unknown", () =>
    Effect.gen(function*() {
      const fake = yield* Fake.scoped()
      const folder = yield* Harness.folder
      const env = { TOKENHUB_MOCK: "false" }
      const first = yield* Harness.spawnChild({ env, folder })
      const reserved = yield* Effect.promise(async () => {
        await addModels(first, fake, ["m"])
        fake.script({}, { text: "abcd".repeat(5000), chunkSize: 4, delay: { chunk: 20 } })
        const events = await first.events(ask({ model: "m", stream: true }))
        for (let event = await events.next(); event?.name !== "step.delta"; event = await events.next()) assert.isDefined(event)
        const [open] = ok(await first.admin("GET", "/requests?event=chat")).requests
        first.signal("SIGKILL")
        await Promise.all([first.ended, events.rest().catch(() => [])])
        return open.reserved_usd
      })
      const second = yield* Harness.start({ env, folder })
      yield* Effect.promise(async () => {
        const { json } = await until(() => second.admin("GET", "/requests?event=chat"), ({ json }) => json.requests[0].status !== null)
        const [row] = json.requests
        assert.deepInclude(row, { status: 500, error_code: "unknown", cost_usd: reserved })
        assert.notStrictEqual(reserved, "0.000000000")
        const { attempts } = ok(await second.admin("GET", `/requests/${row.id}`))
        assert.deepStrictEqual(attempts.map(({ cost_usd, outcome }: { cost_usd: string; outcome: string }) => [outcome, cost_usd]), [["unknown", reserved]])
        const usage = ok(await second.admin("GET", "/usage?group_by=model"))
        assert.strictEqual(usage.totals.cost_usd, reserved)
        assert.lengthOf(fake.bill, 1)
      })
    }).pipe(Effect.scoped), 30_000)
})

describe("a database that can't be written", { timeout: 30_000 }, () => {
  it.live("49: locked by another program, reads go on, the loop is free, calls are told 503, and all is written afterwards", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const { fake, hub } = yield* Bench.start({ folder })
      yield* Effect.promise(async () => {
        ok(await hub.chat(ask()))
        const other = new DatabaseSync(join(folder, "tokenhub.db"))
        other.exec("BEGIN IMMEDIATE")
        const loop = watchLoop()
        const began = performance.now()
        const waiting = Array.from({ length: 20 }, () => hub.chat(ask()))
        ok(await hub.admin("GET", "/requests?limit=5"))
        ok(await hub.admin("GET", "/models"))
        for (const answer of await Promise.all(waiting)) refusedAsUnavailable(answer)
        assert.isBelow(performance.now() - began, 6000)
        const again = performance.now()
        refusedAsUnavailable(await hub.chat(ask()))
        assert.isBelow(performance.now() - again, 1500, "it is not waited for anew")
        assert.strictEqual((await until(() => hub.get("/health/ready"), ({ status }) => status === 503)).json.reasons[0], "database_unwritable")
        loop.stop()
        const late = loop.gaps.filter((gap) => gap > 100)
        assert.isBelow(late.length, loop.gaps.length / 50, `the loop stood still: ${late.map(Math.round).join(", ")} ms`)
        assert.lengthOf(fake.calls, 1, "no call left that is on no ledger")
        other.exec("ROLLBACK")
        other.close()
        await until(() => hub.chat(ask()), ({ status }) => status === 200)
        await until(() => hub.get("/health/ready"), ({ status }) => status === 200)
        const rows = await Bench.settled(hub)
        assert.lengthOf(rows.filter(({ status }) => status === 200), fake.calls.length)
        assert.isAtLeast(rows.filter(({ status }) => status === 503).length, 21)
      })
    }).pipe(Effect.scoped))

  for (const [name, broken, mended] of [
    ["50: read-only", "query_only = 1", "query_only = 0"],
    ["51: full", "max_page_count = 1", "max_page_count = 1000000"]
  ] as const) {
    it.live(`${name}, ready is 503, calls are refused before they leave, reads go on, and it recovers by itself`, () =>
      Effect.gen(function*() {
        const { fake, hub } = yield* Bench.start()
        yield* Effect.promise(async () => {
          const { key } = ok(await hub.admin("POST", "/keys", { name: "budget", budget_usd: "1" }))
          const send = { headers: { authorization: `Bearer ${key}` } }
          ok(await hub.chat(ask(), send))
          await pause(1100)
          await pragma(hub, broken)
          // What fits on the pages that there are may still be written when it is full.
          const refused = await until(() => hub.chat(ask(), send), ({ status }) => status !== 200)
          const before = fake.calls.length
          refusedAsUnavailable(refused)
          refusedAsUnavailable(await hub.chat(ask(), send))
          assert.lengthOf(fake.calls, before)
          ok(await hub.admin("GET", "/models"))
          ok(await hub.get("/health"))
          if (broken.startsWith("query_only")) {
            assert.deepInclude((await until(() => hub.get("/health/ready"), ({ status }) => status === 503)).json, { reasons: ["database_unwritable"] })
          }
          await pragma(hub, mended)
          await until(() => hub.chat(ask(), send), ({ status }) => status === 200)
          await until(() => hub.get("/health/ready"), ({ status }) => status === 200)
          const rows = await Bench.settled(hub)
          assert.lengthOf(rows.filter(({ status }) => status === 200), fake.calls.length)
          const [{ reserved_usd }] = ok(await hub.admin("GET", "/keys")).keys
          assert.strictEqual(reserved_usd, "0.000000000", "what was reserved for calls that never left came back")
        })
      }).pipe(Effect.scoped))
  }
})

describe("a vault with one corrupt record", { timeout: 30_000 }, () => {
  it.live("52: its provider answers 503, the others serve, and the row is kept", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const first = yield* Bench.start({ folder, models: ["good"] })
      yield* Effect.promise(async () => {
        ok(await first.hub.admin("POST", "/providers", { name: "q", provider_type: "openai-compatible", api_key: "sk-other", allow_private: true, base_url: first.fake.url("openai") }))
        ok(await first.hub.admin("POST", "/models", { name: "broken", provider: "q", context_size: 100_000, weight: 5, cost_per_1k_tokens: 0.001 }))
      })
      yield* first.hub.stop
      const db = new DatabaseSync(join(folder, "tokenhub.db"))
      const { record } = db.prepare("SELECT record FROM vault_secrets WHERE name = 'provider/q'").get() ?? {}
      const damaged = Buffer.from(record as Uint8Array)
      damaged[170] = (damaged[170] ?? 0) ^ 1
      db.prepare("UPDATE vault_secrets SET record = ? WHERE name = 'provider/q'").run(damaged)
      db.close()
      const hub = yield* Harness.start({ folder, env: { TOKENHUB_MOCK: "false" } })
      yield* Effect.promise(async () => {
        const alone = await hub.chat(ask({ model: "broken", policy: { allow_escalation: false } }))
        assert.deepStrictEqual([alone.status, alone.json.error.code], [503, "vault_corrupt"])
        assert.strictEqual(ok(await hub.chat(ask({ model: "broken" }))).model, "good")
        assert.strictEqual(ok(await hub.chat(ask({ model: "good" }))).model, "good")
        assert.include(ok(await hub.admin("GET", "/vault")).secrets, "provider/q")
      })
      yield* hub.stop
      const after = new DatabaseSync(join(folder, "tokenhub.db"), { readOnly: true })
      assert.deepStrictEqual(Buffer.from(after.prepare("SELECT record FROM vault_secrets WHERE name = 'provider/q'").get()?.["record"] as Uint8Array), damaged)
      after.close()
    }).pipe(Effect.scoped))
})

describe("two writers of one row", { timeout: 30_000 }, () => {
  it.live("56: of two changes of the password at once one wins, and the other is refused", () =>
    Effect.gen(function*() {
      const { hub } = yield* Bench.start()
      yield* Effect.promise(async () => {
        const rotate = (to: string) => hub.admin("POST", "/vault/rotate", { old_password: Harness.adminPassword, new_password: to })
        const answers = await Promise.all([rotate("the first new password"), rotate("the second new password")])
        const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b)
        assert.isBelow(statuses[0] ?? 500, 300, answers.map(({ text }) => text).join("\n"))
        // The second is compared with what the first left, or finds that it was changed meanwhile.
        assert.include([401, 409], statuses[1], answers.map(({ text }) => text).join("\n"))
      })
    }).pipe(Effect.scoped))

  it.live("56: of two changes of one instance, model or key at once one wins, and the other is refused with 409", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const { hub } = yield* Bench.start({ folder })
      const { inFlight } = Context.get(hub.services, Drain)
      yield* Effect.promise(async () => {
        const { id } = ok(await hub.admin("POST", "/keys", { name: "k" }))
        const other = new DatabaseSync(join(folder, "tokenhub.db"))
        for (const [path, one, two] of [["/models/m", "weight", "context_size"], ["/providers/p", "max_concurrency", "enabled"], [`/keys/${id}`, "rpm", "tpm"]] as const) {
          const before = ok(await hub.admin("GET", path))
          const wanted = { [one]: 4321, [two]: two === "enabled" ? false : 4321 }
          // While nobody can write, both see what was there before.
          other.exec("BEGIN IMMEDIATE")
          const changes = [one, two].map(async (field) => ({ field, answer: await hub.admin("PATCH", path, { [field]: wanted[field] }) }))
          while (inFlight() < 2) await pause(5)
          await pause(100)
          other.exec("ROLLBACK")
          const [won, lost] = (await Promise.all(changes)).toSorted((a, b) => a.answer.status - b.answer.status)
          assert.deepStrictEqual([won?.answer.status, lost?.answer.status, lost?.answer.json.error.code], [200, 409, "changed_meanwhile"], path)
          const after = ok(await hub.admin("GET", path))
          assert.deepStrictEqual([after[won?.field ?? ""], after[lost?.field ?? ""]], [wanted[won?.field ?? ""], before[lost?.field ?? ""]], path)
        }
        other.close()
      })
    }).pipe(Effect.scoped))
})
