/** Server-sent events from bytes cut anywhere, and what a protocol makes of them. No I/O. */
import type { Parser } from "effect/encoding/Sse"
import { makeParser } from "effect/encoding/Sse"
import { TextDecoder } from "node:util"
import type { Delta, Frame, StreamEvent } from "../domain/Chat.ts"
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
  readonly event: (event: ServerEvent) => ReadonlyArray<Delta | End> | ProviderError
  /** The stream is over: `marked` by `[DONE]`, or because the body ended in order. */
  readonly end: (marked: boolean) => End | ProviderError
}

type End = Extract<StreamEvent, { type: "end" }>

/** The longest line of an event stream (FAULTS.md row 32), in characters. */
const longestLine = 1024 * 1024

/** An event without a name of its own goes by `message` (WHATWG HTML, 9.2.6). */
const frameOf = (protocol: string, event: string, data: string, deltas: ReadonlyArray<Delta>): Frame =>
  event === "message" ? { type: "frame", protocol, data, deltas } : { type: "frame", protocol, event, data, deltas }

const isDelta = (item: Delta | End): item is Delta => item.type !== "end"

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
const plainEvents = (text: string, to: { accept(event: string, data: string): void }): number => {
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
    to.accept(event === "" ? "message" : event, data)
    at = end + 2
  }
}

const lineFeed = 10

/**
 * Feeds a body to a protocol's reader. The parser is Effect's: right on CRLF, BOM, comments and data of several lines; what is plain
 * needs none.
 */
export class EventFeed {
  /** The answer is complete; what follows in the body is of no interest. */
  over = false
  /** The first token is there. */
  begun = false
  error: ProviderError | undefined

  private readonly provider: string
  private readonly mostBytes: number
  private readonly reader: StreamReader
  private readonly frames: string | undefined
  private decoder: TextDecoder | undefined
  /** The decoder may hold the beginning of a character. */
  private cut = false
  private parser: Parser | undefined
  /** The parser holds nothing of an event. */
  private atRest = true
  /** Nothing of the body was read yet: only there is a byte order mark one. */
  private fresh = true
  private made: Array<StreamEvent> = []
  private size = 0
  private ended = false

  /**
   * `provider` is for messages, `mostBytes` the most that the body may have. With `frames`, the name of a protocol, each event but
   * an error's comes as a frame, which holds what the reader makes of it.
   */
  constructor(provider: string, mostBytes: number, reader: StreamReader, frames?: string) {
    this.provider = provider
    this.mostBytes = mostBytes
    this.reader = reader
    this.frames = frames
  }

  /** Takes the next bytes of the body; undefined: it ended in order. */
  feed(bytes: Buffer | undefined): void {
    if (bytes === undefined) {
      this.ended = true
      if (!this.atRest) this.parse(`${this.decoder?.decode() ?? ""}\n\n`)
      if (!this.over && this.error === undefined) this.finish(false)
      return
    }
    if (bytes.length === 0) return
    this.size += bytes.length
    if (!this.parse(this.textOf(bytes))) {
      this.error ??= answered("response_too_large", `${this.provider} sent an event of more than ${longestLine} bytes`)
    }
    if (this.size > this.mostBytes && !this.over) {
      this.error ??= answered("response_too_large", `${this.provider} sent an answer of more than ${this.mostBytes} bytes`)
    }
  }

  /** What the protocol made since the last call. */
  take(): ReadonlyArray<StreamEvent> {
    const taken = this.made
    this.made = []
    return taken
  }

  private textOf(bytes: Buffer): string {
    const endsInAscii = (bytes.at(-1) ?? 0) < 0x80
    // Nothing to remember: what ends so ends with a whole character.
    if (endsInAscii && !this.cut) return bytes.toString("utf8")
    this.decoder ??= new TextDecoder("utf-8", { ignoreBOM: true })
    this.cut = !endsInAscii
    return this.decoder.decode(bytes, { stream: true })
  }

  /** Says whether all of it was short enough. */
  private parse(text: string): boolean {
    const from = this.atRest ? plainEvents(text, this) : 0
    const fresh = this.fresh && from === 0
    this.fresh &&= text === ""
    if (from === text.length) return true
    this.atRest = text.endsWith("\n\n")
    this.parser ??= this.parserFrom(fresh)
    return this.parser.feed(from === 0 ? text : text.slice(from)) === undefined
  }

  /** A parser that begins with the body, or later in it. */
  private parserFrom(fresh: boolean): Parser {
    const parser = makeParser((event) => {
      if (event._tag === "Event") this.accept(event.event, event.data)
    }, { maxEventSize: longestLine })
    // An empty line means nothing, but that what follows is not the beginning.
    if (!fresh) parser.feed("\n")
    return parser
  }

  /** Takes one event: `text` is its data. */
  accept(event: string, text: string): void {
    if (this.over || this.error !== undefined) return
    if (text === "[DONE]") return this.finish(true)
    const data = parseJson(text)
    if (data !== undefined) return this.keep(event, text, this.reader.event({ event, data }))
    // Half an event at the end of the body is the break itself, which `end` reports.
    if (!this.ended) this.error = answered("malformed_response", `${this.provider} sent an event that is not JSON`)
  }

  private keep(event: string, text: string, items: ReadonlyArray<Delta | End> | ProviderError): void {
    if (items instanceof ProviderError) return void (this.error = items)
    const deltas = items.every(isDelta) ? items : items.filter(isDelta)
    if (deltas.length > 0) this.begun = true
    if (this.frames === undefined) this.made.push(...deltas)
    else this.made.push(frameOf(this.frames, event, text, deltas))
    const last = items.at(-1)
    if (last?.type === "end") this.close(last)
  }

  private finish(marked: boolean): void {
    const last = this.reader.end(marked)
    if (last instanceof ProviderError) this.error = last
    else this.close(last)
  }

  private close(end: End): void {
    this.made.push(end)
    this.over = true
  }
}
