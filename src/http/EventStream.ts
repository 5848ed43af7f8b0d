/**
 * Server-sent events to one client. What waits for a slow reader is bounded: then the producer waits (FAULTS.md row 45). A reader
 * that takes nothing for too long is cut off; one that leaves ends the producer with the request's scope (rows 43, 44).
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Stream } from "effect"
import type { HttpServerRequest } from "effect/http"
import { HttpServerResponse } from "effect/http"
import type { ServerResponse } from "node:http"
import type { Writable } from "node:stream"
import { nowMs } from "../domain/Monotonic.ts"
import { inStage } from "../domain/Stages.ts"
import type { WireEvent } from "./Door.ts"
import type { Ending } from "./Recorder.ts"
import { Recorder } from "./Recorder.ts"

/** An event, or a line that clients skip. */
export type Emission = WireEvent | { readonly comment: string }

/** One event with its name; the data are sent as JSON. */
export const named = (event: string, data: unknown): WireEvent => ({ event, data: JSON.stringify(data) })

export type Emit = (emission: Emission) => Effect.Effect<void>

/** Half of the bytes that may be held: the other half may be on its way through the socket. */
const mostWaiting = 512 * 1024

/** WHATWG HTML, 9.2.6: no line break of the text can begin a field of its own. */
const field = (name: string, text: string): string =>
  text.includes("\n") || text.includes("\r") ? `${name}: ${text.replaceAll(/\r\n|\r|\n/g, `\n${name}: `)}\n` : `${name}: ${text}\n`

const encode = (emission: Emission): string =>
  "comment" in emission
    ? `${field("", emission.comment)}\n`
    : `${emission.event === undefined ? "" : field("event", emission.event)}${field("data", emission.data)}\n`

const heartbeat = ": heartbeat\n\n"

/** The last chunk of an answer that comes in chunks (RFC 9112, 7.1). */
const lastChunk = "0\r\n\r\n"

/** What one client is sent: what was pushed in a turn leaves in one write, and what the reader must take first waits for `drain`. */
class Outlet {
  private readonly response: ServerResponse
  /**
   * Where the body is written: the connection itself, since node's response does much again for each piece. A response that still
   * waits for its turn on the connection (RFC 9112, 9.3.2) keeps what it is given.
   */
  private out: Writable
  private readonly recorder: Recorder | undefined
  /** To be called at the first push; gone after it. */
  private onBegun: (() => void) | undefined
  /** There as long as no more may be emitted; done when there is room again. */
  private full: Deferred.Deferred<void> | undefined
  private waiting = ""
  private waitingBytes = 0
  /** When the last write left, or could not yet because other answers come before this one. */
  private wroteAt = nowMs()
  /** Called once all was written; there when the head was. */
  private finish: (() => void) | undefined
  /** The answer comes in chunks, made here: node would write each one in four parts. */
  private chunked = false
  private state: "open" | "ending" | "ended" = "open"

  constructor(response: ServerResponse, recorder: Recorder | undefined, onBegun: () => void) {
    this.response = response
    this.out = response
    this.recorder = recorder
    this.onBegun = onBegun
  }

  /** The head was written, and what waits may leave. `finish` is called once all of the answer did. */
  begin(finish: () => void): void {
    this.finish = finish
    this.chunked = this.response.chunkedEncoding
    this.response.chunkedEncoding = false
    this.out = this.response.socket ?? this.response
    this.out.on("drain", this.flush)
    // The head leaves with the first events.
    this.out.cork()
    this.response.flushHeaders()
    this.flush()
    this.out.uncork()
  }

  emit(emission: Emission): Effect.Effect<void> {
    if (this.full !== undefined) return Effect.andThen(Deferred.await(this.full), Effect.suspend(() => this.emit(emission)))
    this.push(encode(emission))
    return Effect.void
  }

  push(text: string): void {
    // The connection may be another answer's by then.
    if (this.state !== "open") return
    if (this.waiting === "") inStage("writes", this.flush)
    this.waiting += text
    this.waitingBytes += Buffer.byteLength(text)
    if (this.waitingBytes >= mostWaiting) this.full ??= Deferred.makeUnsafe()
    this.recorder?.add(Buffer.from(text))
    this.onBegun?.()
    this.onBegun = undefined
  }

  /** All was pushed. */
  end(): void {
    this.state = "ending"
    this.flush()
  }

  /** Nothing was pushed that the reader has not taken. */
  isIdle(): boolean {
    return this.waiting === "" && !this.out.writableNeedDrain
  }

