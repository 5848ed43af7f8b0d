/** FAULTS.md rows 1 to 42 as a client sees them: the whole product, and a provider that fails in every way, over real sockets. */
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Ledger } from "../../src/account/Ledger.ts"
import type { Behaviour } from "../support/fake-provider/Behaviour.ts"
import type { OriginName } from "../support/fake-provider/Origins.ts"
import type { FakeProvider } from "../support/FakeProvider.ts"
import * as Fake from "../support/FakeProvider.ts"
import type { Answer, Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

type Mode = "plain" | "stream"

interface Case {
  readonly name: string
  /** What the provider does, every time. */
  readonly fault: string
  /** Or where it can't be reached. */
  readonly origin?: OriginName | "unresolvable"
  readonly only?: Mode
  /** What the client is told when nobody else may be asked. */
  readonly alone: { readonly status: number; readonly code?: string; readonly retryAfter?: number; readonly noRetry?: true }
  /** Calls that the provider gets meanwhile. */
  readonly calls: number
  /** Whether another model is asked where that is allowed. */
  readonly escalates: boolean
  /** Whether it counts for the circuit breaker. */
  readonly breaks?: boolean
  /** Whether the provider may have billed it, so that the ledger has an estimate. */
  readonly billed?: boolean
  readonly timeouts?: object
  readonly deadlineMs?: number
  /** How often the model fails before the circuit breaker is looked at; the default is as often as it takes. */
  readonly within?: number
}

const quick = { first_byte_ms: 150, stream_idle_ms: 200, whole_call_ms: 600, connect_ms: 200 }

const status = (name: string, code: number, alone: Case["alone"], calls: number, escalates: boolean, breaks = false): Case => ({
  name,
  fault: String(code),
  alone,
  calls,
  escalates,
  breaks
})

/** Before the client has seen anything of an answer. */
const cases: ReadonlyArray<Case> = [
  status("1: invalid request", 400, { status: 400 }, 1, false),
  { name: "2: context length exceeded", fault: "context-length", alone: { status: 400, code: "context_length_exceeded" }, calls: 1, escalates: true },
  status("3: bad key", 401, { status: 502, code: "provider_auth", noRetry: true }, 1, true),
  status("4: no permission", 403, { status: 502 }, 1, true),
  status("5: no such model", 404, { status: 404, code: "model_not_found" }, 1, true),
  status("6: request time-out", 408, { status: 504 }, 2, true, true),
  status("7: conflict", 409, { status: 502 }, 2, false),
  status("8: payload too large", 413, { status: 413 }, 1, true),
  status("9: unprocessable", 422, { status: 422 }, 1, false),
  { name: "10: rate limit with a time beyond the deadline", fault: "429?retry_after=30", deadlineMs: 5000, alone: { status: 429, retryAfter: 30 }, calls: 1, escalates: true },
  { name: "10: rate limit with a time that can be waited for", fault: "429?retry_after=1", alone: { status: 429 }, calls: 3, escalates: true },
  { name: "11: rate limit without a time", fault: "429", alone: { status: 429, retryAfter: 5 }, calls: 1, escalates: true },
  { name: "12: Retry-After of years", fault: "429?retry_after=1e9", deadlineMs: 5000, alone: { status: 429, retryAfter: 60 }, calls: 1, escalates: true },
  { name: "12: Retry-After that is garbage", fault: "429?retry_after=soon", alone: { status: 429, retryAfter: 5 }, calls: 1, escalates: true },
  { name: "13: quota exhausted", fault: "quota", alone: { status: 429 }, calls: 1, escalates: true },
  status("14: server error", 500, { status: 502 }, 2, true, true),
  status("15: bad gateway", 502, { status: 502 }, 3, true, true),
  status("15: unavailable", 503, { status: 502 }, 3, true, true),
  status("15: gateway time-out", 504, { status: 502 }, 3, true, true),
  { ...status("15: unavailable, and when it will be back", 503, { status: 502, retryAfter: 1 }, 3, true, true), fault: "503?retry_after=1" },
  { ...status("16: overloaded", 529, { status: 503, retryAfter: 5 }, 1, true, true) },
  { name: "17: redirect", fault: "302", alone: { status: 502 }, calls: 1, escalates: false },
  { name: "18: malformed JSON", fault: "malformed-json?after=0", alone: { status: 502 }, calls: 1, escalates: true, billed: true },
  { name: "19: truncated JSON", fault: "truncated-json", only: "plain", alone: { status: 502 }, calls: 1, escalates: true, breaks: true, billed: true },
  { name: "20: 200 with HTML", fault: "html-200", alone: { status: 502 }, calls: 1, escalates: false },
  { name: "21: reset before headers", fault: "reset-before-headers", alone: { status: 502 }, calls: 2, escalates: false, breaks: true, billed: true },
  { name: "25: error before content in a 200", fault: "error-first", alone: { status: 503 }, calls: 1, escalates: true, breaks: true },
  { name: "26: no first token", fault: "no-first-token", only: "stream", timeouts: quick, alone: { status: 504 }, calls: 1, escalates: true, breaks: true, billed: true },
  { name: "28: endless answer", fault: "endless", only: "plain", alone: { status: 502 }, calls: 1, escalates: false, within: 1, billed: true },
  { name: "28: dripping answer", fault: "drip", only: "plain", timeouts: quick, alone: { status: 504 }, calls: 1, escalates: false, billed: true },
  { name: "29: broken compression", fault: "broken-gzip", alone: { status: 502 }, calls: 1, escalates: false, billed: true },
  { name: "30: decompression bomb", fault: "gzip-bomb", only: "plain", alone: { status: 502 }, calls: 1, escalates: false, within: 1, billed: true },
  { name: "30: stacked encodings", fault: "stacked-encodings", alone: { status: 502 }, calls: 1, escalates: false, billed: true },
  { name: "31: answer of a gigabyte", fault: "huge", only: "plain", alone: { status: 502 }, calls: 1, escalates: false, within: 1, billed: true },
  { name: "32: line of 100 MB", fault: "long-line", only: "stream", alone: { status: 502 }, calls: 1, escalates: false, within: 1, billed: true },
  { name: "35: name that does not resolve", fault: "200", origin: "unresolvable", alone: { status: 502 }, calls: 0, escalates: true, breaks: true },
  { name: "36: connection refused", fault: "200", origin: "refused", alone: { status: 502 }, calls: 0, escalates: true, breaks: true },
  { name: "37: connection blackholed", fault: "200", origin: "blackhole", timeouts: { ...quick, first_byte_ms: 5000 }, alone: { status: 504 }, calls: 0, escalates: true, breaks: true },
  { name: "38: TLS error", fault: "200", origin: "tls-self-signed", alone: { status: 502 }, calls: 0, escalates: false },
  { name: "40: empty choices", fault: "empty-choices", alone: { status: 502 }, calls: 1, escalates: true, billed: true },
  { name: "42: echoed key", fault: "echo-key?status=400", alone: { status: 502 }, calls: 1, escalates: true }
]

const secret = "sk-fault-matrix-0123456789abcdef"

class TestBench extends Context.Service<TestBench, { readonly hub: Hub; readonly fake: FakeProvider }>()("test/Bench") {}

/** One `spare` model that always answers; retries are not what is scarce. */
const bench = Layer.effect(
  TestBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env: { TOKENHUB_MOCK: "false", TOKENHUB_RETRIES_PER_SECOND: "100000" } })
    yield* Effect.promise(() => provider(hub, "spare", `${fake.url("openai")}`))
    yield* Effect.promise(() => model(hub, "spare", "spare", 20, 200_000))
    return { fake, hub }
  })
)

