/** Server-sent events from bytes cut anywhere, and what a protocol makes of them. No I/O. */
import { makeParser } from "effect/encoding/Sse"
import type { Frame, StreamEvent } from "../domain/Chat.ts"
import { ProviderError } from "../domain/ProviderError.ts"
import { answered } from "./Faults.ts"

/** One server-sent event; `data` is its JSON. */
export interface ServerEvent {
  readonly event: string
  readonly data: unknown
}

/** What a protocol makes of a stream's events. */
export interface StreamReader {
  /** Deltas, and `end` where the protocol has an event for it; an error ends the stream. */
  readonly event: (event: ServerEvent) => ReadonlyArray<StreamEvent> | ProviderError
  /** The stream is over: `marked` by `[DONE]`, or because the body ended in order. */
  readonly end: (marked: boolean) => StreamEvent | ProviderError
}

export interface EventFeed {
  /** Takes the next bytes of the body; undefined: it ended in order. */
  readonly feed: (bytes: Uint8Array | undefined) => void
  /** What the protocol made since the last call. */
  readonly take: () => ReadonlyArray<StreamEvent>
  /** The answer is complete; what follows in the body is of no interest. */
  readonly over: () => boolean
  readonly error: () => ProviderError | undefined
}

/** The longest line of an event stream (FAULTS.md row 32), in characters. */
const longestLine = 1024 * 1024

/** An event without a name of its own goes by `message` (WHATWG HTML, 9.2.6). */
const frameOf = (protocol: string, event: string, data: string): Frame =>
  event === "message" ? { type: "frame", protocol, data } : { type: "frame", protocol, event, data }

/** A value, or undefined where the text is no JSON. */
export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * Hands on the events at the beginning of a text that are whole and plain: a line of data, perhaps one with a name before it, each
 * ended by LF. Returns where anything else begins.
 */
const plainEvents = (text: string, hand: (event: string, data: string) => void): number => {
  let at = 0
  while (true) {
    const named = text.startsWith("event: ", at)
    const line = named ? text.indexOf("\n", at) + 1 : at
    if ((named && line === 0) || !text.startsWith("data: ", line)) return at
    const end = text.indexOf("\n", line)
    if (end < 0 || text.charCodeAt(end + 1) !== lineFeed || end - line > longestLine) return at
    const event = named ? text.slice(at + "event: ".length, line - 1) : ""
    const data = text.slice(line + "data: ".length, end)
    if (data.includes("\r") || event.includes("\r")) return at
    hand(event === "" ? "message" : event, data)
    at = end + 2
  }
}

const lineFeed = 10

/**
 * Feeds a body to a protocol's reader. The parser is Effect's: right on CRLF, BOM, comments and data of several lines; what is plain
 * needs none. `provider` is for messages, `bodyBytes` the most that the body may have. With `frames`, the name of a
 * protocol, each event comes as a frame too, before what the reader makes of it; an error's does not.
 */
export const eventFeed = (provider: string, bodyBytes: number, reader: StreamReader, frames?: string): EventFeed => {
  const decoder = new TextDecoder("utf-8")
  let made: Array<StreamEvent> = []
  let error: ProviderError | undefined
  let over = false
  let ended = false
  let size = 0

  const accept = (items: ReadonlyArray<StreamEvent> | ProviderError): void => {
    if (items instanceof ProviderError) return void (error = items)
    for (const item of items) {
      made.push(item)
      if (item.type === "end") return void (over = true)
    }
  }
  const finish = (marked: boolean): void => {
    const last = reader.end(marked)
    accept(last instanceof ProviderError ? last : [last])
  }
  const onEvent = (event: string, text: string): void => {
    if (over || error !== undefined) return
    if (text === "[DONE]") return finish(true)
    const data = parseJson(text)
    if (data !== undefined) {
      const items = reader.event({ event, data })
      if (frames !== undefined && !(items instanceof ProviderError)) made.push(frameOf(frames, event, text))
      return accept(items)
    }
    // Half an event at the end of the body is the break itself, which `end` reports.
    if (!ended) error = answered("malformed_response", `${provider} sent an event that is not JSON`)
  }
  const parser = makeParser((event) => {
    if (event._tag === "Event") onEvent(event.event, event.data)
  }, { maxEventSize: longestLine })
  /** The parser holds nothing of an event; what begins the body, perhaps with a BOM, is always its own. */
  let atRest = false

  /** Says whether all of it was short enough. */
  const parse = (text: string): boolean => {
    const from = atRest ? plainEvents(text, onEvent) : 0
    if (from === text.length) return true
    atRest = text.endsWith("\n\n")
    return parser.feed(from === 0 ? text : text.slice(from)) === undefined
  }

  return {
    feed: (bytes) => {
      if (bytes === undefined) {
        ended = true
        parser.feed(`${decoder.decode()}\n\n`)
        if (!over && error === undefined) finish(false)
        return
      }
      size += bytes.length
      if (!parse(decoder.decode(bytes, { stream: true }))) {
        error ??= answered("response_too_large", `${provider} sent an event of more than ${longestLine} bytes`)
      }
      if (size > bodyBytes && !over) error ??= answered("response_too_large", `${provider} sent an answer of more than ${bodyBytes} bytes`)
    },
    take: () => {
      const taken = made
      made = []
      return taken
    },
    over: () => over,
    error: () => error
  }
}
