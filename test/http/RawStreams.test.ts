/** What the client libraries can't show: the bytes, the order and the timing of each door's stream, whatever the provider's protocol. */
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import type { FakeProvider } from "../support/FakeProvider.ts"
import * as Fake from "../support/FakeProvider.ts"
import type { Behaviour } from "../support/fake-provider/Behaviour.ts"
import type { Hub } from "../support/Harness.ts"
import * as Harness from "../support/Harness.ts"

interface Bench {
  readonly hub: Hub
  readonly fake: FakeProvider
}

class TestBench extends Context.Service<TestBench, Bench>()("test/Bench") {}

const upstreams = { openai: "openai", "openai-responses": "openai", anthropic: "anthropic", gemini: "gemini" } as const
type UpstreamName = keyof typeof upstreams
const upstreamNames: ReadonlyArray<UpstreamName> = ["openai", "openai-responses", "anthropic", "gemini"]

/** Nothing that one test does to a model's health is felt by the next; no comment shows that a stream lives. */
const env = { TOKENHUB_MOCK: "false", TOKENHUB_BREAKER_FAILURES: "1000", TOKENHUB_RETRIES_PER_SECOND: "100000", TOKENHUB_HEARTBEAT_MS: "60000" }

const bench = Layer.effect(
  TestBench,
  Effect.gen(function*() {
    const fake = yield* Fake.scoped()
    const hub = yield* Harness.start({ env })
    yield* Effect.promise(async () => {
      for (const name of upstreamNames) {
        const provider = await hub.admin("POST", "/providers", { name, provider_type: name, api_key: "sk-test-key", base_url: fake.url(upstreams[name]) })
        assert.strictEqual(provider.status, 201, provider.text)
        const model = await hub.admin("POST", "/models", { name, provider: name, context_size: 100_000, weight: 1, cost_per_1k_tokens: 0, max_output_tokens: 4096 })
        assert.strictEqual(model.status, 201, model.text)
      }
    })
    return { fake, hub }
  })
)

// --- events as they stand on the wire

interface Event {
  readonly name: string | undefined
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly data: any
}

/** Reads bytes by the letter: events of a name and data, comments, LF, and nothing else. */
const eventsOf = (text: string): ReadonlyArray<Event> => {
  assert.notInclude(text, "\r")
  assert.isTrue(text === "" || text.endsWith("\n\n"), "the last event is whole")
  return text.split("\n\n").slice(0, -1).flatMap((block): ReadonlyArray<Event> => {
    const lines = block.split("\n")
    if (lines.every((line) => line.startsWith(":"))) return []
    const [first = ""] = lines
    const name = first.startsWith("event: ") ? first.slice(7) : undefined
    const data = lines.slice(name === undefined ? 0 : 1)
    assert.isNotEmpty(data, block)
    for (const line of data) assert.match(line, /^data: /)
    const joined = data.map((line) => line.slice(6)).join("\n")
    return [{ name, data: joined === "[DONE]" ? joined : JSON.parse(joined) }]
  })
}

interface DoorUnderTest {
  readonly path: string
  readonly body: (model: string) => object
  readonly text: (events: ReadonlyArray<Event>) => string
  /** What must hold of every stream that ended as it should. */
  readonly whole: (events: ReadonlyArray<Event>) => void
  /** The one end of a stream that failed. */
  readonly failed: (events: ReadonlyArray<Event>) => void
}

const only = (events: ReadonlyArray<Event>, is: (event: Event) => boolean, what: string) => {
  const found = events.filter(is)
  assert.strictEqual(found.length, 1, `one ${what}`)
  assert.strictEqual(events.at(-1), found[0], `${what} is last`)
}

const isTerminal = ({ name }: Event) => /^response\.(completed|incomplete|failed)$/.test(name ?? "") || name === "error"

const typed = (events: ReadonlyArray<Event>) => {
  for (const { data, name } of events) assert.strictEqual(data.type, name)
}

