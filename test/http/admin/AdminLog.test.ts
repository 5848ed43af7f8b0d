import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Stream } from "effect"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { RequestRow } from "../../../src/account/Ledger.ts"
import { Ledger } from "../../../src/account/Ledger.ts"
import { makeRequestId } from "../../../src/domain/Ids.ts"
import { StoreUnavailable } from "../../../src/domain/RequestError.ts"
import { exported } from "../../../src/http/admin/LogExport.ts"
import { AdminHub, isError } from "../../support/AdminHub.ts"
import { usageOf } from "../../support/Doubles.ts"
import * as FakeProvider from "../../support/FakeProvider.ts"
import * as Harness from "../../support/Harness.ts"

const authorization = `Bearer ${Harness.adminPassword}`

const ask = (hub: Harness.Hub, content: string) =>
  Effect.promise(() => hub.chat({ model: "mock-small", messages: [{ role: "user", content }] }))

interface Row {
  readonly id: string
  readonly model: string | null
}

const idsOf = (rows: ReadonlyArray<Row>) => rows.map(({ id }) => id)

describe("/admin/requests", () => {
  it.live("keeps every request with its calls, to be filtered and paged", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      const { admin } = hub
      const before = Date.now()
      const answers = [yield* ask(hub, "one"), yield* ask(hub, "two"), yield* ask(hub, "three")]
      isError(yield* Effect.promise(() => hub.chat({ model: "nobody", messages: [{ role: "user", content: "x" }] })), 404, { code: "model_not_found" })
      const ids = answers.map(({ json }) => json.id).toReversed()
      const list = (query: string) => Effect.map(Effect.promise(() => admin("GET", `/requests${query}`)), ({ json }) => json)

      const all = yield* list("?model=mock-small&event=chat")
      assert.deepEqual(idsOf(all.requests), ids)
      assert.isNull(all.next)
      const row = all.requests[0]
      const answer = answers[2]?.json
      assert.deepInclude(row, { endpoint: "/v1/chat", mode: "simple", model: "mock-small", provider: "mock", key: null, status: 200, error_code: null })
      assert.strictEqual(row.usage.total_tokens, answer.usage.total_tokens)
      assert.strictEqual(row.cost_usd, answer.cost_usd)
      assert.match(row.reserved_usd, /^\d+\.\d{9}$/)
      assert.strictEqual(new Date(row.at).toISOString(), row.at)

      const first = yield* list("?model=mock-small&limit=2")
      assert.deepEqual(idsOf(first.requests), ids.slice(0, 2))
      const second = yield* list(`?model=mock-small&limit=2&before=${first.next}`)
      assert.deepEqual(idsOf(second.requests), ids.slice(2))
      assert.isNull(second.next)

      assert.strictEqual((yield* list("?status=404")).requests[0].error_code, "model_not_found")
      assert.isAbove((yield* list("?event=admin")).requests.length, 0)
      assert.strictEqual((yield* list(`?model=mock-small&since=${before}`)).requests.length, 3)
      assert.strictEqual((yield* list(`?model=mock-small&until=${encodeURIComponent(new Date(before).toISOString())}`)).requests.length, 0)
      assert.strictEqual((yield* list("?mode=adversarial")).requests.length, 0)
      assert.strictEqual((yield* list("?provider=mock")).requests.length, 3)

      const one = yield* Effect.promise(() => admin("GET", `/requests/${answer.id}`))
      const { attempts, ...rest } = one.json
      assert.deepEqual(rest, row)
      assert.strictEqual(attempts.length, 1)
      assert.deepInclude(attempts[0], { index: 0, model: "mock-small", provider: "mock", outcome: "ok", cost_usd: row.cost_usd })
    }))
})

