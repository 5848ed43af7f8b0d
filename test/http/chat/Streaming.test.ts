import { assert, describe, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { connect } from "node:net"
import { Ledger } from "../../../src/account/Ledger.ts"
import type { FakeProvider } from "../../support/FakeProvider.ts"
import * as Fake from "../../support/FakeProvider.ts"
import type { Answer, Hub } from "../../support/Harness.ts"
import * as Harness from "../../support/Harness.ts"

interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
}

const ok = ({ status, text }: Answer) => assert.isBelow(status, 300, text)

/** A TokenHub with two models at the fake provider, which streams. */
const bench = (env: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", ...env } })
    yield* Effect.promise(async () => {
      ok(await hub.admin("POST", "/providers", { name: "p", provider_type: "openai-compatible", api_key: "sk-test", allow_private: true, base_url: fake.url("openai") }))
      for (const [name, weight] of [["m", 10], ["n", 20]] as const) {
        ok(await hub.admin("POST", "/models", { name, provider: "p", context_size: 100_000, weight, cost_per_1k_tokens: 0.01 }))
      }
    })
    return { fake, hub }
  })

const test = (name: string, run: (bench: Bench) => Promise<void>, env: Readonly<Record<string, string>> = {}) =>
  it.live(name, () => Effect.scoped(Effect.flatMap(bench(env), (made) => Effect.promise(() => run(made)))))

const ask = { model: "m", stream: true, messages: [{ role: "user", content: "Hello" }] }

const settledRow = (hub: Hub, id: string) =>
  Effect.runPromise(
    Effect.gen(function*() {
      const ledger = Context.get(hub.services, Ledger)
      while (true) {
        yield* ledger.flush
        const found = yield* ledger.request(id)
        if (found !== undefined && found.row.status !== null) return found
        yield* Effect.sleep(10)
      }
    })
  )

const idOf = (events: { readonly headers: Headers }) => events.headers.get("x-request-id") ?? ""

describe("a stream", { timeout: 20_000 }, () => {
  test("is events in order with exactly one at the end", async ({ fake, hub }) => {
    fake.script({}, { text: "Hello there, friend", chunkSize: 4, usage: { prompt: 5, completion: 7 } })
    const stream = await hub.events(ask)
    assert.strictEqual(stream.status, 200)
    assert.strictEqual(stream.headers.get("content-type"), "text/event-stream")
    assert.strictEqual(stream.headers.get("cache-control"), "no-cache")
    const events = await stream.rest()
    const names = events.map(({ name }) => name)
    assert.deepStrictEqual([names[0], names[1], names.at(-2), names.at(-1)], ["run.started", "step.started", "step.completed", "run.completed"])
    assert.isTrue(names.slice(2, -2).every((name) => name === "step.delta"))
    assert.deepStrictEqual(events[0]?.data, { id: idOf(stream), mode: "simple" })
    assert.deepStrictEqual(events[2]?.data, { step: "answer", text: "Hell", final: true })
    assert.deepStrictEqual(events.at(-2)?.data, {
      step: "answer",
      model: "m",
      provider: "p",
      usage: { prompt_tokens: 5, completion_tokens: 7, total_tokens: 12 },
      cost_usd: "0.000120000"
    })
    assert.strictEqual(events.at(-1)?.data.response, "Hello there, friend")
    assert.strictEqual((await settledRow(hub, idOf(stream))).row.status, 200)
  })

  test("begins at once, and every piece comes when it is there", async ({ fake, hub }) => {
    let release = () => {}
    const second = new Promise<void>((resolve) => (release = resolve))
    let pieces = 0
    fake.script({}, { text: "aaaabbbb", chunkSize: 4, delay: { firstToken: 300, chunk: () => (pieces++ === 0 ? Promise.resolve() : second) } })
    const stream = await hub.events(ask)
    const started = await stream.next()
    assert.strictEqual(started?.name, "run.started")
    assert.isBelow(started?.afterMs ?? 1000, 250, "before the upstream's first token")
    assert.strictEqual((await stream.next())?.name, "step.started")
    const first = await stream.next()
    assert.deepStrictEqual(first?.data, { step: "answer", text: "aaaa", final: true })
    release()
    assert.strictEqual((await stream.rest()).at(-1)?.name, "run.completed")
  })

  test("goes on to the next model while nothing of the answer was sent", async ({ fake, hub }) => {
    fake.script({ model: "m" }, { fault: "529", always: true })
    fake.script({ model: "n" }, { text: "from n" })
    const events = await (await hub.events(ask)).rest()
    assert.deepStrictEqual(events.filter(({ name }) => name === "step.started").length, 1)
    const last = events.at(-1)
    assert.strictEqual(last?.name, "run.completed")
    assert.strictEqual(last?.data.response, "from n")
    assert.deepStrictEqual(last?.data.attempts.map(({ model }: { model: string }) => model), ["m", "n"])
  })

  test("that breaks off after its first piece ends with run.failed and in order", async ({ fake, hub }) => {
    fake.script({}, { text: "aaaabbbbcccc", chunkSize: 4, fault: "reset-mid-stream" })
    const stream = await hub.events(ask)
    const events = await stream.rest()
    const last = events.at(-1)
    assert.strictEqual(last?.name, "run.failed")
    assert.strictEqual(last?.data.error.type, "upstream_error")
    assert.strictEqual(last?.data.error.request_id, idOf(stream))
    assert.strictEqual(events.filter(({ name }) => name.startsWith("run.")).length, 2)
    assert.strictEqual((await settledRow(hub, idOf(stream))).row.status, 502)
  })

  test("shows that it lives while the upstream is silent", async ({ fake, hub }) => {
    fake.script({}, { text: "late", delay: { firstToken: 200 } })
    const stream = await hub.events(ask)
    const seen: Array<string> = []
    for (let event = await stream.next(); event !== undefined; event = await stream.next()) seen.push(event.name)
    assert.isAtLeast(seen.filter((name) => name === "").length, 2)
    assert.strictEqual(seen.at(-1), "run.completed")
  }, { TOKENHUB_HEARTBEAT_MS: "50" })
})

