/** No address that a client writes is ever called by TokenHub, and nothing of a client's headers goes on but what its protocol needs. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { once } from "node:events"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import * as Fake from "../support/FakeProvider.ts"
import type { FakeProvider } from "../support/FakeProvider.ts"
import type { Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

/** Something that listens on this machine and notes who comes. */
const trap = Effect.acquireRelease(
  Effect.promise(async () => {
    const caught: Array<string> = []
    const server = createServer((socket) => {
      caught.push("connected")
      socket.on("data", (data) => caught.push(data.toString("latin1")))
      socket.on("error", () => {})
    }).listen(0, "127.0.0.1")
    await once(server, "listening")
    return { server, caught, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
  }),
  ({ server }) => Effect.sync(() => void server.close())
)

const providers = [
  ["compatible", "openai-compatible", "openai", "gpt-4o"],
  ["openai", "openai", "openai", "gpt-4o-mini"],
  ["anthropic", "anthropic", "anthropic", "claude-sonnet-4-5"],
  ["gemini", "gemini", "gemini", "gemini-2.5-pro"]
] as const

/** Providers of every protocol, with a model each; private addresses may be called, so that nothing but the rule keeps the trap empty. */
const bench = Effect.gen(function*() {
  const fake = yield* Fake.scoped()
  const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", TOKENHUB_ALLOW_PRIVATE_UPSTREAMS: "true", TOKENHUB_RETRIES_PER_SECOND: "0", TOKENHUB_BREAKER_FAILURES: "1000" } })
  yield* Effect.promise(async () => {
    for (const [name, type, vendor, upstream] of providers) {
      const added = await hub.admin("POST", "/providers", { name, provider_type: type, api_key: `sk-key-of-${name}`, base_url: fake.url(vendor) })
      const model = await hub.admin("POST", "/models", { name: `m-${name}`, provider: name, upstream_name: upstream, context_size: 100_000, weight: 1, cost_per_1k_tokens: 0.001 })
      assert.deepStrictEqual([added.status, model.status], [201, 201], `${added.text} ${model.text}`)
    }
  })
  return { fake, hub, trap: yield* trap }
})

const models = ["m-compatible", "m-openai", "m-anthropic", "m-gemini"] as const

/** Fields by which other gateways let a client name the upstream, and those of vendors that name one for a later call. */
const fieldsWith = (url: string): ReadonlyArray<Readonly<Record<string, unknown>>> => [
  ...["base_url", "baseURL", "api_base", "api_base_url", "endpoint", "url", "host", "proxy", "custom_host", "target", "upstream", "webhook", "callback_url", "azure_endpoint"].map((name) => ({ [name]: url })),
  { extra_body: { base_url: url }, litellm_params: { api_base: url } },
  { provider: { base_url: url }, config: { provider: "openai", custom_host: url } },
  { metadata: { base_url: url, nested: { deeper: [{ url }] } } },
  { tokenhub: { base_url: url } },
  { tokenhub: { policy: { base_url: url } } },
  { tools: [{ type: "mcp", server_label: "x", server_url: url }] },
  { tools: [{ type: "function", function: { name: "f", url, parameters: { type: "object", $ref: `${url}/schema.json`, properties: { a: { $ref: url } } } } }] },
  { tools: [{ name: "f", input_schema: { $ref: `${url}/schema.json`, type: "object" }, url }] },
  { mcp_servers: [{ type: "url", url, name: "x" }] },
  { response_format: { type: "json_schema", json_schema: { name: "s", schema: { $ref: `${url}/schema.json` } } } },
  { model: url },
  { model: `${url}/v1` },
  { model: `tokenhub/auto?base_url=${url}` },
  { previous_response_id: url },
  { previous_response_id: `${url}/v1/responses/resp_1` },
  { conversation: url, prompt: { id: url } }
]

const parts = (url: string): ReadonlyArray<object> => [
  { type: "image_url", image_url: { url: `${url}/a.png` } },
  { type: "image", source: { type: "url", url: `${url}/b.png` } },
  { type: "input_image", image_url: `${url}/c.png` },
  { type: "document", source: { type: "url", url: `${url}/d.pdf` } },
  { type: "file", file: { file_url: `${url}/e.pdf`, file_data: `${url}/e.pdf` } },
  { type: "input_file", file_url: `${url}/f.pdf` },
  { type: "input_audio", input_audio: { data: `${url}/g.wav`, format: "wav" } }
]

const headersWith = (url: string): Record<string, string> => ({
  "x-base-url": url,
  "x-portkey-custom-host": url,
  "x-portkey-provider": "openai",
  "x-original-url": url,
  "x-rewrite-url": url,
  "helicone-openai-api-base": url,
  "helicone-target-url": url,
  "proxy-authorization": "Basic Zm9v",
  referer: url,
  cookie: "session=client-cookie-canary",
  "x-client-canary": "client-header-canary"
})

const bodies = (model: string, content: unknown): ReadonlyArray<readonly [path: string, body: Record<string, unknown>]> => {
  const messages = [{ role: "user", content }]
  return [
    ["/v1/chat", { model, messages }],
    ["/v1/chat/completions", { model, messages }],
    ["/v1/messages", { model, max_tokens: 50, messages }],
    ["/v1/messages/count_tokens", { model, messages }],
    ["/v1/responses", { model, input: messages }],
    ["/v1/embeddings", { model, input: ["Hello"] }]
  ]
}

/** Headers that may go out; `host`, `connection` and the length are HTTP's own. */
const allowed = new Set([
  "host", "connection", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "authorization", "x-api-key", "x-goog-api-key", "anthropic-version",
  "anthropic-beta"
])

const noTrace = (fake: FakeProvider) => {
  for (const call of fake.calls) {
    const strange = Object.keys(call.headers).filter((name) => !allowed.has(name))
    assert.deepStrictEqual(strange, [], `${call.path}`)
    assert.notMatch(JSON.stringify(call.headers), /canary|helicone|portkey|cookie/)
    assert.match(call.key, /^sk-key-of-/)
    assert.strictEqual(call.headers["accept-encoding"], "identity")
  }
}

const send = async (hub: Hub, url: string) => {
  const statuses = new Map<number, number>()
  const post = async (path: string, body: object, more: Record<string, string> = {}) => {
    const { status, text } = await hub.post(path, body, { headers: more })
    assert.notStrictEqual(status, 500, `${path} ${JSON.stringify(body)} ${text}`)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
  /** The same at all doors at once. */
  const atAll = (model: string, content: unknown, change: (path: string, body: Record<string, unknown>) => ReadonlyArray<Promise<void>>) =>
    Promise.all(bodies(model, content).flatMap(([path, body]) => change(path, body)))

  for (const [at, fields] of fieldsWith(url).entries()) {
    await atAll(models[at % models.length] ?? "", "Hello", (path, body) => [
      post(path, { ...body, ...fields }),
      ...("tokenhub" in fields || path === "/v1/chat" ? [] : [post(path, { ...body, ...fields, tokenhub: { drop_unsupported: true } })])
    ])
  }
  for (const model of models) {
    for (const part of parts(url)) {
      await atAll(model, [{ type: "text", text: "Look" }, part], (path, body) => [post(path, body), post(path, { ...body, tokenhub: { drop_unsupported: true } })])
    }
  }
  for (const model of models) {
    await atAll(model, "Hello", (path, body) => [
      post(path, body, headersWith(url)),
      // A caller behind a proxy is a stranger here, and an option that does not exist is a mistake.
      post(path, body, { "x-forwarded-host": new URL(url).host }),
      post(path, body, { "x-tokenhub-base-url": url })
    ])
  }
  return statuses
}

describe("an address that a client writes", () => {
  it.live("is never called, wherever it stands: fields, nested ones, tools, schemas, parts, headers, names of models, the request's own line", () =>
    Effect.gen(function*() {
      const { fake, hub, trap } = yield* bench
      yield* Effect.promise(async () => {
        const statuses = await send(hub, trap.url)
        assert.isAbove(statuses.get(200) ?? 0, 200)
        for (const target of [trap.url, `${trap.url}/v1/chat`, `//${new URL(trap.url).host}/v1/chat`]) {
          const body = JSON.stringify({ messages: [{ role: "user", content: "Hello" }] })
          await hub.raw(`POST ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
          await hub.raw(`CONNECT ${new URL(trap.url).host} HTTP/1.1\r\nHost: ${new URL(trap.url).host}\r\nConnection: close\r\n\r\n`)
        }
        assert.deepStrictEqual(trap.caught, [])
        for (const [, , , upstream] of providers) assert.isAbove(fake.calls.filter(({ model, status }) => model === upstream && status === 200).length, 40, upstream)
        noTrace(fake)
      })
    }).pipe(Effect.scoped), 120_000)
})