const numbered = (events: ReadonlyArray<Event>) => assert.deepStrictEqual(events.map(({ data }) => data.sequence_number), events.map((_, i) => i))

const doors: ReadonlyArray<DoorUnderTest> = [
  {
    path: "/v1/chat/completions",
    body: (model) => ({ model, messages: [{ role: "user", content: "Hi" }], stream: true }),
    text: (events) => events.map(({ data }) => data.choices?.[0]?.delta?.content ?? "").join(""),
    whole: (events) => {
      only(events, ({ data }) => data === "[DONE]", "[DONE]")
      const chunks = events.slice(0, -1)
      assert.isTrue(events.every(({ name }) => name === undefined))
      assert.deepInclude(chunks[0]?.data, { object: "chat.completion.chunk" })
      assert.strictEqual(chunks[0]?.data.choices[0].delta.role, "assistant")
      assert.strictEqual(new Set(chunks.map(({ data }) => data.id)).size, 1)
      assert.deepStrictEqual(chunks.map(({ data }) => data.choices[0].finish_reason).filter((reason) => reason !== null), ["stop"])
      assert.strictEqual(chunks.at(-1)?.data.choices[0].finish_reason, "stop")
    },
    failed: (events) => {
      only(events, ({ data }) => data.error !== undefined, "error")
      assert.isTrue(events.every(({ data, name }) => data !== "[DONE]" && name === undefined))
      assert.hasAllKeys(events.at(-1)?.data.error, ["message", "type", "code", "param", "request_id", "retryable"])
    }
  },
  {
    path: "/v1/responses",
    body: (model) => ({ model, input: "Hi", stream: true }),
    text: (events) => events.map(({ data }) => (data.type === "response.output_text.delta" ? data.delta : "")).join(""),
    whole: (events) => {
      typed(events)
      numbered(events)
      only(events, isTerminal, "terminal event")
      const names = events.map(({ name }) => name).filter((name) => name !== "response.output_text.delta")
      assert.deepStrictEqual(names, [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed"
      ])
      const { response } = events.at(-1)?.data ?? assert.fail()
      assert.isNumber(response.usage.output_tokens_details.reasoning_tokens)
      assert.isNumber(response.usage.input_tokens_details.cached_tokens)
      assert.strictEqual(events[0]?.data.response.id, response.id)
    },
    failed: (events) => {
      typed(events)
      numbered(events)
      only(events, isTerminal, "terminal event")
      assert.strictEqual(events.at(-1)?.name, "response.failed")
      assert.deepInclude(events.at(-1)?.data.response, { status: "failed", id: events[0]?.data.response.id })
    }
  },
  {
    path: "/v1/messages",
    body: (model) => ({ model, max_tokens: 100, messages: [{ role: "user", content: "Hi" }], stream: true }),
    text: (events) => events.map(({ data }) => data.delta?.text ?? "").join(""),
    whole: (events) => {
      typed(events)
      only(events, ({ name }) => name === "message_stop", "message_stop")
      const names = events.map(({ name }) => name).filter((name) => name !== "content_block_delta" && name !== "ping")
      assert.deepStrictEqual(names, ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"])
      const end = events.find(({ name }) => name === "message_delta")?.data
      assert.strictEqual(end.delta.stop_reason, "end_turn")
      assert.isNumber(end.usage.output_tokens)
    },
    failed: (events) => {
      typed(events)
      only(events, ({ name }) => name === "error", "error")
      assert.notInclude(events.map(({ name }) => name), "message_stop")
      assert.containsAllKeys(events.at(-1)?.data.error, ["type", "message"])
    }
  }
]

/** Nobody else is asked. */
const alone = { "x-tokenhub-allow-escalation": "false", "x-tokenhub-deadline-ms": "20000" }

const post = ({ hub }: Bench, { body, path }: DoorUnderTest, model: string) =>
  fetch(hub.url + path, { method: "POST", headers: { "content-type": "application/json", ...alone }, body: JSON.stringify(body(model)) })

const streamed = async (made: Bench, door: DoorUnderTest, model: string, behaviour: Behaviour) => {
  made.fake.reset()
  made.fake.script({}, behaviour)
  const response = await post(made, door, model)
  const text = await response.text()
  assert.strictEqual(response.status, 200, text)
  assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/)
  return eventsOf(text)
}

