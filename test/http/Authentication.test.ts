import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { get } from "node:http"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { isLocal } from "../../src/http/Credentials.ts"
import type { Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

class TokenHub extends Context.Service<TokenHub, Hub>()("test/TokenHub") {}

const hubWith = (env: Readonly<Record<string, string>> = {}) => Layer.effect(TokenHub, Harness.start({ env }))

const user = { messages: [{ role: "user", content: "Hello" }] }
const body = JSON.stringify(user)

/** One request with exactly these header lines; the status line and the body of its answer. */
const rawChat = async (hub: Hub, lines: ReadonlyArray<string>, path = "/v1/chat") => {
  const text = await hub.raw(
    [`POST ${path} HTTP/1.1`, "Content-Type: application/json", `Content-Length: ${Buffer.byteLength(body)}`, "Connection: close", ...lines, "", body].join("\r\n")
  )
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), json: JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4)) }
}

const makeKey = async (hub: Hub): Promise<{ id: string; key: string }> => (await hub.admin("POST", "/keys", { name: "test" })).json

layer(hubWith(), { excludeTestServices: true, timeout: 20_000 })("while no client key exists (auto)", (it) => {
  const test = (name: string, run: (hub: Hub) => Promise<void>) =>
    it.effect(name, () => Effect.flatMap(TokenHub, (hub) => Effect.promise(() => run(hub))))

  test("a program on this machine needs none", async (hub) => {
    for (const host of ["localhost", `localhost:${hub.port}`, "127.0.0.1", "[::1]:80"]) {
      assert.strictEqual((await rawChat(hub, [`Host: ${host}`])).status, 200, host)
    }
    assert.strictEqual((await hub.chat(user, { headers: { authorization: "Bearer sk-anything" } })).status, 200)
  })

  test("a proxy, a web page and a rebound name do", async (hub) => {
    for (
      const line of [
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 192.0.2.1",
        "Via: 1.1 proxy",
        "Origin: http://localhost:3000",
        "Origin: null"
      ]
    ) {
      const answer = await rawChat(hub, ["Host: localhost", line])
      assert.strictEqual(answer.status, 401, line)
      assert.strictEqual(answer.json.error.code, "missing_credential")
      assert.include(answer.json.error.message, "POST /admin/keys")
    }
    for (const host of ["evil.example", "localhost.evil.example", "192.168.0.5", "127.0.0.1.evil.example"]) {
      assert.strictEqual((await rawChat(hub, [`Host: ${host}`])).status, 401, host)
    }
    assert.strictEqual((await rawChat(hub, ["Host: localhost", "Host: localhost"])).status, 401)
    assert.strictEqual((await rawChat(hub, ["Host: localhost"], "http://evil.example/v1/chat")).status, 401)
  })

  test("the admin password opens nothing under /v1, and no key opens /admin", async (hub) => {
    const answer = await rawChat(hub, ["Host: example.org", `Authorization: Bearer ${Harness.adminPassword}`])
    assert.strictEqual(answer.status, 401)
    assert.strictEqual(answer.json.error.code, "invalid_credential")
    const missing = await hub.get("/admin/vault")
    assert.deepStrictEqual([missing.json.error.code, missing.headers.get("www-authenticate")], ["missing_credential", "Bearer"])
    assert.strictEqual((await hub.get("/admin/vault", { headers: { "x-api-key": Harness.adminPassword } })).json.error.code, "missing_credential")
    assert.strictEqual((await hub.get("/admin/vault", { headers: { authorization: `Basic ${Harness.adminPassword}` } })).status, 401)
  })

  test("two Authorization headers are a 400", async (hub) => {
    for (const path of ["/v1/chat", "/admin/providers"]) {
      const answer = await rawChat(hub, ["Host: localhost", `Authorization: Bearer ${Harness.adminPassword}`, "authorization: Bearer other"], path)
      assert.strictEqual(answer.status, 400)
      assert.strictEqual(answer.json.error.code, "duplicate_authorization")
    }
  })

  test("authentication comes before the body", async (hub) => {
    const text = await hub.raw("POST /admin/providers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n", (received) => received.includes("missing_credential"))
    assert.match(text, /^HTTP\/1\.1 401/)
  })

  test("it is decided on the route that matched, not on the raw path", async (hub) => {
    for (const path of ["//admin//vault", "/%61dmin/vault", "/admin/vault?x=/health", "/admin/./vault", "/v1/../admin/vault"]) {
      const text = await hub.raw(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      assert.match(text, /^HTTP\/1\.1 40[14]/, path)
    }
  })
})

layer(hubWith(), { excludeTestServices: true, timeout: 20_000 })("once a client key has existed (auto)", (it) => {
  it.effect("everyone needs one, for good", () =>
    Effect.flatMap(TokenHub, (hub) =>
      Effect.promise(async () => {
        const { id, key } = await makeKey(hub)
        assert.match(key, /^th_/)
        const refused = await hub.chat(user)
        assert.strictEqual(refused.status, 401)
        assert.strictEqual(refused.json.error.message, "A credential is missing")
        const wrong = await hub.chat(user, { headers: { authorization: "Bearer th_wrong" } })
        assert.strictEqual(wrong.json.error.message, "The credential is wrong")
        assert.strictEqual(wrong.json.error.type, "authentication_error")
        assert.strictEqual((await hub.chat(user, { headers: { authorization: `bearer   ${key}` } })).status, 200)
        assert.strictEqual((await hub.chat(user, { headers: { "x-api-key": key, origin: "https://app.example" } })).status, 200)
        assert.strictEqual((await hub.get("/admin/vault", { headers: { authorization: `Bearer ${key}` } })).status, 401)

        assert.strictEqual((await hub.admin("DELETE", `/keys/${id}`)).status, 204)
        assert.strictEqual((await hub.chat(user, { headers: { authorization: `Bearer ${key}` } })).status, 401)
        assert.strictEqual((await hub.chat(user)).status, 401, "also after the last was revoked")
      })))
})

describe("TOKENHUB_CLIENT_AUTH", () => {
  it.live("required: loopback needs a key too", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_CLIENT_AUTH: "required" } })
      assert.strictEqual((yield* Effect.promise(() => hub.chat(user))).status, 401)
      assert.include(hub.printed[2], "authorization: Bearer th_")
      const { key } = yield* Effect.promise(() => makeKey(hub))
      assert.strictEqual((yield* Effect.promise(() => hub.chat(user, { headers: { "x-api-key": key } }))).status, 200)
    }).pipe(Effect.scoped))

  it.live("off: nobody does, and every start warns", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_CLIENT_AUTH: "off" } })
      assert.strictEqual((yield* Effect.promise(() => rawChat(hub, ["Host: evil.example", "Origin: http://evil.example"]))).status, 200)
      assert.isTrue(hub.printed.some((line) => line.includes("TOKENHUB_CLIENT_AUTH=off")))
    }).pipe(Effect.scoped))
})