const provider = async (hub: Hub, name: string, base_url: string, timeouts: object = {}) => {
  const added = await hub.admin("POST", "/providers", { name, provider_type: "openai-compatible", api_key: secret, allow_private: true, base_url, timeouts })
  assert.strictEqual(added.status, 201, added.text)
}

const model = async (hub: Hub, name: string, provider: string, weight = 10, context_size = 100_000) => {
  const added = await hub.admin("POST", "/models", { name, provider, context_size, weight, cost_per_1k_tokens: 0.01 })
  assert.strictEqual(added.status, 201, added.text)
}

/** One chat completion; of a stream, the status and the text of its events. */
const ask = (hub: Hub, model: string, mode: Mode, tokenhub: object = {}) =>
  hub.post("/v1/chat/completions", { model, stream: mode === "stream", messages: [{ role: "user", content: "Hello" }], tokenhub })

const alone = { policy: { allow_escalation: false } }

let count = 0

/** A model of its own at a provider of its own, so that no case feels another. */
const prepare = async ({ fake, hub }: { readonly fake: FakeProvider; readonly hub: Hub }, behaviour: Behaviour, given: Partial<Case> = {}) => {
  const name = `m${count++}`
  const url = given.origin === undefined
    ? fake.url("openai")
    : given.origin === "unresolvable"
    ? "http://nobody.invalid/v1"
    : `${await fake.origin(given.origin)}/v1`
  await provider(hub, name, url, given.timeouts)
  await model(hub, name, name)
  fake.script({ model: name }, { ...behaviour, always: true })
  return { name, calls: () => fake.calls.filter(({ model }) => model === name).length }
}

