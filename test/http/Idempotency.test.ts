import Anthropic from "@anthropic-ai/sdk"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import type { Socket } from "node:net"
import { connect, createServer } from "node:net"
import { join } from "node:path"
import OpenAI from "openai"
import { LedgerSqlClient } from "../../src/store/Database.ts"
import { isError } from "../support/AdminHub.ts"
import { ask, ok, settled, start } from "../support/Bench.ts"
import type { FakeProvider } from "../support/FakeProvider.ts"
import type { Answer, Client, Hub, Send } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
}

const test = (name: string, run: (bench: Bench) => Promise<void>, options: Parameters<typeof start>[0] = {}) =>
  it.live(name, () => Effect.scoped(Effect.flatMap(start(options), (bench) => Effect.promise(() => run(bench)))), 30_000)

const keyed = (key: string, headers: Record<string, string> = {}): Send => ({ headers: { "idempotency-key": key, ...headers } })

const isReplay = (answer: Answer) => answer.headers.get("idempotent-replayed") === "true"

const idOf = (answer: Answer) => answer.headers.get("x-request-id") ?? ""

/** The headers that describe an answer, not the request or the connection. */
const describing = ({ headers }: Answer) =>
  Object.fromEntries([...headers].filter(([name]) => /^(?:x-tokenhub-|content-type$|cache-control$|x-accel-)/.test(name)))

/** Asserts that an answer is another one again. */
const isAgain = (again: Answer, first: Answer) => {
  assert.isFalse(isReplay(first))
  assert.isNull(first.headers.get("original-request"))
  assert.strictEqual(again.status, first.status, again.text)
  assert.isTrue(isReplay(again), "it says that it is one")
  assert.strictEqual(again.text, first.text)
  assert.deepStrictEqual(describing(again), describing(first))
  assert.strictEqual(again.headers.get("original-request"), idOf(first))
  assert.notStrictEqual(idOf(again), idOf(first))
}

/** Asserts that an answer was made for this request. */
const isFresh = (answer: Answer) => {
  assert.strictEqual(answer.status, 200, answer.text)
  assert.isFalse(isReplay(answer))
}

const sql = <A extends object>(hub: Hub, query: (sql: LedgerSqlClient["Service"]) => Effect.Effect<ReadonlyArray<A>, unknown>) =>
  Effect.runPromise(query(Context.get(hub.services, LedgerSqlClient)))

const rows = (hub: Hub) => sql(hub, (sql) => sql`SELECT * FROM answers`)

