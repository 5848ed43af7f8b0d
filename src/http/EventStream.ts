/**
 * Server-sent events to one client. What waits for a slow reader is bounded: then the producer waits (FAULTS.md row 45). A reader
 * that takes nothing for too long is cut off; one that leaves ends the producer with the request's scope (rows 43, 44).
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { Cause, Scope } from "effect"
import { Clock, Deferred, Effect, Exit, Latch, Queue, Schedule, Stream } from "effect"
import type { HttpServerRequest } from "effect/http"
import { HttpServerResponse } from "effect/http"
import type { WireEvent } from "./Door.ts"
import type { Ending } from "./Recorder.ts"
import { Recorder } from "./Recorder.ts"

/** An event, or a line that clients skip. */
export type Emission = WireEvent | { readonly comment: string }

/** One event with its name; the data are sent as JSON. */
export const named = (event: string, data: unknown): WireEvent => ({ event, data: JSON.stringify(data) })

export type Emit = (emission: Emission) => Effect.Effect<void>

/** Half of what may be held: the other half may be on its way through the socket. */
const mostQueued = 512 * 1024

const lineBreak = /[\r\n]/

/** WHATWG HTML, 9.2.6: no line break of the text can begin a field of its own. */
const field = (name: string, text: string): string =>
  lineBreak.test(text) ? `${name}: ${text.replaceAll(/\r\n|\r|\n/g, `\n${name}: `)}\n` : `${name}: ${text}\n`

const encode = (emission: Emission): Uint8Array =>
  Buffer.from(
    "comment" in emission
      ? `${field("", emission.comment)}\n`
      : `${emission.event === undefined ? "" : field("event", emission.event)}${field("data", emission.data)}\n`
  )

const heartbeat = Buffer.from(": heartbeat\n\n")

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
  const clock = yield* Clock.Clock
  const recorder = yield* Recorder
  const queue = yield* Queue.unbounded<Uint8Array, Cause.Done>()
  const room = Latch.makeUnsafe(true)
  const begun = Deferred.makeUnsafe<void, E>()
  let queued = 0
  let ended = false
  let takenAt = clock.monotonicTimeNanosUnsafe()

  const push = (bytes: Uint8Array) => {
    if (queued === 0) takenAt = clock.monotonicTimeNanosUnsafe()
    queued += bytes.length
    if (queued >= mostQueued) room.closeUnsafe()
    recorder?.add(bytes)
    Queue.offerUnsafe(queue, bytes)
    Deferred.doneUnsafe(begun, Exit.void)
  }

  const taken = (chunks: ReadonlyArray<Uint8Array>) => {
    for (const { length } of chunks) queued -= length
    takenAt = clock.monotonicTimeNanosUnsafe()
    if (queued < mostQueued) room.openUnsafe()
  }

  const beat = Effect.sync(() => {
    if (queued === 0 && !ended) push(heartbeat)
  })

  const cutWhenStalled = Effect.sync(() => {
    const waitedMs = Number(clock.monotonicTimeNanosUnsafe() - takenAt) / 1e6
    // Ending the answer in order would need the reader too.
    if (queued > 0 && waitedMs >= stallMs) NodeHttpServerRequest.toServerResponse(request).destroy()
  })

  const every = (ms: number, effect: Effect.Effect<void>) => Effect.delay(Effect.repeat(effect, Schedule.spaced(ms)), ms)

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
    Effect.ensuring(Queue.end(queue)),
    Effect.forkIn(scope)
  )
  if (headers !== undefined) yield* Deferred.await(begun)
  yield* Effect.forkIn(every(heartbeatMs, beat), scope)
  yield* Effect.forkIn(every(Math.max(10, stallMs / 10), cutWhenStalled), scope)

  const bytes = Stream.fromQueue(queue).pipe(
    Stream.mapArray((chunks): readonly [Uint8Array, ...Array<Uint8Array>] => {
      taken(chunks)
      // What came meanwhile leaves in one write.
      return chunks.length === 1 ? chunks : [Buffer.concat(chunks)]
    })
  )
  return HttpServerResponse.stream(bytes, {
    contentType: "text/event-stream",
    // Proxies that buffer would hold the events back.
    headers: { "cache-control": "no-cache", "x-accel-buffering": "no", ...headers?.() }
  })
})