const circuitOf = async (hub: Hub, name: string): Promise<string> =>
  (await hub.admin("GET", `/providers/${name}`)).json.health[name].circuit

/** What the ledger has of an answer. */
const ledgerOf = (hub: Hub, answer: Answer) =>
  Effect.runPromise(
    Effect.gen(function*() {
      const ledger = Context.get(hub.services, Ledger)
      yield* ledger.flush
      return yield* ledger.request(answer.headers.get("x-request-id") ?? "")
    })
  )

const modes: ReadonlyArray<Mode> = ["plain", "stream"]

/** Most of their time passes in waits. */
const together = { concurrent: true, timeout: 60_000 }

layer(bench, { excludeTestServices: true, timeout: 60_000 })("before the answer begins", (it) => {
  for (const given of cases) {
    for (const mode of modes.filter((mode) => mode === (given.only ?? mode))) {
      it.effect(`${given.name} (${mode})`, () =>
        Effect.flatMap(TestBench, (made) =>
          Effect.promise(async () => {
            const { hub } = made
            const { calls, name } = await prepare(made, { fault: given.fault }, given)
            const deadline = given.deadlineMs === undefined ? {} : { deadline_ms: given.deadlineMs }
            const answer = await ask(hub, name, mode, { ...alone, ...deadline })
            assert.strictEqual(answer.status, given.alone.status, answer.text)
            assert.strictEqual(calls(), given.calls)
            const { error } = answer.json
            assert.isString(error.message)
            assert.strictEqual(error.request_id, answer.headers.get("x-request-id"))
            if (given.alone.code !== undefined) assert.strictEqual(error.code, given.alone.code)
            if (given.alone.retryAfter !== undefined) {
              assert.isNotNull(answer.headers.get("retry-after"))
              assert.approximately(Number(answer.headers.get("retry-after")), given.alone.retryAfter, 2)
            }
            if (given.alone.noRetry === true) assert.strictEqual(answer.headers.get("x-should-retry"), "false")
            assert.notMatch(answer.text, /<html|\[DONE\]/)
            assert.notInclude(answer.text, secret)

            const onLedger = await ledgerOf(hub, answer)
            assert.strictEqual(onLedger?.row.status, answer.status)
            assert.lengthOf(onLedger?.attempts ?? [], Math.max(1, given.calls), "each try is a row")
            for (const { outcome, usage } of onLedger?.attempts ?? []) {
              assert.notInclude(["ok", "unknown"], outcome)
              assert.strictEqual(usage.promptTokens > 0, given.billed ?? false, "what may have been billed")
            }

            // Afresh: the first answer may have left the model cooling.
            await hub.admin("PATCH", `/providers/${name}`, { api_key: secret })
            const before = performance.now()
            const next = await ask(hub, name, mode, deadline)
            if (given.escalates) {
              assert.strictEqual(next.status, 200, next.text)
              assert.include(next.text, "spare heard")
              assert.isBelow(performance.now() - before, 10_000)
            } else {
              assert.strictEqual(next.status, given.alone.status, next.text)
            }

            await hub.admin("PATCH", `/providers/${name}`, { api_key: secret })
            for (let i = 0; i < (given.within ?? 5) && (await circuitOf(hub, name)) === "closed"; i++) await ask(hub, name, mode, { ...alone, ...deadline })
            assert.strictEqual(await circuitOf(hub, name) !== "closed", given.breaks ?? false, "the circuit breaker")
          })), together)
    }
  }
})