describe("/admin/requests as a file", () => {
  const rowOf = (at: number, given: Partial<RequestRow> = {}): RequestRow => ({
    id: makeRequestId(at), at, event: "chat", endpoint: "/v1/chat", mode: "simple", model: "m", provider: "p", clientKey: null,
    status: 200, errorCode: null, durationMs: 5, reserved: 2_000n, usage: usageOf(3, 4), cost: 1_000n, ...given
  })

  const count = 1001

  it.live("has every request that matches, newest first and each once, however many there are and come meanwhile", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      const ledger = Context.get(hub.services, Ledger)
      const began = Date.now() - 10_000
      const rows = Array.from({ length: count }, (_, i) => rowOf(began + i, { status: i % 7 === 0 ? 500 : 200 }))
      yield* Effect.forEach(rows, ledger.settle, { discard: true })
      const ids = rows.map(({ id }) => id).toReversed()
      const file = (query: string) =>
        Effect.promise(async () => {
          const answer = fetch(`${hub.url}/admin/requests?event=chat&${query}`, { headers: { authorization } })
          await ask(hub, "meanwhile").pipe(Effect.runPromise)
          const response = await answer
          return { response, lines: (await response.text()).trimEnd().split(/\r?\n/) }
        })

      const csv = yield* file("format=csv&model=m")
      assert.strictEqual(csv.response.headers.get("content-type"), "text/csv; charset=utf-8; header=present")
      assert.match(csv.response.headers.get("content-disposition") ?? "", /^attachment; filename="tokenhub-requests-\d{8}T\d{6}Z\.csv"$/)
      assert.isNull(csv.response.headers.get("content-length"), "it is sent as it is read")
      const [head, first, ...more] = csv.lines
      assert.strictEqual(head, "id,at,event,endpoint,mode,model,provider,key,status,error_code,duration_ms,prompt_tokens,cached_tokens,completion_tokens,total_tokens,estimated,reserved_usd,cost_usd")
      assert.strictEqual(first, `${ids[0]},${new Date(began + count - 1).toISOString()},chat,/v1/chat,simple,m,p,,${(count - 1) % 7 === 0 ? 500 : 200},,5,3,0,4,7,false,0.000002000,0.000001000`)
      assert.deepStrictEqual([first, ...more].map((line) => line?.split(",")[0]), ids)

      const lines = yield* file("format=jsonl&model=m&status=500")
      assert.strictEqual(lines.response.headers.get("content-type"), "application/jsonl")
      const shown = lines.lines.map((line) => JSON.parse(line))
      assert.deepStrictEqual(shown.map(({ id }) => id), rows.filter(({ status }) => status === 500).map(({ id }) => id).toReversed())
      const one = yield* Effect.promise(() => hub.admin("GET", `/requests/${shown[0].id}`))
      assert.deepStrictEqual({ ...shown[0], attempts: [] }, one.json)

      assert.deepStrictEqual((yield* file(`format=jsonl&limit=300&before=${ids[400]}`)).lines.map((line) => JSON.parse(line).id), ids.slice(401, 701))
      assert.deepStrictEqual((yield* file("format=csv&model=nobody")).lines, [head])
      isError(yield* Effect.promise(() => hub.admin("GET", "/requests?format=xml")), 400, { code: "invalid_request", param: "format" })
    }).pipe(Effect.scoped), 30_000)

  it.effect("quotes what would break a line, and disarms what a spreadsheet would run", () =>
    Effect.gen(function*() {
      const rows = [rowOf(0, { endpoint: "=1+1", model: "a,\"b\"\nc", mode: "@sum" })]
      const bytes = yield* Stream.runCollect(exported(() => Effect.succeed(rows), "csv", {}))
      const text = bytes.map((piece) => Buffer.from(piece).toString()).join("")
      assert.include(text, ",chat,'=1+1,'@sum,\"a,\"\"b\"\"\nc\",p,")
    }))

  it.effect("breaks off where the database fails on the way", () =>
    Effect.gen(function*() {
      const pages = [Array.from({ length: 200 }, (_, i) => rowOf(i))]
      const read = () => Effect.suspend(() => {
        const page = pages.shift()
        return page === undefined ? Effect.fail(new StoreUnavailable({ message: "locked" })) : Effect.succeed(page)
      })
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(exported(read, "jsonl", {}))))._tag, "StoreUnavailable")
    }))
})

describe("/admin/usage", () => {
  it.live("sums by group and bucket what was just settled", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      const answers = [yield* ask(hub, "one"), yield* ask(hub, "two")]
      const prompt = answers.reduce((sum, { json }) => sum + json.usage.prompt_tokens, 0)
      const completion = answers.reduce((sum, { json }) => sum + json.usage.completion_tokens, 0)
      const usage = (query: string) => Effect.map(Effect.promise(() => hub.admin("GET", `/usage${query}`)), ({ json }) => json)

      const { rows, totals } = yield* usage("")
      const sums = { requests: 2, attempts: 2, prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion }
      assert.strictEqual(rows.length, 1)
      assert.deepInclude(rows[0], { group: "mock-small", ...sums })
      assert.deepInclude(totals, sums)
      assert.match(totals.cost_usd, /^\d+\.\d{9}$/)

      const hourly = yield* usage("?group_by=provider&bucket=hour&since=2020-01-01")
      assert.deepEqual(hourly.rows.map(({ group }: { group: string }) => group), ["mock"])
      assert.match(hourly.rows[0].bucket, /:00:00\.000Z$/)
      assert.deepEqual((yield* usage("?until=2020-01-01T00:00:00Z")).rows, [])
      assert.strictEqual((yield* usage("?group_by=mode")).rows[0].group, "simple")
      assert.strictEqual((yield* usage("?group_by=key")).rows[0].group, "")
    }))
})

