import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { textOf } from "../../src/domain/Chat.ts"
import type { Fault } from "../../src/domain/ProviderError.ts"
import type { Behaviour } from "../support/fake-provider/Behaviour.ts"
import type { FakeVendor } from "./Harness.ts"
import { adapterFor, callOf, Fake, fakeAdapter, fakeVendors, key, layer as harness, quick, run } from "./Harness.ts"

type Mode = "plain" | "stream"

interface Row {
  /** Of FAULTS.md. */
  readonly row: string
  readonly behaviour: Behaviour
  /** `ok`: the call succeeds. */
  readonly expected: Fault | "ok" | { readonly [M in Mode]: Fault | "ok" }
  readonly only?: Mode
  readonly status?: number
  readonly retryAfterMs?: number
  readonly vendors?: ReadonlyArray<FakeVendor>
}

const status = (row: string, code: number, expected: Fault): Row => ({ row, behaviour: { error: code }, expected, status: code })

const retryAfter = (row: string, header: string, retryAfterMs: number): Row => ({
  row: `${row} (${header})`,
  behaviour: { fault: `429?retry_after=${encodeURIComponent(header)}` },
  expected: "rate_limited",
  status: 429,
  retryAfterMs
})

const rows: ReadonlyArray<Row> = [
  status("1: invalid request", 400, "invalid_request"),
  { row: "2: context length", behaviour: { fault: "context-length" }, expected: "context_overflow", status: 400 },
  { ...status("3: bad key", 401, "authentication"), vendors: ["openai", "anthropic"] },
  { row: "3: bad key, in Gemini's way", behaviour: { error: 401 }, expected: "authentication", vendors: ["gemini"] },
  { ...status("4: no permission", 403, "permission") },
  status("5: no such model", 404, "model_not_found"),
  status("6: request time-out", 408, "request_timeout"),
  status("7: conflict", 409, "conflict"),
  status("8: too large", 413, "payload_too_large"),
  status("9: unprocessable", 422, "unprocessable"),
  retryAfter("10: rate limit", "7", 7000),
  { row: "11: rate limit without a time", behaviour: { error: 429 }, expected: "rate_limited", status: 429, vendors: ["openai", "anthropic"] },
  { row: "11: rate limit, the time in the body", behaviour: { error: 429 }, expected: "rate_limited", retryAfterMs: 37_000, vendors: ["gemini"] },
  retryAfter("12: Retry-After negative", "-5", 0),
  retryAfter("12: Retry-After huge", "1e9", 60_000),
  retryAfter("12: Retry-After in the past", "Wed, 21 Oct 2015 07:28:00 GMT", 0),
  { row: "13: quota", behaviour: { fault: "quota" }, expected: "quota_exhausted" },
  { row: "13: billing", behaviour: { error: 402 }, expected: "quota_exhausted", vendors: ["openai", "anthropic"] },
  status("14: server error", 500, "server_error"),
  status("15: bad gateway", 502, "unavailable"),
  status("15: unavailable", 503, "unavailable"),
  status("15: gateway time-out", 504, "unavailable"),
  { row: "15: HTML from a proxy", behaviour: { fault: "502?body=html" }, expected: "unavailable", status: 502 },
  { row: "15: garbage from a proxy", behaviour: { fault: "503?body=garbage" }, expected: "unavailable", status: 503 },
  { ...status("16: overloaded", 529, "overloaded") },
  { row: "16: overloaded, in the vendor's words", behaviour: { fault: "overloaded" }, expected: "overloaded" },
  { row: "17: redirect", behaviour: { fault: "302" }, expected: "redirected", status: 302 },
  { row: "18: malformed JSON", behaviour: { fault: "malformed-json" }, expected: "malformed_response" },
  { row: "18: empty body", behaviour: { fault: "empty-200" }, expected: "malformed_response" },
  { row: "19: truncated JSON", behaviour: { fault: "truncated-json" }, expected: { plain: "truncated_response", stream: "stream_interrupted" } },
  { row: "19: truncated chunks", behaviour: { fault: "truncated-chunked" }, expected: { plain: "truncated_response", stream: "stream_interrupted" } },
  { row: "20: HTML", behaviour: { fault: "html-200" }, expected: "unexpected_body" },
  { row: "21: reset before headers", behaviour: { fault: "reset-before-headers" }, expected: "connection_reset" },
  { row: "21: closed before headers", behaviour: { fault: "close-before-headers" }, expected: "connection_reset" },
  { row: "22: reset mid-stream", behaviour: { fault: "reset-mid-stream" }, expected: "stream_interrupted", only: "stream" },
  { row: "22: cut mid-stream", behaviour: { fault: "cut-mid-stream" }, expected: "stream_interrupted", only: "stream" },
  { row: "23: no [DONE]", behaviour: { fault: "no-done" }, expected: "ok", only: "stream" },
  { row: "24: neither", behaviour: { fault: "no-end" }, expected: "stream_interrupted", only: "stream" },
  { row: "25: error event first", behaviour: { fault: "error-first" }, expected: "overloaded", only: "stream" },
  { row: "25: error event later", behaviour: { fault: "error-mid" }, expected: "overloaded", only: "stream" },
  { row: "25: error in a plain success", behaviour: { fault: "error-first" }, expected: "overloaded", only: "plain" },
  { row: "26: no headers", behaviour: { fault: "no-headers" }, expected: "first_token_timeout" },
  { row: "26: no first token", behaviour: { fault: "no-first-token" }, expected: "first_token_timeout", only: "stream" },
  { row: "26: slow headers", behaviour: { fault: "slow-headers" }, expected: "first_token_timeout", only: "stream" },
  { row: "27: stall", behaviour: { fault: "stall" }, expected: "stream_stalled" },
  { row: "28: endless", behaviour: { fault: "endless" }, expected: "response_too_large" },
  { row: "28: drip", behaviour: { fault: "drip" }, expected: "call_timeout" },
  { row: "29: broken gzip", behaviour: { fault: "broken-gzip" }, expected: "bad_encoding" },
  { row: "29: truncated gzip", behaviour: { fault: "truncated-gzip" }, expected: "bad_encoding" },
  { row: "29: proper gzip", behaviour: { text: "Hello", encodings: ["gzip"] }, expected: "ok" },
  { row: "29: proper brotli", behaviour: { text: "Hello", encodings: ["br"] }, expected: "ok" },
  { row: "30: bomb", behaviour: { fault: "gzip-bomb" }, expected: "response_too_large" },
  { row: "30: stacked encodings", behaviour: { fault: "stacked-encodings" }, expected: "bad_encoding" },
  { row: "31: huge", behaviour: { fault: "huge?size=20000000" }, expected: "response_too_large" },
  { row: "32: long line", behaviour: { fault: "long-line?size=3000000" }, expected: "response_too_large", only: "stream" },
  { row: "34: CRLF", behaviour: { fault: "crlf" }, expected: "ok" },
  { row: "34: CR", behaviour: { fault: "cr" }, expected: "ok" },
  { row: "34: BOM", behaviour: { fault: "bom" }, expected: "ok" },
  { row: "34: split", behaviour: { text: "Grüße 👋", fault: "split?size=3" }, expected: "ok" },
  { row: "34: several lines", behaviour: { fault: "multi-line" }, expected: "ok" },
  { row: "34: comments", behaviour: { fault: "comments" }, expected: "ok" },
  { row: "34: retry lines", behaviour: { fault: "retry-lines" }, expected: "ok" },
  { row: "39: content filter", behaviour: { fault: "content-filter" }, expected: "ok" },
  { row: "40: empty choices", behaviour: { fault: "empty-choices" }, expected: "empty_completion" },
  { row: "not HTTP", behaviour: { fault: "not-http" }, expected: "malformed_response" },
  { row: "huge headers", behaviour: { fault: "huge-headers" }, expected: "malformed_response" }
]