describe("a client that leaves", { timeout: 20_000 }, () => {
  test("before the first byte: the upstream is cancelled within a second, the row says 499", async ({ fake, hub }) => {
    fake.script({}, { text: "never", delay: { headers: 30_000 } })
    const leaving = new AbortController()
    const arrived = fake.next({})
    const answer = hub.chat({ ...ask, stream: false }, { signal: leaving.signal }).catch(() => undefined)
    const call = await arrived
    const left = performance.now()
    leaving.abort()
    await answer
    await call.ended
    assert.isBelow(performance.now() - left, 1000)
    const [row] = await Effect.runPromise(
      Effect.gen(function*() {
        const ledger = Context.get(hub.services, Ledger)
        while (true) {
          yield* ledger.flush
          const rows = yield* ledger.requests({ limit: 5, status: 499 })
          if (rows.length > 0) return rows
          yield* Effect.sleep(10)
        }
      })
    )
    assert.deepStrictEqual([row?.event, row?.errorCode], ["chat", "client_closed_request"])
  })

  test("in mid-stream: the upstream is cancelled within a second, and what was used is booked", async ({ fake, hub }) => {
    fake.script({}, { text: "abcd".repeat(2000), chunkSize: 4, delay: { chunk: 20 } })
    const arrived = fake.next({})
    const stream = await hub.events(ask)
    const call = await arrived
    for (let i = 0; i < 6; i++) await stream.next()
    const left = performance.now()
    stream.leave()
    await call.ended
    assert.isBelow(performance.now() - left, 1000)
    const { attempts, row } = await settledRow(hub, idOf(stream))
    assert.strictEqual(row.status, 499)
    assert.strictEqual(attempts[0]?.outcome, "cancelled")
    assert.isAbove(row.usage.completionTokens, 0)
    assert.isAbove(Number(row.cost), 0)
  })
})

describe("a slow reader", { timeout: 20_000 }, () => {
  /** A client that reads nothing after the first bytes. */
  const stalled = (hub: Hub, body: unknown) =>
    new Promise<{ readonly closed: Promise<number>; readonly resume: () => void }>((resolve) => {
      const text = JSON.stringify(body)
      const socket = connect({ port: hub.port, host: "127.0.0.1" })
      const began = performance.now()
      const closed = new Promise<number>((done) => {
        socket.on("error", () => {})
        socket.once("close", () => done(performance.now() - began))
      })
      socket.once("data", () => {
        socket.pause()
        resolve({ closed, resume: () => void socket.resume() })
      })
      socket.write(`POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
    })

  test("pauses the upstream, and is cut when it takes nothing", async ({ fake, hub }) => {
    fake.script({}, { fault: "endless", always: true })
    const arrived = fake.next({})
    const before = process.memoryUsage().rss
    const reader = await stalled(hub, ask)
    const call = await arrived
    await call.ended
    assert.isBelow(process.memoryUsage().rss - before, 128 * 1024 * 1024)
    reader.resume()
    assert.isBelow(await reader.closed, 10_000)
    const rows = await Effect.runPromise(
      Effect.gen(function*() {
        const ledger = Context.get(hub.services, Ledger)
        while (true) {
          yield* ledger.flush
          const found = yield* ledger.requests({ limit: 5, event: "chat" })
          if (found.some(({ status }) => status !== null)) return found
          yield* Effect.sleep(10)
        }
      })
    )
    assert.strictEqual(rows[0]?.status, 499)
  }, { TOKENHUB_STREAM_IDLE_TIMEOUT_MS: "1000" })
})
