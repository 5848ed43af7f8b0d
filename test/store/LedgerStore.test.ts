import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Attempt } from "../../src/domain/Attempt.ts"
import { makeRequestId, ModelName, ProviderName } from "../../src/domain/Ids.ts"
import { zero } from "../../src/domain/Usage.ts"
import { Settings } from "../../src/Settings.ts"
import { LedgerSqlClient } from "../../src/store/Database.ts"
import type { LedgerWrite, RequestRow, UsageGroup } from "../../src/store/LedgerStore.ts"
import { LedgerStore } from "../../src/store/LedgerStore.ts"
import * as Store from "../../src/store/Store.ts"
import { kill, spawnStore } from "../support/StoreProcess.ts"

const hour = 3_600_000
const start = 1_800_000_000_000 - 1_800_000_000_000 % (24 * hour)

const request = (id: string, change: Partial<RequestRow> = {}): RequestRow => ({
  id, at: start, event: "chat", endpoint: "/v1/chat", mode: "simple", model: "m1", provider: "p1", clientKey: "k1", status: null,
  errorCode: null, durationMs: null, reserved: 100n, usage: zero, cost: 0n, ...change
})

const attempt = (change: Partial<Attempt> = {}): Attempt => ({
  index: 0, step: "answer", model: ModelName.make("m1"), provider: ProviderName.make("p1"), outcome: "ok", startedAt: start, durationMs: 5,
  usage: { ...zero, promptTokens: 10, cachedTokens: 4, completionTokens: 3 }, cost: 60n, ...change
})

const open = (row: RequestRow, of: Attempt = attempt(), reserved = 90n): LedgerWrite => ({ type: "open", row, attempt: of, reserved })
const settle = (row: RequestRow): LedgerWrite => ({ type: "settle", row: { ...row, status: row.status ?? 200, durationMs: 7 } })
const settleAttempt = (requestId: string, of: Attempt, clientKey = "k1"): LedgerWrite => ({ type: "settle_attempt", requestId, attempt: of, clientKey, mode: "simple" })

const total = { requests: 1, attempts: 1, promptTokens: 10, cachedTokens: 4, completionTokens: 3, cost: 60n }

