import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { once } from "node:events"
import parsePrometheus from "parse-prometheus-text-format"
import manifest from "../../../package.json" with { type: "json" }
import { inStage } from "../../../src/domain/Stages.ts"
import * as Fake from "../../support/FakeProvider.ts"
import type { Hub } from "../../support/Harness.ts"
import * as Harness from "../../support/Harness.ts"

class TokenHub extends Context.Service<TokenHub, Hub>()("test/TokenHub") {}

const user = { messages: [{ role: "user", content: "Hello" }] }

layer(Layer.effect(TokenHub, Harness.start()), { excludeTestServices: true, timeout: 20_000 })("the system routes", (it) => {
  const test = (name: string, run: (hub: Hub) => Promise<void>) =>
    it.effect(name, () => Effect.flatMap(TokenHub, (hub) => Effect.promise(() => run(hub))))

  test("a fresh instance is healthy, alive and ready", async (hub) => {
    const health = await hub.get("/health")
    const { uptime_seconds, ...facts } = health.json
    assert.isAtLeast(uptime_seconds, 0)
    assert.deepStrictEqual(facts, { status: "healthy", version: manifest.version, ready: true, reasons: [] })
    assert.deepStrictEqual((await hub.get("/health/live")).json, { status: "alive" })
    assert.deepStrictEqual((await hub.get("/health/ready")).json, { ready: true })
  })

  test("the start says where it listens, where its data lie, and a curl that gets an answer", async (hub) => {
    assert.strictEqual(hub.printed[0], `TokenHub listens on http://127.0.0.1:${hub.port}`)
    assert.match(hub.printed[1] ?? "", /\/tokenhub\.db$/)
    const curl = /curl -s (\S+) -H '([^']+): ([^']+)' -d '([^']+)'/.exec(hub.printed[2] ?? "")
    const [, url = "", name = "", value = "", body = ""] = curl ?? []
    const response = await fetch(url, { method: "POST", headers: { [name]: value }, body })
    assert.strictEqual(response.status, 200)
    assert.include(hub.printed[3], "mock")
  })

  test("metrics count by route, and what matched none as other", async (hub) => {
    await hub.chat(user)
    await hub.chat({ messages: [] })
    await hub.get("/no/such/route")
    await hub.admin("GET", "/providers/nobody")
    const scrape = await hub.get("/metrics")
    assert.match(scrape.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/)
    const requests = parsePrometheus(scrape.text).find(({ name }) => name === "tokenhub_requests_total")
    const labels = (requests?.metrics ?? []).map(({ labels }) => `${labels?.["endpoint"]} ${labels?.["status"]}`)
    for (const label of ["/v1/chat 200", "/v1/chat 400", "other 404", "/admin/providers/:name 404"]) assert.include(labels, label)
    assert.notInclude(scrape.text, "no/such/route")
  })

  test("the contract is served as OpenAPI and as a page that needs nobody else", async (hub) => {
    const { json } = await hub.get("/openapi.json")
    assert.strictEqual(json.info.title, "TokenHub")
    assert.includeMembers(Object.keys(json.paths), ["/v1/chat", "/health", "/metrics", "/admin/providers"])
    assert.property(json.paths["/v1/chat"].post.responses, "200")
    assert.property(json.paths["/v1/chat"].post.responses, "422")
    const page = await hub.get("/docs")
    assert.strictEqual(page.status, 200)
    assert.match(page.headers.get("content-type") ?? "", /^text\/html/)
    assert.notMatch(page.text.slice(0, 2000), /<script src=|<link [^>]*href="http/)
  })

  test("the contract leaves room for other fields exactly where the server takes or sends them", async (hub) => {
    const { json } = await hub.get("/openapi.json")
    const { schemas } = json.components
    const isClosed = (name: string) => schemas[name].additionalProperties === false
    const refused = ["NewProvider", "ProviderChanges", "NewModel", "ModelChanges", "NewClientKey", "ClientKeyChanges", "ClientKeyRotation", "RoutingPolicy", "TokenHubOptions"]
    const open = ["ChatRequest", "ChatAnswer", "ChatCompletionRequest", "ChatCompletion", "AnthropicMessagesRequest", "AnthropicMessageAnswer", "EmbeddingsRequest", "Provider", "Error"]
    for (const name of refused) assert.isTrue(isClosed(name), name)
    for (const name of open) assert.isFalse(isClosed(name), name)
    assert.strictEqual(schemas.NewProvider.properties.timeouts.additionalProperties, false)
    assert.strictEqual((await hub.chat({ ...user, metadata: { a: "b" } })).status, 200)
    assert.strictEqual((await hub.admin("POST", "/routing/explain", { ...user, metadata: { a: "b" } })).status, 200)
    assert.strictEqual((await hub.chat({ ...user, tokenhub: { metadata: {} } })).status, 400)
    assert.strictEqual((await hub.admin("POST", "/keys", { name: "k", metadata: {} })).status, 400)
  })

  test("the contract has every status that its routes answer a body of another kind with", async (hub) => {
    const { paths } = (await hub.get("/openapi.json")).json
    for (const path of ["/v1/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/admin/providers", "/admin/routing/explain"]) {
      const headers = { "content-type": "text/plain", ...(path.startsWith("/admin") ? { authorization: `Bearer ${Harness.adminPassword}` } : {}) }
      const { status } = await hub.post(path, "Hello", { headers })
      assert.strictEqual(status, 415, path)
      assert.property(paths[path].post.responses, String(status), path)
    }
  })
})