describe("/admin/events", () => {
  const open = (hub: Harness.Hub) =>
    Effect.gen(function*() {
      const leaving = yield* Effect.acquireRelease(Effect.sync(() => new AbortController()), (controller) => Effect.sync(() => controller.abort()))
      const response = yield* Effect.promise(() => fetch(`${hub.url}/admin/events`, { headers: { authorization }, signal: leaving.signal }))
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
      let received = ""
      /** Reads until the text is there, or to the end; what was received so far. */
      const until = (text: string) =>
        Effect.promise(async () => {
          while (!received.includes(text)) {
            const chunk = await reader?.read()
            if (chunk === undefined || chunk.done) return received
            received += chunk.value
          }
          return received
        })
      return { response, until }
    })

  it.live("tells each request as it is settled, and shows that it lives meanwhile", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_HEARTBEAT_MS: "20" } })
      const { response, until } = yield* open(hub)
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers.get("content-type"), "text/event-stream")
      yield* until(": heartbeat")
      const answer = yield* ask(hub, "watched")
      const text = yield* until("mock-small")
      const data = JSON.parse(/event: request\ndata: (.*)\n\n/.exec(text.slice(text.indexOf("event: request")))?.[1] ?? "{}")
      assert.deepInclude(data, { id: answer.json.id, model: "mock-small", status: 200, cost_usd: answer.json.cost_usd })
    }))

  it.live("ends when TokenHub stops, and does not hold it up", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_HEARTBEAT_MS: "20", TOKENHUB_DRAIN_TIMEOUT_MS: "15000" } })
      const { until } = yield* open(hub)
      yield* until(": heartbeat")
      const began = performance.now()
      yield* hub.stop
      assert.isBelow(performance.now() - began, 10_000)
      yield* until("the end")
    }))
})

layer(AdminHub.layer(), { excludeTestServices: true })("the rest of the log", (it) => {
  it.effect("names what is wrong with a query", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const wrong: ReadonlyArray<readonly [string, string]> = [
        ["/requests?limit=0", "limit"],
        ["/requests?limit=1001", "limit"],
        ["/requests?limit=ten", "limit"],
        ["/requests?before=7", "before"],
        ["/requests?status=ok", "status"],
        ["/requests?since=yesterday", "since"],
        ["/requests?until=2026-13-01", "until"],
        ["/requests?since=2026-02-30", "since"],
        ["/requests?since=2026-02-29T10:00:00Z", "since"],
        ["/requests?modle=x", "modle"],
        ["/requests/nothing", "id"],
        ["/usage?group_by=colour", "group_by"],
        ["/usage?bucket=minute", "bucket"],
        ["/audit?before=x", "before"]
      ]
      for (const [path, param] of wrong) {
        const answer = yield* Effect.promise(() => admin("GET", path))
        assert.strictEqual(answer.status, 400, `${path} ${answer.text}`)
        assert.strictEqual(answer.json.error.param, param)
      }
      const limit = yield* Effect.promise(() => admin("GET", "/requests?limit=ten"))
      assert.strictEqual(limit.json.error.message, "limit: must be a finite number")
      for (const since of ["2024-02-29", "2026-02-28T23:59:59Z", "2026-01-31T23:30:00%2B05:30"]) {
        assert.strictEqual((yield* Effect.promise(() => admin("GET", `/requests?since=${since}`))).status, 200, since)
      }
      isError(yield* Effect.promise(() => admin("GET", "/requests/req_00000000000000000000000000")), 404, { code: "not_found" })
    }))

  it.effect("needs the admin password on every route", () =>
    Effect.gen(function*() {
      const { request } = yield* AdminHub
      const routes = [
        ["GET", "/providers"], ["GET", "/models"], ["GET", "/models/a/b"], ["POST", "/routing/explain"], ["GET", "/vault"], ["POST", "/vault/lock"],
        ["PUT", "/vault/secrets/a/b"], ["GET", "/keys"], ["GET", "/requests"], ["GET", "/usage"], ["GET", "/events"], ["GET", "/audit"], ["POST", "/backup"]
      ] as const
      for (const [method, path] of routes) {
        const answer = yield* Effect.promise(() => request(method, `/admin${path}`, method === "GET" ? undefined : "{"))
        assert.strictEqual(answer.status, 401, `${method} ${path}`)
      }
    }))

  it.effect("records who changed what, with before and after, newest first, without secrets", () =>
    Effect.gen(function*() {
      const { admin } = yield* AdminHub
      const key = "sk-audited-0123456789abcdef"
      yield* Effect.promise(() => admin("POST", "/providers", { name: "audited", provider_type: "openai", api_key: key }))
      const changed = yield* Effect.promise(() => admin("PATCH", "/providers/audited", { enabled: false }))
      yield* Effect.promise(() => admin("POST", "/providers", { name: "audited", provider_type: "nobody" }))
      yield* Effect.promise(() => admin("DELETE", "/providers/audited?cascade=true"))

      const audit = yield* Effect.promise(() => admin("GET", "/audit"))
      const mine = audit.json.changes.filter(({ target }: { target: string }) => target === "audited")
      assert.deepEqual(mine.map(({ action }: { action: string }) => action), ["provider.remove", "provider.change", "provider.add"])
      const [removed, change, added] = mine
      assert.isNull(added.before)
      assert.match(added.after.api_key_fingerprint, /^[0-9a-f]{8}$/)
      assert.strictEqual(change.before.enabled, true)
      assert.strictEqual(change.after.enabled, false)
      assert.strictEqual(change.request_id, changed.headers.get("x-request-id"))
      assert.isNull(removed.after)
      assert.notInclude(audit.text, key)

      const first = yield* Effect.promise(() => admin("GET", "/audit?limit=1"))
      const second = yield* Effect.promise(() => admin("GET", `/audit?limit=1&before=${first.json.next}`))
      assert.isBelow(second.json.changes[0].id, first.json.changes[0].id)
    }))

  it.effect("shows every admin route in the OpenAPI document, with a line on what it does and without wildcards", () =>
    Effect.gen(function*() {
      const { get } = yield* AdminHub
      const { json } = yield* Effect.promise(() => get("/openapi.json"))
      const admin = Object.entries<Record<string, { summary?: string; parameters: ReadonlyArray<{ name: string }> }>>(json.paths).filter(([path]) =>
        path.startsWith("/admin/")
      )
      assert.isAbove(admin.length, 15)
      for (const [path, operations] of admin) {
        assert.notInclude(path, "*")
        for (const operation of Object.values(operations)) {
          assert.isString(operation.summary, path)
          for (const { name } of operation.parameters) assert.notStrictEqual(name, "*")
        }
      }
      assert.property(json.paths, "/admin/models/{name}")
      assert.property(json.paths, "/admin/vault/secrets/{name}")
    }))
})

