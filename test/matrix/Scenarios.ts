/** What is tried in each cell: what the client asks, what the provider does, and what must then be true at both ends. */
import { assert } from "@effect/vitest"
import { Context, Effect } from "effect"
import { Ledger } from "../../src/account/Ledger.ts"
import type { Behaviour } from "../support/fake-provider/Behaviour.ts"
import { objectOf } from "../support/fake-provider/Wire.ts"
import type { Bench } from "./Bench.ts"
import type { Ask, Client, Driver, ObjectSchema, Seen, Thrown } from "./Client.ts"
import type { ModeName, ScenarioName } from "./Table.ts"
import type { Heard, Upstream } from "./Upstreams.ts"

/** Whole: one answer. Stream: in pieces. */
type Way = "whole" | "stream"

export interface Setting extends Pick<Bench, "fake" | "hub"> {
  readonly driver: Driver
  readonly client: Client
  readonly upstream: Upstream
  readonly mode: ModeName
  /** What the client calls the model. */
  readonly model: string
}

export interface Scenario {
  readonly ways: ReadonlyArray<Way>
  readonly ask: Omit<Ask, "model">
  readonly run: (setting: Setting, way: Way) => Promise<void>
}

const both: ReadonlyArray<Way> = ["whole", "stream"]

/** Asks one way; `pieces` counts what came of a stream's text. */
export const asked = async ({ client, model }: Setting, way: Way, ask: Omit<Ask, "model">, onPiece = () => {}) => {
  let pieces = 0
  const seen = way === "whole"
    ? await client.complete({ ...ask, model })
    : await client.stream({ ...ask, model }, () => {
      pieces++
      onPiece()
    })
  return { ...seen, pieces }
}

/** The failure of an attempt as the library tells it. */
export const failureOf = async (driver: Driver, attempt: Promise<unknown>): Promise<Thrown> => {
  const error = await attempt.then((seen) => new Error(`It answered: ${JSON.stringify(seen)}`), (error: unknown) => error)
  const thrown = driver.thrown(error)
  assert.isDefined(thrown, String(error))
  return thrown
}

// --- the provider's part

const draft: Behaviour = { text: "A first draft", usage: { prompt: 11, completion: 5 } }
const revise: Behaviour = { text: "It is too short.\nVERDICT: REVISE", usage: { prompt: 30, completion: 7 } }
const accept: Behaviour = { text: "It is right.\nVERDICT: ACCEPT", usage: { prompt: 30, completion: 7 } }

/** The steps of a run whose answer is the last one; in adversarial mode the critic lets it pass, or it is the refined one. */
const script = ({ fake, mode, upstream: { models: [planner, critic] } }: Setting, answer: Behaviour, accepted: boolean): void => {
  const modes = { direct: [answer], auto: [answer], adversarial: accepted ? [answer] : [draft, answer] }
  fake.script({ model: planner }, ...modes[mode])
  if (mode === "adversarial") fake.script({ model: critic }, accepted ? accept : revise)
}

/** The calls of one run in their order, each as the provider heard it. */
const callsOf = ({ fake, mode, upstream: { heard, models: [planner, critic] } }: Setting, accepted: boolean) => {
  const calls = fake.calls.map((call) => ({ ...call, heard: heard(objectOf(call.body)) }))
  const expected = { direct: [planner], auto: [planner], adversarial: accepted ? [planner, critic] : [planner, critic, planner] }
  assert.deepStrictEqual(calls.map(({ model }) => model), expected[mode])
  return {
    answering: calls.filter(({ model }) => model === planner),
    critic: calls.find(({ model }) => model === critic)
  }
}

/** What all calls of the run used together: the fake provider's own bill. */
const usageOf = ({ fake: { bill } }: Setting): Seen["usage"] => {
  const sum = (pick: (charge: (typeof bill)[number]) => number) => bill.reduce((total, charge) => total + pick(charge), 0)
  return { prompt: sum(({ prompt }) => prompt), completion: sum(({ completion }) => completion), cached: sum(({ cached }) => cached) }
}

// --- answers

interface Answering {
  readonly ways?: ReadonlyArray<Way>
  readonly ask: Omit<Ask, "model">
  /** What the model says. */
  readonly says: (driver: Driver) => Behaviour
  /** The critic lets the first draft pass: it is the answer. */
  readonly accepted?: true
  /** What the client must see of it; the rest is empty, and the end regular. */
  readonly seen: Partial<Pick<Seen, "text" | "reasoning" | "finish">> & { readonly toolCalls?: ReadonlyArray<{ name: string; arguments: unknown }> }
  /** What every call that wrote a draft must have heard. */
  readonly heard?: (heard: Heard, driver: Driver) => void
  /** What the critic must have been told. */
  readonly judged?: string
  /** A turn that follows. */
  readonly follow?: (setting: Setting, way: Way, seen: Seen) => Promise<void>
}

const usage = { prompt: 20, completion: 200, cached: 8 }