describe("the start", { timeout: 20_000 }, () => {
  it.live("warns of variables that mean nothing", () =>
    Effect.gen(function*() {
      const { printed } = yield* Harness.start({ env: { TOKENHUB_CLIENT_AUHT: "required" } })
      const warnings = printed.filter((line) => line.startsWith("Warning: "))
      assert.deepStrictEqual(warnings, ["Warning: TOKENHUB_CLIENT_AUHT is set, but TokenHub has no such variable (README.md has the list)"])
    }))
})

describe("readiness", { timeout: 20_000 }, () => {
  it.live("a locked vault is said at the start and in ready, and health stays 200", () =>
    Effect.gen(function*() {
      const folder = yield* Harness.folder
      const first = yield* Harness.start({ folder })
      yield* first.stop
      const hub = yield* Harness.start({ folder, env: { TOKENHUB_ADMIN_PASSWORD: "another good password" } })
      const ready = yield* Effect.promise(() => hub.get("/health/ready"))
      assert.strictEqual(ready.status, 503)
      assert.deepStrictEqual(ready.json.reasons, ["vault_locked"])
      assert.strictEqual(ready.json.error.code, "not_ready")
      const health = yield* Effect.promise(() => hub.get("/health"))
      assert.deepStrictEqual([health.status, health.json.ready], [200, false])
      assert.isTrue(hub.printed.some((line) => line.includes("vault is locked")))
      const unlocked = yield* Effect.promise(() => hub.admin("POST", "/vault/unlock", { password: Harness.adminPassword }))
      assert.strictEqual(unlocked.status, 204, unlocked.text)
      assert.strictEqual((yield* Effect.promise(() => hub.get("/health/ready"))).status, 200)
    }).pipe(Effect.scoped))
})

describe("TOKENHUB_METRICS_TOKEN", () => {
  it.live("closes /metrics to all who do not carry it", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_METRICS_TOKEN: "scrape-me" } })
      const scrape = (headers: Record<string, string>) => Effect.promise(() => hub.get("/metrics", { headers }))
      assert.strictEqual((yield* scrape({})).json.error.code, "missing_credential")
      assert.strictEqual((yield* scrape({ authorization: `Bearer ${Harness.adminPassword}` })).json.error.code, "invalid_credential")
      assert.strictEqual((yield* scrape({ authorization: "Bearer scrape-me" })).status, 200)
      assert.strictEqual((yield* scrape({})).headers.get("www-authenticate"), "Bearer")
      const twice = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer scrape-me\r\nauthorization: Bearer other\r\nConnection: close\r\n\r\n"
      assert.match(yield* Effect.promise(() => hub.raw(twice)), /^HTTP\/1\.1 400[^]*duplicate_authorization/)
    }).pipe(Effect.scoped))
})

describe("the log", () => {
  it.live("has one line for each request, without bodies, paths or credentials", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_LOG_LEVEL: "info", TOKENHUB_LOG_FORMAT: "json" } })
      yield* Effect.promise(async () => {
        const answer = await hub.chat({ messages: [{ role: "user", content: "the-prompt" }] }, { headers: { authorization: "Bearer the-credential" } })
        const refused = await hub.chat({ messages: [] })
        await hub.get("/the-path?the-query=1")
        const lines = () => hub.printed.filter((line) => line.includes("\"request\"")).map((line) => JSON.parse(line))
        while (lines().length < 3) await new Promise((resolve) => setTimeout(resolve, 5))
        const [first, second, third] = lines()
        assert.deepInclude(first, { level: "info", method: "POST", route: "/v1/chat", status: 200, request_id: answer.headers.get("x-request-id") })
        assert.isAtLeast(first.duration_ms, 0)
        assert.deepInclude(second, { status: 400, error: "invalid_request", request_id: refused.headers.get("x-request-id") })
        assert.deepInclude(third, { method: "GET", route: "other", status: 404 })
        for (const secret of ["the-prompt", "the-credential", "the-path", "the-query", Harness.adminPassword]) assert.notInclude(hub.printed.join(), secret)
      })
    }).pipe(Effect.scoped))
})

