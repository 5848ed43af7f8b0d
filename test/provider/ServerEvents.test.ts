import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { StreamEvent } from "../../src/domain/Chat.ts"
import type { ProviderError } from "../../src/domain/ProviderError.ts"
import { anthropicMessages } from "../../src/provider/protocols/AnthropicMessages.ts"
import { gemini } from "../../src/provider/protocols/Gemini.ts"
import { openAiChat } from "../../src/provider/protocols/OpenAiChat.ts"
import { openAiQuirks } from "../../src/provider/protocols/OpenAiQuirks.ts"
import type { Protocol } from "../../src/provider/protocols/Protocol.ts"
import { EventFeed } from "../../src/provider/ServerEvents.ts"
import { callOf } from "./Harness.ts"

const event = (data: unknown, name?: string) => `${name === undefined ? "" : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`

const openAi = [
  ": PROCESSING\n\nretry: 3000\nid: 7\n\n",
  event({ id: "c1", model: "m", choices: [{ index: 0, delta: { role: "assistant", content: "" } }] }),
  event({ choices: [{ index: 0, delta: { reasoning_content: "Überlegung 🤔" } }] }),
  event({ choices: [{ index: 0, delta: { content: "Grüße " } }] }),
  "data: {\"choices\":\ndata: [{\"index\":0,\ndata: \"delta\":{\"content\":\"👋🏽\\n日本\"}}]}\n\n",
  event({ choices: [{ index: 0, delta: { tool_calls: [{ index: 0, id: "a", function: { name: "f", arguments: "{\"x\"" } }] } }] }),
  event({ choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: ":1}" } }] } }] }),
  event({ choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] }),
  event({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 4 } }),
  "data: [DONE]\n\n"
].join("")

const anthropic = [
  event({ type: "message_start", message: { id: "m1", model: "m", usage: { input_tokens: 3, output_tokens: 1 } } }, "message_start"),
  event({ type: "content_block_start", index: 0, content_block: { type: "thinking", thinking: "", signature: "" } }, "content_block_start"),
  event({ type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "Überlegung 🤔" } }, "content_block_delta"),
  event({ type: "content_block_delta", index: 0, delta: { type: "signature_delta", signature: "c2ln" } }, "content_block_delta"),
  event({ type: "content_block_stop", index: 0 }, "content_block_stop"),
  event({ type: "ping" }, "ping"),
  event({ type: "content_block_start", index: 1, content_block: { type: "text", text: "" } }, "content_block_start"),
  event({ type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "Grüße 👋🏽 日本" } }, "content_block_delta"),
  event({ type: "content_block_stop", index: 1 }, "content_block_stop"),
  event({ type: "content_block_start", index: 2, content_block: { type: "tool_use", id: "t", name: "f", input: {} } }, "content_block_start"),
  event({ type: "content_block_stop", index: 2 }, "content_block_stop"),
  event({ type: "message_delta", delta: { stop_reason: "tool_use" }, usage: { output_tokens: 4 } }, "message_delta"),
  event({ type: "message_stop" }, "message_stop")
].join("")

const google = [
  event({ responseId: "r", modelVersion: "m", candidates: [{ index: 0, content: { parts: [{ text: "Überlegung 🤔", thought: true }] } }] }),
  event({ candidates: [{ index: 0, content: { parts: [{ text: "Grüße 👋🏽 日本" }] } }] }),
  event({ candidates: [{ index: 0, content: { parts: [{ functionCall: { name: "f", args: { x: 1 } }, thoughtSignature: "c2ln" }] } }] }),
  event({
    candidates: [{ index: 0, content: { parts: [{ text: "" }] }, finishReason: "STOP" }],
    usageMetadata: { promptTokenCount: 3, candidatesTokenCount: 4 }
  })
].join("")

const streams: ReadonlyArray<readonly [string, Protocol, string]> = [
  ["OpenAI", openAiChat("OpenAI", openAiQuirks), openAi],
  ["Anthropic", anthropicMessages, anthropic],
  ["Gemini", gemini, google]
]

const read = (protocol: Protocol, pieces: Iterable<Buffer>): { events: ReadonlyArray<StreamEvent>; error: ProviderError | undefined } => {
  const feed = new EventFeed("p", 1_000_000, protocol.reader(callOf("m"))())
  const events: Array<StreamEvent> = []
  for (const piece of pieces) {
    feed.feed(piece)
    events.push(...feed.take())
  }
  if (!feed.over && feed.error === undefined) feed.feed(undefined)
  events.push(...feed.take())
  return { events, error: feed.error }
}

function* cut(bytes: Buffer, cuts: ReadonlyArray<number>): Iterable<Buffer> {
  let from = 0
  for (const at of cuts.toSorted((a, b) => a - b)) {
    if (at <= from || at >= bytes.length) continue
    yield bytes.subarray(from, at)
    from = at
  }
  yield bytes.subarray(from)
}

const place = (length: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: length - 1 }))

const contentOf = (events: ReadonlyArray<StreamEvent>) => {
  const last = events.at(-1)
  return last?.type === "end" ? last.completion.content : undefined
}

