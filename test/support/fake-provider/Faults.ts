/**
 * The fault table: each row by its name, with the row of FAULTS.md that it serves, and how a model's name asks for
 * one.
 */
import type { Action, Behaviour, UsageLie } from "./Behaviour.ts"
import { filler } from "./Behaviour.ts"
import { drippedHead, halfThen, insteadAfter, interleave, malformed, repeat, split, text, without } from "./Hooks.ts"
import type { Prompt } from "./Wire.ts"
import { problemOfStatus } from "./Wire.ts"

/** What a row may look at: the call's key and whether a stream was asked for. */
export interface FaultContext {
  readonly stream: boolean
  readonly key: string
}

export interface Fault {
  /** What happens, and its parameters with their defaults. */
  readonly about: string
  readonly make: (params: Params, context: FaultContext) => Behaviour
}

/** A row's parameters. */
class Params {
  readonly query: URLSearchParams
  constructor(query: string) {
    this.query = new URLSearchParams(query)
  }
  number(name: string, fallback: number): number {
    const value = this.query.get(name)
    return value === null ? fallback : Number(value)
  }
  text(name: string, fallback: string): string {
    return this.query.get(name) ?? fallback
  }
}

// --- rows

/** The action after `after` content events of a stream, or in the middle of a plain body. */
const midway = (params: Params, action: Action, { stream }: FaultContext): Behaviour =>
  stream ? { frames: insteadAfter(params.number("after", 2), () => [action]) } : { bytes: halfThen(action) }

const megabyte = 1024 * 1024

const chunked = { "transfer-encoding": "chunked" }

const html = (status: number): string =>
  `<html>\r\n<head><title>${status} Bad Gateway</title></head>\r\n<body>\r\n<center><h1>${status} Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n`

const bodies: Readonly<Record<string, (status: number) => Behaviour["raw"]>> = {
  html: (status) => ({ status, headers: { "content-type": "text/html" }, body: html(status) }),
  empty: (status) => ({ status, body: "" }),
  text: (status) => ({
    status,
    headers: { "content-type": "text/plain" },
    body: "upstream connect error or disconnect/reset before headers"
  }),
  garbage: (status) => ({ status, body: Buffer.from([0xff, 0xfe, 0x00, 0x7b, 0x80]) })
}

/** A bare status: the vendor's own error body, or by `body=html|empty|text|garbage` another. */
const statusRow = (status: number): Fault => ({
  about: "any status; retry_after, location, body=html|empty|text|garbage",
  make: (params) => {
    const retryAfter = params.query.get("retry_after")
    const headers = retryAfter === null ? {} : { "retry-after": retryAfter }
    const other = bodies[params.text("body", "")]?.(status)
    if (status >= 300 && status < 400) {
      const location = params.text("location", "http://127.0.0.1:1/elsewhere")
      return { raw: { status, headers: { location }, body: "" } }
    }
    if (other !== undefined || status < 300) return { headers, raw: other ?? { status, body: "" } }
    return { error: { kind: problemOfStatus(status), status, headers } }
  }
})

const usageLies: ReadonlyArray<UsageLie> = ["missing", "zero", "negative", "nan", "null", "fraction", "huge"]

const row = (about: string, make: Fault["make"]): Fault => ({ about, make })