/** Waits until something holds. */
const until = async (holds: () => boolean | Promise<boolean>) => {
  const deadline = performance.now() + 15_000
  while (!(await holds())) {
    if (performance.now() > deadline) assert.fail(`never: ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A model's answer that waits for `release`. */
const held = (fake: FakeProvider, more: object = {}) => {
  let release = () => {}
  const waiting = new Promise<void>((resolve) => (release = resolve))
  fake.script({}, { text: "Hi", delay: { headers: waiting }, ...more })
  return () => release()
}

const makeKey = async (hub: Client, more: object = {}) => {
  const { id, key } = ok(await hub.admin("POST", "/keys", { name: "test", ...more }))
  return { id: String(id), authorization: `Bearer ${key}` }
}

/** Every door: its path, a body, and whether it streams. */
const doors: ReadonlyArray<readonly [path: string, body: object, streams: boolean]> = [
  ["/v1/chat", ask({ model: "m" }), true],
  ["/v1/chat/completions", ask({ model: "m" }), true],
  ["/v1/responses", { model: "m", input: "Hello" }, true],
  ["/v1/messages", ask({ model: "m" }), true],
  ["/v1/messages/count_tokens", { model: "m", messages: ask().messages }, false],
  ["/v1/embeddings", { model: "vectors", input: "Hello" }, false]
]

const addVectors = async (hub: Client) =>
  ok(await hub.admin("POST", "/models", { name: "vectors", provider: "p", upstream_name: "text-embedding-3-small", weight: 1, context_size: 8191, cost_per_1k_tokens: 0.001, capabilities: ["embeddings"] }))

describe("Idempotency-Key", () => {
  test("stands in the contract of every POST under /v1", async ({ hub }) => {
    const { json } = await hub.get("/openapi.json")
    const posts = Object.entries<{ post?: { parameters: ReadonlyArray<{ name: string; in: string; required: boolean }> } }>(json.paths).flatMap(([path, { post }]) =>
      path.startsWith("/v1/") && post !== undefined ? [[path, post] as const] : [])
    assert.sameMembers(posts.map(([path]) => path), doors.map(([path]) => path))
    for (const [path, { parameters }] of posts) {
      assert.deepInclude(parameters.find(({ name }) => name === "Idempotency-Key"), { in: "header", required: false }, path)
    }
    assert.include(json.info.description, "idempotency_key_reused")
  })

  test("gives the same answer to the same request again, on every door, and asks nobody", async ({ fake, hub }) => {
    await addVectors(hub)
    for (const [path, body] of doors) {
      fake.reset()
      const first = await hub.post(path, body, keyed("k"))
      const { length } = fake.bill
      assert.strictEqual(length, path === "/v1/messages/count_tokens" ? 0 : 1)
      isFresh(first)
      isAgain(await hub.post(path, body, keyed("k")), first)
      isAgain(await hub.post(path, body, keyed("k")), first)
      assert.lengthOf(fake.bill, length, path)
      isFresh(await hub.post(path, body, keyed("another")))
      isFresh(await hub.post(path, body))
    }
  })

  test("gives a stream again as a stream, comments and all", async ({ fake, hub }) => {
    for (const [path, given, streams] of doors) {
      if (!streams) continue
      fake.reset()
      fake.script({}, { text: "Hello there, friend", chunkSize: 4, delay: { firstToken: 100 } })
      const body = { ...given, stream: true }
      const first = await hub.post(path, body, keyed("s"))
      isFresh(first)
      assert.strictEqual(first.headers.get("content-type"), "text/event-stream")
      const again = await hub.post(path, body, keyed("s"))
      isAgain(again, first)
      assert.isNull(again.headers.get("content-length"))
      assert.lengthOf(fake.bill, 1, path)
    }
    const { text } = await hub.post("/v1/chat", { ...ask({ model: "m" }), stream: true }, keyed("s"))
    assert.include(text, ": heartbeat")
  }, { env: { TOKENHUB_HEARTBEAT_MS: "20" } })

  test("gives a provider's own answer and stream again as they came", async ({ fake, hub }) => {
    ok(await hub.admin("POST", "/providers", { name: "a", provider_type: "anthropic", api_key: "sk-a", base_url: fake.url("anthropic") }))
    ok(await hub.admin("POST", "/models", { name: "claude", provider: "a", weight: 1, context_size: 100_000, cost_per_1k_tokens: 0.001 }))
    for (const [path, model] of [["/v1/messages", "claude"], ["/v1/chat/completions", "m"]] as const) {
      for (const stream of [false, true]) {
        const body = ask({ model, stream })
        const first = await hub.post(path, body, keyed(`native ${stream}`))
        isFresh(first)
        isAgain(await hub.post(path, body, keyed(`native ${stream}`)), first)
      }
    }
    assert.lengthOf(fake.bill, 4)
  })

  test("costs nothing for what it gives again: no budget, but a row on the ledger", async ({ fake, hub }) => {
    const { authorization, id } = await makeKey(hub, { budget_usd: 1 })
    const first = await hub.chat(ask(), keyed("k", { authorization }))
    const { spent_usd: spent } = ok(await hub.admin("GET", `/keys/${id}`))
    const again = await hub.chat(ask(), keyed("k", { authorization }))
    isAgain(again, first)
    assert.strictEqual(ok(await hub.admin("GET", `/keys/${id}`)).spent_usd, spent)
    assert.notStrictEqual(spent, "0.000000000")
    const [second, paid] = await settled(hub)
    assert.deepInclude(second, { id: idOf(again), status: 200, cost: 0n, reserved: 0n, clientKey: id, endpoint: "/v1/chat", model: null, errorCode: null })
    assert.deepInclude(paid, { id: idOf(first), model: "m" })
    assert.isTrue((paid?.cost ?? 0n) > 0n)
    assert.lengthOf(fake.calls, 1)
  })

  test("lets one of twenty at once through; the others are told to wait, and get its answer afterwards", async ({ fake, hub }) => {
    for (const [path, body, streams] of doors.slice(0, 4)) {
      fake.reset()
      const release = held(fake)
      let refused = 0
      const all = await Promise.all(Array.from({ length: 20 }, async () => {
        const answer = await hub.post(path, { ...body, stream: streams }, keyed("twenty"))
        if (answer.status === 409 && ++refused === 19) release()
        return answer
      }))
      const [first, ...more] = all.filter(({ status }) => status === 200)
      assert.lengthOf(more, 0)
      for (const answer of all.filter((answer) => answer !== first)) {
        assert.strictEqual(answer.status, 409)
        assert.match(answer.headers.get("retry-after") ?? "", /^[1-9]\d*$/)
        assert.deepInclude(answer.json.error, { code: "idempotency_key_in_use", param: "Idempotency-Key", retryable: true })
      }
      const again = await Promise.all(Array.from({ length: 20 }, () => hub.post(path, { ...body, stream: streams }, keyed("twenty"))))
      for (const answer of again) isAgain(answer, first!)
      assert.lengthOf(fake.bill, 1)
    }
  })

  test("of a request with another body is refused, while the first runs and afterwards", async ({ fake, hub }) => {
    const release = held(fake)
    const first = hub.chat(ask(), keyed("k"))
    await until(() => fake.calls.length === 1)
    const refused = async () => {
      for (const other of [ask({ max_tokens: 101 }), `${JSON.stringify(ask())} `]) {
        isError(await hub.chat(other, keyed("k")), 422, { code: "idempotency_key_reused", param: "Idempotency-Key", message: /another body/ })
      }
    }
    await refused()
    release()
    isFresh(await first)
    await refused()
    assert.lengthOf(fake.calls, 1)
    const anthropic = await hub.post("/v1/messages", ask({ model: "m" }), keyed("k"))
    isFresh(anthropic)
    const other = await hub.post("/v1/messages", ask({ model: "m", max_tokens: 7 }), keyed("k"))
    assert.deepInclude(other.json, { type: "error" })
    assert.strictEqual(other.status, 422)
  })

  test("belongs to the client key that sent it, and callers without one are one", async ({ fake, hub }) => {
    const anonymous = await hub.chat(ask(), keyed("k"))
    isAgain(await hub.chat(ask(), keyed("k")), anonymous)
    const [a, b] = [await makeKey(hub), await makeKey(hub)]
    const mine = await hub.chat(ask(), keyed("k", { authorization: a.authorization }))
    isFresh(mine)
    isFresh(await hub.chat(ask(), keyed("k", { authorization: b.authorization })))
    const rotated = ok(await hub.admin("POST", `/keys/${a.id}/rotate`, { grace_seconds: 60 }))
    isAgain(await hub.chat(ask(), keyed("k", { authorization: `Bearer ${rotated.key}` })), mine)
    assert.lengthOf(fake.bill, 3)
  })

  test("gives nothing to whom the route is closed", async ({ fake, hub }) => {
    const { authorization, id } = await makeKey(hub)
    isFresh(await hub.chat(ask(), keyed("k", { authorization })))
    isError(await hub.chat(ask(), keyed("k")), 401, { code: "missing_credential" })
    isError(await hub.chat(ask(), keyed("k", { authorization: `${authorization}x` })), 401, { code: "invalid_credential" })
    isError(await hub.chat(ask(), keyed("", { authorization: "Bearer no" })), 401, { code: "invalid_credential" })
    ok(await hub.admin("PATCH", `/keys/${id}`, { scopes: ["models"] }))
    isError(await hub.chat(ask(), keyed("k", { authorization })), 403, { code: "forbidden" })
    ok(await hub.admin("PATCH", `/keys/${id}`, { scopes: null, rpm: 1 }))
    assert.isTrue(isReplay(await hub.chat(ask(), keyed("k", { authorization }))))
    isError(await hub.chat(ask(), keyed("k", { authorization })), 429, { code: "too_many_requests" })
    ok(await hub.admin("DELETE", `/keys/${id}`))
    isError(await hub.chat(ask(), keyed("k", { authorization })), 401, { code: "invalid_credential" })
    assert.lengthOf(fake.calls, 1)
  })

  test("that is none is a 400 that names the header", async ({ fake, hub }) => {
    const invalid = { code: "invalid_idempotency_key", param: "Idempotency-Key", message: /^Idempotency-Key: / }
    for (const key of ["", "   ", "x".repeat(256), "é", "a\tb"]) isError(await hub.chat(ask(), keyed(key)), 400, invalid)
    const body = JSON.stringify(ask())
    const twice = await hub.raw(
      `POST /v1/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nidempotency-key: a\r\nIdempotency-Key: b\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`
    )
    assert.match(twice, /^HTTP\/1\.1 400 /)
    assert.include(twice, "more than once")
    assert.lengthOf(fake.calls, 0)
    for (const key of ["x", "x".repeat(255), "\"a b\" ~!"]) {
      const first = await hub.chat(ask(), keyed(key))
      isFresh(first)
      isAgain(await hub.chat(ask(), keyed(key)), first)
    }
  })

  test("is for POST only, and no request without it leaves anything", async ({ fake, hub }) => {
    isFresh(await hub.get("/v1/models", keyed("k")))
    isFresh(await hub.get("/v1/models", keyed("k")))
    const kept = await hub.post("/v1/responses", { model: "m", input: "Hello", store: true })
    const path = `/v1/responses/${kept.json.id}`
    assert.strictEqual((await hub.request("DELETE", path, undefined, keyed("k"))).status, 200)
    assert.strictEqual((await hub.request("DELETE", path, undefined, keyed("k"))).status, 404)
    assert.lengthOf(await rows(hub), 0)
    assert.lengthOf(fake.calls, 1)
  })
})

describe("a key is free again", () => {
  test("after a failure, of the request's own or a provider's", async ({ fake, hub }) => {
    for (const [path, body] of doors.slice(0, 4)) {
      fake.reset()
      assert.strictEqual((await hub.post(path, "{", keyed("f"))).status, 400)
      assert.strictEqual((await hub.post(path, { ...body, model: "nothing" }, keyed("f"))).status, 404)
      fake.script({}, { fault: "401", always: true })
      const failed = await hub.post(path, body, keyed("f"))
      assert.strictEqual(failed.status, 502)
      fake.reset()
      ok(await hub.admin("PATCH", "/providers/p", { api_key: "sk-test" }))
      const first = await hub.post(path, body, keyed("f"))
      isFresh(first)
      isAgain(await hub.post(path, body, keyed("f")), first)
    }
  })

  test("after a stream that failed before its first event, or ended with an error", async ({ fake, hub }) => {
    for (const [path, given, streams] of doors) {
      if (!streams) continue
      const body = { ...given, stream: true }
      for (const fault of ["413", "cut-mid-stream", "error-mid", "stall?after=2"]) {
        fake.reset()
        fake.script({}, { text: "Hello there, friend", chunkSize: 4, fault, always: true })
        const broken = await hub.post(path, body, keyed(fault))
        assert.match(broken.text, /error/, `${path} ${fault}`)
        fake.reset()
        const first = await hub.post(path, body, keyed(fault))
        isFresh(first)
        isAgain(await hub.post(path, body, keyed(fault)), first)
      }
    }
  }, { env: { TOKENHUB_STREAM_IDLE_TIMEOUT_MS: "300", TOKENHUB_BREAKER_FAILURES: "1000" } })

  test("after its client left, before the answer or in its middle", async ({ fake, hub }) => {
    for (const [path, given, streams] of doors.slice(0, 4)) {
      for (const stream of streams ? [false, true] : [false]) {
        const body = { ...given, stream }
        const left = keyed(`left ${stream}`)
        fake.reset()
        fake.script({}, stream ? { text: "aaaabbbbcccc", chunkSize: 4, fault: "stall?after=2" } : { fault: "no-headers" })
        const leaving = new AbortController()
        const gone = hub.post(path, body, { ...left, signal: leaving.signal }).catch(() => "left")
        await until(() => fake.calls.length === 1)
        assert.strictEqual((await hub.post(path, body, left)).status, 409)
        leaving.abort()
        assert.strictEqual(await gone, "left")
        assert.strictEqual(await fake.calls[0]?.ended, "aborted")
        let first = await hub.post(path, body, left)
        await until(async () => first.status !== 409 || (first = await hub.post(path, body, left)).status !== 409)
        isFresh(first)
        isAgain(await hub.post(path, body, left), first)
        assert.lengthOf(fake.calls, 2)
      }
    }
  })

  test("after an answer of more than a mebibyte, whole or in pieces, and not of one a little smaller", async ({ fake, hub }) => {
    fake.script({}, { text: "x".repeat(1_100_000), chunkSize: 10_000, always: true })
    for (const stream of [false, true]) {
      const body = ask({ model: "m", stream })
      const first = await hub.post("/v1/chat/completions", body, keyed("large"))
      isFresh(first)
      assert.isAbove(first.text.length, 1024 * 1024)
      isFresh(await hub.post("/v1/chat/completions", body, keyed("large")))
    }
    assert.lengthOf(await rows(hub), 0)
    fake.reset()
    fake.script({}, { text: "x".repeat(900_000), chunkSize: 10_000, always: true })
    for (const stream of [false, true]) {
      const body = ask({ model: "m", stream })
      const first = await hub.post("/v1/chat/completions", body, keyed(`small ${stream}`))
      isFresh(first)
      isAgain(await hub.post("/v1/chat/completions", body, keyed(`small ${stream}`)), first)
    }
  })

  test("when its answer has expired, or does not open any more", async ({ hub }) => {
    const first = await hub.chat(ask(), keyed("k"))
    await sql(hub, (sql) => sql`UPDATE answers SET expires_at = ${Date.now() - 1}`)
    const second = await hub.chat(ask(), keyed("k"))
    isFresh(second)
    assert.notStrictEqual(idOf(second), idOf(first))
    isAgain(await hub.chat(ask(), keyed("k")), second)
    for (const damage of ["UPDATE answers SET sealed = zeroblob(300)", "UPDATE answers SET sealed = substr(sealed, 1, 40)", "UPDATE answers SET route = '/v1/chat/completions'"]) {
      await sql(hub, (sql) => sql.unsafe(damage))
      const path = damage.includes("route") ? "/v1/chat/completions" : "/v1/chat"
      const anew = await hub.post(path, ask(), keyed("k"))
      isFresh(anew)
      isAgain(await hub.post(path, ask(), keyed("k")), anew)
    }
  })

  test("after a new root key; a new password alone changes nothing", async ({ hub }) => {
    const first = await hub.chat(ask(), keyed("k"))
    const rotate = (old_password: string, new_password: string, rekey: boolean) =>
      hub.request("POST", "/admin/vault/rotate", { old_password, new_password, rekey }, { headers: { authorization: `Bearer ${old_password}` } })
    assert.strictEqual((await rotate(Harness.adminPassword, "another horse battery", false)).status, 204)
    isAgain(await hub.chat(ask(), keyed("k")), first)
    assert.strictEqual((await rotate("another horse battery", Harness.adminPassword, true)).status, 204)
    isFresh(await hub.chat(ask(), keyed("k")))
  })

  it.live("after kill -9 of what ran; whole answers are still there", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* Harness.folder
      const { fake, hub: first } = yield* start({ folder })
      yield* first.stop
      const env = { TOKENHUB_MOCK: "false" }
      const child = yield* Harness.spawnChild({ env, folder })
      const whole = yield* Effect.promise(async () => {
        const whole = await child.chat(ask(), keyed("whole"))
        isFresh(whole)
        held(fake)
        const cut = child.chat(ask(), keyed("running")).catch(() => "cut")
        await until(() => fake.calls.length === 2)
        child.signal("SIGKILL")
        await child.ended
        assert.strictEqual(await cut, "cut")
        return whole
      })
      fake.reset()
      const next = yield* Harness.spawnChild({ env, folder })
      yield* Effect.promise(async () => {
        isAgain(await next.chat(ask(), keyed("whole")), whole)
        assert.lengthOf(fake.calls, 0)
        isFresh(await next.chat(ask(), keyed("running")))
        next.signal("SIGTERM")
        assert.deepStrictEqual(await next.ended, { code: 0, signal: null })
      })
    })), 60_000)
})

describe("while the vault is locked", () => {
  test("requests are served and nothing is kept; what was kept before is there again afterwards", async ({ fake, hub }) => {
    const before = await hub.chat(ask(), keyed("before"))
    isFresh(before)
    assert.strictEqual((await hub.admin("POST", "/vault/lock")).status, 204)
    for (const stream of [false, true]) {
      for (const key of ["before", "during"]) {
        const answer = await hub.post("/v1/chat/completions", ask({ model: "m", stream }), keyed(key))
        isFresh(answer)
        isFresh(await hub.post("/v1/chat/completions", ask({ model: "m", stream }), keyed(key)))
      }
    }
    const release = held(fake)
    const running = hub.chat(ask(), keyed("running"))
    await until(() => fake.calls.length === 10)
    isError(await hub.chat(ask(), keyed("running")), 409, { code: "idempotency_key_in_use" })
    release()
    isFresh(await running)
    assert.strictEqual((await hub.admin("POST", "/vault/unlock", { password: Harness.adminPassword })).status, 204)
    isAgain(await hub.chat(ask(), keyed("before")), before)
    assert.lengthOf(await rows(hub), 1)
  }, { provider: { api_key: undefined }, env: { P_API_KEY: "sk-env" } })
})

describe("what is kept", () => {
  it.live("is there after a restart, and nowhere in the database's files to be read", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* Harness.folder
      const { fake, hub } = yield* start({ folder })
      const secrets = ["marzipan", "saffron", "cardamom"]
      const body = { ...ask({ model: "m" }), messages: [{ role: "user", content: "the question is saffron" }] }
      fake.script({}, { text: "the answer is marzipan", chunkSize: 100, always: true })
      const answers = yield* Effect.promise(async () => {
        const plain = await hub.chat(body, keyed("key-cardamom"))
        const stream = await hub.post("/v1/messages", { ...body, stream: true }, keyed("key-cardamom"))
        assert.include(plain.text, "marzipan")
        assert.include(stream.text, "marzipan")
        const backup = await hub.admin("POST", "/backup")
        for (const secret of secrets) assert.notInclude(backup.text, secret)
        return [plain, stream] as const
      })
      const inFiles = () => readdirSync(folder).map((name) => readFileSync(join(folder, name)))
      const clean = () => {
        const files = inFiles()
        assert.isTrue(files.some((file) => file.includes("CREATE TABLE answers")))
        for (const secret of secrets) assert.isFalse(files.some((file) => file.includes(secret)), secret)
      }
      clean()
      yield* hub.stop
      clean()
      const again = yield* Harness.start({ env: { TOKENHUB_MOCK: "false" }, folder })
      yield* Effect.promise(async () => {
        isAgain(await again.chat(body, keyed("key-cardamom")), answers[0])
        isAgain(await again.post("/v1/messages", { ...body, stream: true }, keyed("key-cardamom")), answers[1])
        assert.lengthOf(fake.bill, 2)
      })
    })), 30_000)

  test("is whole also where the client did not stay to read it", async ({ fake, hub }) => {
    fake.script({}, { text: "x".repeat(100_000), chunkSize: 1000, always: true })
    for (const [path, given] of doors.slice(0, 4)) {
      const body = JSON.stringify({ ...given, stream: true })
      const socket = connect(hub.port, "127.0.0.1").pause()
      socket.write(`POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nidempotency-key: lost\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
      await until(async () => (await rows(hub)).some((row) => Object(row).route === path))
      socket.destroy()
      const again = await hub.post(path, body, keyed("lost"))
      assert.isTrue(isReplay(again))
      assert.isAbove(again.text.length, 100_000)
    }
    assert.lengthOf(fake.bill, 4)
  })
})