describe("/admin/backup", () => {
  it.live("gives a file that takes the old one's place: the next start has everything that was in it, and nothing later", () =>
    Effect.gen(function*() {
      const fake = yield* FakeProvider.scoped()
      const key = "sk-backup-0123456789abcdef"
      const folder = yield* Harness.folder
      const hub = yield* Harness.start({ folder })
      yield* Effect.promise(() => hub.admin("POST", "/providers", { name: "kept", provider_type: "openai", api_key: key, base_url: fake.url("openai") }))
      yield* Effect.promise(() => hub.admin("POST", "/models", { name: "kept-model", provider: "kept", upstream_name: "gpt-4o", context_size: 8000, weight: 1 }))
      const client = yield* Effect.promise(() => hub.admin("POST", "/keys", { name: "kept" }))
      const chat = { model: "kept-model", messages: [{ role: "user", content: "Hello" }] }
      const send = { headers: { authorization: `Bearer ${client.json.key}` } }
      const answer = yield* Effect.promise(() => hub.chat(chat, send))

      const response = yield* Effect.promise(() => fetch(`${hub.url}/admin/backup`, { method: "POST", headers: { authorization } }))
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers.get("content-type"), "application/vnd.sqlite3")
      assert.match(response.headers.get("content-disposition") ?? "", /^attachment; filename="tokenhub-\d{8}T\d{6}Z\.db"$/)
      const bytes = Buffer.from(yield* Effect.promise(() => response.arrayBuffer()))
      assert.strictEqual(response.headers.get("content-length"), String(bytes.length))
      assert.isFalse(bytes.includes(key))
      yield* Effect.promise(() => hub.admin("POST", "/models", { name: "later", provider: "kept", upstream_name: "gpt-4o", context_size: 8000, weight: 1 }))

      yield* hub.stop
      assert.isFalse(existsSync(join(folder, "tokenhub.db-wal")))
      yield* Effect.sync(() => writeFileSync(join(folder, "tokenhub.db"), bytes))
      const restored = yield* Harness.start({ folder })
      assert.strictEqual((yield* Effect.promise(() => restored.admin("GET", "/providers/kept"))).json.credential, "vault")
      assert.strictEqual((yield* Effect.promise(() => restored.admin("GET", "/models/later"))).status, 404)
      assert.strictEqual((yield* Effect.promise(() => restored.admin("GET", `/requests/${answer.json.id}`))).json.cost_usd, answer.json.cost_usd)
      assert.strictEqual((yield* Effect.promise(() => restored.chat(chat, send))).status, 200)
      assert.strictEqual(fake.calls.at(-1)?.key, key)
    }))
})