layer(bench, { excludeTestServices: true, timeout: 60_000 })("a model that may not be called now", (it) => {
  const test = (name: string, fault: string, run: (bench: { readonly hub: Hub; readonly name: string; readonly calls: () => number }) => Promise<void>) =>
    it.effect(name, () => Effect.flatMap(TestBench, (made) => Effect.promise(async () => run({ ...made, ...(await prepare(made, { fault })) }))), together)

  /** Asks for this model alone, and sees that it is not called. */
  const refused = async (hub: Hub, name: string, calls: () => number, expected: { readonly status: number; readonly seconds: number }) => {
    const before = calls()
    const answer = await ask(hub, name, "plain", alone)
    assert.strictEqual(answer.status, expected.status, answer.text)
    assert.strictEqual(answer.json.error.type, expected.status === 429 ? "rate_limit_error" : "overloaded_error")
    const seconds = Number(answer.headers.get("retry-after"))
    assert.isTrue(seconds > expected.seconds * 0.8 && seconds <= expected.seconds * 1.25, `Retry-After: ${seconds}`)
    assert.strictEqual(calls(), before, "it was called")
    assert.include((await ask(hub, name, "plain")).text, "spare heard")
  }

  test("3: a key that was refused is left alone, with every model of its provider, until an admin changes it", "401", async ({ calls, hub, name }) => {
    await model(hub, `${name}-sister`, name)
    assert.strictEqual((await ask(hub, name, "plain", alone)).status, 502)
    await refused(hub, name, calls, { status: 503, seconds: 300 })
    await refused(hub, `${name}-sister`, calls, { status: 503, seconds: 300 })
    await hub.admin("PATCH", `/providers/${name}`, { api_key: secret })
    assert.strictEqual((await ask(hub, name, "plain", alone)).status, 502)
    assert.strictEqual(calls(), 2)
  })

  test("5: one that its provider does not have is not asked for again for a minute", "404", async ({ calls, hub, name }) => {
    assert.strictEqual((await ask(hub, name, "plain", alone)).status, 404)
    await refused(hub, name, calls, { status: 503, seconds: 60 })
  })

  test("13: one whose quota is used up is told of as limited for five minutes", "quota", async ({ calls, hub, name }) => {
    assert.strictEqual((await ask(hub, name, "plain", alone)).status, 429)
    await refused(hub, name, calls, { status: 429, seconds: 300 })
  })
})

/** What an OpenAI client sees of a stream. */
const events = (text: string): ReadonlyArray<string> =>
  text.split("\n\n").flatMap((event) => {
    const data = event.split("\n").flatMap((line) => (line.startsWith("data: ") ? [line.slice(6)] : []))
    return data.length === 0 ? [] : [data.join("\n")]
  })

