import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { ChatRequest, Completion } from "../../src/domain/Chat.ts"
import { text } from "../../src/domain/Chat.ts"
import type { Embeddings } from "../../src/domain/Embedding.ts"
import type { ProviderError } from "../../src/domain/ProviderError.ts"
import { Settings } from "../../src/Settings.ts"
import * as GenAi from "../../src/telemetry/GenAi.ts"
import * as Telemetry from "../../src/telemetry/Telemetry.ts"
import { ask, completion, fault, usageOf } from "../support/Doubles.ts"
import * as Harness from "../support/Harness.ts"

/** An OTLP receiver on a free port, and the bodies that it got. */
const receiver = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly bodies: Array<{ readonly path: string; readonly type: string; readonly text: string }>; readonly close: () => void }>((resume) => {
    const bodies: Array<{ readonly path: string; readonly type: string; readonly text: string }> = []
    const server = createServer((request, response) => {
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => {
        bodies.push({ path: request.url ?? "", type: request.headers["content-type"] ?? "", text: Buffer.concat(chunks).toString("utf8") })
        response.end("{}")
      })
    })
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, bodies, close: () => server.close() }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

const collector = (url: string) => ({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json", TOKENHUB_LOG_LEVEL: "none" })

type Environment = { readonly [name: string]: string }

/** What the receiver gets of one call; the exporter sends what is left when its layer closes. */
const traceOf = <A>(call: (tracePrompts: boolean) => Effect.Effect<A, ProviderError>, environment: Environment | ((url: string) => Environment) = {}) =>
  Effect.gen(function*() {
    const { bodies, url } = yield* receiver
    const settings = Settings.layerTest(typeof environment === "function" ? environment(url) : { ...collector(url), ...environment })
    yield* Effect.gen(function*() {
      const { tracePrompts } = yield* Settings
      yield* Effect.exit(Effect.withSpan(call(tracePrompts), "Attempts.run"))
    }).pipe(Effect.provide(Layer.merge(settings, Telemetry.layer.pipe(Layer.provide(settings)))))
    return bodies
  }).pipe(Effect.scoped)

const chatOf = (call: Effect.Effect<Completion, ProviderError>, providerType = "gemini") => (tracePrompts: boolean) => {
  const request: ChatRequest = { ...ask("the secret question"), temperature: 0.5, maxTokens: 100 }
  return GenAi.traced({ providerType, model: "gemini-pro", request, tracePrompts }, call)
}

interface Span {
  readonly name: string
  readonly kind: number
  readonly spanId: string
  readonly parentSpanId?: string
  readonly status: { readonly code: number }
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: unknown }>
}

const spanList = (text: string): ReadonlyArray<Span> => {
  const [resource] = JSON.parse(text).resourceSpans
  return resource.scopeSpans.flatMap((scope: { readonly spans: ReadonlyArray<Span> }) => scope.spans)
}

const spansOf = (text: string) =>
  new Map(spanList(text).map((span) => [span.name, { ...span, attributes: Object.fromEntries(span.attributes.map(({ key, value }) => [key, value])) }]))

const answer: Completion = { ...completion("the secret answer", { ...usageOf(20, 200), cachedTokens: 8, cacheWriteTokens: 3 }), upstreamModel: "gemini-pro-001", upstreamId: "up_1" }

describe("Traces", () => {
  it.live("reach an OTLP endpoint with the attributes of the GenAI conventions and without the texts", () =>
    Effect.gen(function*() {
      const [body, ...more] = yield* traceOf(chatOf(Effect.succeed(answer)))
      assert.deepStrictEqual(more, [])
      assert.strictEqual(body?.path, "/v1/traces")
      assert.include(body?.text, "\"service.name\"")
      assert.include(body?.text, "\"tokenhub\"")
      assert.notInclude(body?.text, "secret")
      const spans = spansOf(body?.text ?? "")
      const span = spans.get("chat gemini-pro")
      assert.strictEqual(span?.kind, 3)
      assert.strictEqual(span?.parentSpanId, spans.get("Attempts.run")?.spanId)
      assert.deepInclude(span?.attributes, {
        "gen_ai.operation.name": { stringValue: "chat" },
        "gen_ai.provider.name": { stringValue: "gcp.gemini" },
        "gen_ai.request.model": { stringValue: "gemini-pro" },
        "gen_ai.request.max_tokens": { intValue: 100 },
        "gen_ai.response.model": { stringValue: "gemini-pro-001" },
        "gen_ai.response.id": { stringValue: "up_1" },
        "gen_ai.response.finish_reasons": { arrayValue: { values: [{ stringValue: "stop" }] } },
        "gen_ai.usage.input_tokens": { intValue: 20 },
        "gen_ai.usage.output_tokens": { intValue: 200 },
        "gen_ai.usage.cache_read.input_tokens": { intValue: 8 },
        "gen_ai.usage.cache_creation.input_tokens": { intValue: 3 }
      })
    }))

  it.live("name every vendor as the conventions do", () =>
    Effect.gen(function*() {
      const names: Record<string, unknown> = {}
      for (const type of ["openai", "openai-responses", "azure-openai", "anthropic", "gemini", "mistral", "xai", "ollama"]) {
        const [body] = yield* traceOf(chatOf(Effect.succeed(answer), type))
        names[type] = spansOf(body?.text ?? "").get("chat gemini-pro")?.attributes["gen_ai.provider.name"]
      }
      assert.deepStrictEqual(
        Object.values(names).map((name) => Object.values(name ?? {})[0]),
        ["openai", "openai", "azure.ai.openai", "anthropic", "gcp.gemini", "mistral_ai", "x_ai", "ollama"]
      )
    }))

  it.live("tell of a call for embeddings, without its texts", () =>
    Effect.gen(function*() {
      const embeddings: Embeddings = { vectors: [[1]], upstreamModel: "embed-001", usage: usageOf(7, 0) }
      const [body] = yield* traceOf(() =>
        GenAi.tracedEmbeddings(
          { providerType: "openai", model: "embed", request: { inputs: ["the secret text"], encoding: "base64", dimensions: 256 } },
          Effect.succeed(embeddings)
        ), { TOKENHUB_TRACE_PROMPTS: "true" })
      assert.notInclude(body?.text, "secret")
      assert.deepInclude(spansOf(body?.text ?? "").get("embeddings embed")?.attributes, {
        "gen_ai.operation.name": { stringValue: "embeddings" },
        "gen_ai.request.model": { stringValue: "embed" },
        "gen_ai.response.model": { stringValue: "embed-001" },
        "gen_ai.usage.input_tokens": { intValue: 7 },
        "gen_ai.embeddings.dimension.count": { intValue: 256 },
        "gen_ai.request.encoding_formats": { arrayValue: { values: [{ stringValue: "base64" }] } }
      })
    }))

  it.live("go to the address that is for traces alone", () =>
    Effect.gen(function*() {
      const [body] = yield* traceOf(chatOf(Effect.succeed(answer)), (url) => ({
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/only/traces`, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json", TOKENHUB_LOG_LEVEL: "none"
      }))
      assert.strictEqual(body?.path, "/only/traces")
      assert.include(body?.text, "chat gemini-pro")
    }))

  it.live("say why a call failed, but not in the words of an upstream that quotes the prompt", () =>
    Effect.gen(function*() {
      const [body] = yield* traceOf(chatOf(Effect.fail(fault("invalid_request", { message: "can't answer 'the secret question'" }))))
      assert.notInclude(body?.text, "secret")
      const span = spansOf(body?.text ?? "").get("chat gemini-pro")
      assert.deepInclude(span?.attributes, { "error.type": { stringValue: "invalid_request" } })
      assert.strictEqual(span?.status.code, 2)
      assert.include(body?.text, "ProviderError")
    }))

  it.live("carry prompt and answer where that was switched on", () =>
    Effect.gen(function*() {
      const [body] = yield* traceOf(chatOf(Effect.succeed(answer)), { TOKENHUB_TRACE_PROMPTS: "true" })
      assert.include(body?.text, "the secret question")
      assert.include(body?.text, "the secret answer")
      const [failed] = yield* traceOf(chatOf(Effect.fail(fault("invalid_request", { message: "can't answer that" }))), { TOKENHUB_TRACE_PROMPTS: "true" })
      assert.include(failed?.text, "can't answer that")
    }))

  it.live("carry every kind of part where that was switched on, pictures and files by name alone", () =>
    Effect.gen(function*() {
      const request: ChatRequest = {
        messages: [
          { role: "user", content: [text("look"), { type: "image", source: { type: "data", mediaType: "image/png", data: "the-picture" } }] },
          { role: "assistant", content: [{ type: "reasoning", text: "hm" }, { type: "tool_call", id: "t1", name: "sum", arguments: "{}" }] },
          { role: "tool", content: [{ type: "tool_result", toolCallId: "t1", content: [text("3")] }] }
        ]
      }
      const [body] = yield* traceOf((tracePrompts) => GenAi.traced({ providerType: "openai", model: "m", request, tracePrompts }, Effect.succeed(answer)), { TOKENHUB_TRACE_PROMPTS: "true" })
      const messages = spansOf(body?.text ?? "").get("chat m")?.attributes["gen_ai.input.messages"] as { readonly stringValue?: string } | undefined
      assert.deepStrictEqual(JSON.parse(messages?.stringValue ?? ""), [
        { role: "user", parts: [{ type: "text", content: "look" }, { type: "image" }] },
        { role: "assistant", parts: [{ type: "reasoning", content: "hm" }, { type: "tool_call", id: "t1", name: "sum", arguments: "{}" }] },
        { role: "tool", parts: [{ type: "tool_call_response", id: "t1", response: [{ type: "text", content: "3" }] }] }
      ])
      assert.notInclude(body?.text, "the-picture")
    }))

  it.live("name a defect by its kind, without its text", () =>
    Effect.gen(function*() {
      const [body] = yield* traceOf(chatOf(Effect.die(new TypeError("the secret is not a function"))))
      assert.notInclude(body?.text, "secret")
      assert.include(body?.text, "TypeError")
      const [thrown] = yield* traceOf(chatOf(Effect.die("the secret")))
      assert.notInclude(thrown?.text, "secret")
    }))

  it.live("are protobuf unless told otherwise", () =>
    Effect.gen(function*() {
      const [body] = yield* traceOf(chatOf(Effect.succeed(answer)), { OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf" })
      assert.strictEqual(body?.type, "application/x-protobuf")
      assert.include(body?.text, "gen_ai.usage.output_tokens")
    }))

  it.effect("are not made at all without an endpoint", () =>
    Effect.gen(function*() {
      const inside = Effect.map(Effect.option(Effect.currentSpan), (span) => assert.strictEqual(span._tag, "None"))
      yield* GenAi.traced({ providerType: "openai", model: "m", request: ask("?"), tracePrompts: false }, Effect.as(inside, answer))
    }).pipe(Effect.provide(Telemetry.layer.pipe(Layer.provide(Settings.layerTest())))))

  it.live("show a request of the product from its arrival to the model's call, and nothing of what the caller wrote", () =>
    Effect.gen(function*() {
      const { bodies, url } = yield* receiver
      const spans = Effect.fnUntraced(function*(environment: Environment) {
        bodies.length = 0
        const hub = yield* Harness.start({ env: { ...collector(url), ...environment } })
        yield* Effect.promise(async () => {
          const asked = { model: "mock-small", messages: [{ role: "user", content: "the-prompt" }] }
          const answer = await hub.chat(asked, { headers: { "x-custom": "the-header", authorization: "Bearer the-credential" } })
          assert.strictEqual(answer.status, 200)
          await hub.get("/the-path?the-query=1")
          await hub.raw("GET /health HTTP/1.1\r\nhost: the-host:7\r\nuser-agent: the-agent\r\nconnection: close\r\n\r\n")
          await hub.post("/v1/chat", { ...asked, model: "the-model" })
        })
        yield* hub.stop
        return bodies.map(({ text }) => text)
      })
      const texts = yield* spans({})
      const all = texts.flatMap((text) => spanList(text))
      const named = (name: string) => all.find((span) => span.name === name)
      const parents = (span: Span | undefined): ReadonlyArray<string> =>
        span === undefined ? [] : [span.name, ...parents(all.find(({ spanId }) => spanId === span.parentSpanId))]
      assert.deepStrictEqual(parents(named("chat mock-small")), ["chat mock-small", "Attempts.run", "Orchestrator.run", "POST"])
      assert.deepStrictEqual(named("POST")?.attributes.find(({ key }) => key === "http.route")?.value, { stringValue: "/v1/chat" })
      for (const word of ["the-prompt", "the-header", "the-credential", "the-path", "the-query", "the-host", "the-agent", "the-model", Harness.adminPassword]) {
        assert.notInclude(texts.join("\n"), word)
      }
      assert.include((yield* spans({ TOKENHUB_TRACE_PROMPTS: "true" })).join("\n"), "the-prompt")
    }).pipe(Effect.scoped), 20_000)

  it.effect("refuse a wrong endpoint with one line", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(Settings.layerTest({ OTEL_EXPORTER_OTLP_ENDPOINT: "collector" })))
      assert.include(error.message, "OTEL_EXPORTER_OTLP_ENDPOINT")
    }).pipe(Effect.scoped))

  it.effect("refuse another wrong variable of the family with one line", () => {
    const environment = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_EXPORTER_OTLP_TIMEOUT: "soon" }
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(Telemetry.layer.pipe(Layer.provide(Settings.layerTest(environment)))))
      assert.strictEqual(error._tag, "SettingsError")
      assert.include(error.message, "OTEL_EXPORTER_OTLP_TIMEOUT")
      assert.notInclude(error.message, "\n")
    }).pipe(Effect.scoped, Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(environment))))
  })
})
