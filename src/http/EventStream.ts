/**
 * Server-sent events to one client. What waits for a slow reader is bounded: then the producer waits (FAULTS.md row 45). A reader
 * that takes nothing for too long is cut off; one that leaves ends the producer with the request's scope (rows 43, 44).
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Latch, Stream } from "effect"
import type { HttpServerRequest } from "effect/http"
import { HttpServerResponse } from "effect/http"
import type { ServerResponse } from "node:http"
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
  /** TokenHub's server speaks no HTTP/2. */
  const response = NodeHttpServerRequest.toServerResponse(request) as ServerResponse
  const room = Latch.makeUnsafe(true)
  const begun = Deferred.makeUnsafe<void, E>()
  let waiting = ""
  let waitingBytes = 0
  /** Since when the reader has taken nothing of what waits or is on its way. */
  let waitsSince = performance.now()
  /** All was emitted. */
  let ended = false
  /** And taken down, so that the client may have its end. */
  let over = false
  /** Ends the answer; there once its head was written. */
  let finish: (() => void) | undefined
  /** The answer comes in chunks, made here: node would write each one in four parts. */
  let chunked = false
  /** Nothing more may be written. */
  let complete = false

  const write = (text: string, bytes: number) => {
    const whole = over && chunked
    complete = over
    const chunk = chunked && bytes > 0 ? `${bytes.toString(16)}\r\n${text}\r\n` : text
    if (bytes > 0 || whole) response.write(whole ? chunk + lastChunk : chunk, bytes === text.length ? "latin1" : "utf8")
  }

  /** What came in one turn leaves in one write; what the client must read first waits for `drain`. */
  const flush = () => {
    if (finish === undefined || response.writableNeedDrain) return
    if (!complete && (waiting !== "" || over)) {
      const [text, bytes] = [waiting, waitingBytes]
      waiting = ""
      waitingBytes = 0
      waitsSince = performance.now()
      write(text, bytes)
      // Only now: who waits for room goes on at once, to more events and to the end.
      room.openUnsafe()
    }
    if (complete && !response.writableNeedDrain) finish()
  }

  const push = (text: string) => {
    if (waiting === "") {
      if (!response.writableNeedDrain) waitsSince = performance.now()
      inStage("writes", flush)
    }
    waiting += text
    waitingBytes += Buffer.byteLength(text)
    if (waitingBytes >= mostWaiting) room.closeUnsafe()
    recorder?.add(Buffer.from(text))
    Deferred.doneUnsafe(begun, Exit.void)
  }

  const beat = () => {
    if (waiting === "" && !ended) push(heartbeat)
  }

  const cutWhenStalled = () => {
    // Ending the answer in order would need the reader too.
    if ((waiting !== "" || response.writableNeedDrain) && performance.now() - waitsSince >= stallMs) response.destroy()
  }

  const emit = (emission: Emission): Effect.Effect<void> => {
    if (!room.isOpen()) return Effect.andThen(room.await, Effect.suspend(() => emit(emission)))
    push(encode(emission))
    return Effect.void
  }

  yield* produce(emit).pipe(
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
    Effect.ensuring(Effect.sync(() => {
      ended = over = true
      flush()
    })),
    Effect.forkIn(scope)
  )
  if (headers !== undefined) yield* Deferred.await(begun)

  const written = Effect.callback<void>((resume) => {
    const timers = [setInterval(beat, heartbeatMs), setInterval(cutWhenStalled, Math.max(10, stallMs / 10))]
    const stop = () => timers.forEach((timer) => clearInterval(timer))
    finish = () => {
      stop()
      resume(Effect.void)
    }
    chunked = response.chunkedEncoding
    response.chunkedEncoding = false
    response.on("drain", flush)
    flush()
    return Effect.sync(stop)
  })
  return HttpServerResponse.stream(Stream.fromEffectDrain(written), {
    contentType: "text/event-stream",
    // Proxies that buffer would hold the events back.
    headers: { "cache-control": "no-cache", "x-accel-buffering": "no", ...headers?.() }
  })
})