const answering = ({ accepted, ask, heard, judged = "A first draft", says, seen: expected, follow, ways = both }: Answering): Scenario => ({
  ways,
  ask,
  run: async (setting, way) => {
    const { driver, fake, mode } = setting
    script(setting, { usage, chunkSize: 4, ...says(driver) }, accepted === true)
    const seen = await asked(setting, way, ask)
    const { text = "", reasoning = "", finish = "stop", toolCalls = [] } = expected
    assert.deepStrictEqual(
      { text: seen.text, reasoning: seen.reasoning, finish: seen.finish, toolCalls: seen.toolCalls.map(({ arguments: input, name }) => ({ name, arguments: input })) },
      { text, reasoning, finish, toolCalls }
    )
    assert.deepStrictEqual(seen.usage, usageOf(setting))
    const { answering, critic } = callsOf(setting, accepted === true)
    if (way === "stream" && text !== "" && accepted !== true) assert.isAbove(seen.pieces, 1)
    for (const call of answering) {
      assert.strictEqual(call.stream, way === "stream")
      heard?.(call.heard, driver)
    }
    if (mode === "adversarial") assert.include(critic?.text, judged)
    if (mode === "adversarial" && ask.image !== undefined) assert.deepStrictEqual(critic?.heard.images, [ask.image])
    assert.strictEqual(fake.unused(), 0)
    fake.reset()
    await follow?.(setting, way, seen)
  }
})

const schemaOf = (properties: ObjectSchema["properties"]): ObjectSchema => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false
})

/** Libraries add to a schema; what it asks for stays. */
const sameSchema = (heard: { readonly [name: string]: unknown } | undefined, { properties, required, type }: ObjectSchema) =>
  assert.deepStrictEqual(
    { type: heard?.["type"], properties: heard?.["properties"], required: heard?.["required"] },
    { type, properties, required }
  )

const weather = { name: "weather", description: "The weather of a city", schema: schemaOf({ city: { type: "string" } }) }
const clock = { name: "clock", description: "The time in a zone", schema: schemaOf({ zone: { type: "string" }, hour: { type: "integer" } }) }
const tools = [weather, clock]

const heardTools = (heard: Heard) => {
  assert.deepStrictEqual(heard.tools.map(({ name }) => name), tools.map(({ name }) => name))
  for (const [at, { schema }] of tools.entries()) sameSchema(heard.tools[at]?.schema, schema)
}

/** The turn after a turn of tool calls: their ids and results reach the model, and it goes on. */
const results = (ask: Omit<Ask, "model">) => async (setting: Setting, way: Way, { toolCalls }: Seen) => {
  const called = toolCalls.map((call, at) => ({ call, result: `result ${at} of ${call.name}` }))
  await answering({
    ask: { ...ask, called },
    says: () => ({ text: "It is sunny" }),
    seen: { text: "It is sunny" },
    heard: (heard) => {
      heardTools(heard)
      assert.deepStrictEqual(heard.calls.map(({ name }) => name), toolCalls.map(({ name }) => name))
      assert.deepStrictEqual(
        heard.results,
        heard.calls.map(({ id }, at) => ({ id, text: called[at]?.result ?? "" }))
      )
      assert.strictEqual(new Set(heard.calls.map(({ id }) => id)).size, toolCalls.length)
    }
  }).run(setting, way)
}

/** Black, one pixel. */
const image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

/** The head of one. */
const file = Buffer.from("%PDF-1.7\n").toString("base64")

const city = schemaOf({ name: { type: "string" }, people: { type: "integer" } })
const paris = { name: "Paris", people: 2_000_000 }

// --- failures

const gone = { kind: "invalid_request", status: 400, message: "No such thing as that." } as const

/** The rows of a request that its client left, as soon as there is one. */
const left = ({ hub }: Setting) =>
  Effect.runPromise(Effect.gen(function*() {
    const ledger = Context.get(hub.services, Ledger)
    while (true) {
      yield* ledger.flush
      const [row] = yield* ledger.requests({ limit: 1, event: "chat" })
      if (row?.status !== undefined && row.status !== null) return row
      yield* Effect.sleep(5)
    }
  }))

const longText = "aaaabbbbccccddddeeee"