/** All rows but the bare statuses. Numbers in `about` are FAULTS.md's. */
export const faults: Readonly<Record<string, Fault>> = {
  "context-length": row("2: prompt too long, in the vendor's words", () => ({ error: "context_length" })),
  "quota": row("13: quota or credit used up", () => ({ error: "quota" })),
  "content-policy": row("1: prompt refused by the vendor's filter", () => ({ error: "content_policy" })),
  "overloaded": row("16: overloaded", () => ({ error: "overloaded" })),
  "malformed-json": row("18: JSON broken; in a stream after=1 events", (p) => ({
    frames: malformed(p.number("after", 1))
  })),
  "truncated-json": row("19: content-length longer than what is sent; a stream is cut", (p, c) =>
    midway(p, { stop: "cut" }, c)),
  "truncated-chunked": row("19: half the body, chunked, without its end", (p, c) => ({
    ...midway(p, { stop: "cut" }, c),
    headers: chunked
  })),
  "html-200": row("20: 200 with HTML", () => ({ raw: bodies["html"]?.(200) ?? {} })),
  "empty-200": row("18: 200 with no body", () => ({ raw: { status: 200, body: "" } })),
  "reset-before-headers": row("21: RST in place of an answer", () => ({ before: [{ stop: "reset" }] })),
  "close-before-headers": row("21: closed in place of an answer", () => ({ before: [{ stop: "cut" }] })),
  "reset-mid-stream": row("22: RST after=2 events", (p, c) => midway(p, { stop: "reset" }, c)),
  "cut-mid-stream": row("22: closed without an end after=2 events", (p, c) => midway(p, { stop: "cut" }, c)),
  "no-done": row("23: ends after finish_reason without [DONE]", () => ({ frames: without("end") })),
  "no-end": row("24: ends in order, with neither", () => ({ frames: without("finish", "usage", "end") })),
  "error-first": row("25: error inside a 200, before content", () => ({
    frames: insteadAfter(0, ({ error }) => [error("overloaded")]),
    billed: false
  })),
  "error-mid": row("25: error inside a 200 after=2 events", (p, { stream }) => ({
    frames: insteadAfter(stream ? p.number("after", 2) : 0, ({ error }) => [error("overloaded")])
  })),
  "no-headers": row("26: the request is taken and never answered", () => ({ before: [{ stop: "hang" }] })),
  "no-first-token": row("26: headers, then nothing", () => ({
    frames: function*() {
      yield { stop: "hang" }
    }
  })),
  "stall": row("27: silent after=2 events", (p, c) => midway(p, { stop: "hang" }, c)),
  "endless": row("28: never ends, as fast as it is read", (_, { stream }) =>
    stream ? { frames: repeat(Infinity) } : { text: filler, fillerBytes: Infinity, usage: { completion: 1 } }),
  "drip": row("28: never ends, an event each chunk_ms=100", (p) => ({
    frames: repeat(Infinity),
    delay: { chunk: p.number("chunk_ms", 100) },
    headers: chunked,
    bytes: async function*(steps, { stream }) {
      if (stream) yield* steps
      else for (;;) yield* [text(" "), { wait: p.number("chunk_ms", 100) }]
    }
  })),
  "broken-gzip": row("29: says gzip, is not", () => ({ headers: { "content-encoding": "gzip" } })),
  "truncated-gzip": row("29: gzip without its end", () => ({ encodings: ["gzip"], bytes: halfThen({ stop: "end" }) })),
  "gzip-bomb": row("30: size=67108864 bytes, compressed", (p) => ({ ...huge(p, 64 * megabyte), encodings: ["gzip"] })),
  "stacked-encodings": row("30: gzip in gzip; size=0 bytes", (p) => ({ ...huge(p, 0), encodings: ["gzip", "gzip"] })),
  "huge": row("31: an answer of size=1073741824 bytes, in a stream as events of 16 KiB", (p, { stream }) => {
    const block = 16 * 1024
    const count = Math.ceil(p.number("size", 1024 * megabyte) / block)
    return stream
      ? { text: "x".repeat(block), chunkSize: block, frames: repeat(count) }
      : huge(p, 1024 * megabyte)
  }),
  "long-line": row("32: one event line of size=104857600 bytes", (p) => huge(p, 100 * megabyte)),
  "duplicate-chunks": row("33: each event twice", () => ({ frames: repeat(2, ["content", "finish", "usage"]) })),
  "cumulative-usage": row("33: usage so far in each event", () => ({ usageInEachChunk: true })),
  "split": row("34: pieces of size=1 bytes", (p) => ({ bytes: split(Math.max(1, p.number("size", 1))) })),
  "crlf": row("34: CRLF line ends", () => ({ newline: "\r\n" })),
  "cr": row("34: CR line ends", () => ({ newline: "\r" })),
  "bom": row("34: a byte order mark in front", () => ({ frames: interleave("\uFEFF", false, true) })),
  "multi-line": row("34: data over several lines", () => ({ multiline: true })),
  "comments": row("34: a comment before each event", () => ({ frames: interleave(": PROCESSING\n\n", true) })),
  "retry-lines": row("34: retry and id lines before each event", () => ({
    frames: interleave("retry: 3000\nid: 7\n\n", true)
  })),
  "content-filter": row("39: finish by the content filter", () => ({
    text: "This can't be",
    finish: "content_filter"
  })),
  "length": row("finish by the output limit", () => ({ text: "This is only the beg", finish: "length" })),
  "empty-choices": row("40: no choices", () => ({ choices: 0 })),
  "echo-key": row("42: the key in an error; status=401", (p, { key }) => ({
    error: {
      kind: "invalid_key",
      status: p.number("status", 401),
      message: `Incorrect API key provided: ${key}. Request was authorization: Bearer ${key}`
    }
  })),
  "slow-headers": row("26: headers byte by byte, chunk_ms=100 apart", (p) => ({
    wire: drippedHead(p.number("chunk_ms", 100))
  })),
  "huge-headers": row("headers of size=65536 bytes", (p) => ({
    headers: { "x-padding": "x".repeat(p.number("size", 65_536)) }
  })),
  "not-http": row("an answer that is not HTTP", () => ({
    wire: async function*() {
      yield text("SSH-2.0-OpenSSH_9.6\r\n")
    }
  })),
  ...Object.fromEntries(usageLies.map((lie) => [`usage-${lie}`, row(`41: usage ${lie}`, () => ({ usageLie: lie }))]))
}

