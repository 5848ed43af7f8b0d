import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { ChatRequest, Completion } from "../../src/domain/Chat.ts"
import type { ProviderError } from "../../src/domain/ProviderError.ts"
import { Settings } from "../../src/Settings.ts"
import * as GenAi from "../../src/telemetry/GenAi.ts"
import * as Telemetry from "../../src/telemetry/Telemetry.ts"
import { ask, completion, fault, usageOf } from "../support/Doubles.ts"

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

/** What the receiver gets of one traced call; the exporter sends what is left when its layer closes. */
const traceOf = (call: Effect.Effect<Completion, ProviderError>, environment: { readonly [name: string]: string } = {}) =>
  Effect.gen(function*() {
    const { bodies, url } = yield* receiver
    const settings = Settings.layerTest({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json", TOKENHUB_LOG_LEVEL: "none", ...environment })
    const request: ChatRequest = { ...ask("the secret question"), temperature: 0.5, maxTokens: 100 }
    yield* Effect.gen(function*() {
      const { tracePrompts } = yield* Settings
      yield* Effect.exit(Effect.withSpan(GenAi.traced({ providerType: "gemini", model: "gemini-pro", request, tracePrompts }, call), "Attempts.run"))
    }).pipe(Effect.provide(Layer.merge(settings, Telemetry.layer.pipe(Layer.provide(settings)))))
    return bodies
  }).pipe(Effect.scoped)

interface Span {
  readonly name: string
  readonly kind: number
  readonly spanId: string
  readonly parentSpanId?: string
  readonly status: { readonly code: number }
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: unknown }>
}

const spansOf = (text: string) => {
  const [resource] = JSON.parse(text).resourceSpans
  const spans: ReadonlyArray<Span> = resource.scopeSpans.flatMap((scope: { readonly spans: ReadonlyArray<Span> }) => scope.spans)
  return new Map(spans.map((span) => [span.name, { ...span, attributes: Object.fromEntries(span.attributes.map(({ key, value }) => [key, value])) }]))
}

const answer: Completion = { ...completion("the secret answer", usageOf(20, 200)), upstreamModel: "gemini-pro-001", upstreamId: "up_1" }

describe("Traces", () => {
  it.live("reach an OTLP endpoint with the attributes of the GenAI conventions and without the texts", () =>
    Effect.gen(function*() {
      const [body, ...more] = yield* traceOf(Effect.succeed(answer))
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
        "gen_ai.usage.output_tokens": { intValue: 200 }
      })
    }))

  it.live("say why a call failed, but not in the words of an upstream that quotes the prompt", () =>
    Effect.gen(function*() {
      const [body] = yield* traceOf(Effect.fail(fault("invalid_request", { message: "can't answer 'the secret question'" })))
      assert.notInclude(body?.text, "secret")
      const span = spansOf(body?.text ?? "").get("chat gemini-pro")
      assert.deepInclude(span?.attributes, { "error.type": { stringValue: "invalid_request" } })
      assert.strictEqual(span?.status.code, 2)
      assert.include(body?.text, "ProviderError")
    }))

  it.live("carry prompt and answer where that was switched on", () =>
    Effect.gen(function*() {
      const [body] = yield* traceOf(Effect.succeed(answer), { TOKENHUB_TRACE_PROMPTS: "true" })
      assert.include(body?.text, "the secret question")
      assert.include(body?.text, "the secret answer")
    }))

  it.live("are protobuf unless told otherwise", () =>
    Effect.gen(function*() {
      const [body] = yield* traceOf(Effect.succeed(answer), { OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf" })
      assert.strictEqual(body?.type, "application/x-protobuf")
      assert.include(body?.text, "gen_ai.usage.output_tokens")
    }))

  it.effect("are not made at all without an endpoint", () =>
    Effect.gen(function*() {
      const inside = Effect.map(Effect.option(Effect.currentSpan), (span) => assert.strictEqual(span._tag === "Some" && span.value.sampled, false))
      yield* GenAi.traced({ providerType: "openai", model: "m", request: ask("?"), tracePrompts: false }, Effect.as(inside, answer))
    }).pipe(Effect.provide(Telemetry.layer.pipe(Layer.provide(Settings.layerTest())))))

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