layer(bench, { excludeTestServices: true, timeout: 60_000 })("after the answer has begun", (it) => {
  const test = (name: string, behaviour: Behaviour, run: (bench: { readonly hub: Hub; readonly fake: FakeProvider; readonly name: string; readonly calls: () => number }) => Promise<void>, given: Partial<Case> = {}) =>
    it.effect(name, () =>
      Effect.flatMap(TestBench, (made) =>
        Effect.promise(async () => run({ ...made, ...(await prepare(made, { text: "one two three four five six seven", chunkSize: 4, ...behaviour }, given)) }))), together)

  /** Ends with an error, not as if all were well, and nobody else was asked. */
  const breaksOff = async ({ calls, hub, name }: { readonly hub: Hub; readonly name: string; readonly calls: () => number }) => {
    const answer = await ask(hub, name, "stream")
    assert.strictEqual(answer.status, 200)
    const seen = events(answer.text)
    assert.notInclude(seen, "[DONE]")
    assert.property(JSON.parse(seen.at(-1) ?? "{}"), "error")
    assert.notInclude(answer.text, "spare heard")
    assert.strictEqual(calls(), 1)
    return ledgerOf(hub, answer)
  }

  for (const fault of ["reset-mid-stream", "cut-mid-stream"]) {
    test(`22: ${fault} ends with an error event, and what came is booked`, { fault }, async (bench) => {
      const found = await breaksOff(bench)
      assert.isAbove(found?.attempts[0]?.usage.completionTokens ?? 0, 0)
      assert.strictEqual(found?.attempts[0]?.outcome, "stream_interrupted")
    })
  }
  test("23: an end without [DONE] gets one", { fault: "no-done" }, async ({ hub, name }) => {
    const { text } = await ask(hub, name, "stream")
    assert.strictEqual(events(text).at(-1), "[DONE]")
    assert.notInclude(text, "\"error\"")
  })
  test("24: an end with neither is an error event", { fault: "no-end" }, async (bench) => void await breaksOff(bench))
  test("25: an error event after content is handed on, and the stream ends", { fault: "error-mid" }, async (bench) => void await breaksOff(bench))
  test("27: a stall ends with an error event", { fault: "stall" }, async (bench) => void await breaksOff(bench), {
    timeouts: { ...quick, first_byte_ms: 10_000, whole_call_ms: 20_000 }
  })
  test("28: a stream without an end is cut", { fault: "drip" }, async (bench) => void await breaksOff(bench), {
    timeouts: { ...quick, first_byte_ms: 10_000, stream_idle_ms: 10_000, whole_call_ms: 2000 }
  })
  test("19: a malformed event in mid-stream is an error event", { fault: "malformed-json?after=2" }, async (bench) => void await breaksOff(bench))

  for (const fault of ["crlf", "bom", "split?size=3", "multi-line", "comments"]) {
    test(`34: ${fault} gives the same output`, { fault }, async ({ hub, name }) => {
      const { text } = await ask(hub, name, "stream")
      const content = events(text).slice(0, -1).map((data) => JSON.parse(data).choices[0]?.delta.content ?? "").join("")
      assert.strictEqual(content, "one two three four five six seven")
      assert.strictEqual(events(text).at(-1), "[DONE]")
    })
  }

  for (const mode of modes) {
    test(`39: a content filter is a finish reason (${mode})`, { fault: "content-filter" }, async ({ calls, hub, name }) => {
      const answer = await ask(hub, name, mode)
      assert.strictEqual(answer.status, 200)
      assert.include(answer.text, "\"content_filter\"")
      assert.strictEqual(calls(), 1)
    })
    test(`33: doubled events and cumulative usage are counted once (${mode})`, { fault: "cumulative-usage", usage: { prompt: 20, completion: 9 } }, async ({ hub, name }) => {
      const answer = await ask(hub, name, mode)
      const found = await ledgerOf(hub, answer)
      assert.deepInclude(found?.row.usage, { promptTokens: 20, completionTokens: 9 })
    })
  }
  describe("row 41", () => {
    for (const lie of ["missing", "zero", "negative", "nan", "huge"]) {
      test(`41: usage ${lie} is an estimate, and never negative`, { fault: `usage-${lie}` }, async ({ hub, name }) => {
        const { json } = await hub.chat({ model: name, messages: [{ role: "user", content: "Hello" }] })
        assert.isAbove(json.usage.prompt_tokens, 0)
        assert.isBelow(json.usage.total_tokens, 1000)
        assert.match(json.cost_usd, /^0\.0\d+$/)
      })
    }
  })
})