const timed: ReadonlySet<string> = new Set(["first_token_timeout", "stream_stalled", "call_timeout"])

const modes: ReadonlyArray<Mode> = ["plain", "stream"]

layer(harness, { excludeTestServices: true })("an upstream's fault", (it) => {
  for (const vendor of fakeVendors) {
    describe(vendor, () => {
      for (const { behaviour, expected, only, retryAfterMs, row, status, vendors } of rows) {
        for (const mode of modes) {
          if ((only ?? mode) !== mode || vendors?.includes(vendor) === false) continue
          const outcome = typeof expected === "string" ? expected : expected[mode]
          it.effect(`${row}, ${mode}: ${outcome}`, () =>
            Effect.gen(function*() {
              const fake = yield* Fake
              const adapter = yield* fakeAdapter(vendor, {
                // A drip must not look like a stall to a busy machine.
                timeouts: outcome === "call_timeout" ? { ...quick, streamIdleMs: 10_000 } : timed.has(outcome) ? quick : {}
              })
              const model = vendor === "gemini" ? "gemini-2.5-pro" : vendor === "openai" ? "gpt-4o" : "claude-sonnet-4-5"
              fake.reset()
              fake.script({ vendor, operation: "chat" }, behaviour)
              const call = run(adapter, callOf(model), mode === "stream")
              if (outcome === "ok") {
                const { content, finishReason, usage } = yield* call
                assert.notStrictEqual(textOf(content), "")
                assert.isFalse(usage.estimated)
                if (behaviour.fault === "content-filter") assert.include(["content_filter", "refusal"], finishReason)
                return
              }
              const error = yield* Effect.flip(call)
              assert.strictEqual(error.fault, outcome, error.message)
              assert.isTrue(error.sent)
              if (status !== undefined) assert.strictEqual(error.status, status)
              if (retryAfterMs !== undefined) assert.strictEqual(error.retryAfterMs, retryAfterMs)
              assert.notMatch(error.message, /<html|<body/i)
            }).pipe(Effect.scoped))
        }
      }
    })
  }
})