  /**
   * Breaks off where the reader has taken nothing for so long: ending the answer in order would need the reader too. A connection
   * that its client has half closed takes no more, and does not say that it waits.
   */
  cutWhenStalled(stallMs: number): void {
    if (this.response.socket === null) this.wroteAt = nowMs()
    const stalled = this.out.writableNeedDrain && nowMs() - this.wroteAt >= stallMs
    if (stalled || !this.out.writable) this.response.destroy()
  }

  private readonly flush = (): void => {
    if (this.finish === undefined || this.out.writableNeedDrain) return
    if (this.waiting !== "" || this.state === "ending") this.write()
    if (this.state !== "ended" || this.out.writableNeedDrain) return
    this.out.off("drain", this.flush)
    this.finish()
  }

  private write(): void {
    const { full, waiting, waitingBytes } = this
    this.full = undefined
    this.waiting = ""
    this.waitingBytes = 0
    this.wroteAt = nowMs()
    const text = this.chunked && waiting !== "" ? `${waitingBytes.toString(16)}\r\n${waiting}\r\n` : waiting
    const all = this.chunked && this.state === "ending" ? text + lastChunk : text
    if (this.state === "ending") this.state = "ended"
    if (!this.out.writable) this.response.destroy()
    else if (all !== "") this.out.write(all, waitingBytes === waiting.length ? "latin1" : "utf8")
    // Only now: who waits for room goes on at once, to more events and to the end.
    if (full !== undefined) Deferred.doneUnsafe(full, Exit.void)
  }
}

/**
 * Answers with the events that `produce` emits, and ends when it ends. `heartbeatMs`: how often an idle stream shows that it
 * lives; `stallMs`: how long a reader may take nothing of what waits for it. With `headers` the answer begins with its first
 * event, and a producer that fails before that fails this effect; without, it begins at once. What fails later is the
 * producer's to tell as an event; it says how it ended.
 */
export const respond = Effect.fnUntraced(function*<E>(options: {
  readonly request: HttpServerRequest.HttpServerRequest
  readonly heartbeatMs: number
  readonly stallMs: number
  readonly headers?: () => { readonly [name: string]: string }
  readonly produce: (emit: Emit) => Effect.Effect<Ending, E>
}): Effect.fn.Return<HttpServerResponse.HttpServerResponse, E, Scope.Scope> {
  const { headers, heartbeatMs, produce, request, stallMs } = options
  const scope = yield* Effect.scope
  const recorder = yield* Recorder
  const begun = Deferred.makeUnsafe<void, E>()
  // TokenHub's server speaks no HTTP/2.
  const response = NodeHttpServerRequest.toServerResponse(request) as ServerResponse
  const outlet = new Outlet(response, recorder, () => Deferred.doneUnsafe(begun, Exit.void))
  /** All was emitted. */
  let ended = false

  yield* produce((emission) => outlet.emit(emission)).pipe(
    Effect.flatMap((ending) => {
      ended = true
      Deferred.doneUnsafe(begun, Exit.void)
      return recorder === undefined ? Effect.void : recorder.end(ending)
    }),
    Effect.onExit((exit) => {
      const heard = Deferred.doneUnsafe(begun, exit) && headers !== undefined
      // The answer ends like a whole one: only the log can tell.
      return heard || Exit.isSuccess(exit) || Exit.hasInterrupts(exit)
        ? Effect.void
        : Effect.logError("An event stream broke off by a defect", exit.cause)
    }),
    Effect.ensuring(Effect.sync(() => outlet.end())),
    Effect.forkIn(scope)
  )
  if (headers !== undefined) yield* Deferred.await(begun)

  const written = Effect.callback<void>((resume) => {
    const beat = setInterval(() => {
      if (!ended && outlet.isIdle()) outlet.push(heartbeat)
    }, heartbeatMs)
    const watch = setInterval(() => outlet.cutWhenStalled(stallMs), Math.max(10, stallMs / 10))
    const stop = () => {
      clearInterval(beat)
      clearInterval(watch)
    }
    outlet.begin(() => {
      stop()
      resume(Effect.void)
    })
    return Effect.sync(stop)
  })
  return HttpServerResponse.stream(Stream.fromEffectDrain(written), {
    contentType: "text/event-stream",
    // Proxies that buffer would hold the events back.
    headers: { "cache-control": "no-cache", "x-accel-buffering": "no", ...headers?.() }
  })
})