describe("TOKENHUB_PROCESS_CONCURRENCY", () => {
  it.live("bounds what is served at once; the rest is told when to come again, and health answers", () =>
    Effect.gen(function*() {
      const fake = yield* Fake.scoped()
      const hub = yield* Harness.start({ env: { TOKENHUB_PROCESS_CONCURRENCY: "2", TOKENHUB_MOCK: "false" } })
      yield* Effect.promise(async () => {
        await hub.admin("POST", "/providers", { name: "p", provider_type: "openai-compatible", api_key: "sk-test", allow_private: true, base_url: fake.url("openai") })
        await hub.admin("POST", "/models", { name: "m", provider: "p", context_size: 100_000, weight: 1 })
        let release = () => {}
        const gate = new Promise<void>((resolve) => (release = resolve))
        fake.script({}, { text: "one", delay: { headers: gate }, always: true })
        const both = [hub.chat({ ...user, model: "m" }), hub.chat({ ...user, model: "m" })]
        while (fake.calls.filter(({ operation }) => operation === "chat").length < 2) await fake.next({})
        const refused = await hub.chat({ ...user, model: "m" })
        assert.strictEqual(refused.status, 503)
        assert.strictEqual(refused.json.error.code, "overloaded")
        assert.strictEqual(refused.headers.get("retry-after"), "1")
        assert.strictEqual((await hub.get("/health/ready")).status, 200)
        release()
        assert.deepStrictEqual((await Promise.all(both)).map(({ status }) => status), [200, 200])
      })
    }).pipe(Effect.scoped))

  const models = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"

  it.live("counts those too that wait for their turn, and lets in who came first", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_PROCESS_CONCURRENCY: "30" } })
      yield* Effect.promise(async () => {
        const clients = await Harness.connections(hub.port, 60)
        const statuses: Array<number> = []
        // Whoever is refused asks again at once.
        await Promise.all(clients.map(async (client) => {
          for (let i = 0; i < 10; i++) {
            client.write(models)
            const [answer] = await once(client, "data")
            statuses.push(Number(String(answer).slice(9, 12)))
          }
        }))
        for (const client of clients) client.destroy()
        const counts = [200, 503].map((status) => statuses.filter((one) => one === status).length)
        assert.strictEqual(counts.reduce((sum, count) => sum + count, 0), 600)
        // All sixty come in one turn of the event loop, which the server shares; without the bound each would be done before the next begin.
        assert.isAtLeast(counts[0] ?? 0, 100, counts.join())
        assert.isAtLeast(counts[1] ?? 0, 30, counts.join())
      })
    }).pipe(Effect.scoped))

  it.live("holds for one connection that sends without end and reads nothing", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_PROCESS_CONCURRENCY: "30" } })
      yield* Effect.promise(async () => {
        const [client] = await Harness.connections(hub.port, 1)
        client?.pause()
        client?.write(models.repeat(10_000))
        const inFlight = async () => Number(/^tokenhub_in_flight (\d+)/m.exec((await hub.get("/metrics")).text)?.[1])
        // Each scrape is a request, with turns of the event loop before and after it.
        for (let i = 0; i < 20; i++) assert.isAtMost(await inFlight(), 31)
        client?.destroy()
      })
    }).pipe(Effect.scoped))
})

describe("the log line of a request that waited for its turn", () => {
  it.live("counts the wait", () =>
    Effect.gen(function*() {
      const hub = yield* Harness.start({ env: { TOKENHUB_LOG_LEVEL: "info", TOKENHUB_LOG_FORMAT: "json" } })
      yield* Effect.promise(async () => {
        const [client] = await Harness.connections(hub.port, 1)
        if (client === undefined) return assert.fail("no connection")
        // Six turns of tasks that take their time; what is written now comes after the first of them.
        for (let i = 0; i < 96; i++) inStage("requests", () => Harness.spin(2))
        client.write("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        client.resume()
        await once(client, "close")
        const line = () => hub.printed.find((one) => one.includes("/v1/models"))
        while (line() === undefined) await new Promise((resolve) => setTimeout(resolve, 5))
        assert.isAtLeast(JSON.parse(line() ?? "").duration_ms, 50)
      })
    }).pipe(Effect.scoped))
})