describe("a stream's events", () => {
  for (const [name, protocol, text] of streams) {
    for (const [ends, changed] of [["LF", text], ["CRLF", text.replaceAll("\n", "\r\n")], ["BOM", `\uFEFF${text}`]] as const) {
      const bytes = Buffer.from(changed)
      const whole = read(protocol, [bytes])

      it(`${name} with ${ends} ends with the whole answer`, () => {
        assert.isUndefined(whole.error)
        const end = whole.events.at(-1)
        assert.strictEqual(end?.type, "end")
        if (end?.type !== "end") return
        assert.deepInclude(end.completion.usage, { promptTokens: 3, completionTokens: 4 })
        assert.strictEqual(end.completion.finishReason, "tool_calls")
        assert.include(JSON.stringify(end.completion.content), "Grüße 👋🏽")
      })

      it(`${name} with ${ends} gives the same deltas one byte at a time`, () =>
        assert.deepStrictEqual(read(protocol, cut(bytes, [...bytes.keys()])), whole))

      it.prop(`${name} with ${ends} gives the same deltas however it is cut`, [Schema.Array(place(bytes.length))], ([places]) => {
        assert.deepStrictEqual(read(protocol, cut(bytes, places)), whole)
      })

      it.prop(`${name} with ${ends} that stops anywhere before its end never ends as if all were well`, [place(bytes.length)], ([at]) => {
        const { error, events } = read(protocol, [bytes.subarray(0, at)])
        const last = events.at(-1)
        if (last?.type === "end") assert.deepStrictEqual(last.completion.content, contentOf(whole.events))
        else assert.include(["stream_interrupted", "malformed_response"], error?.fault)
      })
    }
  }

  for (const [name, protocol, text] of streams) {
    it(`${name}'s is the same with frames, wherever it is cut in two`, () => {
      const bytes = Buffer.from(text)
      const framed = (at: number) => {
        const feed = new EventFeed("p", 1_000_000, protocol.reader(callOf("m"))(), "frames")
        feed.feed(bytes.subarray(0, at))
        feed.feed(bytes.subarray(at))
        return { events: feed.take(), error: feed.error }
      }
      const whole = framed(bytes.length)
      const deltas = whole.events.flatMap((event) => (event.type === "frame" ? event.deltas : []))
      assert.deepStrictEqual(deltas, read(protocol, [bytes]).events.filter(({ type }) => type !== "end"))
      assert.isNotEmpty(deltas)
      assert.isTrue(whole.events.every(({ type }) => type === "frame" || type === "end"))
      for (let at = 0; at < bytes.length; at++) assert.deepStrictEqual(framed(at), whole, `cut at ${at}`)
    })
  }

  it("is the same wherever it is cut where a byte order mark stands in its midst, whose line means nothing", () => {
    const [, protocol] = streams[0] ?? assert.fail()
    const piece = (content: string) => event({ choices: [{ index: 0, delta: { content } }] })
    const bytes = Buffer.from(`${piece("one")}\uFEFF${piece("two")}${piece("three")}data: [DONE]\n\n`)
    const whole = read(protocol, [bytes])
    assert.deepStrictEqual(whole.events.flatMap((item) => (item.type === "text" ? [item.text] : [])), ["one", "three"])
    for (let at = 1; at < bytes.length; at++) {
      assert.deepStrictEqual(read(protocol, [bytes.subarray(0, at), Buffer.alloc(0), bytes.subarray(at)]), whole, `cut at ${at}`)
    }
  })

  it("is the same wherever it is cut where characters are broken", () => {
    const [, protocol] = streams[0] ?? assert.fail()
    for (const broken of [[0xff], [0xe2, 0x82], [0xf0, 0x9f, 0x91], [0x80, 0x80]]) {
      const [before = "", after = ""] = openAi.split("Grüße ")
      const bytes = Buffer.concat([Buffer.from(`${before}Grüße `), Buffer.from(broken), Buffer.from(after)])
      const whole = read(protocol, [bytes])
      assert.include(JSON.stringify(whole.events), "Grüße \uFFFD")
      for (let at = 1; at < bytes.length; at++) assert.deepStrictEqual(read(protocol, [bytes.subarray(0, at), Buffer.alloc(0), bytes.subarray(at)]), whole, `cut at ${at}`)
    }
  })

  it("that tell of several choices at once lose none of them, whichever stands first", () => {
    const [, protocol] = streams[0] ?? assert.fail()
    const piece = (index: number, content: string) => ({ index, delta: { content } })
    const { events } = read(protocol, [Buffer.from([
      event({ choices: [piece(0, "one "), piece(1, "un ")] }),
      event({ choices: [piece(1, "deux"), piece(0, "two")] }),
      "data: [DONE]\n\n"
    ].join(""))])
    assert.deepStrictEqual(events.flatMap((item) => (item.type === "text" ? [item.text] : [])), ["one ", "two"])
    const last = events.at(-1)
    assert.deepStrictEqual(last?.type === "end" && [last.completion, ...last.completion.alternatives ?? []].map(({ content }) => content), [
      [{ type: "text", text: "one two" }],
      [{ type: "text", text: "un deux" }]
    ])
  })

  it("is refused at a line of more than a mebibyte, however it comes", () => {
    const [, protocol] = streams[0] ?? assert.fail()
    const long = Buffer.from(`data: "${"x".repeat(1_200_000)}`)
    const feed = new EventFeed("p", 100_000_000, protocol.reader(callOf("m"))())
    for (let at = 0; at < long.length && feed.error === undefined; at += 65_536) feed.feed(long.subarray(at, at + 65_536))
    assert.strictEqual(feed.error?.fault, "response_too_large")
  })
})