const huge = (params: Params, size: number): Behaviour => {
  const fillerBytes = params.number("size", size)
  return { text: filler, fillerBytes, chunkSize: 64, usage: { completion: Math.ceil(fillerBytes / 4) } }
}

// --- asking for a row

/** The behaviour of a row, asked for as `name?parameter=value`. Throws on a name that is no row. */
export const faultOf = (asked: string, context: FaultContext): Behaviour => {
  const { name, params } = parse(asked)
  const named = Object.hasOwn(faults, name) ? faults[name] : undefined
  const found = /^[1-9]\d\d$/.test(name) ? statusRow(Number(name)) : named
  if (found === undefined) throw new Error(`fake provider: no fault named ${name}`)
  return found.make(params, context)
}

const parse = (asked: string) => {
  const at = asked.indexOf("?")
  return { name: at < 0 ? asked : asked.slice(0, at), params: new Params(at < 0 ? "" : asked.slice(at + 1)) }
}

/** What a model's name asks for by itself. */
export interface NamedBehaviour {
  readonly behaviour: Behaviour
  /** Prompts with more tokens are too long. */
  readonly context: number
  /** Holds for so many calls; the later ones are answered. */
  readonly times: number
}

/**
 * Reads `fault-NAME?…`, `slow-200ms?…` and the parameters that every name takes. A fault that is no row is a 404 of
 * the model.
 */
export const behaviourOfModel = (prompt: Prompt, key: string): NamedBehaviour => {
  const { name, params } = parse(prompt.model)
  const slow = /^slow-(\d+)ms$/.exec(name)?.[1]
  const delay = {
    ...(slow === undefined ? {} : { headers: Number(slow) }),
    ...Object.fromEntries(
      waits.filter(([parameter]) => params.query.has(parameter))
        .map(([parameter, point]) => [point, params.number(parameter, 0)])
    )
  }
  const fault = name.startsWith("fault-")
    ? rowOrUnknown(prompt.model.slice("fault-".length), { stream: prompt.stream, key })
    : {}
  return {
    behaviour: { ...fault, delay: { ...fault.delay, ...delay } },
    context: params.number("context", Infinity),
    times: params.number("times", Infinity)
  }
}

const waits = [["delay_ms", "headers"], ["first_token_ms", "firstToken"], ["chunk_ms", "chunk"]] as const

const rowOrUnknown = (asked: string, context: FaultContext): Behaviour => {
  try {
    return faultOf(asked, context)
  } catch {
    return { error: "model_not_found" }
  }
}
