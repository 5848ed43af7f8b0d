import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Adversarial } from "../../src/orchestrate/modes/Adversarial.ts"
import { Simple } from "../../src/orchestrate/modes/Simple.ts"
import type { Mode } from "../../src/orchestrate/Mode.ts"
import { Modes } from "../../src/orchestrate/Mode.ts"
import type { Answer, Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

class TokenHub extends Context.Service<TokenHub, Hub>()("test/TokenHub") {}

const Broken: Mode = { name: "broken", description: "Has a defect.", maxSteps: () => 1, run: () => Effect.die(new Error("a secret in the defect")) }

const hubLayer = Layer.effect(TokenHub, Harness.start({ modes: Modes.layer(Simple, Adversarial, Broken) }))

const user = { messages: [{ role: "user", content: "Hello" }] }

const assertEnvelope = (answer: Answer, status: number, code: string, param: string | null = null) => {
  assert.strictEqual(answer.status, status, answer.text)
  const { error } = answer.json
  assert.deepStrictEqual(Object.keys(error).filter((key) => key !== "details"), ["message", "type", "code", "param", "request_id", "retryable"])
  assert.strictEqual(error.code, code, answer.text)
  assert.strictEqual(error.param, param)
  assert.strictEqual(error.request_id, answer.headers.get("x-request-id"))
}

const rawStatus = (text: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])

const rawBody = (text: string) => JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4))