layer(harness, { excludeTestServices: true })("a connection that fails", (it) => {
  const connections = [
    { row: "36: refused", origin: "refused", expected: "connection_refused", sent: false },
    { row: "37: blackholed", origin: "blackhole", expected: "connect_timeout", sent: false },
    { row: "26: silent", origin: "silent", expected: "first_token_timeout", sent: true },
    { row: "38: no TLS", origin: "tls-garbage", expected: "tls_error", sent: false },
    { row: "38: a certificate that nobody signed", origin: "tls-self-signed", expected: "tls_error", sent: false }
  ] as const
  for (const { expected, origin, row, sent } of connections) {
    it.effect(`${row} is ${expected}`, () =>
      Effect.gen(function*() {
        const fake = yield* Fake
        const adapter = yield* adapterFor("openai", `${yield* Effect.promise(() => fake.origin(origin))}/v1`, { timeouts: quick })
        const error = yield* Effect.flip(adapter.complete(callOf("gpt-4o")))
        assert.deepStrictEqual({ fault: error.fault, sent: error.sent }, { fault: expected, sent })
      }).pipe(Effect.scoped))
  }

  it.effect("35: a name that does not resolve is told within two seconds, and was not sent", () =>
    Effect.gen(function*() {
      const adapter = yield* adapterFor("openai", "http://nobody.invalid/v1")
      const error = yield* Effect.flip(adapter.complete(callOf("gpt-4o")))
      assert.deepStrictEqual({ fault: error.fault, sent: error.sent }, { fault: "name_not_resolved", sent: false })
    }).pipe(Effect.scoped, Effect.timeout(2500)))
})

layer(harness, { excludeTestServices: true })("what a provider says of a failure", (it) => {
  for (const vendor of fakeVendors) {
    for (const mode of modes) {
      it.effect(`42: a key that ${vendor} echoes is scrubbed (${mode})`, () =>
        Effect.gen(function*() {
          const fake = yield* Fake
          const adapter = yield* fakeAdapter(vendor)
          fake.reset()
          fake.script({ vendor }, { fault: "echo-key" })
          const error = yield* Effect.flip(run(adapter, callOf("m"), mode === "stream"))
          assert.strictEqual(error.fault, "authentication")
          assert.include(error.message, "Incorrect API key provided: [key]")
          assert.notInclude(JSON.stringify({ ...error, message: error.message }), key)
        }).pipe(Effect.scoped))
    }
  }

  it.effect("20: a page's text is never echoed, and the provider's request id is kept", () =>
    Effect.gen(function*() {
      const fake = yield* Fake
      const adapter = yield* fakeAdapter("openai")
      fake.reset()
      fake.script("gpt-4o", { fault: "502?body=html" }, { error: "server_error" })
      const page = yield* Effect.flip(adapter.complete(callOf("gpt-4o")))
      assert.strictEqual(page.message, "openai answered 502")
      const plain = yield* Effect.flip(adapter.complete(callOf("gpt-4o")))
      assert.match(plain.upstreamRequestId ?? "", /^req_/)
    }).pipe(Effect.scoped))

  for (const vendor of fakeVendors) {
    for (const lie of ["missing", "zero", "negative", "nan", "null", "huge"]) {
      it.effect(`41: ${vendor}'s usage that is ${lie} is replaced by an estimate and marked`, () =>
        Effect.gen(function*() {
          const fake = yield* Fake
          const adapter = yield* fakeAdapter(vendor)
          for (const mode of modes) {
            fake.reset()
            fake.script({ vendor }, { text: "x".repeat(40), fault: `usage-${lie}` })
            const { usage } = yield* run(adapter, callOf("m"), mode === "stream")
            assert.deepStrictEqual({ ...usage, reasoningTokens: 0 }, {
              promptTokens: 77,
              cachedTokens: 0,
              cacheWriteTokens: 0,
              completionTokens: 10,
              reasoningTokens: 0,
              estimated: true
            })
          }
        }).pipe(Effect.scoped))
    }

    it.effect(`33: ${vendor}'s usage is counted once, however often it comes`, () =>
      Effect.gen(function*() {
        const fake = yield* Fake
        const adapter = yield* fakeAdapter(vendor)
        for (const fault of ["duplicate-chunks", "cumulative-usage"]) {
          fake.reset()
          fake.script({ vendor }, { text: "one two three", usage: { prompt: 20, completion: 9 }, fault })
          const { usage } = yield* run(adapter, callOf("m"), true)
          assert.deepInclude(usage, { promptTokens: 20, completionTokens: 9, estimated: false })
        }
      }).pipe(Effect.scoped))
  }
})