describe("an official SDK that never got the answer", () => {
  /** Whether all of one HTTP answer has come, by its length or its last chunk. */
  const isWhole = (received: string): boolean => {
    const end = received.indexOf("\r\n\r\n")
    const length = /content-length: (\d+)/i.exec(received.slice(0, Math.max(0, end)))?.[1]
    return end >= 0 && (length === undefined ? received.endsWith("\r\n0\r\n\r\n") : received.length === end + 4 + Number(length))
  }

  /** A wire to a TokenHub that loses the first answer once all of it has come. */
  const lossy = (hub: Hub) =>
    Effect.acquireRelease(
      Effect.promise(async () => {
        const sockets = new Set<Socket>()
        let lost = 0
        const server = createServer((client) => {
          const upstream = connect(hub.port, "127.0.0.1")
          let received = ""
          for (const [end, other] of [[client, upstream], [upstream, client]] as const) {
            sockets.add(end)
            end.on("error", () => {})
            end.on("close", () => other.destroy())
          }
          client.on("data", (chunk) => upstream.write(chunk))
          upstream.on("data", (chunk) => {
            if (lost > 0) return client.write(chunk)
            received += chunk.toString("latin1")
            if (!isWhole(received)) return
            lost++
            client.destroy()
          })
        })
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
        const address = server.address()
        const close = () => {
          server.close()
          for (const socket of sockets) socket.destroy()
        }
        return { close, lost: () => lost, url: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}` }
      }),
      ({ close }) => Effect.sync(close)
    )

  const sdk = (name: string, run: (url: string, headers: Record<string, string>) => Promise<string>) =>
    it.live(name, () =>
      Effect.scoped(Effect.gen(function*() {
        const { fake, hub } = yield* start()
        const wire = yield* lossy(hub)
        fake.script({}, { text: "the first", usage: { prompt: 5, completion: 7 } }, { text: "the second" })
        const headers = { "Idempotency-Key": "order-4711" }
        const text = yield* Effect.promise(() => run(wire.url, headers))
        assert.strictEqual(wire.lost(), 1)
        assert.strictEqual(text, "the first")
        assert.lengthOf(fake.bill, 1)
        const [again, first] = yield* Effect.promise(() => settled(hub))
        assert.deepStrictEqual([again?.cost, first?.cost], [0n, 12_000n])
      })), 30_000)

  const messages = [{ role: "user" as const, content: "Hello" }]
  const openAi = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 2 })
  const anthropic = (url: string) => new Anthropic({ baseURL: url, apiKey: "none", authToken: null, maxRetries: 2 })

  sdk("gets it at its next try, and it is billed once: `openai`, chat completions", async (url, headers) => {
    const { choices } = await openAi(url).chat.completions.create({ model: "m", messages }, { headers })
    return choices[0]?.message.content ?? ""
  })

  sdk("gets it at its next try, and it is billed once: `openai`, responses", async (url, headers) =>
    (await openAi(url).responses.create({ model: "m", input: "Hello" }, { headers })).output_text)

  sdk("gets it at its next try, and it is billed once: `@anthropic-ai/sdk`", async (url, headers) => {
    const { content } = await anthropic(url).messages.create({ model: "m", max_tokens: 100, messages }, { headers })
    return content.map((block) => (block.type === "text" ? block.text : "")).join("")
  })

  sdk("gets it at its next try, and it is billed once: `openai`, as a stream", async (url, headers) => {
    const stream = await openAi(url).chat.completions.create({ model: "m", messages, stream: true }, { headers })
    let text = ""
    for await (const { choices } of stream) text += choices[0]?.delta.content ?? ""
    return text
  })
})