/** What is another's in every stream: ids, times, padding, tokens that were counted so far. */
const timeless = (events: ReadonlyArray<Event>): unknown =>
  JSON.parse(
    JSON.stringify(events.filter(({ name }) => name !== "ping"), (key, value: unknown) =>
      ["id", "created", "created_at", "item_id", "response_id", "request_id"].includes(key) ? "" : value)
  )

/** Waits of a provider that a test ends one by one. */
const gates = () => {
  const waiting: Array<() => void> = []
  let free = false
  return {
    wait: () => (free ? Promise.resolve() : new Promise<void>((resolve) => void waiting.push(resolve))),
    open: () => waiting.shift()?.(),
    openAll: () => {
      free = true
      for (const resolve of waiting.splice(0)) resolve()
    }
  }
}

layer(bench, { excludeTestServices: true, timeout: 60_000 })("streams on the wire", (it) => {
  const test = (name: string, run: (bench: Bench) => Promise<void>) =>
    it.effect(name, () => Effect.flatMap(TestBench, (made) => Effect.promise(() => run(made))))

  for (const door of doors) {
    describe(door.path, () => {
      test("says who answers in its headers, and at its end what it cost where the client wants to see the steps", async (made) => {
        const { fake, hub } = made
        const ask = (more: object, headers: Record<string, string> = {}) =>
          hub.request("POST", door.path, { ...door.body("anthropic"), ...more }, { headers: { ...alone, ...headers } })
        fake.reset()
        const whole = await ask({ stream: false })
        assert.deepInclude(Object.fromEntries(whole.headers), {
          "x-tokenhub-model": "anthropic",
          "x-tokenhub-provider": "anthropic",
          "x-tokenhub-attempts": "1",
          "x-tokenhub-cost-usd": "0.000000000"
        })
        const asked: ReadonlyArray<readonly [shown: boolean, more: object, headers: Record<string, string>]> = [
          [true, { tokenhub: { events: true } }, {}],
          [true, {}, { "x-tokenhub-events": "true" }],
          [false, {}, {}]
        ]
        for (const [shown, more, given] of asked) {
          const { headers, text } = await ask(more, given)
          assert.deepInclude(Object.fromEntries(headers), { "x-tokenhub-model": "anthropic", "x-tokenhub-provider": "anthropic", "x-tokenhub-attempts": "1" })
          assert.isFalse(headers.has("x-tokenhub-cost-usd"))
          const told = /\n: run\.completed (\{.*\})\n\n/.exec(text)?.[1]
          if (!shown) assert.isUndefined(told)
          else assert.deepStrictEqual(JSON.parse(told ?? "{}"), { mode: "simple", attempts: 1, cost_usd: "0.000000000" })
          door.whole(eventsOf(text))
        }
      })

      test("heeds the router's policy by header and in the tokenhub object", async ({ fake, hub }) => {
        fake.reset()
        const body = { ...door.body("tokenhub/auto"), stream: false }
        const params = async (given: object, headers: Record<string, string> = {}) => {
          const { json, status } = await hub.request("POST", door.path, { ...body, ...given }, { headers })
          return [status, json.error.code, json.error.param]
        }
        assert.deepStrictEqual(await params({}, { "x-tokenhub-min-context": "999999999" }), [422, "no_candidate", null])
        assert.deepStrictEqual(await params({ tokenhub: { policy: { min_context_size: 999_999_999 } } }), [422, "no_candidate", null])
        assert.deepStrictEqual(await params({ model: "tokenhub/auto?min_context=999999999" }), [422, "no_candidate", null])
        assert.deepStrictEqual(await params({}, { "x-tokenhub-max-cost": "much" }), [400, "invalid_request", "x-tokenhub-max-cost"])
        assert.deepStrictEqual(await params({ tokenhub: { novelty: 1 } }), [400, "invalid_request", "tokenhub.novelty"])
        assert.strictEqual(fake.calls.length, 0)
      })

      for (const upstream of upstreamNames) {
        test(`has its events in order, one end, and nothing that a text can forge (${upstream})`, async (made) => {
          const text = "Grüß\r\n\r\ndata: [DONE]\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\nevent: response.completed\ndata: {}\n\n: 👋"
          const events = await streamed(made, door, upstream, { text, chunkSize: 3 })
          door.whole(events)
          assert.strictEqual(door.text(events), text)
        })

        test(`sends each piece when it comes (${upstream})`, async (made) => {
          const gate = gates()
          made.fake.reset()
          made.fake.script({}, { text: "aaaabbbbcccc", chunkSize: 4, delay: { chunk: gate.wait } })
          const response = await post(made, door, upstream)
          const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader() ?? assert.fail("no body")
          let received = ""
          const until = async (piece: string) => {
            while (!received.includes(piece)) {
              const { done, value } = await reader.read()
              assert.isFalse(done, `the stream ended before ${piece}`)
              received += value ?? ""
            }
          }
          for (const [piece, next] of [["aaaa", "bbbb"], ["bbbb", "cccc"], ["cccc", "dddd"]] as const) {
            // The provider waits: it can come only from what it has sent by now.
            await until(piece)
            assert.notInclude(received, next)
            gate.open()
          }
          gate.openAll()
          for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) received += chunk.value
          door.whole(eventsOf(received))
        })

        test(`means the same however its bytes are cut and framed (${upstream})`, async (made) => {
          const answer = { text: "Hello there, you out there", chunkSize: 5 }
          const plain = timeless(await streamed(made, door, upstream, answer))
          for (const fault of ["split?size=1", "split?size=7", "crlf", "cr", "bom", "comments", "retry-lines", "multi-line"]) {
            assert.deepStrictEqual(timeless(await streamed(made, door, upstream, { ...answer, fault })), plain, fault)
          }
        })

        test(`is a real status where it fails before content, whatever had been opened (${upstream})`, async (made) => {
          made.fake.reset()
          made.fake.script({}, { fault: "error-first", always: true })
          const response = await post(made, door, upstream)
          const text = await response.text()
          assert.isAtLeast(response.status, 500, text)
          assert.match(response.headers.get("content-type") ?? "", /^application\/json/)
          assert.isObject(JSON.parse(text).error)
        })

        for (const fault of ["error-mid?after=2", "cut-mid-stream?after=2", "no-end"]) {
          test(`ends in one error of its protocol after ${fault} (${upstream})`, async (made) => {
            const events = await streamed(made, door, upstream, { text: "aaaabbbbcccc", chunkSize: 4, fault })
            door.failed(events)
            assert.include(door.text(events), "aaaa")
          })
        }

        test(`has no event for an empty piece (${upstream})`, async (made) => {
          const empty: Behaviour["frames"] = function*(frames) {
            for (const frame of frames) {
              yield frame
              // The same piece once more, without its words.
              if ("stage" in frame && frame.stage === "content" && typeof frame.data === "object") {
                yield { ...frame, data: JSON.parse(JSON.stringify(frame.data).replaceAll(/aaaa|bbbb/g, "")) }
              }
            }
          }
          const protocol = { "/v1/chat/completions": "openai", "/v1/responses": "openai-responses", "/v1/messages": "anthropic" }[door.path]
          if (protocol === upstream) return // The provider's own events are the client's.
          const events = await streamed(made, door, upstream, { text: "aaaabbbb", chunkSize: 4, frames: empty })
          door.whole(events)
          assert.strictEqual(door.text(events), "aaaabbbb")
          const pieces = events.filter((event) => door.text([event]) !== "")
          assert.strictEqual(pieces.length, 2)
        })
      }
    })
  }
})