describe("LedgerStore", () => {
  it.effect("opens, settles and shows a request with its attempts, money beyond 2^53 included", () =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const dear = 2n ** 53n + 1n
      const first = attempt({ outcome: "rate_limited", reason: "slow down", timeToFirstTokenMs: 2, cost: 0n })
      const second = attempt({ index: 1, model: ModelName.make("m2"), cost: dear, usage: { ...zero, cacheWriteTokens: 1, reasoningTokens: 2, promptTokens: 1, completionTokens: 2, estimated: true } })
      const row = request("req_1", { reserved: 2n ** 59n, model: null, provider: null })
      yield* ledger.write([open(row, first)])
      assert.deepStrictEqual(yield* ledger.request("req_1"), {
        row,
        attempts: [attempt({ outcome: "unknown", cost: 0n, usage: zero, durationMs: 0 })]
      })
      const settled = { ...row, model: "m2", provider: "p1", status: 200, durationMs: 7, usage: second.usage, cost: dear }
      yield* ledger.write([settleAttempt("req_1", first), open(row, second), settleAttempt("req_1", second), { type: "settle", row: settled }])
      assert.deepStrictEqual(yield* ledger.request("req_1"), { row: settled, attempts: [first, second] })
      assert.isUndefined(yield* ledger.request("req_2"))
      const [usage] = yield* ledger.usage({ groupBy: "key" })
      assert.strictEqual(usage?.cost, dear)
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("counts what is settled twice, or opened after it was settled, once", () =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const row = request("req_1", { cost: 60n })
      const writes = [open(row), settleAttempt("req_1", attempt()), settle(row)]
      yield* ledger.write(writes)
      yield* ledger.write([...writes, settleAttempt("req_1", attempt({ cost: 1n })), settle({ ...row, status: 500 })])
      assert.deepStrictEqual(yield* ledger.usage({ groupBy: "model" }), [{ group: "m1", ...total }])
      assert.strictEqual((yield* ledger.request("req_1"))?.row.status, 200)
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("writes all of a group or nothing, and a senseless figure stops no group", () =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const sql = yield* LedgerSqlClient
      yield* sql`CREATE TRIGGER fails BEFORE INSERT ON requests WHEN NEW.id = 'req_bad' BEGIN SELECT RAISE(ABORT, 'no'); END`
      const error = yield* Effect.flip(ledger.write([settle(request("req_1")), settle(request("req_bad"))]))
      assert.strictEqual(error._tag, "StoreError")
      assert.isUndefined(yield* ledger.request("req_1"))
      assert.deepStrictEqual(yield* ledger.usage({ groupBy: "model" }), [])
      const odd = attempt({ durationMs: NaN, startedAt: start + 0.5, cost: 2n ** 80n, usage: { ...zero, promptTokens: Infinity, completionTokens: -1 } })
      yield* ledger.write([settleAttempt("req_unknown", odd), settle(request("req_2", { durationMs: 1.5, cost: -1n }))])
      assert.strictEqual((yield* ledger.request("req_2"))?.row.cost, 0n)
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("pages and filters the log from the newest", () =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const rows = Array.from({ length: 40 }, (_, i) =>
        request(makeRequestId(start + i * 1000 - (i % 3) * 300), {
          at: start + i * 1000, event: i % 10 === 0 ? "admin" : "chat", mode: [null, "simple", "adversarial"][i % 3] ?? null,
          model: `m${i % 4}`, provider: `p${i % 2}`, clientKey: i % 5 === 0 ? null : "k1", status: i % 7 === 0 ? 429 : 200, durationMs: 7
        }))
      yield* ledger.write(rows.map(settle))
      const running = request(makeRequestId(start + 40_000), { at: start + 40_000 })
      yield* ledger.write([open(running)])
      const all = [running, ...rows.toReversed()]
      const check = (filter: object, keep: (row: RequestRow) => boolean) =>
        Effect.gen(function*() {
          const expected = all.filter(keep)
          assert.isAbove(expected.length, 0)
          assert.deepStrictEqual(yield* ledger.requests({ limit: 100, ...filter }), expected, JSON.stringify(filter))
        })
      yield* check({}, () => true)
      yield* check({ model: "m1" }, (row) => row.model === "m1")
      yield* check({ provider: "p0", key: "k1" }, (row) => row.provider === "p0" && row.clientKey === "k1")
      yield* check({ mode: "simple" }, (row) => row.mode === "simple")
      yield* check({ mode: "adversarial", status: 429 }, (row) => row.mode === "adversarial" && row.status === 429)
      yield* check({ status: 200 }, (row) => row.status === 200)
      yield* check({ event: "admin" }, (row) => row.event === "admin")
      yield* check({ event: "chat", since: start + 5000, until: start + 30_000 }, (row) => row.event === "chat" && row.at >= start + 5000 && row.at < start + 30_000)
      const pages: Array<string> = []
      for (let before: string | undefined; ;) {
        const page = yield* ledger.requests({ limit: 7, ...(before === undefined ? {} : { before }) })
        if (page.length === 0) break
        pages.push(...page.map((row) => row.id))
        before = page.at(-1)?.id
      }
      assert.deepStrictEqual(pages, all.map((row) => row.id))
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("finds rows by their time where ids were made while bodies came in", () =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const sql = yield* LedgerSqlClient
      const slow = request(makeRequestId(start - 300_000), { at: start })
      const backwards = request(makeRequestId(start + 30_000), { at: start + 1 })
      yield* ledger.write([settle(slow), settle(backwards), settle(request(makeRequestId(start - 1), { at: start - 1 }))])
      const found = yield* ledger.requests({ limit: 9, since: start, until: start + 2 })
      assert.deepStrictEqual(found.map((row) => row.id), [backwards.id, slow.id])
      const plan = yield* sql<{ detail: string }>`EXPLAIN QUERY PLAN SELECT * FROM requests WHERE at >= 1 AND id >= 'a' AND at < 9 AND id < 'b' ORDER BY id DESC LIMIT 5`
      assert.deepStrictEqual(plan.map((row) => row.detail), ["SEARCH requests USING PRIMARY KEY (id>? AND id<?)"])
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("searches the log by index", () =>
    Effect.gen(function*() {
      const sql = yield* LedgerSqlClient
      for (const condition of ["model = 'x'", "provider = 'x'", "client_key = 'x'", "status = 5 AND status <> 200", "event = 'x' AND event <> 'chat'", "mode = 'x' AND mode <> 'simple'"]) {
        const plan = yield* sql<{ detail: string }>`EXPLAIN QUERY PLAN SELECT * FROM requests WHERE ${sql.literal(condition)} ORDER BY id DESC LIMIT 5`
        assert.deepStrictEqual(plan.map((row) => row.detail.split(" (")[0]), [`SEARCH requests USING INDEX requests_${condition.split(" ")[0]}`])
      }
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("sums usage by hour and day, without admin events and without the names that clients think up", () =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const times = [start, start + hour - 1, start + hour, start + 25 * hour]
      yield* ledger.write(times.flatMap((at, i) => [
        settle(request(`req_${i}`, { at })),
        settleAttempt(`req_${i}`, attempt({ startedAt: at }))
      ]))
      yield* ledger.write([
        settle(request("req_a", { event: "admin" })),
        settle(request("req_b", { model: "thought-up", provider: null, mode: null, clientKey: null, status: 404 }))
      ])
      const of = (n: number) => ({ requests: n, attempts: n, promptTokens: 10 * n, cachedTokens: 4 * n, completionTokens: 3 * n, cost: 60n * BigInt(n) })
      const refused = { requests: 1, attempts: 0, promptTokens: 0, cachedTokens: 0, completionTokens: 0, cost: 0n }
      assert.deepStrictEqual(yield* ledger.usage({ groupBy: "model" }), [{ group: "", ...refused }, { group: "m1", ...of(4) }])
      assert.deepStrictEqual(yield* ledger.usage({ groupBy: "key", bucket: "hour", since: start + 1 }), [
        { group: "", bucket: start, ...refused },
        { group: "k1", bucket: start, ...of(2) },
        { group: "k1", bucket: start + hour, ...of(1) },
        { group: "k1", bucket: start + 25 * hour, ...of(1) }
      ])
      assert.deepStrictEqual(yield* ledger.usage({ groupBy: "mode", bucket: "day", since: start + hour, until: start + 48 * hour }), [
        { group: "simple", bucket: start, ...of(1) },
        { group: "simple", bucket: start + 24 * hour, ...of(1) }
      ])
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("settles at the reserved maximum what a dead process left open, once", () =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      yield* ledger.write([
        open(request("req_1", { reserved: 500n })),
        settleAttempt("req_1", attempt()),
        open(request("req_1", { reserved: 500n }), attempt({ index: 1 }), 90n),
        open(request("req_2", { reserved: 500n }), attempt(), 80n),
        settle(request("req_3"))
      ])
      assert.strictEqual(yield* ledger.recover(start + 1000), 2)
      const recovered = yield* ledger.request("req_1")
      assert.deepStrictEqual(
        [recovered?.row.status, recovered?.row.errorCode, recovered?.row.cost, recovered?.row.usage.promptTokens, recovered?.row.usage.estimated],
        [500, "unknown", 150n, 10, true]
      )
      assert.deepStrictEqual(recovered?.attempts.map((row) => [row.outcome, row.cost]), [["ok", 60n], ["unknown", 90n]])
      assert.strictEqual((yield* ledger.request("req_2"))?.row.cost, 80n)
      const usage = yield* ledger.usage({ groupBy: "model" })
      assert.deepStrictEqual(usage, [{ group: "m1", ...total, requests: 3, attempts: 3, cost: 230n }])
      assert.strictEqual(yield* ledger.recover(start + 2000), 0)
      yield* ledger.write([settleAttempt("req_1", attempt({ index: 1 })), settle(request("req_2"))])
      assert.deepStrictEqual(yield* ledger.usage({ groupBy: "model" }), usage)
    }).pipe(Effect.provide(Store.layerTest)))

  it.effect("prunes settled rows in batches, with their attempts, and keeps the sums", () =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const sql = yield* LedgerSqlClient
      const ids = Array.from({ length: 10 }, (_, i) => makeRequestId(start + i))
      const running = makeRequestId(start + 10)
      yield* ledger.write(ids.flatMap((id, i) => [settle(request(id, { at: start + i })), settleAttempt(id, attempt({ startedAt: start + i }))]))
      yield* ledger.write([open(request(running, { at: start - 1 }))])
      const before = yield* ledger.usage({ groupBy: "provider" })
      assert.deepStrictEqual([yield* ledger.prune(start + 8, 5), yield* ledger.prune(start + 8, 5), yield* ledger.prune(start + 8, 5)], [5, 3, 0])
      assert.deepStrictEqual((yield* ledger.requests({ limit: 100 })).map((row) => row.id), [running, ...ids.slice(8).toReversed()])
      assert.deepStrictEqual(yield* sql`SELECT count(*) AS n FROM attempts`, [Object.assign(Object.create(null), { n: 2 })])
      assert.deepStrictEqual(yield* ledger.usage({ groupBy: "provider" }), before)
    }).pipe(Effect.provide(Store.layerTest)))

  const small = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 }))
  const step = Schema.Struct({
    request: small,
    attempt: small,
    name: small,
    hour: small,
    cost: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    type: Schema.Literals(["open", "settle_attempt", "settle"])
  })

  const toWrite = ({ attempt: index, cost, hour: h, name, request: r, type }: typeof step.Type): LedgerWrite => {
    const id = `req_${r}`
    const row = request(id, { at: start + r * hour, clientKey: `k${r % 2}`, reserved: BigInt(cost) })
    const call = attempt({ index, startedAt: start + h * hour, model: ModelName.make(`m${name}`), cost: BigInt(cost) })
    switch (type) {
      case "open": return open(row, call, BigInt(cost))
      case "settle": return settle(row)
      case "settle_attempt": return settleAttempt(id, call, `k${r % 2}`)
    }
  }

  /** The sums of the rows that are settled; a recovered request without an attempt carries its own cost. */
  const sumsOfRows = Effect.flatMap(LedgerSqlClient, (sql) =>
    sql<Record<string, bigint>>`
      SELECT (SELECT count(*) FROM requests WHERE status IS NOT NULL) AS requests, count(*) AS attempts,
        coalesce(sum(prompt_tokens), 0) AS "promptTokens", coalesce(sum(cached_tokens), 0) AS "cachedTokens",
        coalesce(sum(completion_tokens), 0) AS "completionTokens",
        coalesce(sum(cost), 0) + (SELECT coalesce(sum(cost), 0) FROM requests
          WHERE error_code = 'unknown' AND NOT EXISTS (SELECT 1 FROM attempts WHERE request_id = requests.id)) AS cost
      FROM attempts WHERE outcome IS NOT NULL`).pipe(
    Effect.map((rows) => ({ ...rows[0] })),
    Effect.provideService(SqlClient.SafeIntegers, true)
  )

  const sumsOfUsage = (groupBy: UsageGroup) =>
    Effect.map(Effect.flatMap(LedgerStore, (ledger) => ledger.usage({ groupBy, bucket: "hour" })), (rows) => {
      const sums: Record<string, bigint> = { requests: 0n, attempts: 0n, promptTokens: 0n, cachedTokens: 0n, completionTokens: 0n, cost: 0n }
      for (const { bucket: _bucket, group: _group, ...amounts } of rows) {
        for (const [name, amount] of Object.entries(amounts)) sums[name] = (sums[name] ?? 0n) + BigInt(amount)
      }
      return sums
    })

  it.effect.prop("adds up: in whatever order rows come, hourly sums are the sums of the settled rows", { steps: Schema.Array(step) }, ({ steps }) =>
    Effect.gen(function*() {
      const ledger = yield* LedgerStore
      const writes = steps.map(toWrite)
      const agree = Effect.gen(function*() {
        const expected = yield* sumsOfRows
        for (const groupBy of ["model", "provider", "key", "mode"] as const) assert.deepStrictEqual(yield* sumsOfUsage(groupBy), expected)
        return expected
      })
      const half = Math.floor(writes.length / 2)
      yield* ledger.write(writes.slice(0, half))
      yield* agree
      yield* Effect.forEach(writes.slice(half), (write) => ledger.write([write]), { discard: true })
      yield* agree
      yield* ledger.recover(start)
      const settled = yield* agree
      yield* ledger.recover(start)
      yield* ledger.write(writes.filter((write) => write.type === "open"))
      assert.deepStrictEqual(yield* agree, settled)
    }).pipe(Effect.provide(Store.layerTest)), { arbitrary: { runs: 25 } })

  it.live("loses nothing that was acknowledged when the process is killed while it writes", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tokenhub-test-"))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
      )
      const dbPath = Path.join(folder, "tokenhub.db")
      const row = `{ ...${JSON.stringify({ ...request(""), reserved: undefined, cost: undefined })}, reserved: 100n, cost: 0n, id: "req_" + String(n).padStart(9, "0") }`
      const call = `{ ...${JSON.stringify({ ...attempt(), cost: undefined })}, cost: 60n }`
      const { child, lines } = spawnStore(dbPath, `Effect.gen(function*() {
        const ledger = yield* LedgerStore
        for (let n = 1; ; n++) {
          const row = ${row}
          const attempt = ${call}
          yield* ledger.write([{ type: "open", row, attempt, reserved: 90n }])
          yield* say("opened")
          yield* ledger.write([{ type: "settle_attempt", requestId: row.id, attempt, clientKey: "k1", mode: "simple" }, { type: "settle", row: { ...row, status: 200, durationMs: 1, cost: 60n } }])
        }
      })`)
      let opened = 0
      while (opened < 150) {
        const { value } = yield* Effect.promise(() => lines.next())
        assert.strictEqual(value, "opened")
        opened++
      }
      yield* Effect.promise(() => kill(child))
      for (let line = yield* Effect.promise(() => lines.next()); line.done !== true; line = yield* Effect.promise(() => lines.next())) opened++
      yield* Effect.gen(function*() {
        const ledger = yield* LedgerStore
        const left = (yield* ledger.requests({ limit: 1 }))[0]?.status === null ? 1 : 0
        assert.strictEqual(yield* ledger.recover(start), left)
        const rows = yield* ledger.requests({ limit: 1_000_000 })
        // The last group may have been committed without having been told.
        assert.include([opened, opened + 1], rows.length)
        const usage = yield* ledger.usage({ groupBy: "model" })
        const cost = 60n * BigInt(rows.length - left) + 90n * BigInt(left)
        assert.deepStrictEqual(usage.map((sum) => [sum.requests, sum.attempts, sum.cost]), [[rows.length, rows.length, cost]])
        assert.strictEqual(rows.reduce((sum, { cost: paid }) => sum + paid, 0n), cost)
      }).pipe(Effect.provide(Store.layer.pipe(Layer.provide(Layer.orDie(Settings.layerTest({ TOKENHUB_DB_PATH: dbPath }))))))
    }))
})