layer(hubLayer, { excludeTestServices: true, timeout: 20_000 })("the error envelope", (it) => {
  const test = (name: string, body: (hub: Hub) => Promise<void>) =>
    it.effect(name, () => Effect.flatMap(TokenHub, (hub) => Effect.promise(() => body(hub))))

  describe("of routes", () => {
    test("an unknown route is a 404", async (hub) => assertEnvelope(await hub.get("/v2/chat"), 404, "unknown_route"))

    test("a wrong method is a 405 that says which methods there are", async (hub) => {
      const answer = await hub.get("/v1/chat")
      assertEnvelope(answer, 405, "method_not_allowed")
      assert.strictEqual(answer.headers.get("allow"), "OPTIONS, POST")
      const named = await hub.request("POST", "/admin/providers/some-name", {})
      assertEnvelope(named, 405, "method_not_allowed")
      assert.strictEqual(named.headers.get("allow"), "DELETE, GET, HEAD, OPTIONS, PATCH")
    })

    test("OPTIONS says which methods there are", async (hub) => {
      const answer = await hub.request("OPTIONS", "/v1/chat")
      assert.strictEqual(answer.status, 204)
      assert.strictEqual(answer.headers.get("allow"), "OPTIONS, POST")
      assertEnvelope(await hub.request("OPTIONS", "/nothing"), 404, "unknown_route")
    })

    test("HEAD is GET without its body", async (hub) => {
      const answer = await hub.request("HEAD", "/health/live")
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.text, "")
    })

    test("a broken percent escape is a 400", async (hub) => {
      const text = await hub.raw("GET /admin/providers/%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
      assert.strictEqual(rawStatus(text), 400)
      assert.strictEqual(rawBody(text).error.code, "invalid_path")
    })

    test("a name that is too long for a path is a 400 that says so, not a wrong method", async (hub) => {
      const answer = await hub.admin("GET", `/models/${"a".repeat(2000)}`)
      assertEnvelope(answer, 400, "invalid_path")
      assert.include(answer.json.error.message, "1024 characters")
      assertEnvelope(await hub.admin("PUT", `/vault/secrets/${"a".repeat(2000)}`, { value: "x" }), 400, "invalid_path")
      assertEnvelope(await hub.request("PUT", `/admin/models/${"a".repeat(2000)}`), 405, "method_not_allowed")
    })

    test("every answer has a request id of its own", async (hub) => {
      const ids = await Promise.all(["/health", "/metrics", "/openapi.json", "/nothing"].map(async (path) => (await hub.get(path)).headers.get("x-request-id")))
      assert.strictEqual(new Set(ids).size, 4)
      for (const id of ids) assert.match(id ?? "", /^req_[0-9A-Z]{26}$/)
    })

    test("a defect is a 500 without its text, and the next request is served", async (hub) => {
      const answer = await hub.chat({ ...user, orchestration_mode: "broken" })
      assertEnvelope(answer, 500, "internal_error")
      assert.notInclude(answer.text, "secret")
      assert.strictEqual((await hub.chat(user)).status, 200)
    })

    test("a defect before a stream's first call is a 500 too, without its text", async (hub) => {
      const answer = await hub.chat({ ...user, orchestration_mode: "broken", stream: true })
      assertEnvelope(answer, 500, "internal_error")
      assert.notInclude(answer.text, "secret")
    })
  })

  describe("of bodies", () => {
    test("malformed JSON is a 400", async (hub) => assertEnvelope(await hub.chat("{\"messages\": ["), 400, "invalid_json"))

    test("what is said of malformed JSON never quotes the body, which may hold a key", async (hub) => {
      for (const [body, said] of [
        ["{\"api_key\":sk-0123456789}", "Unexpected token 's'"],
        [`{"a":"${"x".repeat(100)}","api_key":sk-0123456789,"b":"${"x".repeat(100)}"}`, "Unexpected token 's'"],
        ["sk-0123456789", "Unexpected token 's'"],
        ["{'api_key':'sk-0123456789'}", "position 1 (line 1 column 2)"]
      ] as const) {
        const answer = await hub.admin("POST", "/providers", body)
        assertEnvelope(answer, 400, "invalid_json")
        assert.include(answer.json.error.message, said)
        assert.notMatch(answer.json.error.message, /sk-|0123|api_key/)
      }
    })

    test("an empty body is a 400", async (hub) => assertEnvelope(await hub.chat(""), 400, "invalid_json"))

    test("another content type is a 415 that says what to send", async (hub) => {
      const answer = await hub.chat(JSON.stringify(user), { headers: { "content-type": "application/x-www-form-urlencoded" } })
      assertEnvelope(answer, 415, "unsupported_media_type")
      assert.include(answer.json.error.message, "application/json")
    })

    test("a compressed body is a 415", async (hub) =>
      assertEnvelope(await hub.chat(JSON.stringify(user), { headers: { "content-encoding": "gzip" } }), 415, "unsupported_media_type"))

    test("a byte order mark is tolerated", async (hub) => {
      assert.strictEqual((await hub.chat(`\uFEFF${JSON.stringify(user)}`)).status, 200)
    })

    test("invalid UTF-8 is a 400", async (hub) => {
      const body = Buffer.concat([Buffer.from("{\"messages\":[{\"role\":\"user\",\"content\":\""), Buffer.from([0xc3, 0x28]), Buffer.from("\"}]}")])
      const response = await fetch(`${hub.url}/v1/chat`, { method: "POST", body, headers: { "content-type": "application/json" } })
      assert.strictEqual(response.status, 400)
      assert.include(await response.text(), "UTF-8")
    })

    test("JSON nested deeper than 64 is a 400, at once", async (hub) => {
      const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`
      const nested = (levels: number) => JSON.stringify({ ...user, metadata: JSON.parse(`${"[".repeat(levels)}${"]".repeat(levels)}`) })
      assertEnvelope(await hub.chat(deep), 400, "invalid_json")
      assertEnvelope(await hub.chat(nested(64)), 400, "invalid_json")
      assert.strictEqual((await hub.chat(nested(63))).status, 200)
      const brackets = { messages: [{ role: "user", content: "[".repeat(1000) + "\\\"{" }] }
      assert.strictEqual((await hub.chat(brackets)).status, 200, "brackets in strings are no nesting")
    })

    test("keys that reach for a prototype are refused, except as data in schemas", async (hub) => {
      for (const [field, param] of [
        ["\"__proto__\":{\"x\":1}", "__proto__"],
        ["\"\\u005f_proto_\\u005F\":{\"x\":1}", "__proto__"],
        ["\"metadata\":{\"constructor\":{\"prototype\":{}}}", "metadata.constructor"],
        ["\"metadata\":[1,{\"con\\u0073tructor\":{}}]", "metadata[1].constructor"],
        ["\"policy\":{\"__proto__\":{}}", "policy.__proto__"]
      ]) {
        assertEnvelope(await hub.chat(`{"messages":[{"role":"user","content":"a"}],${field}}`), 400, "invalid_json", param ?? null)
      }
      const tools = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"__proto__\":{\"type\":\"string\"},\"constructor\":{\"type\":\"string\"}}}}}]"
      assert.strictEqual((await hub.chat(`{"messages":[{"role":"user","content":"a"}],${tools}}`)).status, 200)
      assert.strictEqual((await hub.chat(`{"messages":[{"role":"user","content":"a"}],"metadata":{"constructor":"Acme"}}`)).status, 200)
      assert.isUndefined(Object.getOwnPropertyDescriptor(Object.prototype, "x"))
    })

    test("a schema mismatch names the field", async (hub) => {
      const cases: ReadonlyArray<readonly [unknown, string]> = [
        [{}, "messages"],
        [{ messages: [] }, "messages"],
        [{ messages: [{ role: "user", content: "a" }, { role: "user", content: 5 }] }, "messages[1].content"],
        [{ messages: [{ role: "robot", content: "a" }] }, "messages[0]"],
        [{ messages: [{ role: "user", content: [{ type: "text", text: 1 }] }] }, "messages[0].content[0].text"],
        [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "ftp://x" } }] }] }, "messages[0].content[0].image_url.url"],
        [{ messages: [{ role: "tool", content: "a" }] }, "messages[0].tool_call_id"],
        [{ ...user, temperature: "0.5" }, "temperature"],
        [{ ...user, temperature: 2.5 }, "temperature"],
        [{ ...user, max_tokens: 0 }, "max_tokens"],
        [{ ...user, max_tokens: 1.5 }, "max_tokens"],
        [{ ...user, n: 0 }, "n"],
        [{ ...user, stop: [1] }, "stop[0]"],
        [{ ...user, max_refinement_iterations: 11 }, "max_refinement_iterations"],
        [{ ...user, policy: { min_context_size: "8000" } }, "policy.min_context_size"],
        [{ ...user, policy: { max_cost_per_1k_tokens: -1 } }, "policy.max_cost_per_1k_tokens"],
        [{ ...user, policy: { max_cost: 1 } }, "policy.max_cost"],
        [{ ...user, tokenhub: { refinement: 1 } }, "tokenhub.refinement"],
        [{ ...user, tools: [{ type: "function", function: { name: 5 } }] }, "tools[0].function.name"],
        [{ ...user, stream: "yes" }, "stream"]
      ]
      for (const [body, param] of cases) assertEnvelope(await hub.chat(body), 400, "invalid_request", param)
      assertEnvelope(await hub.chat("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"temperature\":1e999}"), 400, "invalid_request", "temperature")
    })

    test("a schema mismatch is told in the client's words, not in the names of our schemas", async (hub) => {
      const cases: ReadonlyArray<readonly [unknown, string]> = [
        ["[]", "The body must be an object"],
        ["null", "The body must be an object"],
        [{}, "messages: is missing"],
        [{ messages: "Hello" }, "messages: must be a list"],
        [{ messages: ["Hello"] }, "messages[0]: must be a message whose role is system, developer, user, assistant or tool"],
        [{ messages: [{ role: "robot", content: "a" }] }, "messages[0]: must be a message whose role is system, developer, user, assistant or tool"],
        [{ ...user, model: 5 }, "model: must be a string or null"],
        [{ ...user, stream: "yes" }, "stream: must be true or false or null"],
        [{ ...user, policy: [] }, "policy: must be an object or null"],
        [{ ...user, tokenhub: "adversarial" }, "tokenhub: must be an object"],
        [{ ...user, max_refinement_iterations: 11 }, "max_refinement_iterations: must be a value between 0 and 10"],
        [{ ...user, tool_choice: "maybe" }, "tool_choice: must be \"auto\" or \"none\" or \"required\""]
      ]
      for (const [body, message] of cases) {
        const { json, status } = await hub.chat(body)
        assert.deepStrictEqual([status, json.error.message.slice(0, message.length)], [400, message])
      }
      const admin = await hub.admin("POST", "/providers", [])
      assert.strictEqual(admin.json.error.message, "The body must be an object")
      const anthropic = await hub.post("/v1/messages", { model: "mock-small", max_tokens: 5, messages: [{ role: "user", content: "a" }], tools: [5] })
      assert.strictEqual(anthropic.json.error.message, "tools[0]: must be an object")
    })

    test("an unknown model is told under the name of the field that named it", async (hub) => {
      const named = async (body: object, headers: Record<string, string> = {}) => (await hub.chat({ ...user, ...body }, { headers })).json.error.param
      assert.strictEqual(await named({ model: "nobody" }), "model")
      assert.strictEqual(await named({ orchestration_mode: "adversarial", planner_model: "nobody" }), "planner_model")
      assert.strictEqual(await named({ orchestration_mode: "adversarial", critic_model: "nobody", stream: true }), "critic_model")
      assert.strictEqual(await named({ planner_model: "mock-small", tokenhub: { planner: "nobody" } }), "tokenhub.planner")
      assert.strictEqual(await named({ model: "tokenhub/adversarial?critic=nobody" }), "model")
      assert.strictEqual(await named({}, { "x-tokenhub-critic": "nobody" }), "x-tokenhub-critic")
    })

    test("an unknown mode lists those that are, streamed or not", async (hub) => {
      for (const stream of [false, true]) {
        const answer = await hub.chat({ ...user, orchestration_mode: "duel", stream })
        assertEnvelope(answer, 400, "invalid_request", "orchestration_mode")
        assert.include(answer.json.error.message, "simple, adversarial")
      }
    })

    test("what can't begin is an HTTP error also where a stream was asked for", async (hub) => {
      assertEnvelope(await hub.chat({ ...user, model: "mock-smal", stream: true }), 404, "model_not_found", "model")
      const none = await hub.chat({ ...user, policy: { min_context_size: 1e9 }, stream: true })
      assertEnvelope(none, 422, "no_candidate")
      const models: ReadonlyArray<{ model: string; reason: string }> = none.json.error.details.models
      assert.deepStrictEqual(models.find(({ model }) => model === "mock-small")?.reason, "context_too_small")
    })
  })

  describe("of HTTP itself", () => {
    test("headers over 16 KiB are a 431", async (hub) => {
      const text = await hub.raw(`GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ${"a".repeat(17_000)}\r\n\r\n`)
      assert.strictEqual(rawStatus(text), 431)
      assert.strictEqual(rawBody(text).error.code, "headers_too_large")
    })

    test("what is no HTTP is a 400, and the connection is closed", async (hub) => {
      const both = "POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
      const bareCr = "GET /health HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n"
      for (const bytes of ["NONSENSE\r\n\r\n", both, bareCr]) {
        const text = await hub.raw(bytes)
        assert.strictEqual(rawStatus(text), 400, bytes)
        assert.strictEqual(rawBody(text).error.code, "bad_request")
        assert.match(text, /x-request-id: req_/)
      }
    })

    test("a request without Host is a 400, unless it is HTTP/1.0", async (hub) => {
      assert.strictEqual(rawStatus(await hub.raw("GET /health HTTP/1.0\r\n\r\n")), 200)
      const text = await hub.raw("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
      assert.strictEqual(rawStatus(text), 400)
      assert.strictEqual(rawBody(text).error.code, "missing_host")
    })

    test("an expectation that can't be met is a 417", async (hub) => {
      const text = await hub.raw("GET /health HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\nConnection: close\r\n\r\n")
      assert.strictEqual(rawStatus(text), 417)
      assert.strictEqual(rawBody(text).error.code, "expectation_failed")
    })

    test("pipelined requests are answered in order, each authenticated by itself", async (hub) => {
      const request = (path: string, auth: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${auth}\r\n`
      const good = `Authorization: Bearer ${Harness.adminPassword}\r\n`
      const text = await hub.raw(
        request("/admin/vault", good) + request("/admin/vault", "") + request("/health/live", "") + request("/admin/vault", `${good}Connection: close\r\n`)
      )
      assert.deepStrictEqual([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status), ["200", "401", "200", "200"])
    })
  })
})