describe("a request without a good credential", () => {
  it.live("is counted by its address, and many are one row of the log", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const hub = yield* Harness.start({ folder, env: { TOKENHUB_CLIENT_AUTH: "required" } })
      for (let i = 0; i < 3; i++) assert.strictEqual((yield* Effect.promise(() => hub.chat(user))).status, 401)
      assert.strictEqual((yield* Effect.promise(() => hub.get("/admin/vault"))).status, 401)
      assert.strictEqual((yield* Effect.promise(() => hub.get("/admin/vault", { headers: { authorization: "Bearer wrong password" } }))).status, 401)
      yield* hub.stop
      const db = new DatabaseSync(join(folder, "tokenhub.db"), { readOnly: true })
      const rows = db.prepare("SELECT event, endpoint, status FROM requests").all().map((row) => ({ ...row }))
      db.close()
      assert.deepStrictEqual(rows, [{ event: "unauthenticated", endpoint: "127.0.0.1 5", status: 401 }])
    }).pipe(Effect.scoped))
})

describe("a good credential", () => {
  it.live("is good for its own request only: no answer sets a cookie, and no connection remembers", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      yield* Effect.promise(async () => {
        const { key } = await makeKey(hub)
        const request = (path: string, credential: string) =>
          `${path.startsWith("/admin") ? "GET" : "POST"} ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${credential}Content-Length: ${
            path.startsWith("/admin") ? 0 : Buffer.byteLength(body)
          }\r\n\r\n${path.startsWith("/admin") ? "" : body}`
        const admin = `Authorization: Bearer ${Harness.adminPassword}\r\n`
        const client = `Authorization: Bearer ${key}\r\n`
        const cookies = `Cookie: session=1; token=${key}; admin=${Harness.adminPassword}\r\n`
        const wanted = [
          [request("/v1/chat", client), 200],
          [request("/v1/chat", ""), 401],
          [request("/admin/vault", admin), 200],
          [request("/v1/chat", cookies), 401],
          [request("/admin/vault", ""), 401],
          [request("/v1/chat", admin), 401],
          [request("/admin/vault", client), 401],
          [request("/v1/chat", client), 200]
        ] as const
        const received = await hub.raw(wanted.map(([text]) => text).join(""), (text) => text.match(/HTTP\/1\.1 \d+/g)?.length === wanted.length)
        assert.deepStrictEqual([...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status)), wanted.map(([, status]) => status))
        assert.notMatch(received, /set-cookie/i)
        assert.notInclude((await hub.chat(user, { headers: { "x-api-key": key } })).headers.get("set-cookie") ?? "", "=")
      })
    }).pipe(Effect.scoped))
})