export const scenarios: Readonly<Record<ScenarioName, Scenario>> = {
  plain: answering({
    ways: ["whole"],
    ask: { text: "Hello" },
    says: () => ({ text: "Grüß dich, 世界 👋\nHow are you?" }),
    seen: { text: "Grüß dich, 世界 👋\nHow are you?" }
  }),
  stream: answering({
    ways: ["stream"],
    ask: { text: "Hello" },
    says: () => ({ text: "Grüß dich, 世界 👋\n\ndata: [DONE]\n\nHow are you?" }),
    seen: { text: "Grüß dich, 世界 👋\n\ndata: [DONE]\n\nHow are you?" }
  }),
  tools: answering({
    ask: { text: "What is the weather in Paris?", tools },
    says: () => ({ toolCalls: [{ name: "weather", arguments: { city: "Paris \"é\"" } }] }),
    accepted: true,
    seen: { finish: "tool_calls", toolCalls: [{ name: "weather", arguments: { city: "Paris \"é\"" } }] },
    heard: heardTools,
    judged: "[calls the tool weather with",
    follow: results({ text: "What is the weather in Paris?", tools })
  }),
  "parallel tools": answering({
    ask: { text: "Weather and time in Paris?", tools },
    says: () => ({
      parts: [
        { type: "text", text: "Let me look." },
        { type: "tool_call", name: "weather", arguments: { city: "Paris" } },
        { type: "tool_call", name: "clock", arguments: { zone: "Europe/Paris", hour: 24 } }
      ]
    }),
    seen: {
      text: "Let me look.",
      finish: "tool_calls",
      toolCalls: [{ name: "weather", arguments: { city: "Paris" } }, { name: "clock", arguments: { zone: "Europe/Paris", hour: 24 } }]
    },
    heard: heardTools,
    follow: results({ text: "Weather and time in Paris?", tools })
  }),
  image: answering({
    ask: { text: "What is this?", image },
    says: () => ({ text: "A black dot" }),
    seen: { text: "A black dot" },
    heard: ({ images }) => assert.deepStrictEqual(images, [image])
  }),
  file: answering({
    ask: { text: "What is this?", file },
    says: () => ({ text: "An empty paper" }),
    seen: { text: "An empty paper" },
    heard: ({ files }) => assert.deepStrictEqual(files, [file])
  }),
  "one call at a time": answering({
    ask: { text: "What is the weather in Paris?", tools, oneCall: true },
    says: () => ({ toolCalls: [{ name: "weather", arguments: { city: "Paris" } }] }),
    seen: { finish: "tool_calls", toolCalls: [{ name: "weather", arguments: { city: "Paris" } }] },
    heard: ({ oneCall }) => assert.isTrue(oneCall)
  }),
  "JSON schema": answering({
    ask: { text: "Tell me of Paris", schema: city },
    says: ({ schemaTool }) => schemaTool === undefined ? { text: JSON.stringify(paris) } : { toolCalls: [{ name: schemaTool, arguments: paris }] },
    seen: { text: JSON.stringify(paris) },
    heard: ({ schema, tools: [tool] }, { schemaTool }) => {
      assert.strictEqual(tool?.name, schemaTool)
      sameSchema(schemaTool === undefined ? schema : tool?.schema, city)
    }
  }),
  reasoning: answering({
    ask: { text: "Think about it", reasoning: true },
    says: () => ({ reasoning: "First this, then that.", text: "So it is." }),
    seen: { reasoning: "First this, then that.", text: "So it is." },
    heard: ({ reasoning }) => assert.isTrue(reasoning)
  }),

  "output limit": answering({
    ask: { text: "Tell me a story" },
    says: () => ({ text: "Once upon a", finish: "length" }),
    seen: { text: "Once upon a", finish: "length" }
  }),
  "content filter": answering({
    ask: { text: "Tell me a story" },
    says: () => ({ text: "Once upon a", finish: "content_filter" }),
    seen: { text: "Once upon a", finish: "content_filter" }
  }),

  "error before": {
    ways: both,
    ask: { text: "Hello" },
    run: async (setting, way) => {
      const { driver, fake } = setting
      fake.script({}, { error: gone, always: true })
      const { message, status, type } = await failureOf(driver, asked(setting, way, { text: "Hello" }))
      assert.deepStrictEqual({ status, type }, { status: 400, type: driver.exceptionFor(400) })
      assert.include(message, gone.message)
      assert.strictEqual(fake.calls.length, 1)
    }
  },
  "error in mid-stream": {
    ways: ["stream"],
    ask: { text: "Hello" },
    run: async (setting, way) => {
      for (const fault of ["error-mid?after=2", "cut-mid-stream?after=2"]) {
        setting.fake.reset()
        script(setting, { text: longText, chunkSize: 4, fault }, false)
        let pieces = 0
        const { status } = await failureOf(setting.driver, asked(setting, way, { text: "Hello" }, () => pieces++))
        assert.isUndefined(status)
        assert.isAbove(pieces, 0)
        callsOf(setting, false)
      }
    }
  },
  abort: {
    ways: both,
    ask: { text: "Hello" },
    run: async (setting, way) => {
      const { fake, mode } = setting
      const leaving = new AbortController()
      if (way === "whole") fake.script({}, { fault: "no-headers", always: true })
      else script(setting, { text: longText, chunkSize: 4, fault: "stall?after=2" }, false)
      const arrived = fake.next({})
      const answer = asked(setting, way, { text: "Hello", signal: leaving.signal }, () => leaving.abort())
        .then(({ finish }) => finish, () => undefined)
      await arrived
      if (way === "whole") leaving.abort()
      assert.notStrictEqual(await answer, "stop")
      const last = fake.calls.at(-1)
      assert.strictEqual(await last?.ended, "aborted")
      const row = await left(setting)
      assert.deepStrictEqual([row.status, row.errorCode, row.mode], [499, "client_closed_request", mode === "adversarial" ? mode : "simple"])
      assert.strictEqual(fake.calls.length, mode === "adversarial" && way === "stream" ? 3 : 1)
    }
  }
}