describe("the admin password", () => {
  it.live("is read as UTF-8", () =>
    Effect.gen(function*() {
      const password = "pässwört-密码"
      const hub = yield* Harness.start({ env: { TOKENHUB_ADMIN_PASSWORD: password } })
      const ask = (bearer: Uint8Array) =>
        Effect.promise(() =>
          hub.raw(Buffer.concat([Buffer.from("GET /admin/vault HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer "), bearer, Buffer.from("\r\n\r\n")]))
        )
      assert.match(yield* ask(Buffer.from(password, "utf8")), /^HTTP\/1\.1 200/)
      assert.match(yield* ask(Buffer.from("pässwört", "latin1")), /^HTTP\/1\.1 401/)
      assert.match(yield* ask(Buffer.from([0xff, 0xfe, 0xfd])), /^HTTP\/1\.1 401/)
    }).pipe(Effect.scoped))

  it.live("is throttled after five wrong ones, and a missing one is no guess", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      const guess = (headers: Record<string, string>) => Effect.promise(() => hub.get("/admin/vault", { headers }))
      for (let i = 0; i < 7; i++) assert.strictEqual((yield* guess({})).status, 401)
      for (let i = 0; i < 5; i++) assert.strictEqual((yield* guess({ authorization: "Bearer wrong password" })).status, 401)
      const throttled = yield* guess({ authorization: `Bearer ${Harness.adminPassword}` })
      assert.strictEqual(throttled.status, 429)
      assert.strictEqual(throttled.headers.get("retry-after"), "1")
      const metrics = (yield* Effect.promise(() => hub.get("/metrics"))).text
      assert.match(metrics, /tokenhub_auth_failures_total\{(?=[^}]*scope="admin")(?=[^}]*reason="wrong")[^}]*\} [1-9]/)
      assert.match(metrics, /tokenhub_auth_failures_total\{(?=[^}]*scope="admin")(?=[^}]*reason="throttled")[^}]*\} [1-9]/)
      // From another address, the right one still works.
      const status = yield* Effect.promise(() =>
        new Promise((resolve, reject) => {
          const options = { host: "127.0.0.1", port: hub.port, localAddress: "127.0.0.2", path: "/admin/vault", headers: { authorization: `Bearer ${Harness.adminPassword}` } }
          get(options, (response) => resolve(response.resume().statusCode)).on("error", reject)
        }))
      assert.strictEqual(status, 200)
    }).pipe(Effect.scoped))

  it.live("makes earlier guesses forgotten when it is right", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start()
      const statusOf = (password: string) =>
        Effect.map(Effect.promise(() => hub.get("/admin/vault", { headers: { authorization: `Bearer ${password}` } })), ({ status }) => status)
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 4; i++) assert.strictEqual(yield* statusOf("wrong password"), 401)
        assert.strictEqual(yield* statusOf(Harness.adminPassword), 200)
      }
    }).pipe(Effect.scoped))
})

describe("refused credentials", () => {
  it.live("of a client and of an admin stand on the ledger as one row with their number, so that a flood can't fill the disk", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const hub = yield* Harness.start({ folder, env: { TOKENHUB_CLIENT_AUTH: "required" } })
      for (let i = 0; i < 3; i++) {
        assert.strictEqual((yield* Effect.promise(() => hub.chat(user))).status, 401)
        assert.strictEqual((yield* Effect.promise(() => hub.get("/admin/vault"))).status, 401)
      }
      yield* hub.stop
      const again = yield* Harness.start({ folder })
      const { json } = yield* Effect.promise(() => again.admin("GET", "/requests?event=unauthenticated"))
      assert.deepStrictEqual(json.requests.map(({ endpoint, status }: Record<string, unknown>) => [endpoint, status]), [["127.0.0.1 6", 401]])
    }).pipe(Effect.scoped))
})

describe("a local caller", () => {
  it("is one with a loopback peer and a loopback Host", () => {
    const local = (address: string, host: string) => isLocal(address, { host }, ["Host", host])
    for (const address of ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"]) assert.isTrue(local(address, "localhost"), address)
    for (const address of ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "", "1270.0.0.1"]) assert.isFalse(local(address, "localhost"), address)
    assert.isFalse(isLocal("127.0.0.1", {}, []))
  })
})
